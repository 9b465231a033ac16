"""Choosing keys by score, and attention over those chosen: each block of queries reads its own list of keys."""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array
from workloads.kernels.core.items import State, cover, divided, states


def best(scores: Array, keep: int) -> Array:  # (..., n) -> (..., keep)
    """Places of the largest scores, largest first, ties by lowest place; a NaN comes after every number."""
    count = scores.shape[-1]
    if keep >= count or not keep or np.isnan(scores).any():
        return np.ascontiguousarray(np.argsort(-scores, axis=-1, kind="stable")[..., :keep])
    rows = scores.reshape(-1, count)
    least = np.partition(rows, count - keep, axis=-1)[:, count - keep, None]
    above, equal = rows > least, rows == least
    wanted = keep - above.sum(axis=-1, keepdims=True)
    taken = above | (equal & (np.cumsum(equal, axis=-1) <= wanted))
    places = np.nonzero(taken)[1].reshape(len(rows), keep)
    order = np.argsort(-np.take_along_axis(rows, places, -1), axis=-1, kind="stable")
    return np.take_along_axis(places, order, -1).reshape(*scores.shape[:-1], keep)


def seen(
    q: Array, k: Array, v: Array, chosen: Array, block: int, threads: int, *, total: float = 0.0
) -> State:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), (b, h, p in blocks, n) -> rows of (b h p)
    """The state of every query over the keys that its block chose."""
    (b, h, p, _), m, f = q.shape, k.shape[2], v.shape[3]
    heads, blocks, count = b * h, chosen.shape[2], chosen.shape[3]
    first = cover(min(block, p), count)
    each, starts = np.repeat(np.arange(blocks), len(first)), np.tile(first["place"], blocks)
    row = each * block + starts
    inside = row < p
    items = np.tile(np.tile(first, blocks)[inside], heads)
    head = np.repeat(np.arange(heads), inside.sum())
    items["row"] = items["slot"] = head * p + np.tile(row[inside], heads)
    items["count"] = np.minimum(items["count"], np.tile(p - row[inside], heads))
    items["table"] = head * blocks + np.tile(each[inside], heads)
    tables = (chosen.reshape(heads, blocks, count) + m * np.arange(heads)[:, None, None]).reshape(heads * blocks, count)
    rows, keys, values = q.reshape(-1, q.shape[3]), k.reshape(-1, k.shape[3]), v.reshape(-1, f)
    return states(items, rows, keys, values, tables, 1, slots=heads * p, width=f, threads=threads, total=total)


def attended(
    q: Array, k: Array, v: Array, chosen: Array, block: int, threads: int
) -> Array:  # as above -> (b, h, p, f)
    """The output of every query over the keys that its block chose."""
    return divided(seen(q, k, v, chosen, block, threads, total=1)).reshape(*q.shape[:3], v.shape[3])
