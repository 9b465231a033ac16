"""Attention that looks its keys up: by a tree, by blocks, by landmarks, through an index.

Queries arrive scaled by ``1/sqrt(e)``, are newer than all keys and see all of them. When as many keys are looked up as
there are, the result is that of exact attention.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.kernels.core.checks import Array, arrays, indices, joined, whole
from workloads.kernels.core.chosen import attended, best
from workloads.kernels.core.exponential import exp
from workloads.kernels.core.jit import jit, run
from workloads.kernels.core.online import dots

__all__ = ["hip", "infllm", "landmark", "nearest", "retrieval_attention", "top_k"]


def top_k(scores: Array, *, keep: int, threads: int = 1) -> Array:  # (r, n) -> int (r, keep)
    """Places of the ``keep`` largest of each row, largest first, ties by lowest place."""
    size = arrays("top_k", scores=(scores, "r n"))
    whole("top_k", least=1, threads=threads)
    whole("top_k", most=size["n"], keep=keep)
    return best(scores, keep, threads)


def hip(
    q: Array, k: Array, v: Array, *, keep: int, block: int = 64, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f) -> (b, h, p, f)
    """A binary tree over the keys, descended by each block of queries: ``keep`` branches survive a level (HiP).

    A branch is scored by its first key and the block's best query for it; its leaves are keys.
    """
    size = arrays("hip", q=(q, "b h p e"), k=(k, "b h m e"), v=(v, "b h m f"))
    whole("hip", least=1, keep=keep, block=block, threads=threads)
    heads, m = size["b"] * size["h"], size["m"]
    keep = min(keep, m)
    blocks = -(-size["p"] // block)
    edges = m * np.arange(keep + 1) // max(keep, 1)
    starts, stops = (np.tile(edge, (heads, blocks, 1)) for edge in (edges[:-1], edges[1:]))
    flat = [joined(a, 2) for a in (q, k)]
    while (stops - starts > 1).any():
        middle = (starts + stops + 1) // 2
        starts, stops = _halves(starts, middle), _halves(middle, stops)
        scores = np.empty(starts.shape, q.dtype)
        run(_branches, heads * blocks, threads, *flat, starts, stops, block, scores)
        at = best(scores, keep, threads)
        starts, stops = (np.take_along_axis(edge, at, -1) for edge in (starts, stops))
    chosen = starts.reshape(size["b"], size["h"], blocks, keep)
    return attended(q, k, v, chosen, block, threads)


def _halves(left: Array, right: Array) -> Array:  # (..., n), (..., n) -> (..., 2n)
    return np.stack([left, right], -1).reshape(*left.shape[:-1], -1)


@jit
def _branches(
    first: int, stop: int, q: Array, k: Array, starts: Array, stops: Array, block: int, scores: Array
) -> None:  # (a, p, e), (a, m, e), (a, g, c), (a, g, c) -> (a, g, c)
    """Each branch's score for a block of queries; one without keys has the lowest."""
    blocks = starts.shape[1]
    for item in range(first, stop):
        a, g = item // blocks, item % blocks
        rows = min(block, q.shape[1] - g * block)
        for c in range(starts.shape[2]):
            top = scores.dtype.type(-np.inf)
            if starts[a, g, c] < stops[a, g, c]:
                key = k[a, starts[a, g, c]]
                for p in range(rows):
                    score = scores.dtype.type(0)
                    for e in range(len(key)):
                        score += q[a, g * block + p, e] * key[e]
                    top = score if score > top else top
            scores[a, g, c] = top


@jit
def _products(first: int, stop: int, q: Array, k: Array, scores: Array) -> None:  # (a, p, e), (a, m, e) -> (a, p, m)
    """Every query with every key."""
    zero = scores.dtype.type(0)
    for item in range(first, stop):
        a, p = item // q.shape[1], item % q.shape[1]
        for m in range(k.shape[1]):
            score = zero
            for e in range(q.shape[2]):
                score += q[a, p, e] * k[a, m, e]
            scores[a, p, m] = score


