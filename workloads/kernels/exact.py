"""Exact attention: how many passes over the keys, how heads share them, which keys are seen.

Ranks as in the cascades of the same names: ``b`` sequences, ``h`` heads (or ``g`` key heads with ``r`` queries each),
``p`` queries, ``m`` keys, ``e`` and ``f`` the widths of a key and a value. Queries arrive scaled by ``1/sqrt(e)`` and
are the newest of the context.
"""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, arrays, whole
from workloads.kernels.core.exponential import exp
from workloads.kernels.core.jit import jit, run
from workloads.kernels.core.online import LANES, attend, finish, hide, lanes_for, load, mix
from workloads.kernels.core.tiles import multiply

__all__ = ["grouped_query", "mla_absorbed", "multi_query", "one_pass", "sliding_window", "three_pass", "two_pass"]

EVERY = 2**62  # a window as wide as any context
BLOCK = 64  # keys that share a local maximum in the two-pass kernel


@jit
def ends(start: int, lanes: int, count: int, period: int, keys: int, causal: bool) -> Array:  # -> (i)
    """The last key that each lane sees; rows repeat the queries every ``period``, and spare lanes copy the last one."""
    last = np.empty(lanes, np.int64)
    for i in range(lanes):
        row = start + min(i, count - 1)
        last[i] = row % period + keys - period if causal else keys - 1
    return last


@jit
def _online(
    first: int, stop: int, q: Array, k: Array, v: Array, o: Array, period: int, causal: bool, window: int, sinks: int
) -> None:  # (a, n, e), (a, m, e), (a, m, >=f) -> (a, n, f)
    rows, keys, dtype = q.shape[1], k.shape[1], q.dtype
    lanes = lanes_for(rows, q)
    query, scores = np.empty((q.shape[2], lanes), dtype), np.empty((BLOCK, lanes), dtype)
    peak, total, out = np.empty(lanes, dtype), np.empty(lanes, dtype), np.empty((o.shape[2], lanes), dtype)
    tiles = (rows + LANES - 1) // LANES
    for item in range(first, stop):
        a, start = item // tiles, item % tiles * LANES
        count = min(LANES, rows - start)
        last = ends(start, lanes, count, period, keys, causal)
        attend(q[a], start, count, query, k[a], v[a], 0, last.max() + 1, last, window, sinks, scores, peak, total, out)
        finish(count, last, total, out, o[a], start)


@jit
def _three(
    first: int, stop: int, q: Array, k: Array, v: Array, o: Array, period: int, causal: bool
) -> None:  # (a, n, e), (a, m, e), (a, m, f) -> (a, n, f)
    rows, keys, dtype = q.shape[1], k.shape[1], q.dtype
    lanes = lanes_for(rows, q)
    query, scores = np.empty((q.shape[2], lanes), dtype), np.empty((keys, lanes), dtype)
    out = np.empty((o.shape[2], lanes), dtype)
    tiles = (rows + LANES - 1) // LANES
    for item in range(first, stop):
        a, start = item // tiles, item % tiles * LANES
        count = min(LANES, rows - start)
        last = ends(start, lanes, count, period, keys, causal)
        load(q[a], start, count, query)
        scores[:], out[:] = 0, 0
        multiply(k[a], query, scores)
        hide(scores, 0, last, keys, 0)
        _quotients(scores)
        mix(scores, v[a], out, causal, 0, last, keys, 0)
        for i in range(count):
            o[a, start + i] = out[:, i]


@jit
def _quotients(scores: Array) -> None:  # (m, i)
    """Softmax over the keys, one traversal each for the maximum, the exponentials with their sum, the division."""
    keys, lanes = scores.shape
    peak, total = np.empty(lanes, scores.dtype), np.zeros(lanes, scores.dtype)
    peak[:] = -np.inf
    for m in range(keys):
        for i in range(lanes):
            peak[i] = scores[m, i] if scores[m, i] > peak[i] else peak[i]
    for m in range(keys):
        for i in range(lanes):
            scores[m, i] = exp(scores[m, i] - peak[i])
            total[i] += scores[m, i]
    for m in range(keys):
        for i in range(lanes):
            scores[m, i] /= total[i]


@jit
def _two(first: int, stop: int, q: Array, k: Array, v: Array, o: Array) -> None:  # (a, n, e), ... -> (a, n, f)
    rows, keys, dtype = q.shape[1], k.shape[1], q.dtype
    lanes = lanes_for(rows, q)
    blocks = (keys + BLOCK - 1) // BLOCK
    query, scores = np.empty((q.shape[2], lanes), dtype), np.empty((keys, lanes), dtype)
    peaks, sums = np.empty((blocks, lanes), dtype), np.empty((blocks, lanes), dtype)
    out = np.empty((o.shape[2], lanes), dtype)
    tiles = (rows + LANES - 1) // LANES
    for item in range(first, stop):
        a, start = item // tiles, item % tiles * LANES
        count = min(LANES, rows - start)
        load(q[a], start, count, query)
        scores[:], out[:] = 0, 0
        multiply(k[a], query, scores)
        _local(scores, peaks, sums)
        total = _correct(scores, peaks, sums)
        multiply(v[a].T[: out.shape[0]], scores, out)
        for i in range(count):
            o[a, start + i] = out[:, i] / total[i]


@jit
def _local(scores: Array, peaks: Array, sums: Array) -> None:  # (m, i) -> (m1, i), (m1, i)
    """First pass: exponentials against each block's own maximum."""
    peaks[:], sums[:] = -np.inf, 0
    for m in range(scores.shape[0]):
        for i in range(scores.shape[1]):
            top = peaks[m // BLOCK, i]
            peaks[m // BLOCK, i] = scores[m, i] if scores[m, i] > top else top
    for m in range(scores.shape[0]):
        for i in range(scores.shape[1]):
            scores[m, i] = exp(scores[m, i] - peaks[m // BLOCK, i])
            sums[m // BLOCK, i] += scores[m, i]


@jit
def _correct(scores: Array, peaks: Array, sums: Array) -> Array:  # (m, i), (m1, i), (m1, i) -> (i)
    """Second pass: exponentials corrected to the maximum of all blocks; returns their sum."""
    top, total = np.empty_like(peaks[0]), np.zeros_like(peaks[0])
    top[:] = -np.inf
    for b in range(peaks.shape[0]):
        for i in range(peaks.shape[1]):
            top[i] = peaks[b, i] if peaks[b, i] > top[i] else top[i]
    for b in range(peaks.shape[0]):
        for i in range(peaks.shape[1]):
            peaks[b, i] = exp(peaks[b, i] - top[i])
            total[i] += sums[b, i] * peaks[b, i]
    for m in range(scores.shape[0]):
        for i in range(scores.shape[1]):
            scores[m, i] *= peaks[m // BLOCK, i]
    return total
