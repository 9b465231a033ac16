"""Attention over blocks of keys with a running maximum, sum and output, divided once at the end.

Queries lie in the lanes of a vector (ranks ``e i``, ``f i``), so that maxima, exponentials and sums need no shuffles
and heads that share keys fill the same lanes; a few queries alone are better off with their widths in the lanes.

One compiled function, :func:`attend`, serves every exact kernel: what differs between them is the list of items.
"""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array
from workloads.kernels.core.exponential import exp
from workloads.kernels.core.jit import jit
from workloads.kernels.core.tiles import multiply, whole_vectors

KEYS = 128  # keys in a block: its scores for as many queries take 64 KiB in float32, well inside a second-level cache
LANES = 128
FEW = 4  # fewer queries than this are computed one by one

# What a query sees: keys up to ``last``, of these the newest ``window`` and the first ``sinks``.


@jit
def load(q: Array, start: int, count: int, query: Array) -> None:  # (rows, e) -> (e, i)
    """Queries from row ``start`` on, one to a lane; lanes left over hold zero."""
    query[:] = 0
    for i in range(count):
        for e in range(q.shape[1]):
            query[e, i] = q[start + i, e]


@jit
def store(out: Array, start: int, count: int, o: Array) -> None:  # (f, i) -> (rows, f)
    """One row a lane, from row ``start`` on."""
    for i in range(count):
        for f in range(out.shape[0]):
            o[start + i, f] = out[f, i]


@jit
def lanes_for(rows: int, q: Array) -> int:
    """Lanes of a tile of queries: whole vectors, as many as there are queries up to the limit."""
    whole = whole_vectors(rows, q.itemsize)
    return whole if whole < LANES else LANES


@jit
def hide(scores: Array, first: int, last: Array, window: int, sinks: int) -> None:  # (n, i)
    """Minus infinity where a lane does not see a key; the block starts at key ``first``."""
    least = scores.dtype.type(-np.inf)
    for n in range(scores.shape[0]):
        key = first + n
        for i in range(scores.shape[1]):
            if key > last[i] or (key <= last[i] - window and key >= sinks):
                scores[n, i] = least


@jit
def finite(values: Array) -> bool:
    """Whether no value is infinite or NaN."""
    for n in range(values.shape[0]):
        for f in range(values.shape[1]):
            if not np.isfinite(values[n, f]):
                return False
    return True


@jit
def weigh(scores: Array, peak: Array, total: Array, out: Array) -> None:  # (n, i), (i), (i), (f, i)
    """Turn scores into weights against the new running maximum, and correct what was summed against the old one."""
    count, lanes = scores.shape
    fade, base, part = np.empty_like(peak), np.empty_like(peak), np.zeros_like(peak)
    for i in range(lanes):
        base[i] = peak[i]
    for n in range(count):
        for i in range(lanes):
            base[i] = scores[n, i] if scores[n, i] > base[i] else base[i]
    for i in range(lanes):
        top = base[i]
        base[i] = top if top > -np.inf else base.dtype.type(0)  # nothing seen yet: weights come out zero, not NaN
        fade[i] = exp(peak[i] - base[i])
        peak[i] = top
    for n in range(count):
        for i in range(lanes):
            weight = exp(scores[n, i] - base[i])
            scores[n, i] = weight
            part[i] += weight
    for i in range(lanes):
        total[i] = total[i] * fade[i] + part[i]
    for f in range(out.shape[0]):
        for i in range(lanes):
            out[f, i] *= fade[i]


@jit
def mix(
    weights: Array, values: Array, out: Array, partly: bool, first: int, last: Array, window: int, sinks: int
) -> None:  # (n, i), (n, f), (f, i)
    """Add weighted values; where some lanes do not see some keys, a NaN or infinity there must not reach them."""
    if not partly or finite(values):
        multiply(values.T[: out.shape[0]], weights, out)
        return
    for n in range(values.shape[0]):
        key = first + n
        for i in range(out.shape[1]):
            if key <= last[i] and (key > last[i] - window or key < sinks):
                for f in range(out.shape[0]):
                    out[f, i] += weights[n, i] * values[n, f]


