"""Which tile sizes a search compares, and which of several mappings are worth keeping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb, prod
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sim.mapper.shapes import Shape
from sim.mapper.sites import Values

Array = NDArray[np.float64]
Key = tuple[str, int]  # a rank at a stage
CHUNK = 8192  # points at once: arrays that stay in the second-level cache
HIGHEST = 20_000  # and at most
LEAST = 256  # combinations of tiles of any one nest, at least


@dataclass(frozen=True, slots=True)
class Space:
    """Which mappings are compared.

    Up to ``tiles`` sizes of each rank at each level: the shortest tiles that make 1, 2, 4, 8, ... pieces (so imperfect
    factors too), thinned evenly; fewer where a group would have more than so many ``mappings``.
    """

    tiles: int = 8
    mappings: int = 5_000_000

    def widths(self, extent: int, lanes: int, number: int) -> list[int]:
        """Widths of strips to try: of all that make different numbers of pieces, ``number`` at most."""
        longest = -(-extent // lanes)
        most = (longest - 1).bit_length()
        powers = {round(n * most / max(number - 1, 1)) for n in range(number)}
        between = range(most if number > most + 1 else 0)
        pieces = {2**n for n in powers} | {3 * 2**n for n in between}
        return sorted({-(-longest // min(p, longest)) for p in pieces})

    def chunks(self, shape: Shape, sizes: Values, most: int) -> Iterator[dict[Key, Array]]:
        """All combinations of widths for a shape (about ``most``), those of a rank not growing inwards, in chunks."""
        lanes = shape.lanes
        number = self.tiles
        while True:
            lists = {key: self.widths(sizes[key[0]], lanes[key], number) for key in lanes}
            if number <= 2 or _combinations(lists) <= min(max(most, LEAST), HIGHEST):
                return _chunks(lists)
            number -= 1


def _combinations(lists: dict[Key, list[int]]) -> float:
    """How many combinations there are: for each rank, multisets of its widths."""
    stages = Counter(rank for rank, _ in lists)
    widest = {rank: max(len(one) for (r, _), one in lists.items() if r == rank) for rank in stages}
    return float(prod(comb(widest[rank] + depth - 1, depth) for rank, depth in stages.items()))


def _chunks(lists: dict[Key, list[int]]) -> Iterator[dict[Key, Array]]:
    """Every combination in which a rank's widths do not grow from stage to stage, a chunk at a time."""
    shape = tuple(len(one) for one in lists.values())
    total = prod(shape)
    for start in range(0, total, CHUNK):
        places = np.unravel_index(np.arange(start, min(start + CHUNK, total)), shape) if shape else ()
        found = {key: np.array(one, float)[at] for (key, one), at in zip(lists.items(), places, strict=True)}
        keep = np.ones(min(CHUNK, total - start), bool)
        for rank, stage in lists:
            if inner := min((s for r, s in lists if r == rank and s > stage), default=0):
                keep &= found[rank, inner] <= found[rank, stage]
        yield {key: one[keep] for key, one in found.items()}


class Costed(Protocol):
    """Something with seconds and joules."""

    @property
    def seconds(self) -> float:
        """Wall seconds."""
        ...

    @property
    def joules(self) -> float:
        """Joules of all components."""
        ...


One = TypeVar("One", bound=Costed)


def value(objective: str, seconds: Any, joules: Any) -> Any:
    """What is to be least: seconds (``time``), joules (``energy``), or their product (``edp``)."""
    return {"time": seconds, "energy": joules, "edp": seconds * joules}[objective]


def front(seconds: Array, joules: Array, objective: str) -> list[int]:
    """Places of what nothing else beats: one for time or energy (the other breaks ties), a front for their product."""
    order = np.lexsort((joules, seconds) if objective != "energy" else (seconds, joules))
    if objective != "edp":
        return [int(order[0])]
    least = np.minimum.accumulate(joules[order])
    return [int(i) for n, i in enumerate(order) if n == 0 or joules[i] < least[n - 1]]


def unbeaten(some: list[One], objective: str) -> list[One]:
    """Those of some mappings that nothing else beats."""
    if not some:
        return []
    return [some[i] for i in front(np.array([e.seconds for e in some]), np.array([e.joules for e in some]), objective)]
