"""Axes of a sweep: named lists of values, and the points of their product."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError
from sim.arch import Cluster, Fanout, Link, Memory, Power
from sim.space.where import mask, named
from sim.units import si

REFUSED = "refused"  # column of a sweep in the making: the point is a mistake, not merely too large
MOST = 100_000_000  # points of one sweep
LESS = "take larger steps (LOW..HIGH:xFACTOR), or let sim.explore choose points"


@dataclass(frozen=True, slots=True)
class Axis:
    """A name and the values it takes, in order."""

    name: str
    values: tuple[Any, ...]

    def numbers(self, least: float) -> NDArray[np.float64]:
        """The values as floats, refused unless finite and at least ``least``."""
        try:
            found = np.array(self.values, float)
        except (TypeError, ValueError):
            raise WeirError(f"sweep: axis {self.name!r} must hold numbers, not {self.values[0]!r}") from None
        wrong = ~(np.isfinite(found) & (found >= least))
        if wrong.any():
            raise WeirError(f"sweep: axis {self.name!r} has {found[wrong][0]:g}; its values are at least {least:g}")
        return found

    def check(self, kinds: tuple[type, ...]) -> None:
        """Refuse values of other kinds than these."""
        for value in self.values:
            if not isinstance(value, kinds):
                known = " or ".join(k.__name__ for k in kinds if k is not type(None))
                raise WeirError(f"sweep: axis {self.name!r} has {value!r:.80}; its values are {known}")


def axis(name: str, given: Any) -> Axis:
    """An axis from a list, range, array or anything else that is iterated; text and single values stand alone."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        values: tuple[Any, ...] = (given,)
    elif isinstance(given, Sized) and len(given) > MOST:
        raise WeirError(
            f"sweep: axis {name!r} has {len(given):,} values; at most {MOST:,} points are swept at once: {LESS}"
        )
    else:
        values = tuple(given.ravel().tolist()) if isinstance(given, np.ndarray) else tuple(given)
    if not values:
        raise WeirError(f"sweep: axis {name!r} has no values")
    unit = unit_of(name)
    return Axis(name, tuple(si(v, unit, f"sweep: axis {name!r}") for v in values) if unit else values)


def unit_of(name: str) -> str | None:
    """The unit of a dotted axis; None where nothing is called so, or nothing is reached into."""
    if not dotted(name):
        return None
    first, *_, last = name.split(".")
    if first == "price":
        return "USD/h"
    kinds = Memory.QUANTITIES | Fanout.QUANTITIES | Link.QUANTITIES | Power.QUANTITIES
    tables = {"rate": "op/s", "device_rate": "op/s", "energy": "J/op"}
    if last in kinds:
        return kinds[last].unit
    return next((unit for table, unit in tables.items() if f".{table}." in name), None)


def size(axes: Sequence[Axis]) -> int:
    """Points of the axes' product, refused where no table could hold them."""
    points = prod(len(a.values) for a in axes)
    if points > MOST:
        shape = " x ".join(f"{a.name} {len(a.values)}" for a in axes)
        raise WeirError(f"sweep: {points:,} points ({shape}); at most {MOST:,} are swept at once: {LESS}")
    return points


def points(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Every combination, the last axis moving fastest."""
    names = [a.name for a in axes]
    for values in product(*(a.values for a in axes)):
        yield dict(zip(names, values, strict=True))


def column(axes: Sequence[Axis], name: str) -> NDArray[Any]:
    """The values of one axis at every point of the product, in the order of :func:`points`."""
    at = next(i for i, a in enumerate(axes) if a.name == name)
    after = prod(len(a.values) for a in axes[at + 1 :])
    before = prod(len(a.values) for a in axes[:at])
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in axes[at].values)
    values = np.array(axes[at].values) if numeric else np.empty(len(axes[at].values), object)
    if not numeric:
        values[:] = [label(v) for v in axes[at].values]
    return np.tile(np.repeat(values, after), before)


def held(axes: Sequence[Axis], condition: str | None) -> NDArray[np.bool_] | None:
    """At which points of the product a condition on its axes holds; None where there is no condition."""
    if condition is None:
        return None
    return np.broadcast_to(mask(condition, {name: column(axes, name) for name in named(condition)}), (size(axes),))


def label(value: Any) -> Any:
    """What stands in the table for a value: its name, if it has one."""
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else value


def dotted(name: str) -> bool:
    """Whether an axis reaches into the architecture (``model.hbm.bandwidth``) or into the prices (``price.h100``)."""
    return "." in name


def changed(where: Cluster, point: Mapping[str, Any]) -> Cluster:
    """The cluster with every number set that the point's dotted names (prices aside) reach."""
    for name, value in point.items():
        if dotted(name) and not name.startswith("price."):
            where = where.with_(name, value)
    return where


def repriced(point: Mapping[str, Any]) -> dict[str, Any]:
    """USD an hour by device, from the point's ``price.<device>`` entries."""
    return {name.removeprefix("price."): value for name, value in point.items() if name.startswith("price.")}