@jit
def _absorb_tile(
    query: Array,
    keys: Array,
    values: Array,
    first: int,
    last: Array,
    low: int,
    high: int,
    window: int,
    sinks: int,
    scores: Array,
    peak: Array,
    total: Array,
    out: Array,
) -> None:  # (e, i), (n, e), (n, f), first key, (i) and its extremes, scratch (n, i), state (i), (i), (f, i)
    """One block of keys and values into the running state of a tile of queries."""
    stop = first + keys.shape[0]
    if first > high or (stop - 1 <= low - window and first >= sinks):
        return  # no lane sees any key
    block = scores[: keys.shape[0]]
    block[:] = 0
    multiply(keys, query, block)
    partly = not (stop - 1 <= low and (first > high - window or stop <= sinks))
    if partly:
        hide(block, first, last, window, sinks)
    weigh(block, peak, total, out)
    mix(block, values, out, partly, first, last, window, sinks)


@jit
def dots(query: Array, keys: Array, scores: Array) -> None:  # (e), (n, e) -> (n)
    """The scores of one query, four keys at a time."""
    count, width = keys.shape
    zero = query.dtype.type(0)
    full = count - count % 4
    for n in range(0, full, 4):
        k0, k1, k2, k3 = keys[n], keys[n + 1], keys[n + 2], keys[n + 3]
        s0, s1, s2, s3 = zero, zero, zero, zero
        for e in range(width):
            s0 += query[e] * k0[e]
            s1 += query[e] * k1[e]
            s2 += query[e] * k2[e]
            s3 += query[e] * k3[e]
        scores[n], scores[n + 1], scores[n + 2], scores[n + 3] = s0, s1, s2, s3
    for n in range(full, count):
        s0 = zero
        for e in range(width):
            s0 += query[e] * keys[n, e]
        scores[n] = s0


@jit
def _mix_one(weights: Array, values: Array, out: Array) -> None:  # (n), (n, f) -> (f)
    """The weighted sum of values, four at a time."""
    count, width = len(weights), len(out)
    full = count - count % 4
    out[:] = 0
    for n in range(0, full, 4):
        v0, v1, v2, v3 = values[n], values[n + 1], values[n + 2], values[n + 3]
        w0, w1, w2, w3 = weights[n], weights[n + 1], weights[n + 2], weights[n + 3]
        for f in range(width):
            out[f] += w0 * v0[f] + w1 * v1[f] + w2 * v2[f] + w3 * v3[f]
    for n in range(full, count):
        for f in range(width):
            out[f] += weights[n] * values[n, f]


@jit
def _absorb_row(
    query: Array, keys: Array, values: Array, scores: Array, peak: Array, total: Array, out: Array, lane: int
) -> None:  # (e), (n, e), (n, f), scratch (n), state (i), (i), (f, i)
    """Keys that one query sees, all of them, into the running state of its lane."""
    dots(query, keys, scores)
    top = peak[lane]
    for n in range(len(scores)):
        top = scores[n] if scores[n] > top else top
    base = top if top > -np.inf else peak.dtype.type(0)
    fade = exp(peak[lane] - base)
    part = peak.dtype.type(0)
    for n in range(len(scores)):
        scores[n] = exp(scores[n] - base)
        part += scores[n]
    mixed = np.empty(out.shape[0], out.dtype)
    _mix_one(scores, values, mixed)
    peak[lane] = top
    total[lane] = total[lane] * fade + part
    for f in range(out.shape[0]):
        out[f, lane] = out[f, lane] * fade + mixed[f]


# An item of work: queries, where their state goes, which keys, and which of those each query sees.
ITEM = np.dtype([(name, np.int64) for name in (
    "row",  # first query, a row of q
    "count",  # queries, at most LANES
    "slot",  # where their states go, a row of x, z and o
    "table",  # row of the block table
    "head",
    "first", "stop",  # keys to read
    "keys",  # keys in the context: queries are the newest of them
    "place",  # of the first query among those that share the keys
    "period",  # queries in turn before positions repeat (heads share keys); 0 if every query sees every key
    "window", "sinks",
)])  # fmt: skip


