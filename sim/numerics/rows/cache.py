"""Sequences of unlike lengths, each against the cascade of grouped queries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sim.numerics.draw import Draw, Pair, Row
from workloads import attention
from workloads.kernels import cache


def sequences(d: Draw) -> tuple[Any, list[int], Any, Any]:
    """Queries, lengths and room for keys of several sequences."""
    lengths = [d.m, max(d.p, d.m // 2), d.p]
    shape = (3, d.m + 2, d.h, d.e)
    return d.query(3, d.h * d.r, d.p, d.e), lengths, d.normal(*shape), d.values(*shape)


def alone(d: Draw, got: Any, q: Any, k: Any, v: Any, length: int) -> Pair:
    """One sequence of a batch, against the cascade of grouped queries."""
    t = {
        "Q": q.reshape(1, d.h, d.r, d.p, d.e),
        "K": k[None, :length].swapaxes(1, 2),
        "V": v[None, :length].swapaxes(1, 2),
    }
    cascade = attention.grouped_query(
        heads=d.h * d.r, kv_heads=d.h, query=d.p, context=length, head_dim=d.e, causal=True
    )
    return got.reshape(t["Q"].shape), cascade, t, "O"


def virtual(d: Draw) -> Iterator[Pair]:
    q, lengths, k, v = sequences(d)
    got = d.run(cache.virtual, q, k, v, np.array(lengths))
    yield from (alone(d, got[i], q[i], k[i], v[i], n) for i, n in enumerate(lengths))


def paged(d: Draw) -> Iterator[Pair]:
    q, lengths, k, v = sequences(d)
    page = 4
    count = -(-(d.m + 2) // page)
    tables = d.rng.permutation(3 * count).reshape(3, count)
    pools = []
    for keys in (k, v):
        room = np.zeros((3, count * page, *keys.shape[2:]), d.dtype)
        room[:, : keys.shape[1]] = keys
        pool = np.empty((3 * count, page, *keys.shape[2:]), d.dtype)
        pool[tables.ravel()] = room.reshape(pool.shape)
        pools.append(pool)
    got = d.run(cache.paged, q, *pools, tables, np.array(lengths))
    yield from (alone(d, got[i], q[i], k[i], v[i], n) for i, n in enumerate(lengths))


def ragged(d: Draw) -> Iterator[Pair]:
    q, lengths, k, v = sequences(d)
    packed = (np.concatenate([keys[i, :n] for i, n in enumerate(lengths)]) for keys in (k, v))
    rows = np.ascontiguousarray(q.swapaxes(1, 2)).reshape(3 * d.p, -1, d.e)
    got = d.run(cache.ragged, rows, *packed, np.arange(4) * d.p, np.cumsum([0, *lengths]))
    each = got.reshape(3, d.p, -1, d.e).swapaxes(1, 2)
    yield from (alone(d, each[i], q[i], k[i], v[i], n) for i, n in enumerate(lengths))


ROWS = {
    "cache.virtual": Row(virtual),
    "cache.paged": Row(paged),
    "cache.ragged": Row(ragged),
}
