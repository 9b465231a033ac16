"""Cascades under nests that are given in full: cycles, accesses and energies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einsum import parse
from mappings.text import parse as nest
from sim.arch import device
from sim.model.spatial import MappedEstimate, evaluate
from sim.published.calls import number, table, text

__all__ = ["count", "cycles", "energy", "per_compute"]

CHARGED = ("reads", "fills", "updates")  # the accesses that the exercises have an energy for
NANOSECOND = 1e-9  # their clock


def _mapped(inputs: Mapping[str, Any], case: str) -> MappedEstimate:
    """One case: its problem on its device, under its nest."""
    problem = text(inputs, "cases", case, "problem")
    ranks = [name for name in table(inputs, "problems", problem) if name != "cascade"]
    sizes = {rank: int(number(inputs, "problems", problem, rank)) for rank in ranks}
    cascade = parse(text(inputs, "problems", problem, "cascade"), name=problem, dtype="int8", **sizes)
    mapping = nest(text(inputs, "cases", case, "mapping"), where=f"mapping of {case}")
    return evaluate(cascade, mapping, device(text(inputs, "cases", case, "device")))


def cycles(inputs: Mapping[str, Any], *, case: str) -> float:
    """Cycles of a nanosecond."""
    return float(_mapped(inputs, case).seconds) / NANOSECOND


def count(inputs: Mapping[str, Any], *, case: str, level: str, tensor: str, action: str) -> float:
    """Elements of a tensor handled in one way by each instance of a level."""
    made = _mapped(inputs, case)
    return float(made.counts.get(level, tensor, action)) / made.device.instances(level)


def energy(inputs: Mapping[str, Any], *, case: str, level: str, tensor: str) -> float:
    """Picojoules of all that a level does with a tensor, but for its drains."""
    return float(_mapped(inputs, case).spent(level, *CHARGED, tensor=tensor)) * 1e12


def per_compute(inputs: Mapping[str, Any], *, case: str) -> float:
    """Femtojoules of all levels and units, leakage included and drains left out, for each point computed."""
    made = _mapped(inputs, case)
    drains = sum(made.spent(memory.name, "drains") for memory in made.device.memories)
    points = sum(row.points for row in made.counts.computes)
    return float((made.joules - drains) / points) * 1e15
