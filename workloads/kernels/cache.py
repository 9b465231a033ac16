"""Exact attention over a batch of sequences of unlike lengths, with keys where serving systems keep them.

Queries are the newest keys of their sequence, and see keys up to their own; a sequence without keys gives zeros.
Wherever the keys lie, the arithmetic is the same, so the results are the same to the last bit.
"""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, arrays, bounds, indices, joined, newest, whole
from workloads.kernels.core.items import cover, divided, groups, states

__all__ = ["paged", "ragged", "virtual"]


def paged(
    q: Array, k: Array, v: Array, tables: Array, lengths: Array, *, threads: int = 1
) -> Array:  # (b, h, p, e), (n, s, g, e), (n, s, g, f), int (b, t), int (b,) -> (b, h, p, f)
    """Keys in ``n`` pages of ``s``, of which a block table lists those of each sequence in order (PagedAttention)."""
    size = arrays("paged", q=(q, "b h p e"), k=(k, "n s g e"), v=(v, "n s g f"))
    whole("paged", least=1, threads=threads)
    b, page = size["b"], size["s"]
    indices("paged", tables=(tables, (b, ...)))
    columns = tables.shape[1]
    indices("paged", below=columns * page + 1, lengths=(lengths, (b,)))
    used = np.where(np.arange(columns) * page < lengths[:, None], tables, 0)  # entries past the end may be anything
    indices("paged", below=max(size["n"], 1), tables=(used, (b, columns)))
    k, v = joined(k, 3), joined(v, 3)
    queries = np.full(b, size["p"])
    o = _cached("paged", q, queries, size["h"], k, v, used, page, size["g"], lengths, threads)
    return o.reshape(*q.shape[:3], size["f"])


def virtual(
    q: Array, k: Array, v: Array, lengths: Array, *, threads: int = 1
) -> Array:  # (b, h, p, e), (b, n, g, e), (b, n, g, f), int (b,) -> (b, h, p, f)
    """Room for ``n`` keys a sequence at consecutive addresses, filled up to its length (vAttention)."""
    size = arrays("virtual", q=(q, "b h p e"), k=(k, "b n g e"), v=(v, "b n g f"))
    whole("virtual", least=1, threads=threads)
    indices("virtual", below=size["n"] + 1, lengths=(lengths, (size["b"],)))
    tables = np.arange(size["b"], dtype=np.int64)[:, None]
    k, v = joined(k, 3), joined(v, 3)
    queries = np.full(size["b"], size["p"])
    o = _cached("virtual", q, queries, size["h"], k, v, tables, size["n"], size["g"], lengths, threads)
    return o.reshape(*q.shape[:3], size["f"])


def ragged(
    q: Array, k: Array, v: Array, q_starts: Array, k_starts: Array, *, threads: int = 1
) -> Array:  # (t, h, e), (u, g, e), (u, g, f), int (b + 1), int (b + 1) -> (t, h, f)
    """Sequences one after another without padding: sequence ``i`` is rows ``starts[i]`` to ``starts[i + 1]``."""
    size = arrays("ragged", q=(q, "t h e"), k=(k, "u g e"), v=(v, "u g f"))
    whole("ragged", least=1, threads=threads)
    bounds("ragged", size["t"], "q", q_starts=q_starts)
    bounds("ragged", size["u"], "k", k_starts=k_starts)
    if len(q_starts) != len(k_starts):
        raise ValueError(f"ragged: k_starts has shape {k_starts.shape}, expected {q_starts.shape} as q_starts")
    lengths, queries, heads = np.diff(k_starts), np.diff(q_starts), size["h"]
    at = k_starts[:-1, None] + np.arange(lengths.max(initial=0))
    pages = np.where(np.arange(at.shape[1]) < lengths[:, None], at, 0)  # pages of one key
    split = np.split(q, q_starts[1:-1])
    rows = np.concatenate([joined(part.swapaxes(0, 1), 2) for part in split])
    k, v = joined(k, 2), joined(v, 2)
    o = _cached("ragged", rows, queries, heads, k, v, pages, 1, size["g"], lengths, threads)
    parts = np.split(o, q_starts[1:-1] * heads)
    each = zip(parts, queries, strict=True) if len(queries) else [(o, 0)]
    return np.concatenate([part.reshape(heads, p, size["f"]).swapaxes(0, 1) for part, p in each])


def _cached(
    kernel: str,
    q: Array,
    queries: Array,
    heads: int,
    k: Array,
    v: Array,
    tables: Array,
    page: int,
    kv: int,
    lengths: Array,
    threads: int,
) -> Array:  # rows of sequences, heads, queries; keys as pages, slots, kv heads
    """Items of every sequence and key head, whose queries follow each other in ``q``; returns as many rows."""
    if not kv or heads % kv:
        raise ValueError(f"{kernel}: q has {heads} heads, expected a multiple of the {kv} of k")
    for p, m in zip(queries.tolist(), lengths.tolist(), strict=True):
        if m:
            newest(kernel, p, m)
    many = []
    for s, (p, m) in enumerate(zip(queries.tolist(), lengths.tolist(), strict=True)):
        items = groups(cover(heads // kv * p, m, period=p), kv, heads // kv * p)
        items["head"], items["table"] = items["table"], s
        items["row"] += (start := heads * int(queries[:s].sum()))
        items["slot"] += start
        many.append(items)
    rows, width = joined(q, q.ndim - 1), v.shape[1]
    every = np.concatenate(many) if many else cover(0, 0)
    return divided(states(every, rows, k, v, np.ascontiguousarray(tables), page, slots=len(rows), width=width,
                          heads=kv, threads=threads, total=1))  # fmt: skip
