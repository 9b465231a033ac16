"""Attention without a softmax over all keys: what the past contributes fits in a state of fixed size.

Inside a block of tokens scores are formed as in exact attention; earlier blocks are read from the state.
"""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, arrays, joined, whole
from workloads.kernels.core.jit import jit, run
from workloads.kernels.core.online import load, mix, store
from workloads.kernels.core.tiles import multiply, whole_vectors

__all__ = ["based", "lightning"]

BLOCK = 64  # tokens in a block, as in the published code; whole vectors in either precision


def lightning(
    q: Array, k: Array, v: Array, decay: Array, *, threads: int = 1
) -> Array:  # (b, h, t, e), (b, h, t, e), (b, h, t, f), (h) -> (b, h, t, f)
    """The sum over earlier tokens of ``decay**age * (q . k) * v`` (Lightning Attention)."""
    size = arrays("lightning", q=(q, "b h t e"), k=(k, "b h t e"), v=(v, "b h t f"), decay=(decay, "h"))
    whole("lightning", least=1, threads=threads)
    if not ((decay >= 0) & (decay <= 1)).all():
        raise ValueError(f"lightning: decay is {decay.tolist()}, expected a factor from 0 to 1 for each head")
    o = np.zeros((size["b"] * size["h"], size["t"], size["f"]), q.dtype)
    run(_lightning, len(o), threads, *(joined(a, 2) for a in (q, k, v)), np.tile(decay, size["b"]), o)
    return o.reshape(v.shape)


def based(
    q: Array, k: Array, v: Array, *, threads: int = 1
) -> Array:  # (b, h, t, e), (b, h, t, e), (b, h, t, f) -> (b, h, t, f)
    """Causal attention that weighs by ``1 + s + s*s/2``, the start of ``exp(s)``: a product of features (Based).

    The exact window that goes with it is :func:`workloads.kernels.exact.sliding_window`.
    """
    size = arrays("based", q=(q, "b h t e"), k=(k, "b h t e"), v=(v, "b h t f"))
    whole("based", least=1, threads=threads)
    o = np.zeros((size["b"] * size["h"], size["t"], size["f"]), q.dtype)
    run(_based, len(o), threads, *(joined(a, 2) for a in (q, k, v)), o)
    return o.reshape(v.shape)


@jit
def _lightning(
    first: int, stop: int, q: Array, k: Array, v: Array, decay: Array, o: Array
) -> None:  # (a, t, e), (a, t, e), (a, t, f), (a) -> (a, t, f)
    tokens, width, wide = q.shape[1], q.shape[2], v.shape[2]
    columns = whole_vectors(wide, q.itemsize)
    query, scores = np.empty((width, BLOCK), q.dtype), np.empty((BLOCK, BLOCK), q.dtype)
    out, held = np.empty((wide, BLOCK), q.dtype), np.zeros((BLOCK, columns), q.dtype)
    powers, last = np.ones(BLOCK + 1, q.dtype), np.arange(BLOCK)
    for a in range(first, stop):
        state = np.zeros((width, columns), q.dtype)
        for n in range(BLOCK):
            powers[n + 1] = powers[n] * decay[a]
        for start in range(0, tokens, BLOCK):
            count = BLOCK if start + BLOCK < tokens else tokens - start
            keys, values, block = k[a, start : start + count], v[a, start : start + count], scores[:count]
            load(q[a], start, count, query)
            out[:] = 0
            block[:] = 0
            multiply(keys, query, block)
            _fade(block, powers)
            mix(block, values, out, True, 0, last, BLOCK, 0)
            _scale(query, powers)
            multiply(state.T[:wide], query, out)
            store(out, start, count, o[a])
            _hold(values, powers, held[:count])
            _keep(state, powers[count])
            multiply(keys.T, held[:count], state)


