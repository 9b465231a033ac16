"""Operators that order or accumulate along one rank: top-k, argmax, sort, scan. Absent places come last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.arrays import Ranked, Space
from einsum.errors import WeirError

Mask = NDArray[np.bool_]


def operate(operator: str, along: tuple[str, ...], array: Ranked, space: Space) -> Ranked:
    """One operator along ``along[0]``; its result's last rank is ``along[-1]``, or gone if the operator drops it."""
    rest = tuple(r for r in array.ranks if r != along[0])
    moved = array.aligned((*rest, along[0]))
    values = space.number(moved.data)
    present = None if moved.present is None else np.broadcast_to(moved.present, values.shape)
    if operator in ("argmax", "argmin"):
        return Ranked(rest, *_extreme(values if operator == "argmax" else -values, present))
    if operator in ("scan", "scan_max"):
        fill, ufunc = (0.0, np.add) if operator == "scan" else (-np.inf, np.maximum)
        data = ufunc.accumulate(values if present is None else np.where(present, values, fill), axis=-1)
        return Ranked((*rest, along[0]), data, present)
    order = _order(-values if operator.endswith("top_k") else values, present)
    if operator.endswith("top_k"):
        order = order[..., : _kept(along, values.shape[-1], space)]
    shown = None if present is None else np.take_along_axis(present, order, -1)
    data = order if operator.startswith("arg") else np.take_along_axis(values, order, -1)
    return Ranked((*rest, along[-1]), data, shown)


def _kept(along: tuple[str, ...], have: int, space: Space) -> int:
    kept = int(space.sizes[along[1]])
    if kept > have:
        raise WeirError(f"{space.where}: top-k of {along[1]}={kept} places out of {along[0]}={have}; "
                        f"{along[1]} must be at most {have}")  # fmt: skip
    return kept


def _order(values: Any, present: Mask | None) -> NDArray[np.int64]:
    """Places in ascending order of value, ties by lowest index, absent ones last."""
    order = values.argsort(axis=-1, kind="stable")
    if present is None:
        return np.asarray(order)
    absent = ~np.take_along_axis(present, order, -1)
    return np.asarray(np.take_along_axis(order, absent.argsort(axis=-1, kind="stable"), -1))


def _extreme(values: Any, present: Mask | None) -> tuple[NDArray[np.int64], Mask | None]:
    """Place of the largest present value (the first of equals), and whether there was any."""
    if present is None:
        return np.asarray(values.argmax(axis=-1)), None
    best = np.where(present, values, -np.inf).argmax(axis=-1)
    held = np.take_along_axis(present, best[..., None], -1)[..., 0]
    return np.where(held, best, present.argmax(axis=-1)), np.asarray(present.any(axis=-1))
