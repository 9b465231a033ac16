"""Exact attention: how many passes over the keys, how heads share them, which keys are seen.

Ranks as in the cascades of the same names: ``b`` sequences, ``h`` heads (or ``g`` key heads with ``r`` queries each),
``p`` queries, ``m`` keys, ``e`` and ``f`` the widths of a key and a value. Queries arrive scaled by ``1/sqrt(e)`` and
are the newest of the context.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workloads.kernels.core.checks import Array, arrays, joined, newest, whole
from workloads.kernels.core.exponential import exp
from workloads.kernels.core.items import EVERY, cover, dense, groups
from workloads.kernels.core.jit import jit, run
from workloads.kernels.core.online import LANES, hide, lanes_for, load, mix, store
from workloads.kernels.core.tiles import multiply

__all__ = ["grouped_query", "mla_absorbed", "multi_query", "one_pass", "sliding_window", "three_pass", "two_pass"]

BLOCK = 128  # keys that share a local maximum in the two-pass kernel
SHORT = 32  # values summed in single precision before the sum is passed on to a longer number


def _causal(kernel: str, causal: bool, queries: int, keys: int) -> int:
    """The period of causal positions: the number of queries, which the context includes; 0 if not causal."""
    if causal:
        newest(kernel, queries, keys)
    return queries if causal else 0


def one_pass(
    q: Array, k: Array, v: Array, *, causal: bool = False, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f) -> (b, h, p, f)
    """Keys and values read once, block by block, with one division per output (FlashAttention-2, FuseMax)."""
    return _windowed("one_pass", q, k, v, causal, EVERY, 0, threads)


def sliding_window(
    q: Array, k: Array, v: Array, *, window: int, sinks: int = 0, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f) -> (b, h, p, f)
    """A query sees the newest ``window`` keys up to its own, and the first ``sinks``."""
    whole("sliding_window", least=1, window=window)
    whole("sliding_window", sinks=sinks)
    return _windowed("sliding_window", q, k, v, True, window, sinks, threads)


def _windowed(kernel: str, q: Array, k: Array, v: Array, causal: bool, window: int, sinks: int, threads: int) -> Array:
    size = arrays(kernel, q=(q, "b h p e"), k=(k, "b h m e"), v=(v, "b h m f"))
    whole(kernel, least=1, threads=threads)
    b, h, p, m, f = (size[r] for r in "bhpmf")
    period = _causal(kernel, causal, p, m)
    items = groups(cover(p, m, period=period, window=window, sinks=sinks), b * h, p)
    return dense(items, q, joined(k, 2), joined(v, 2), width=f, threads=threads).reshape(b, h, p, f)


def grouped_query(
    q: Array, k: Array, v: Array, *, causal: bool = False, threads: int = 1
) -> Array:  # (b, g, r, p, e), (b, g, m, e), (b, g, m, f) -> (b, g, r, p, f)
    """Each of ``g`` keys and values serves ``r`` queries, which share a tile and so one reading of them."""
    size = arrays("grouped_query", q=(q, "b g r p e"), k=(k, "b g m e"), v=(v, "b g m f"))
    whole("grouped_query", least=1, threads=threads)
    b, g, r, p, m, f = (size[rank] for rank in "bgrpmf")
    items = groups(cover(r * p, m, period=_causal("grouped_query", causal, p, m)), b * g, r * p)
    o = dense(items, q, joined(k, 2), joined(v, 2), width=f, threads=threads)
    return o.reshape(b, g, r, p, f)


def multi_query(
    q: Array, k: Array, v: Array, *, causal: bool = False, threads: int = 1
) -> Array:  # (b, h, p, e), (b, m, e), (b, m, f) -> (b, h, p, f)
    """All heads read one key and value."""
    size = arrays("multi_query", q=(q, "b h p e"), k=(k, "b m e"), v=(v, "b m f"))
    whole("multi_query", least=1, threads=threads)
    return _shared("multi_query", q, k, v, size["f"], causal, threads)


def mla_absorbed(
    q: Array, ckv: Array, wuk: Array, wuv: Array, *, causal: bool = False, threads: int = 1
) -> Array:  # (b, h, p, n+j), (b, m, l+j), (l, h, n), (l, h, f) -> (b, h, p, f)
    """Multi-head latent attention over the cached latent as it is: queries and outputs are projected instead."""
    size = arrays("mla_absorbed", q=(q, "b h p e"), ckv=(ckv, "b m c"), wuk=(wuk, "l h n"), wuv=(wuv, "l h f"))
    whole("mla_absorbed", least=1, threads=threads)
    latent, narrow = size["l"], size["n"]
    if size["e"] - narrow != size["c"] - latent or size["e"] < narrow:
        raise ValueError(f"mla_absorbed: ckv has shape {ckv.shape}, expected (b, m, l + j) with l={latent} as in wuk "
                         f"and j={size['e'] - narrow}, the width of q less n={narrow}")  # fmt: skip
    query = np.empty((*q.shape[:3], size["c"]), q.dtype)
    query[..., :latent] = np.einsum("bhpn,lhn->bhpl", q[..., :narrow], wuk, optimize=True)
    query[..., latent:] = q[..., narrow:]
    seen = _shared("mla_absorbed", query, ckv, ckv, latent, causal, threads)
    return np.ascontiguousarray(np.einsum("bhpl,lhf->bhpf", seen, wuv, optimize=True))


def _shared(
    kernel: str, q: Array, k: Array, v: Array, width: int, causal: bool, threads: int
) -> Array:  # (b, h, p, e), (b, m, e), (b, m, >=width) -> (b, h, p, width)
    (b, h, p, _), m = q.shape, k.shape[1]
    items = groups(cover(h * p, m, period=_causal(kernel, causal, p, m)), b, h * p)
    return dense(items, q, k, v, width=width, threads=threads).reshape(b, h, p, width)


def three_pass(
    q: Array, k: Array, v: Array, *, causal: bool = False, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f) -> (b, h, p, f)
    """Maximum, exponentials with their sum, and quotients, each over all keys before the next begins."""
    return _materialised("three_pass", _three, q, k, v, causal, threads)


def two_pass(
    q: Array, k: Array, v: Array, *, causal: bool = False, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f) -> (b, h, p, f)
    """Exponentials against each block's own maximum, corrected to the maximum of all in a second pass."""
    return _materialised("two_pass", _two, q, k, v, causal, threads)