def _scored(q: Array, k: Array, threads: int) -> Array:  # (b, h, p, e), (b, h, m, e) -> (b, h, p, m)
    scores = np.empty((*q.shape[:3], k.shape[2]), q.dtype)
    flat = [joined(a, 2) for a in (q, k, scores)]
    run(_products, len(flat[0]) * q.shape[2], threads, *flat)
    return scores


def nearest(
    q: Array, k: Array, *, keep: int, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e) -> int (b, h, p, keep)
    """The ``keep`` keys of largest inner product with each query: what an index over keys approximates."""
    size = arrays("nearest", q=(q, "b h p e"), k=(k, "b h m e"))
    whole("nearest", least=1, threads=threads)
    whole("nearest", most=size["m"], keep=keep)
    return best(_scored(q, k, threads), keep, threads)


def retrieval_attention(
    q: Array, k: Array, v: Array, found: Array, *, sinks: int, window: int, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), int (b, h, p, t) -> (b, h, p, f)
    """Keys that an index found for each query, joined with the first ``sinks`` and the last ``window``."""
    size = arrays("retrieval_attention", q=(q, "b h p e"), k=(k, "b h m e"), v=(v, "b h m f"))
    whole("retrieval_attention", least=1, threads=threads)
    whole("retrieval_attention", most=size["m"], sinks=sinks)
    whole("retrieval_attention", most=size["m"] - sinks, window=window)
    count = found.shape[-1] if isinstance(found, np.ndarray) and found.ndim == 4 else 0
    indices("retrieval_attention", below=max(size["m"], 1), found=(found, (*q.shape[:3], count)))
    _distinct(found, sinks, size["m"] - window)
    fixed = np.concatenate([np.arange(sinks), np.arange(size["m"] - window, size["m"])])
    static = np.broadcast_to(fixed, (*q.shape[:3], len(fixed)))
    return attended(q, k, v, np.concatenate([static, found], -1), 1, threads)


