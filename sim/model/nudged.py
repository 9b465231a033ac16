"""What a mapped cascade gains from a tenth more of each number of its device, its nest left as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite

import numpy as np

from einsum import WeirError
from sim.model.spatial import MappedEstimate, evaluate

NUDGE = 1.1
NO_SPEED = ("energy", "write_energy", "area", "leakage", "device_rate")  # no time hangs on these; the last is `rate`


def nudged(found: MappedEstimate) -> Iterator[tuple[str, float]]:
    """Each number by dotted path, and by which part the run gets faster (relative; at the last design point)."""
    where = replace(found.device, technology=None)  # what it models is filled in already
    base = _last(found.seconds)
    for path in where.paths:
        name, attribute = path.split(".")[:2]
        value = where.get(path)
        if attribute in NO_SPEED or name in ("memory", "power") or not (isfinite(value) and value > 0):
            continue
        try:
            faster = where.with_(path, value * NUDGE)
        except WeirError:  # a whole number, of which there is no tenth more
            continue
        again = evaluate(found.mapped.cascade, found.mapped, faster, found.sizes, found.tiles, checked=False)
        yield path, base / _last(again.seconds) - 1


def _last(value: object) -> float:
    return float(np.ravel(value)[-1])  # type: ignore[call-overload]  # a number or an array of them
