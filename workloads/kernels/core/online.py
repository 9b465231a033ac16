"""Attention over blocks of keys with a running maximum, sum and output, divided once at the end.

Queries lie in the lanes of a vector (ranks ``e i``, ``f i``), so that maxima, exponentials and sums need no shuffles
and heads that share keys fill the same lanes; a few queries alone are better off with their widths in the lanes.
"""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array
from workloads.kernels.core.exponential import exp
from workloads.kernels.core.jit import jit
from workloads.kernels.core.tiles import VECTOR, multiply

KEYS = 64  # keys in a block: its scores for 128 queries stay in a 32 KiB cache
LANES = 128
FEW = 4  # fewer queries than this are computed one by one

# What a query sees: keys up to ``last``, of these the newest ``window`` and the first ``sinks``.


@jit
def load(q: Array, start: int, lanes: int, query: Array) -> None:  # (rows, e) -> (e, i)
    """Queries from row ``start`` on, one to a lane; lanes left over hold zero."""
    query[:] = 0
    for i in range(lanes):
        for e in range(q.shape[1]):
            query[e, i] = q[start + i, e]


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
def sees_none(first: int, stop: int, low: int, high: int, window: int, sinks: int) -> bool:
    """Whether no lane sees any key of a block; lanes end between ``low`` and ``high``."""
    return first > high or (stop - 1 <= low - window and first >= sinks)


@jit
def sees_all(first: int, stop: int, low: int, high: int, window: int, sinks: int) -> bool:
    """Whether every lane sees every key of a block."""
    return stop - 1 <= low and (first > high - window or stop <= sinks)


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
    query: Array, keys: Array, values: Array, first: int, last: Array, window: int, sinks: int,
    scores: Array, peak: Array, total: Array, out: Array,
) -> None:  # (e, i), (n, e), (n, f), first key, (i) ..., scratch (n, i), state (i), (i), (f, i)
    """One block of keys and values into the running state of a tile of queries."""
    low, high, stop = last.min(), last.max(), first + keys.shape[0]
    if sees_none(first, stop, low, high, window, sinks):
        return
    block = scores[: keys.shape[0]]
    block[:] = 0
    multiply(keys, query, block)
    partly = not sees_all(first, stop, low, high, window, sinks)
    if partly:
        hide(block, first, last, window, sinks)
    weigh(block, peak, total, out)
    mix(block, values, out, partly, first, last, window, sinks)


@jit
def _dots(query: Array, keys: Array, scores: Array) -> None:  # (e), (n, e) -> (n)
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
    _dots(query, keys, scores)
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


@jit
def absorb(
    q: Array, start: int, count: int, query: Array, keys: Array, values: Array, first: int, last: Array,
    window: int, sinks: int, scores: Array, peak: Array, total: Array, out: Array,
) -> None:  # (rows, e), rows, (e, i), (n, e), (n, f), first key, (i) ..., scratch (n, i), state (i), (i), (f, i)
    """One block of keys and values into the running state of ``count`` queries from row ``start`` of ``q``."""
    if count >= FEW:
        _absorb_tile(query, keys, values, first, last, window, sinks, scores, peak, total, out)
        return
    flat = scores.reshape(scores.size)
    for i in range(count):
        stop = min(len(keys), last[i] + 1 - first)
        newest = min(max(last[i] + 1 - window - first, 0), len(keys))
        oldest = min(max(sinks - first, 0), newest, max(stop, 0))
        for a, b in ((0, oldest), (newest, stop)):
            if a < b:
                _absorb_row(q[start + i], keys[a:b], values[a:b], flat[: b - a], peak, total, out, i)


@jit
def attend(
    q: Array, start: int, count: int, query: Array, k: Array, v: Array, first: int, stop: int, last: Array,
    window: int, sinks: int, scores: Array, peak: Array, total: Array, out: Array,
) -> None:  # (rows, e), rows, (e, i), (m, e), (m, f), keys, (i) ..., scratch (n, i), state (i), (i), (f, i)
    """Keys ``first`` to ``stop`` into a fresh state of ``count`` queries from row ``start`` of ``q``."""
    peak[:], total[:], out[:] = -np.inf, 0, 0
    load(q, start, count, query)
    for n in range(first, stop, KEYS):
        m = min(n + KEYS, stop)
        absorb(q, start, count, query, k[n:m], v[n:m], n, last, window, sinks, scores, peak, total, out)


@jit
def finish(count: int, last: Array, total: Array, out: Array, o: Array, start: int) -> None:  # (f, i) -> (rows, f)
    """Divide, and store one row a lane; a query that sees no key gives zero."""
    for i in range(count):
        for f in range(out.shape[0]):
            o[start + i, f] = out[f, i] / total[i] if last[i] >= 0 else total.dtype.type(0)


@jit
def lanes_for(rows: int, q: Array) -> int:
    """Lanes of a tile of queries: whole vectors, as many as there are queries up to the limit."""
    each = VECTOR // q.itemsize
    return min(LANES, (rows + each - 1) // each * each)
