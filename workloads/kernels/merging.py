"""Tokens that are much alike become one.

Two sets of tokens face each other; those of the first that have the closest partners join them, as means weighed by how
many tokens each already stands for. What comes out is the rest of the first set in its order, then the second.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from workloads.kernels.core.checks import Array, arrays, whole
from workloads.kernels.core.chosen import best
from workloads.kernels.core.jit import spread

__all__ = ["tempme", "tome"]


def tome(
    x: Array, metric: Array, weight: Array, *, merged: int, threads: int = 1
) -> tuple[Array, Array]:  # (b, t, d), (b, t, e), (b, t) -> (b, t - merged, d), (b, t - merged)
    """Every other token faces those between (ToMe); alike is who has the largest cosine of ``metric``."""
    size = arrays("tome", x=(x, "b t d"), metric=(metric, "b t e"), weight=(weight, "b t"))
    whole("tome", least=1, threads=threads)
    whole("tome", most=(size["t"] + 1) // 2 if size["t"] > 1 else 0, merged=merged)
    first, second = ([a[:, start::2] for a in (x, metric, weight)] for start in (0, 1))
    return _merge(first, second, merged, threads)


def tempme(
    x: Array, metric: Array, weight: Array, *, merged: int, threads: int = 1
) -> tuple[Array, Array]:  # (b, f, t, d), (b, f, t, e), (b, f, t) -> (b, f/2, 2t - merged, d), (b, f/2, 2t - merged)
    """The tokens of every other frame of a video face those of the frame after it (TempMe)."""
    size = arrays("tempme", x=(x, "b f t d"), metric=(metric, "b f t e"), weight=(weight, "b f t"))
    if size["f"] % 2:
        raise ValueError(f"tempme: x has shape {x.shape}, expected an even number of frames")
    whole("tempme", least=1, threads=threads)
    whole("tempme", most=size["t"], merged=merged)
    pairs = [a.reshape(size["b"] * size["f"] // 2, 2, *a.shape[2:]) for a in (x, metric, weight)]
    y, stands = _merge([a[:, 0] for a in pairs], [a[:, 1] for a in pairs], merged, threads)
    return tuple(a.reshape(size["b"], size["f"] // 2, *a.shape[1:]) for a in (y, stands))  # type: ignore[return-value]


def _merge(first: list[Array], second: list[Array], merged: int, threads: int) -> tuple[Array, Array]:
    """Tokens (g, i, d), metrics and weights of both sets into one; choices are made in float64."""
    (xa, ma, wa), (xb, mb, wb) = first, second
    near, to = _partners(ma.astype(np.float64), mb.astype(np.float64)) if merged else (wa, wa)
    return spread(partial(_joined, merged), threads, xa, wa, xb, wb, near, to)


def _joined(
    merged: int, xa: Array, wa: Array, xb: Array, wb: Array, near: Array, to: Array
) -> tuple[Array, Array]:  # (g, i, d), (g, i), (g, j, d), (g, j), (g, i), int (g, i)
    """What is left of the first set, then the second with what joined it."""
    order = best(near, near.shape[1])
    going, kept = order[:, :merged], np.sort(order[:, merged:], axis=1)
    rows = np.arange(len(xa))[:, None]
    weight, total = wb.astype(np.float64), xb * wb[..., None].astype(np.float64)
    if merged:
        gone = wa[rows, going].astype(np.float64)
        np.add.at(weight, (rows, to[rows, going]), gone)
        np.add.at(total, (rows, to[rows, going]), gone[..., None] * xa[rows, going])
    with np.errstate(invalid="ignore", divide="ignore"):  # tokens that stand for none
        means = (total / weight[..., None]).astype(xa.dtype)
    return np.concatenate((xa[rows, kept], means), 1), np.concatenate((wa[rows, kept], weight.astype(wa.dtype)), 1)


def _partners(a: Array, b: Array) -> tuple[Array, Array]:  # (g, i, e), (g, j, e) -> (g, i), int (g, i)
    """The largest cosine of each with any of the others, and with which."""
    sizes = np.square(a).sum(axis=2)[:, :, None] * np.square(b).sum(axis=2)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.matmul(a, b.swapaxes(1, 2)) / np.sqrt(sizes)
    return cosine.max(axis=2), cosine.argmax(axis=2)
