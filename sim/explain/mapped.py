"""A mapped cascade opened: its device's numbers and its counts traced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from sim.explain import given
from sim.explain.opened import Named, Opened, opened
from sim.explain.traced import leaf
from sim.model.spatial import MappedEstimate, evaluate

TYPED = "the tensor's type, as the cascade says"


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
    known = {one.name: getattr(again, one.name) for one in fields(again)}
    return _Mapped(**known | {"counts": given.actions(again.counts)})


@dataclass(frozen=True)
class _Mapped(MappedEstimate):
    """A run whose elements have bytes that are known by name."""

    @cached_property
    def sizes_of(self) -> dict[str, Any]:
        """Bytes of an element of each tensor."""
        every = self.mapped.cascade.tensors
        return {t.name: leaf(super(_Mapped, self)._each(t.name), f"bytes of an element of {t.name}", "B", TYPED)
                for t in every}  # fmt: skip

    def _each(self, tensor: str) -> Any:
        return self.sizes_of[tensor]


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
    """Seconds and joules of units and of levels, with their names."""
    for busy in one.leaves:
        yield busy.seconds, f"{busy.einsum} on {busy.unit}", "s"
        yield busy.joules, f"energy of {busy.einsum} on {busy.unit}", "J"
    yield from ((joules, f"energy of {name}", "J") for name, joules in one.joules_by.items())
    for action in one.counts.actions:
        yield one.handled(action), f"energy of {action.kind} of {action.tensor} at {action.level}", "J"
    for levels in one._traffic_seconds.values():
        yield from ((seconds, f"moving at {level}", "s") for level, seconds in levels.items())
