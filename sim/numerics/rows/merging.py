"""Tokens that become one, against the cascades of :mod:`workloads.merging`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from einsum import Cascade
from sim.numerics.draw import Draw, Pair, Row, Tensors
from workloads import merging as cascades
from workloads.kernels import merging


def _tokens(d: Draw, *shape: int) -> Tensors:
    return {
        "X": d.values(*shape, d.e),
        "MT": d.normal(*shape, d.r + 1),
        "W": d.rng.integers(1, 4, shape).astype(d.dtype),
    }


def _parts(result: tuple[Any, Any], at: int, cascade: Cascade, t: Tensors) -> Iterator[Pair]:
    """Tokens and what they stand for, those before ``at`` of the first set and the others of the second."""
    tokens, stands = result
    axis = stands.ndim - 1
    for got, names in ((tokens, ("YA", "YB")), (stands, ("ZA", "ZB"))):
        yield from ((part, cascade, t, name) for part, name in zip(np.split(got, [at], axis), names, strict=True))


def tome(d: Draw) -> Iterator[Pair]:
    first, second = (d.m + 1) // 2, d.m // 2
    for merged in {1, first // 2, first - 1}:
        if second and 0 < merged < first:
            t = _tokens(d, d.b, d.m)
            cascade = cascades.tome(batch=d.b, tokens=d.m, width=d.e, metric=d.r + 1, merged=merged)
            yield from _parts(d.run(merging.tome, *t.values(), merged=merged), first - merged, cascade, t)


def tempme(d: Draw) -> Iterator[Pair]:
    tokens, frames = 1 + d.m // 4, 2 * d.h
    for merged in {1, tokens // 2, tokens - 1}:
        if 0 < merged < tokens:
            t = _tokens(d, d.b, frames, tokens)
            sizes = {"frames": frames, "tokens": tokens, "width": d.e, "metric": d.r + 1, "merged": merged}
            got = d.run(merging.tempme, *t.values(), merged=merged)
            yield from _parts(got, tokens - merged, cascades.tempme(batch=d.b, **sizes), t)


# Cosines of round numbers are often alike but for rounding: which partner is nearest is then anybody's choice.
ROWS = {"merging.tome": Row(tome, kinds=("normal",)), "merging.tempme": Row(tempme, kinds=("normal",))}
