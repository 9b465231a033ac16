"""How a compressed tensor is stored: so many bytes for each entry, and for each cell of a coarser grid that holds any.

::

    12                     a coordinate of 4 bytes and a value of 8, for each entry
    4 each k all           a pointer for each row that holds an entry (extents are 1 where none is given)
    4 every k all          a pointer for every row, empty or not
    8 each m 128 k 128     metadata of a tile
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from einsum import WeirError, hint

ALL = 1 << 62  # an extent larger than any rank
_PART = re.compile(r"(\d+(?:\.\d+)?)(?:\s+(each|every)((?:\s+[a-z]\w*\s+(?:[1-9]\d{0,17}|all))+))?")


@dataclass(frozen=True, slots=True)
class Part:
    """``size`` bytes for each cell that holds an entry; a cell has these extents by rank (1 where none is given)."""

    size: float
    cell: tuple[tuple[str, int], ...] = ()
    every: bool = False  # cells that hold nothing have one, too; fetches of some cells alone bring theirs only

    def extents(self, ranks: Iterable[str]) -> tuple[int, ...]:
        """The cell's extent along each of the tensor's ranks."""
        given = dict(self.cell)
        return tuple(given.get(rank, 1) for rank in ranks)

    @property
    def label(self) -> str:
        """What its counts are called behind the tensor's name: nothing for the entries themselves."""
        return "".join(f".{rank}" for rank, extent in self.cell if extent > 1) if self.cell else ""


@dataclass(frozen=True, slots=True)
class Format:
    """All that is stored of one tensor, the entries first."""

    tensor: str
    parts: tuple[Part, ...]


def parse_format(tensor: str, texts: Iterable[str], ranks: Iterable[str]) -> Format:
    """A tensor's format from its parts as text; raises :class:`WeirError` naming the part and the nearest rank."""
    known, parts = tuple(ranks), []
    for text in texts:
        match = _PART.fullmatch(text.strip())
        if match is None:
            raise WeirError(f"{text!r:.60} is not BYTES, or BYTES each (or every) RANK EXTENT ...")
        words = (match[3] or "").split()
        cell = tuple((r, ALL if n == "all" else int(n)) for r, n in zip(words[::2], words[1::2], strict=True))
        for rank, _ in cell:
            if rank not in known:
                raise WeirError(f"no rank {rank!r}{hint(rank, known)}")
        parts.append(Part(float(match[1]), cell, match[2] == "every"))
    if not parts or parts[0].cell:
        raise WeirError("the first part is the bytes of an entry, as '12'")
    return Format(tensor, tuple(parts))


def sizes(formats: Iterable[Format]) -> Mapping[str, float]:
    """Bytes of one of everything that is counted, by its name: ``A``, ``A.k``, ..."""
    return {name(f.tensor, place, part): part.size for f in formats for place, part in enumerate(f.parts)}


def name(tensor: str, place: int, part: Part) -> str:
    """What one part of a tensor is called in counts."""
    return tensor if place == 0 else f"{tensor}{part.label or '.' + str(place)}"
