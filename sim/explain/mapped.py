"""A mapped cascade opened: its device's numbers and its counts traced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sim.explain import given
from sim.explain.opened import Named, Opened, opened
from sim.model.spatial import MappedEstimate, evaluate


@opened.register
def _opened(one: MappedEstimate, changed: tuple[str, ...] = ()) -> Opened:
    made = traced(one, changed)
    return Opened(summary(made), "seconds", lambda: parts(made))


def traced(one: MappedEstimate, changed: tuple[str, ...] = ()) -> MappedEstimate:
    """The run once more on traced numbers."""
    rows = {row.path: f"modelled: {row.model}" for row in one.filled.modelled} if one.filled else {}
    own = rows | dict.fromkeys(changed, given.YOURS)
    where = replace(given.device(one.device, own), technology=None)  # what it models is filled in already
    again = evaluate(one.mapped.cascade, one.mapped, where, one.sizes, one.tiles, checked=False)
    return replace(again, counts=given.actions(again.counts))


def summary(one: MappedEstimate) -> Mapping[str, Any]:
    """The figures of a run that have formulas."""
    return {
        "seconds": one.seconds,
        "joules": one.joules,
        "utilisation": {b.unit: one.utilisation(b.unit) for b in one.leaves},
        "bytes": {m.name: one.traffic(m.name) for m in one.device.memories},
        "joules_by": one.joules_by,
    }


def parts(one: MappedEstimate) -> Iterator[Named]:
    """Seconds of units and of levels, with their names."""
    for busy in one.leaves:
        yield busy.seconds, f"{busy.einsum} on {busy.unit}", "s"
    for levels in one._traffic_seconds.values():
        yield from ((seconds, f"moving at {level}", "s") for level, seconds in levels.items())
