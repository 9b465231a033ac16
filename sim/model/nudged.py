"""What a run on a device gains from a tenth more of each of the device's numbers, its mapping left as it is."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from einsum import WeirError
from sim.arch import Device
from sim.model.spatial import MappedEstimate, evaluate

NUDGE = 1.1
NO_SPEED = ("energy", "write_energy", "area", "leakage", "device_rate")  # no time hangs on these; the last is `rate`


def nudged(found: MappedEstimate) -> Iterator[tuple[str, float]]:
    """Each number by dotted path, and by which part the run gets faster (relative; at the last design point)."""
    where = replace(found.device, technology=None)  # what it models is filled in already
    cascade, sizes, tiles = found.mapped.cascade, found.sizes, found.tiles
    return gains(where, lambda device: evaluate(cascade, found.mapped, device, sizes, tiles, checked=False).seconds)


def gains(where: Device, seconds: Callable[[Device], Any], left: Container[str] = ()) -> Iterator[tuple[str, float]]:
    """The same of anything that takes ``seconds`` on a device; attributes that are ``left`` stay as they are."""
    base = _last(seconds(where))
    for path in where.paths:
        name, attribute = path.split(".")[:2]
        value = where.get(path)
        if (
            attribute in NO_SPEED
            or attribute in left
            or name in ("memory", "power")
            or not (isfinite(value) and value > 0)
        ):
            continue
        try:
            faster = where.with_(path, value * NUDGE)
        except WeirError:  # a whole number, of which there is no tenth more
            continue
        yield path, base / _last(seconds(faster)) - 1


def _last(value: object) -> float:
    return float(np.ravel(value)[-1])  # type: ignore[call-overload]  # a number or an array of them
