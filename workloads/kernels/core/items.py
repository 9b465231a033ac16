"""Attention as a list of items: which queries meet which keys. What is common to every exact kernel, in NumPy."""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, joined
from workloads.kernels.core.jit import run
from workloads.kernels.core.online import ITEM, LANES, attend

EVERY = 2**62  # a window as wide as any context

State = tuple[Array, Array, Array]  # maximum and sum (rows), undivided output (rows, f)


def cover(rows: int, keys: int, *, period: int = 0, window: int = EVERY, sinks: int = 0) -> Array:
    """Items that take ``rows`` queries, which share their keys, in tiles; none if there are no keys to see."""
    starts = np.arange(0, rows if keys else 0, LANES)
    items = np.zeros(len(starts), ITEM)
    items["row"] = items["slot"] = items["place"] = starts
    items["count"] = counts = np.minimum(LANES, rows - starts)
    items["keys"], items["period"], items["window"], items["sinks"] = keys, period, window, sinks
    items["stop"] = keys
    if period:  # a tile whose queries do not start over needs keys up to its last query only
        last = starts % period + counts
        items["stop"] = np.where(last <= period, last + keys - period, keys)
    return items


def groups(items: Array, count: int, rows: int, share: int = 1) -> Array:
    """The same items for ``count`` groups of ``rows`` queries; ``share`` groups in turn have one table."""
    each = np.repeat(np.arange(count), len(items))
    many = np.tile(items, count)
    many["row"] += each * rows
    many["slot"] += each * rows
    many["table"] += each // share
    return many


def states(
    items: Array,
    q: Array,
    k: Array,
    v: Array,
    tables: Array,
    page: int,
    *,
    slots: int,
    width: int,
    threads: int,
    heads: int = 1,
    total: float = 0.0,
) -> State:  # (rows, e), (pages * page * heads, e), (pages * page * heads, >=width), (tables, pages) -> slots
    """The state of every slot; one that no item fills holds nothing seen: -inf, ``total`` and zeros."""
    x, z, o = np.full(slots, -np.inf, q.dtype), np.full(slots, total, q.dtype), np.zeros((slots, width), q.dtype)
    run(attend, len(items), threads, items, q, k, v, tables, page, heads, x, z, o)
    return x, z, o


def divided(state: State) -> Array:
    """The output of a state."""
    _, z, o = state
    with np.errstate(invalid="ignore", divide="ignore"):
        o /= z[:, None]
    return o


def dense(items: Array, q: Array, k: Array, v: Array, *, width: int, threads: int) -> Array:
    """Output of items over contiguous keys (groups, m, e); a query that sees no key gives zero."""
    tables = np.arange(len(k), dtype=np.int64)[:, None]
    rows = joined(q, q.ndim - 1)
    kflat, vflat = joined(k, 2), joined(v, 2)
    return divided(
        states(items, rows, kflat, vflat, tables, k.shape[1], slots=len(rows), width=width, threads=threads, total=1)
    )