def _distinct(found: Array, first: int, stop: int) -> None:
    """Refuse keys that would count twice."""
    if ((found < first) | (found >= stop)).any():
        raise ValueError(f"retrieval_attention: found reaches from {found.min()} to {found.max()}, expected {first} to "
                         f"{stop - 1}: sinks and window are attended anyway")  # fmt: skip
    ordered = np.sort(found, axis=-1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise ValueError(f"retrieval_attention: found of shape {found.shape} names a key twice, expected each once")


def infllm(
    q: Array,
    k: Array,
    v: Array,
    weights: Array,
    *,
    block: int,
    blocks: int,
    representatives: int = 4,
    sinks: int,
    window: int,
    threads: int = 1,
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), (b, h, m) -> (b, h, p, f)
    """The ``blocks`` blocks of keys most like the queries, joined with sinks and a window (InfLLM).

    A block is known by its keys of most attention so far, and is looked up for all heads and queries together. What
    does not fill a block belongs to the window. Lookup is in float64, so that either type chooses alike.
    """
    ranks = {"q": (q, "b h p e"), "k": (k, "b h m e"), "v": (v, "b h m f")}
    size = arrays("infllm", **ranks, weights=(weights, "b h m"))
    whole("infllm", least=1, block=block, threads=threads)
    whole("infllm", least=1, most=block, representatives=representatives)
    whole("infllm", most=size["m"], sinks=sinks)
    whole("infllm", most=size["m"] - sinks, window=window)
    count = (size["m"] - sinks - window) // block
    whole("infllm", most=count, blocks=blocks)
    inner, shape = slice(sinks, sinks + count * block), (size["b"], size["h"], count, block)
    known = best(weights[:, :, inner].reshape(shape), representatives)
    keys = k[:, :, inner].reshape(*shape, k.shape[3])
    sums = np.take_along_axis(keys, known[..., None], 3).sum(axis=3, dtype=np.float64)
    alike = np.einsum("bhe,bhje->bj", q.sum(axis=2, dtype=np.float64), sums, optimize=True)
    found = best(alike, blocks)[..., None] * block + np.arange(sinks, sinks + block)
    outside = np.r_[:sinks, sinks + count * block : size["m"]]
    lists = np.concatenate(
        [np.broadcast_to(outside, (size["b"], len(outside))), found.reshape(size["b"], blocks * block)], -1
    )
    chosen = np.broadcast_to(lists[:, None, None], (size["b"], size["h"], 1, lists.shape[1]))
    return attended(q, k, v, chosen, max(size["p"], 1), threads)


def landmark(
    q: Array, k: Array, v: Array, landmarks: Array, *, block: int, blocks: int, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), (b, h, j, e) -> (b, h, p, f)
    """A softmax within each block, weighed by one over the landmarks of the ``blocks`` best and the newest keys.

    There is a landmark for every whole block but the last, which with what is left is local (Landmark Attention).
    """
    ranks = {"q": (q, "b h p e"), "k": (k, "b h m e"), "v": (v, "b h m f")}
    size = arrays("landmark", **ranks, landmarks=(landmarks, "b h j e"))
    whole("landmark", least=1, block=block, threads=threads)
    count = max(size["m"] - 1, 0) // block
    if size["j"] != count:
        raise ValueError(f"landmark: landmarks has shape {landmarks.shape}, expected j={count} for {size['m']} keys in "
                         f"blocks of {block}, of which the last is local")  # fmt: skip
    whole("landmark", most=count, blocks=blocks)
    gates = _scored(q, landmarks, threads)
    chosen = best(gates, blocks, threads)
    o = np.zeros((*q.shape[:3], size["f"]), q.dtype)
    given = (q, k, v, np.take_along_axis(gates, chosen, -1), chosen, o)
    flat = [joined(a, 2) for a in given]
    run(_grouped, size["b"] * size["h"] * size["p"] if size["m"] else 0, threads, *flat, block, count * block)
    return flat[-1].reshape(o.shape)


@jit
def _grouped(
    first: int,
    stop: int,
    q: Array,
    k: Array,
    v: Array,
    gates: Array,
    chosen: Array,
    o: Array,
    block: int,
    local: int,
) -> None:  # (a, p, e), (a, m, e), (a, m, f), (a, p, t), (a, p, t) -> (a, p, f)
    """Blocks one after another into the output, each with the weight of its landmark; then the local keys."""
    inner = np.empty(v.shape[2], q.dtype)
    near = np.empty(k.shape[1] - local, q.dtype)
    for item in range(first, stop):
        a, p = item // q.shape[1], item % q.shape[1]
        dots(q[a, p], k[a, local:], near)
        top = near[0]
        for n in range(len(near)):
            top = near[n] if near[n] > top else top
        for t in range(gates.shape[2]):
            top = gates[a, p, t] if gates[a, p, t] > top else top
        total = _soft(near, v[a, local:], top, o[a, p])
        scores = np.empty(block, q.dtype)
        for t in range(gates.shape[2]):
            start, gate = chosen[a, p, t] * block, exp(gates[a, p, t] - top)
            dots(q[a, p], k[a, start : start + block], scores)
            peak = scores[0]
            for n in range(block):
                peak = scores[n] if scores[n] > peak else peak
            share = gate / _soft(scores, v[a, start : start + block], peak, inner)
            total += gate
            for f in range(len(inner)):
                o[a, p, f] += share * inner[f]
        for f in range(len(inner)):
            o[a, p, f] /= total


@jit
def _soft(scores: Array, values: Array, top: float, out: Array) -> Any:  # (n), (n, f) -> (f)
    """The undivided softmax of scores over values; returns the divisor."""
    total = scores.dtype.type(0)
    for f in range(len(out)):
        out[f] = 0
    for n in range(len(scores)):
        weight = exp(scores[n] - top)
        total += weight
        for f in range(len(out)):
            out[f] += weight * values[n, f]
    return total
