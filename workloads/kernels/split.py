"""Attention whose keys are divided among workers: each leaves a maximum, a sum and an undivided output, to be merged.

The merge is associative and commutative with "nothing seen" as its neutral element, so any division of the keys and
any order of merging give the same result up to rounding.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from workloads.kernels.core.checks import Array, arrays, joined, newest, whole
from workloads.kernels.core.items import State, cover, divided, groups, states
from workloads.kernels.core.jit import spread

__all__ = ["decode_split", "merge", "offloaded", "partial", "stream_k"]

TILE = 128  # keys in a tile of the stream-K partition


def decode_split(
    q: Array, k: Array, v: Array, *, splits: int, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f) -> (b, h, p, f)
    """Keys of every head divided into ``splits`` nearly equal ranges that work alone (FlashDecoding)."""
    whole("decode_split", least=1, most=2**20, splits=splits, threads=threads)
    size = arrays("decode_split", q=(q, "b h p e"), k=(k, "b h m e"), v=(v, "b h m f"))
    heads, edges = size["b"] * size["h"], size["m"] * np.arange(splits + 1) // splits
    owner = np.repeat(np.arange(heads), splits)
    return _merged(q, k, v, owner, np.tile(edges[:-1], heads), np.tile(edges[1:], heads), threads)


def stream_k(
    q: Array, k: Array, v: Array, *, workers: int, tile: int = TILE, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f) -> (b, h, p, f)
    """Tiles of keys of all heads in one line, cut into equal shares wherever the cuts fall (LeanAttention)."""
    whole("stream_k", least=1, most=2**20, workers=workers, tile=tile, threads=threads)
    size = arrays("stream_k", q=(q, "b h p e"), k=(k, "b h m e"), v=(v, "b h m f"))
    each, heads = -(-size["m"] // tile), size["b"] * size["h"]
    shares = each * heads * np.arange(workers + 1) // workers
    cuts = np.unique(np.concatenate([shares, each * np.arange(heads + 1)]))
    owner = cuts[:-1] // max(each, 1)
    stops = np.minimum((cuts[1:] - owner * each) * tile, size["m"])
    return _merged(q, k, v, owner, (cuts[:-1] - owner * each) * tile, stops, threads)


def _merged(q: Array, k: Array, v: Array, owner: Array, first: Array, stop: Array, threads: int) -> Array:
    """Segments of keys, each of one head (b h), computed alone and merged into their heads' outputs."""
    (b, h, p, _), m, f = q.shape, k.shape[2], v.shape[3]
    if not m:
        return np.zeros((b, h, p, f), q.dtype)
    base = cover(p, m)
    items = groups(base, len(owner), p)
    each = np.repeat(np.arange(len(owner)), len(base))
    items["row"] = owner[each] * p + np.tile(base["row"], len(owner))
    items["table"], items["first"], items["stop"] = owner[each], first[each], stop[each]
    x, z, o = _states(items, q, k, v, len(owner) * p, threads)
    to = (owner[:, None] * p + np.arange(p)).ravel()
    return divided(_gathered(to, x, z, o, b * h * p)).reshape(b, h, p, f)


def _states(items: Array, q: Array, k: Array, v: Array, slots: int, threads: int) -> State:
    (b, h, m, _), f = k.shape, v.shape[3]
    q, k, v = (joined(a, 3) for a in (q, k, v))
    tables = np.arange(b * h, dtype=np.int64)[:, None]
    return states(items, q, k, v, tables, m, slots=slots, width=f, threads=threads)


def _gathered(to: Array, x: Array, z: Array, o: Array, rows: int) -> State:
    """The states of all segments merged into the rows they belong to, in float64: thousands would add up roundings."""
    top = np.full(rows, -np.inf, x.dtype)
    with np.errstate(invalid="ignore"):
        np.maximum.at(top, to, x)
        weight = np.exp(x - _base(top)[to])
        total, out = np.zeros(rows), np.zeros((rows, o.shape[1]))
        np.add.at(total, to, weight * z)
        np.add.at(out, to, weight[:, None] * o)
    return top, total.astype(z.dtype), out.astype(o.dtype)


def _base(top: Array) -> Array:
    """What exponentials are taken against: the maximum, or zero where nothing was seen."""
    return np.where(top == -np.inf, top.dtype.type(0), top)


def partial(
    q: Array, k: Array, v: Array, *, causal: bool = False, threads: int = 1
) -> State:  # (b, h, p, e), (b, h, m, e), (b, h, m, f) -> (b, h, p), (b, h, p), (b, h, p, f)
    """Maximum, sum and undivided output over some keys; over none they are -inf, zero and zero."""
    size = arrays("partial", q=(q, "b h p e"), k=(k, "b h m e"), v=(v, "b h m f"))
    whole("partial", least=1, threads=threads)
    b, h, p, m, f = (size[r] for r in "bhpmf")
    if causal:
        newest("partial", p, m)
    items = groups(cover(p, m, period=p if causal else 0), b * h, p)
    x, z, o = _states(items, q, k, v, b * h * p, threads)
    return x.reshape(b, h, p), z.reshape(b, h, p), o.reshape(b, h, p, f)


def merge(
    first: State, second: State, *, threads: int = 1
) -> State:  # (b, h, p), (b, h, p), (b, h, p, f), twice -> once
    """The state over the keys of both."""
    names = ("x1", "z1", "o1", "x2", "z2", "o2")
    ranks = ("b h p", "b h p", "b h p f") * 2
    given = zip(names, zip((*first, *second), ranks, strict=True), strict=True)
    arrays("merge", **dict(given))
    whole("merge", least=1, threads=threads)
    rows = (joined(a, 3) for a in (*first, *second))
    merged = spread(_merge, threads, *rows)
    x, z, o = (made.reshape(old.shape) for made, old in zip(merged, first, strict=True))
    return x, z, o


def _merge(x1: Array, z1: Array, o1: Array, x2: Array, z2: Array, o2: Array) -> State:  # (n), (n), (n, f) twice
    with np.errstate(invalid="ignore"):
        top = np.maximum(x1, x2)
        w1, w2 = np.exp(x1 - _base(top)), np.exp(x2 - _base(top))
        return top, w1 * z1 + w2 * z2, w1[..., None] * o1 + w2[..., None] * o2


def offloaded(
    q: Array, k: Array, v: Array, new_k: Array, new_v: Array, *, devices: int, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), (b, h, p, e), (b, h, p, f) -> (b, h, p, f)
    """Heads divided among devices that hold the cache, merged with attention over the newest keys, computed at home.

    This is what lets the transfer of new keys overlap with attention over the old (Lamina).
    """
    ranks = {"q": (q, "b h p e"), "k": (k, "b h m e"), "v": (v, "b h m f")}
    size = arrays("offloaded", **ranks, new_k=(new_k, "b h p e"), new_v=(new_v, "b h p f"))
    whole("offloaded", least=1, most=2**20, devices=devices, threads=threads)
    edges = size["h"] * np.arange(devices + 1) // devices
    shares = [slice(a, b) for a, b in pairwise(edges) if a < b]
    parts = [partial(*(np.ascontiguousarray(a[:, heads]) for a in (q, k, v)), threads=threads) for heads in shares]
    x, z, o = (np.concatenate(kind, axis=1) for kind in zip(*parts, strict=True)) if parts else partial(q, k, v)
    x, z, o = merge((x, z, o), partial(q, new_k, new_v, causal=True, threads=threads))
    return divided((x.ravel(), z.ravel(), joined(o, 3))).reshape(o.shape)
