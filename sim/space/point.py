"""One row of a sweep asked again: its point found by what stands in the row, and what the model answers there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from einsum import Cascade
from einsum.errors import WeirError
from sim.arch import Device, Prices
from sim.arch.prices import prices
from sim.model.spatial import MappedEstimate
from sim.serving.deploy import Deployment
from sim.space import runs
from sim.space.axes import Axis, label, repriced
from sim.space.calls import answered, priced_of
from sim.space.steps import deployment, priced, space
from sim.space.sweep import axes_of
from workloads.catalogue import named


@dataclass(frozen=True)
class Stepped:
    """One step of a model: its deployment, phase and sizes, and the prices of all devices of the sweep."""

    deployment: Deployment
    phase: str
    batch: float
    tokens: float
    prices: Prices


@dataclass(frozen=True)
class Called:
    """What a function answers at a point."""

    answer: Any


@dataclass(frozen=True)
class Ran:
    """One run of a cascade."""

    estimate: MappedEstimate


def again(what: Any, terms: Mapping[str, Any], row: Mapping[str, Any]) -> Stepped | Called | Ran:
    """What the point of a row answers; ``terms`` are keywords of :func:`sim.sweep`.

    Raises :class:`WeirError` for a row that is at none of the sweep's points, or one that has no answer.
    """
    if str(row.get("fits", True)) == "False":
        raise WeirError(f"the row has no answer: {row.get('reason') or 'it does not fit'!s:.300}")
    for axes in axes_of(what, **terms):
        point = _at(axes, row)
        if point is not None:
            return _answer(what, axes, point)
    raise WeirError("the row is at none of the points that its table's manifest names: was one of them edited?")


def _at(axes: Sequence[Axis], row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of every axis that a row names; None where it names others."""
    point = {}
    for axis in axes:
        found = [value for value in axis.values if _same(label(value), row.get(axis.name))]
        if not found:
            return None
        point[axis.name] = found[0]
    return point


def _same(value: Any, cell: Any) -> bool:
    """Whether a cell of a file, which may be text, stands for a value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(cell) == value
        except (TypeError, ValueError):
            return False
    return str("" if value is None else value) == str("" if cell is None else cell)


def _answer(what: Any, axes: Sequence[Axis], point: dict[str, Any]) -> Stepped | Called | Ran:
    if callable(what):
        return Called(answered(what, point, priced_of(what, axes)))
    single = [Axis(name, (value,)) for name, value in point.items()]
    if isinstance(what, Cascade) or named(str(what)):
        return Ran(runs.estimate(what, single))
    devices: tuple[Device, ...] = priced(next(a for a in axes if a.name == "on").values)
    book = prices(devices, point.get("prices"), repriced(point))
    phase = space(single).phase
    tokens = point["context" if phase == "decode" else "prompt"]
    return Stepped(deployment(point, {}), phase, float(point["batch"]), float(tokens), book)
