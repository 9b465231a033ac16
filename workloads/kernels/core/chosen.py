"""Choosing keys by score, and attention over those chosen: each block of queries reads its own list of keys."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.kernels.core.checks import Array, joined
from workloads.kernels.core.items import State, cover, divided, states
from workloads.kernels.core.jit import jit, run

SAMPLE = 256  # scores of a row that are looked at first


def best(scores: Array, keep: int, threads: int = 1) -> Array:  # (..., n) -> int (..., keep)
    """Places of the largest scores, largest first, ties by lowest place; a NaN comes after every number."""
    shape, count = scores.shape[:-1], scores.shape[-1]
    rows = joined(scores, scores.ndim - 1)
    places = np.empty((len(rows), keep), np.int64)
    if keep < count:
        run(_select, len(rows) if keep else 0, threads, np.ascontiguousarray(rows), places)
        return _falling(np.take_along_axis(rows, places, -1), places).reshape(*shape, keep)
    return np.ascontiguousarray(np.argsort(-rows, axis=-1, kind="stable")).reshape(*shape, keep)


def _falling(scores: Array, places: Array) -> Array:  # (r, k), int (r, k) -> int (r, k)
    """Places, rising, put in order of their scores, largest first."""
    if scores.dtype != np.float32 or places.max(initial=0) >= 2**32:
        return np.take_along_axis(places, np.argsort(-scores, axis=-1, kind="stable"), -1)
    keys = np.where(np.isnan(scores), np.float32(np.nan), 0 - scores).view(np.int32).astype(np.int64)
    keys ^= keys >> 31 & 0x7FFFFFFF  # now in order as whole numbers, and with the place one number to sort by
    return np.sort(keys << 32 | places, axis=-1) & 0xFFFFFFFF


@jit
def _select(first: int, stop: int, scores: Array, places: Array) -> None:  # (r, n) -> int (r, keep), in order of place
    """The largest of each row: what a sample says may be among them, and of that what is."""
    keep = places.shape[1]
    room, spots = np.empty(scores.shape[1], scores.dtype), np.empty(scores.shape[1], np.int64)
    for r in range(first, stop):
        row = scores[r]
        count = _reach(row, _floor(row, keep, room), room, spots)
        if count < keep:  # the sample misled: every number, then
            count = _reach(row, scores.dtype.type(-np.inf), room, spots)
        if count < keep:
            _fill(row, count, spots, places[r])
            continue
        least = _nth(room[:count], keep)  # which brings the largest to the front
        equal, at = keep, 0
        for i in range(keep):
            equal -= room[i] > least
        for i in range(count):
            spot = spots[i]
            taken = row[spot] > least
            if row[spot] == least and equal > 0:
                equal, taken = equal - 1, True
            spots[at] = spot  # stays only if taken: no branch, which could not be foreseen
            at += taken
        places[r] = spots[:keep]


@jit
def _reach(row: Array, floor: float, room: Array, spots: Array) -> int:
    """What reaches a floor, and where; a NaN does not."""
    count = 0
    for n in range(len(row)):
        if row[n] >= floor:
            room[count], spots[count] = row[n], n
            count += 1
    return count


@jit
def _fill(row: Array, count: int, spots: Array, places: Array) -> None:
    """All numbers, and as many of what is not a number as are wanted, each in order of place."""
    for i in range(count):
        places[i] = spots[i]
    for n in range(len(row)):
        if np.isnan(row[n]) and count < len(places):
            places[count] = n
            count += 1


@jit
def _floor(row: Array, keep: int, room: Array) -> Any:
    """A value that at least ``keep`` scores are likely to reach, and not many more; -inf if a sample does not pay."""
    share = keep * SAMPLE / len(row)
    wanted = int(share + 3 * np.sqrt(share) + 2)  # three standard deviations beyond what is expected
    if len(row) < 16 * SAMPLE or wanted > SAMPLE // 4:
        return row.dtype.type(-np.inf)
    step = len(row) // SAMPLE
    count = _reach(row[::step], row.dtype.type(-np.inf), room, np.empty(len(row) // step + 1, np.int64))
    return _nth(room[:count], wanted) if count >= wanted else row.dtype.type(-np.inf)


@jit
def _nth(values: Array, nth: int) -> Any:
    """The ``nth`` largest of some numbers, which change places (Hoare's selection)."""
    low, high = 0, len(values) - 1
    while low < high:
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if nth - 1 <= j:
            high = j
        elif nth - 1 >= i:
            low = i
        else:
            break
    return values[nth - 1]


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
    rows, keys, values = (joined(a, 3) for a in (q, k, v))
    return states(items, rows, keys, values, tables, 1, slots=heads * p, width=f, threads=threads, total=total)


def attended(
    q: Array, k: Array, v: Array, chosen: Array, block: int, threads: int
) -> Array:  # as above -> (b, h, p, f)
    """The output of every query over the keys that its block chose."""
    return divided(seen(q, k, v, chosen, block, threads, total=1)).reshape(*q.shape[:3], v.shape[3])
