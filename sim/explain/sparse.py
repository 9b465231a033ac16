"""Sparse products opened: bytes of every move and the device's numbers traced; counted and dealt out as they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sim.arch import Device
from sim.explain import given
from sim.explain.opened import Named, Opened, opened
from sim.explain.traced import leaf
from sim.model.sparse.count import Move, SparseCounts
from sim.model.sparse.estimate import SparseEstimate, Stage, timed
from sim.model.sparse.figures import Figures, InTurn
from sim.sparse import Comparison

COUNTED = "counted on the matrices as the mapping walks them, whole lines where a level has lines"


@opened.register
def _opened(result: Comparison, changed: tuple[str, ...] = ()) -> Opened:
    where = given.device(result.device, dict.fromkeys(changed, given.YOURS))
    made = [traced(one, where) for one in result.estimates]
    best = next(n for n, one in enumerate(result.estimates) if one is result.best)
    figures = {"rows": [one.summary() for one in made]}
    return Opened(figures, f"rows[{best}].seconds", lambda: (part for one in made for part in _parts(one)),
                  sources=tuple(one.mapping.source for one in result.estimates))  # fmt: skip


def traced(one: Figures, where: Device) -> Figures:
    """A run once more on a traced device."""
    if isinstance(one, InTurn):
        return InTurn(tuple(traced(run, where) for run in one.runs))
    assert isinstance(one, SparseEstimate)  # noqa: S101 - there is no third kind
    return timed([_stage(stage.on(where)) for stage in one.stages])


def _stage(one: Stage) -> Stage:
    """A product whose counts are traced."""
    counted = one.counted
    moves = tuple(map(_move, counted.moves))
    return replace(one, counted=SparseCounts(given.actions(counted.counts), moves, counted.fetched))


def _move(one: Move) -> Move:
    return replace(one, size=leaf(one.size, f"{one.kind} of {one.tensor} at {one.level}", "B", COUNTED))


def _parts(one: Figures) -> Iterator[Named]:
    """Seconds and joules of units, engines and levels, with their names."""
    if isinstance(one, InTurn):
        for run in one.runs:
            yield from _parts(run)
        return
    yield from ((seconds, f"{name} alone", "s") for name, seconds in one.pace.items())
    yield from ((joules, f"energy of {name}", "J") for name, joules in one.joules_by.items())
    if isinstance(one, SparseEstimate):
        yield from _inside(one)


def _inside(one: SparseEstimate) -> Iterator[Named]:
    for unit in one.units:
        parts: tuple[tuple[str, Any, str], ...] = (
            ("seconds", unit.seconds, "s"), ("work", unit.working, "s"), ("waiting", unit.waiting, "s"),
        )  # fmt: skip
        yield from ((value, f"{unit.name}'s {name} in {unit.einsum}", text) for name, value, text in parts)
