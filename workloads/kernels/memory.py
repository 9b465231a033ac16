"""A network that learns while it is read: its weights are the state (Titans)."""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, arrays, joined, whole
from workloads.kernels.core.jit import jit, run

__all__ = ["neural_memory"]


def neural_memory(
    q: Array,
    k: Array,
    v: Array,
    w1: Array,
    w2: Array,
    rate: Array,
    momentum: Array,
    forget: Array,
    *,
    chunk: int = 64,
    threads: int = 1,
) -> Array:  # (b, h, t, e), (b, h, t, e), (b, h, t, f), (h, e, d), (h, d, f), (b, h, t) three times -> (b, h, t, f)
    """Answers to ``q`` of ``x -> silu(x w1) w2``, which takes a step at every token towards answering ``k`` with ``v``.

    The gradient of the squared error is taken at the weights with which a chunk began; each token's goes through its
    own rate and momentum, and the weights forget a fraction of themselves before each step. The weights are kept in
    double precision whatever the type, as rounding would be carried from step to step.
    """
    tokens = {"rate": (rate, "b h t"), "momentum": (momentum, "b h t"), "forget": (forget, "b h t")}
    data = {"q": (q, "b h t e"), "k": (k, "b h t e"), "v": (v, "b h t f")}
    size = arrays("neural_memory", **data, w1=(w1, "h e d"), w2=(w2, "h d f"), **tokens)
    whole("neural_memory", least=1, chunk=chunk, threads=threads)
    o = np.zeros((size["b"] * size["h"], size["t"], size["f"]), q.dtype)
    given = (joined(a, 2) for a in (q, k, v, rate, momentum, forget))
    run(_remember, len(o), threads, *given, joined(w1, 1), joined(w2, 1), chunk, o)
    return o.reshape(v.shape)


@jit
def _remember(
    first: int,
    stop: int,
    q: Array,
    k: Array,
    v: Array,
    rate: Array,
    momentum: Array,
    forget: Array,
    w1: Array,
    w2: Array,
    chunk: int,
    o: Array,
) -> None:  # (a, t, e), (a, t, e), (a, t, f), (a, t) three times, (h, e, d), (h, d, f) -> (a, t, f)
    inner, outer = np.empty(w1.shape[2], np.float64), np.empty(w2.shape[2], np.float64)
    for a in range(first, stop):
        head = a % w1.shape[0]
        now1, now2 = w1[head].astype(np.float64), w2[head].astype(np.float64)
        step1, step2 = np.zeros_like(now1), np.zeros_like(now2)
        then1, then2 = now1.copy(), now2.copy()
        for t in range(q.shape[1]):
            if t % chunk == 0:
                _copy(now1, then1)
                _copy(now2, then2)
            _apply(k[a, t], then1, then2, inner, outer)
            for f in range(len(outer)):
                outer[f] = 2 * (outer[f] - v[a, t, f])
            _descend(k[a, t], inner, outer, then2, momentum[a, t], rate[a, t], step1, step2)
            _settle(now1, step1, forget[a, t])
            _settle(now2, step2, forget[a, t])
            _apply(q[a, t], now1, now2, inner, outer)
            o[a, t] = outer


@jit
def _copy(source: Array, target: Array) -> None:
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@jit
def _apply(x: Array, w1: Array, w2: Array, inner: Array, outer: Array) -> None:  # (e), (e, d), (d, f) -> (d), (f)
    """The network at one input; leaves what goes into its activation."""
    for d in range(len(inner)):
        inner[d] = 0
    for e in range(len(x)):
        for d in range(len(inner)):
            inner[d] += x[e] * w1[e, d]
    for f in range(len(outer)):
        outer[f] = 0
    for d in range(len(inner)):
        active = inner[d] / (1 + np.exp(-inner[d]))
        for f in range(len(outer)):
            outer[f] += active * w2[d, f]


@jit
def _descend(
    key: Array, inner: Array, error: Array, w2: Array, momentum: float, rate: float, step1: Array, step2: Array
) -> None:  # (e), (d), (f), (d, f) -> (e, d), (d, f)
    """The next step from the one before: momentum times it, less the rate times the gradient."""
    for d in range(len(inner)):
        gate = 1 / (1 + np.exp(-inner[d]))
        active, slope = inner[d] * gate, gate * (1 + inner[d] * (1 - gate))
        back = 0.0
        for f in range(len(error)):
            back += error[f] * w2[d, f]
            step2[d, f] = momentum * step2[d, f] - rate * active * error[f]
        for e in range(len(key)):
            step1[e, d] = momentum * step1[e, d] - rate * key[e] * slope * back


@jit
def _settle(weights: Array, step: Array, forget: float) -> None:
    keep = 1 - np.float64(forget)
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            weights[i, j] = keep * weights[i, j] + step[i, j]
