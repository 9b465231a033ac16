"""How long a nest takes: busy seconds of units and levels, combined as its branches say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from mappings.tree import Nest, Run

Work = Mapping[str, tuple[str, Any, Any]]  # Einsum -> its unit, busy seconds, and seconds of skew
Waits = Mapping[int, Any]  # place in the nest -> seconds in which units wait for its fills
Traffic = Mapping[int, Mapping[str, Any]]  # place in the nest -> busy seconds of each level on its behalf


@dataclass
class _Part:
    """A nest's wall seconds, and the busy seconds of whatever works in it."""

    seconds: Any = 0.0
    skew: Any = 0.0  # seconds of the last wavefront, which the wall seconds leave out
    unit: str = ""  # of a single Einsum
    units: dict[str, Any] = field(default_factory=dict)
    levels: dict[str, Any] = field(default_factory=dict)


def elapsed(nest: Nest, work: Work, waits: Waits | None = None, traffic: Traffic | None = None) -> Any:
    """Wall seconds of a nest.

    In ``sequence`` nests take the sum, each as long as its units or the slowest level it uses; the wavefront of an
    array runs out before another unit goes on, but follows on the heels of the one before on the same unit. Nests in
    a ``pipeline`` take as long as the slowest of them or the busiest unit, and in ``interleave`` as the busiest unit.
    Waiting for fills comes on top, and nothing is done before the levels in use have moved all that it needs.
    """
    part = _walk(nest, work, waits or {}, traffic or {}, count(1))
    return part.seconds + part.skew


def _walk(nest: Nest, work: Work, waits: Waits, traffic: Traffic, places: Iterator[int]) -> _Part:
    """One nest, its nodes numbered from the outermost inwards as :class:`sim.model.nests.Mapped` numbers them."""
    own = [place for _, place in zip(nest.nodes, places)]  # noqa: B905 - places never end
    end = nest.end
    if isinstance(end, Run):
        unit, seconds, skew = work[end.einsum]
        part = _Part(seconds, skew, unit, {unit: seconds})
    else:
        below = [_walk(child, work, waits, traffic, places) for child in end.children]
        part = _joined(end.how, below)
    for place in own:
        part.seconds = part.seconds + waits.get(place, 0.0)
        _add(part.levels, traffic.get(place, {}))
    for seconds in part.levels.values():
        part.seconds = np.maximum(part.seconds, seconds - part.skew)  # levels move on while the last wavefront runs out
    return part


def _joined(how: str, below: list[_Part]) -> _Part:
    """Nests side by side or one after another."""
    part = _Part()
    for child in below:
        _add(part.units, child.units)
        _add(part.levels, child.levels)
    if how == "sequence":
        last = len(below) - 1
        for place, child in enumerate(below):
            follows = place < last and child.unit and child.unit == below[place + 1].unit
            part.seconds = part.seconds + child.seconds + (0.0 if follows else child.skew)
        return part
    stages = [child.seconds + child.skew for child in below] if how == "pipeline" else []
    for seconds in (*stages, *part.units.values()):
        part.seconds = np.maximum(part.seconds, seconds)
    return part


def _add(total: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, seconds in more.items():
        total[name] = total.get(name, 0.0) + seconds
