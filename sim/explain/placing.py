"""Offloading policies opened: the method's own formulas on traced numbers of the model, the hardware and the block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from math import isfinite
from typing import Any

from sim.explain.given import YOURS
from sim.explain.opened import Named, Opened, opened
from sim.explain.traced import leaf
from sim.planner.placement import Placement
from sim.planner.policy import Policy
from sim.planner.shape import UNITS, Hardware

SHARE = "fraction of a class in a tier: the linear programme's choice, or fixed"
BYTES = ("weight", "projections", "network", "tables", "kv", "stream", "ffn_stream", "working")


@opened.register
def _opened(result: Policy, changed: tuple[str, ...] = ()) -> Opened:
    shares = {name: leaf(value, name, "", SHARE) for name, value in result.fractions.items()}
    made = replace(result, placement=_traced(result, changed), fractions=shares)
    figures = {**made.summary(), "fractions": dict(result.fractions)}
    memory = {f"memory.{name}.{which}": "B" for name in result.memory for which in ("held", "most")}
    units = (
        {f"{group}.{name}": "s" for group in ("stages", "seconds_by") for name in result.stages}
        | memory
        | {"block_seconds": "s"}
    )
    return Opened(
        figures, "tokens_per_second", lambda: _parts(made), sources=(result.placement.method.source,), units=units
    )


def _traced(result: Policy, changed: tuple[str, ...]) -> Placement:
    """The placement with every number traced that is not of the method itself."""
    own = result.placement
    numbers = {name: _number(name, value, result, changed) for name, value in own.numbers.items()}
    return _Once(own.method, numbers, own.settings, own.fixed)


class _Once(Placement):
    """A placement at one point, whose names are worked out once, so that its parts are known again."""

    def names(self, fractions: Mapping[str, Any]) -> dict[str, Any]:
        """Every name a formula may use."""
        if "_names" not in self.__dict__:
            self.__dict__["_names"] = super().names(fractions)
        known: dict[str, Any] = self.__dict__["_names"]
        return known


def _number(name: str, value: float, result: Policy, changed: tuple[str, ...]) -> Any:
    if not value or not isfinite(value):
        return value
    hardware = {field.name for field in fields(Hardware)}
    if name in hardware:
        source = YOURS if name in changed else f"device files of {result.hardware}"
        return leaf(value, name, UNITS.get(name, "").replace("1", ""), source)
    if name in ("prompt", "output"):
        return leaf(value, name, "", "tokens: asked for")
    if name in ("micro", "batches", "batch"):
        return leaf(value, name, "", "sequences of a block: asked for, or the best block that was tried")
    return leaf(value, name, "B" if name in BYTES else "", f"counted from {result.model}'s own cascades")


def _parts(made: Policy) -> Iterator[Named]:
    """The method's quantities by their names."""
    yield from ((value, name, "") for name, value in made.loads.items())