def _materialised(
    kernel: str, compiled: Callable[..., None], q: Array, k: Array, v: Array, causal: bool, threads: int
) -> Array:
    size = arrays(kernel, q=(q, "b h p e"), k=(k, "b h m e"), v=(v, "b h m f"))
    whole(kernel, least=1, threads=threads)
    b, h, p, m, f = (size[r] for r in "bhpmf")
    offset = m - _causal(kernel, causal, p, m) if causal else m
    o = np.zeros((b * h, p, f), q.dtype)
    flat = [joined(a, 2) for a in (q, k, v)]
    run(compiled, b * h * -(-p // LANES) if m else 0, threads, *flat, o, offset)
    return o.reshape(b, h, p, f)


@jit
def _scores(q: Array, start: int, count: int, k: Array, offset: int, last: Array, scores: Array) -> Array:
    """Scores of a tile of queries and the keys that any of them sees (m, i); query ``p`` sees up to ``p + offset``."""
    query = np.empty((q.shape[1], scores.shape[1]), q.dtype)
    load(q, start, count, query)
    for i in range(len(last)):
        last[i] = start + i + offset
    seen = min(len(k), start + count + offset)
    block = scores[:seen]
    block[:] = 0
    multiply(k[:seen], query, block)
    partly = min(start + offset, seen)
    hide(block[partly:], partly, last, len(k) + 1, len(k))
    return block


@jit
def _blend(scores: Array, values: Array, last: Array, out: Array, total: Array) -> None:  # (m, i), (m, f), (f, i)
    """Values weighted by scores: short sums in their own precision, which are added up in double precision."""
    total[:] = 0
    for first in range(0, len(scores), SHORT):
        stop = min(first + SHORT, len(scores))
        out[:] = 0
        mix(scores[first:stop], values[first:stop], out, stop - 1 > last[0], first, last, len(scores), len(scores))
        for f in range(out.shape[0]):
            for i in range(out.shape[1]):
                total[f, i] += out[f, i]


@jit
def _three(
    first: int, stop: int, q: Array, k: Array, v: Array, o: Array, offset: int
) -> None:  # (a, n, e), (a, m, e), (a, m, f) -> (a, n, f)
    rows, keys = q.shape[1], k.shape[1]
    lanes, tiles = lanes_for(rows, q), (rows + LANES - 1) // LANES
    room, last = np.empty((keys, lanes), q.dtype), np.empty(lanes, np.int64)
    out, total = np.empty((o.shape[2], lanes), q.dtype), np.empty((o.shape[2], lanes), np.float64)
    for item in range(first, stop):
        a, start = item // tiles, item % tiles * LANES
        count = LANES if start + LANES < rows else rows - start
        scores = _scores(q[a], start, count, k[a], offset, last, room)
        _quotients(scores)
        _blend(scores, v[a], last, out, total)
        store(total, start, count, o[a])


@jit
def _two(
    first: int, stop: int, q: Array, k: Array, v: Array, o: Array, offset: int
) -> None:  # (a, n, e), (a, m, e), (a, m, f) -> (a, n, f)
    rows, keys = q.shape[1], k.shape[1]
    lanes, tiles, blocks = lanes_for(rows, q), (rows + LANES - 1) // LANES, (keys + BLOCK - 1) // BLOCK
    room, last = np.empty((keys, lanes), q.dtype), np.empty(lanes, np.int64)
    out, total = np.empty((o.shape[2], lanes), q.dtype), np.empty((o.shape[2], lanes), np.float64)
    peaks, sums = np.empty((blocks, lanes), q.dtype), np.empty((blocks, lanes), np.float64)
    for item in range(first, stop):
        a, start = item // tiles, item % tiles * LANES
        count = LANES if start + LANES < rows else rows - start
        scores = _scores(q[a], start, count, k[a], offset, last, room)
        _local(scores, peaks, sums)
        divisor = _correct(scores, peaks, sums)
        _blend(scores, v[a], last, out, total)
        for f in range(out.shape[0]):
            for i in range(lanes):
                total[f, i] /= divisor[i]
        store(total, start, count, o[a])


@jit
def _quotients(scores: Array) -> None:  # (m, i)
    """Softmax over the keys, one traversal each for the maximum, the exponentials with their sum, the division."""
    keys, lanes = scores.shape
    peak, total = np.empty(lanes, scores.dtype), np.zeros(lanes, np.float64)
    peak[:] = -np.inf
    for m in range(keys):
        for i in range(lanes):
            peak[i] = scores[m, i] if scores[m, i] > peak[i] else peak[i]
    for m in range(keys):
        for i in range(lanes):
            scores[m, i] = exp(scores[m, i] - peak[i])
            total[i] += scores[m, i]
    divisor = total.astype(scores.dtype)
    for m in range(keys):
        for i in range(lanes):
            scores[m, i] /= divisor[i]


@jit
def _local(scores: Array, peaks: Array, sums: Array) -> None:  # (m, i) -> (m1, i), (m1, i)
    """First pass: exponentials against each block's own maximum; a block with nothing seen weighs nothing."""
    zero = scores.dtype.type(0)
    peaks[:] = -np.inf
    sums[:] = 0
    for m in range(scores.shape[0]):
        top = peaks[m // BLOCK]
        for i in range(scores.shape[1]):
            top[i] = scores[m, i] if scores[m, i] > top[i] else top[i]
    for m in range(scores.shape[0]):
        top, part = peaks[m // BLOCK], sums[m // BLOCK]
        for i in range(scores.shape[1]):
            scores[m, i] = exp(scores[m, i] - (top[i] if top[i] > -np.inf else zero))
            part[i] += scores[m, i]


@jit
def _correct(scores: Array, peaks: Array, sums: Array) -> Array:  # (m, i), (m1, i), (m1, i) -> (i)
    """Second pass: exponentials corrected to the maximum of all blocks; returns their sum."""
    top, total = np.empty(peaks.shape[1], peaks.dtype), np.zeros(peaks.shape[1], np.float64)
    top[:] = -np.inf
    for b in range(peaks.shape[0]):
        for i in range(peaks.shape[1]):
            top[i] = peaks[b, i] if peaks[b, i] > top[i] else top[i]
    for b in range(peaks.shape[0]):
        for i in range(peaks.shape[1]):
            peaks[b, i] = exp(peaks[b, i] - top[i])
            total[i] += sums[b, i] * peaks[b, i]
    for m in range(scores.shape[0]):
        factor = peaks[m // BLOCK]
        for i in range(scores.shape[1]):
            scores[m, i] *= factor[i]
    return total