@jit
def _fade(scores: Array, powers: Array) -> None:  # (n, i)
    """Scores of earlier tokens times the decay over their age; nothing of later ones."""
    for n in range(scores.shape[0]):
        for i in range(scores.shape[1]):
            scores[n, i] = scores[n, i] * powers[i - n] if i >= n else 0


@jit
def _scale(query: Array, powers: Array) -> None:  # (e, i)
    """Queries times the decay since the end of the block before."""
    for e in range(query.shape[0]):
        for i in range(query.shape[1]):
            query[e, i] *= powers[i + 1]


@jit
def _hold(values: Array, powers: Array, held: Array) -> None:  # (n, f) -> (n, f)
    """Values times the decay up to the end of their block."""
    count = values.shape[0]
    for n in range(count):
        for f in range(values.shape[1]):
            held[n, f] = values[n, f] * powers[count - 1 - n]


@jit
def _keep(state: Array, factor: float) -> None:  # (e, f)
    for e in range(state.shape[0]):
        for f in range(state.shape[1]):
            state[e, f] *= factor


@jit
def _based(
    first: int, stop: int, q: Array, k: Array, v: Array, o: Array
) -> None:  # (a, t, e), (a, t, e), (a, t, f) -> (a, t, f)
    tokens, width, wide = q.shape[1], q.shape[2], v.shape[2]
    columns, features = whole_vectors(wide + 1, q.itemsize), 1 + width + width * width
    query, scores = np.empty((width, BLOCK), q.dtype), np.empty((BLOCK, BLOCK), q.dtype)
    out, held = np.empty((wide + 1, BLOCK), q.dtype), np.zeros((BLOCK, columns), q.dtype)
    left, right = np.empty((features, BLOCK), q.dtype), np.empty((features, BLOCK), q.dtype)
    last = np.arange(BLOCK)
    for a in range(first, stop):
        state = np.zeros((features, columns), q.dtype)
        for start in range(0, tokens, BLOCK):
            count = BLOCK if start + BLOCK < tokens else tokens - start
            keys, block = k[a, start : start + count], scores[:count]
            load(q[a], start, count, query)
            _features(query, left)
            out[:] = 0
            block[:] = 0
            multiply(keys, query, block)
            _taylor(block)
            _extend(v[a], start, held[:count])
            mix(block, held[:count], out, True, 0, last, BLOCK, 0)
            multiply(state.T[: wide + 1], left, out)
            _divide(out, start, count, o[a])
            load(k[a], start, count, query)
            _features(query, right)
            multiply(right[:, :count], held[:count], state)


@jit
def _features(x: Array, features: Array) -> None:  # (e, i) -> (1 + e + e*e, i)
    """Products of these for a query and a key sum to ``1 + s + s*s/2``."""
    width, half = x.shape[0], x.dtype.type(np.sqrt(0.5))
    for i in range(x.shape[1]):
        features[0, i] = 1
        for e in range(width):
            features[1 + e, i] = x[e, i]
            for d in range(width):
                features[1 + width + e * width + d, i] = x[e, i] * x[d, i] * half


@jit
def _taylor(scores: Array) -> None:  # (n, i)
    """Weights of earlier tokens; nothing for later ones."""
    one, half = scores.dtype.type(1), scores.dtype.type(0.5)
    for n in range(scores.shape[0]):
        for i in range(scores.shape[1]):
            s = scores[n, i]
            scores[n, i] = one + s + half * s * s if i >= n else 0


@jit
def _extend(v: Array, start: int, held: Array) -> None:  # (t, f) -> (n, f + 1)
    """Values with a one beside them, which gathers the sum of weights."""
    for n in range(held.shape[0]):
        for f in range(v.shape[1]):
            held[n, f] = v[start + n, f]
        held[n, v.shape[1]] = 1


@jit
def _divide(out: Array, start: int, count: int, o: Array) -> None:  # (f + 1, i) -> (t, f)
    for i in range(count):
        for f in range(o.shape[1]):
            o[start + i, f] = out[f, i] / out[o.shape[1], i]
