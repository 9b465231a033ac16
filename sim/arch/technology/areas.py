"""Area of a device: what its file states, and the models for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from einsum.errors import WeirError
from sim.arch.architecture import Device
from sim.arch.components import Compute, Memory
from sim.arch.technology.fill import arithmetic_kind, on_chip
from sim.arch.technology.technology import Technology

_SQUARE = 1e6  # mm^2 in a m^2
_SHARED = ("add", "mul")  # what a multiply-accumulate unit does as well


@dataclass(frozen=True, slots=True)
class Area:
    """One component's area; ``how`` is given (by the file), modelled, or unknown (then it counts as nothing)."""

    name: str
    instances: int
    each: float  # mm^2 of one instance
    how: str
    model: str = ""

    @property
    def total(self) -> float:
        """mm^2 of all instances."""
        return self.instances * self.each


def areas(device: Device, technology: Technology | None = None) -> tuple[Area, ...]:
    """Area of each on-chip level and unit, level by level, then unit by unit.

    The outermost memory is another chip, and is listed only where its area is given.
    """
    rows = [_level(one, device, technology) for one in device.memories if one.area or one is not device.memory]
    return (*rows, *(_unit(one, device, technology) for one in device.computes))


def _level(memory: Memory, device: Device, technology: Technology | None) -> Area:
    count = device.instances(memory.name)
    if memory.area:
        return Area(memory.name, count, memory.area, "given")
    if technology is None or memory.capacity == inf:
        return Area(memory.name, count, 0.0, "unknown")
    cell, model = on_chip(memory, technology)
    return Area(memory.name, count, float(cell.area) * _SQUARE, "modelled", model)


def _unit(unit: Compute, device: Device, technology: Technology | None) -> Area:
    """A unit's arithmetic: for each operation, as many of the largest type's units as its rate takes at the clock."""
    count = device.instances(unit.name)
    if unit.area:
        return Area(unit.name, count, unit.area, "given")
    if technology is None:
        return Area(unit.name, count, 0.0, "unknown")
    clock = device.technology.clock if device.technology is not None else 0.0
    if not clock:
        return Area(unit.name, count, 0.0, "unknown", "how many it has follows from its file's [technology] clock")
    ops = tuple(dict.fromkeys(op for op, _, _ in unit.rates))
    own = [op for op in ops if "mac" not in ops or op not in _SHARED]
    try:
        each = sum(_operation(unit, op, clock, technology) for op in own)
    except WeirError as problem:
        return Area(unit.name, count, 0.0, "unknown", str(problem))
    return Area(unit.name, count, each * _SQUARE, "modelled", f"{', '.join(own)} at {technology.node:g} nm")


def _operation(unit: Compute, op: str, clock: float, technology: Technology) -> float:
    """m^2 that one operation takes in one instance; its types share the largest."""
    each = 2 if op == "mac" else 1  # a multiply-accumulate counts as two operations
    return max(
        technology.arithmetic(arithmetic_kind(op), dtype).area * rate / each / clock
        for kind, dtype, rate in unit.rates
        if kind == op
    )
