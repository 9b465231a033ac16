"""Published figures as data: one file a paper, each figure with what it is compared with and how closely.

A figure names its ``kind``, a function of ``sim.published.kinds`` that asks the general model; ``given`` are that
function's arguments. A ``[[table]]`` is many figures that differ in some arguments: its ``axes`` name them, each of its
``cells`` lists their values and, last, the figure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from einsum.tables import Table
from sim.published.calls import Call, call

KNOWN = ("read", "artefact", "notes", "memory")  # the paper's text, its authors' files, other people's notes, nothing
RELATIONS = ("equal", "at most", "at least")
LARGEST = 1e300  # of a figure; NaN is not below it
VERDICTS = ("holds", "cannot", "input", "unverified")
_COMMON = ("id", "quantity", "kind", "given", "unit", "tolerance", "within", "relation", "verdict", "why")
_PAPER = ("title", "source", "known", "notes", "inputs", "figure", "table")


@dataclass(frozen=True, slots=True)
class Figure:
    """One published number and the question whose answer it should be."""

    id: str
    quantity: str
    call: Call
    value: float
    unit: str
    tolerance: float  # in the figure's unit
    relation: str
    expected: str  # the verdict it is meant to get
    why: str


@dataclass(frozen=True, slots=True)
class Paper:
    """A publication's figures, and how they are known."""

    name: str
    title: str
    source: str
    known: str
    notes: str
    figures: tuple[Figure, ...]


def load(path: Path) -> Paper:
    """The paper of a file of figures; all of the file's problems are reported together."""
    top = Table.read(path, "figures", _PAPER)
    inputs = top.table("inputs").raw
    single = [f for entry in top.tables("figure", (*_COMMON, "value")) for f in _single(entry, inputs)]
    many = [f for entry in top.tables("table", (*_COMMON, "axes", "cells")) for f in _many(entry, inputs)]
    if not single and not many and not top.source.problems:
        top.refuse("at least one [[figure]] or [[table]] is needed")
    known, notes = top.one_of("known", KNOWN), top.text("notes", "")
    made = Paper(path.stem, top.text("title"), top.text("source"), known, notes, _ordered(single + many))
    ids = sorted(f.id for f in made.figures)
    repeated = dict.fromkeys(name for name, after in pairwise(ids) if name == after)
    for name in repeated:
        top.refuse(f"id {name!r:.60} is given more than once")
    top.finish()
    return made


def _ordered(figures: list[Figure]) -> tuple[Figure, ...]:
    """In order of their numbers, so that single figures stand among those of tables."""
    import re

    def key(figure: Figure) -> list[tuple[int, str]]:
        return [(int(piece) if piece.isdigit() else 0, piece) for piece in re.split(r"(\d+)", figure.id)]

    return tuple(sorted(figures, key=key))


def _single(entry: Table, inputs: dict[str, Any]) -> Iterator[Figure]:
    """The figure of one [[figure]] table."""
    made = _figure(entry, inputs, entry.text("id"), entry.text("quantity"), entry.raw.get("value"), {}, "value")
    if made is not None:
        yield made


def _many(entry: Table, inputs: dict[str, Any]) -> Iterator[Figure]:
    """The figures of one [[table]]: one a cell."""
    name, quantity, axes = entry.text("id"), entry.text("quantity"), entry.texts("axes")
    cells = entry.raw.get("cells", [])
    if not (axes and isinstance(cells, list) and cells):
        entry.refuse("'axes' and 'cells' are needed")
        return
    for place, cell in enumerate(cells, start=1):
        if not isinstance(cell, list) or len(cell) != len(axes) + 1:
            entry.refuse(f"must be {len(axes)} of {', '.join(axes)}, and the figure", "cells", place - 1)
            continue
        *at, value = cell
        label = f"{' '.join(map(_shown, at))}: {quantity}"
        made = _figure(
            entry, inputs, f"{name}.{place}", label, value, dict(zip(axes, at, strict=True)), "cells", place - 1
        )
        if made is not None:
            yield made


def _figure(
    entry: Table, inputs: dict[str, Any], name: str, quantity: str, value: Any, at: dict[str, Any], *spot: str | int
) -> Figure | None:
    """One figure, whose value stands at ``spot``; None after a problem."""
    given = entry.table("given").raw
    if not _finite(value):
        entry.refuse("a finite number is needed", *spot)
        return None
    relation = entry.one_of("relation", RELATIONS) if "relation" in entry.raw else "equal"
    expected = entry.one_of("verdict", VERDICTS) if "verdict" in entry.raw else "holds"
    why = entry.text("why", "")
    if expected in ("cannot", "unverified") and not why:
        entry.refuse(f"a figure that {expected!r} describes must say why", "verdict")
    asked = call(entry, inputs, {**given, **at})
    tolerance = _tolerance(entry, value)
    if asked is None:
        return None
    return Figure(name, quantity, asked, float(value), entry.text("unit"), tolerance, relation, expected, why)


def _tolerance(entry: Table, value: float) -> float:
    """How far off ours may be, in the figure's unit: ``within`` as it is, ``tolerance`` as a fraction of the figure."""
    given = [key for key in ("tolerance", "within") if key in entry.raw]
    if len(given) != 1 or not _finite(entry.raw[given[0]]) or entry.raw[given[0]] < 0:
        where = given if len(given) == 1 else []
        entry.refuse("give either 'tolerance' (a fraction) or 'within' (in the figure's unit), zero or more", *where)
        return 0.0
    size = float(entry.raw[given[0]])
    return size * abs(value) if given[0] == "tolerance" else size


def _shown(item: Any) -> str:
    """A number as people write it."""
    return f"{item:.6g}" if isinstance(item, int | float) else str(item)


def _finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < LARGEST  # a whole number may be too large to be compared as a float