@jit
def _ends(item: np.void, last: Array) -> tuple[int, int]:  # -> (i)
    """The last key that each lane sees, with the extremes; spare lanes repeat the last query."""
    low, high = item["keys"], -1
    for i in range(len(last)):
        at = item["place"] + (i if i < item["count"] else item["count"] - 1)
        last[i] = at % item["period"] + item["keys"] - item["period"] if item["period"] > 0 else item["keys"] - 1
        low, high = (last[i] if last[i] < low else low), (last[i] if last[i] > high else high)
    return low, high


@jit
def _gather(
    pool: Array, pages: Array, page: int, heads: int, head: int, first: int, block: Array
) -> None:  # (pages * page * heads, e) -> (n, e)
    """Keys scattered over pages brought together."""
    for n in range(len(block)):
        row = (pages[(first + n) // page] * page + (first + n) % page) * heads + head
        for e in range(block.shape[1]):
            block[n, e] = pool[row, e]


@jit
def _absorb_rows(
    q: Array,
    item: np.void,
    keys: Array,
    values: Array,
    first: int,
    last: Array,
    scores: Array,
    peak: Array,
    total: Array,
    out: Array,
) -> None:
    """One block into the states of a few queries, one after another: only the keys that each sees."""
    count = len(keys)
    for i in range(item["count"]):
        stop = min(count, last[i] + 1 - first)
        newest = min(max(last[i] + 1 - item["window"] - first, 0), count)
        oldest = min(item["sinks"] - first, newest, stop)
        if oldest > 0:
            _absorb_row(q[item["row"] + i], keys[:oldest], values[:oldest], scores[:oldest], peak, total, out, i)
        if newest < stop:
            seen = stop - newest
            _absorb_row(q[item["row"] + i], keys[newest:stop], values[newest:stop], scores[:seen], peak, total, out, i)


@jit
def attend(
    begin: int,
    end: int,
    items: Array,
    q: Array,
    k: Array,
    v: Array,
    tables: Array,
    page: int,
    heads: int,
    x: Array,
    z: Array,
    o: Array,
) -> None:  # (rows, e), (pages * page * heads, e), (pages * page * heads, >=f), (tables, pages) -> (slots), (slots, f)
    """Maximum, sum and undivided output of the queries of items ``begin`` to ``end`` over the keys they name."""
    kblock, vblock = np.empty((KEYS, k.shape[1]), k.dtype), np.empty((KEYS, v.shape[1]), v.dtype)
    for at in range(begin, end):
        item = items[at]
        lanes, start, stop = lanes_for(item["count"], q), item["slot"], item["stop"]
        last, query = np.empty(lanes, np.int64), np.empty((q.shape[1], lanes), q.dtype)
        scores, flat = np.empty((KEYS, lanes), q.dtype), np.empty(KEYS, q.dtype)
        peak, total, out = np.empty(lanes, q.dtype), np.zeros(lanes, q.dtype), np.zeros((o.shape[1], lanes), q.dtype)
        low, high = _ends(item, last)
        load(q, item["row"], item["count"], query)
        peak[:] = -np.inf
        pages = tables[item["table"]]
        for first in range(item["first"], stop, KEYS):
            count = KEYS if first + KEYS < stop else stop - first
            row = pages[first // page] * page + first % page
            keys, values = k[row : row + count], v[row : row + count]
            if heads > 1 or first // page != (first + count - 1) // page:
                keys, values = kblock[:count], vblock[:count]
                _gather(k, pages, page, heads, item["head"], first, keys)
                _gather(v, pages, page, heads, item["head"], first, values)
            if item["count"] < FEW:
                _absorb_rows(q, item, keys, values, first, last, flat, peak, total, out)
            else:
                window, sinks = item["window"], item["sinks"]
                _absorb_tile(query, keys, values, first, last, low, high, window, sinks, scores, peak, total, out)
        for i in range(item["count"]):
            spoilt = np.isnan(total[i]) and peak[i] < np.inf  # by a NaN score, which comparisons pass over
            x[start + i], z[start + i] = total[i] if spoilt else peak[i], total[i]
        store(out, start, item["count"], o)
