"""Attention over a cache that gives keys up: by accumulated scores, by head, by merging neighbours.

Queries arrive scaled by ``1/sqrt(e)``, are newer than all keys and see all that are kept. What a method carries from
step to step (scores, vectors of heads) comes in as an array. Choices are made in float64, so that either type of
arithmetic makes the same ones. When nothing is given up the result is that of exact attention.
"""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, arrays, indices, joined, whole
from workloads.kernels.core.chosen import attended, best, seen
from workloads.kernels.core.items import State
from workloads.kernels.exact import one_pass
from workloads.kernels.split import merge

__all__ = ["elastic_cache", "keyformer", "razor", "task_kv"]


def keyformer(
    q: Array,
    k: Array,
    v: Array,
    noise: Array,
    score: Array,
    *,
    keep: int,
    recent: int,
    temperature: float = 1.0,
    threads: int = 1,
) -> tuple[Array, Array]:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), (b, h, m), (b, h, m) -> (b, h, p, f), (b, h, m)
    """Keys kept by accumulated softmax of noisy scores: the newest ``recent``, and the best of the rest (Keyformer).

    Returns the output over the keys kept, and the new accumulated score of all. ``noise`` is a Gumbel sample a key.
    """
    ranks = {"q": (q, "b h p e"), "k": (k, "b h m e"), "v": (v, "b h m f")}
    size = arrays("keyformer", **ranks, noise=(noise, "b h m"), score=(score, "b h m"))
    whole("keyformer", least=1, threads=threads)
    whole("keyformer", most=size["m"], keep=keep)
    whole("keyformer", most=keep, recent=recent)
    if not 0 < temperature < np.inf:
        raise ValueError(f"keyformer: temperature is {temperature!r}, expected a positive finite number")
    grown = score + _paid(q, k, noise, float(temperature))
    older = size["m"] - recent
    lists = np.concatenate([best(grown[..., :older], keep - recent), _every(q, older, size["m"])], -1)
    return attended(q, k, v, lists[:, :, None], max(size["p"], 1), threads), grown.astype(q.dtype)


def _paid(q: Array, k: Array, noise: Array, temperature: float) -> Array:  # -> (b, h, m)
    """Softmax of noisy scores, summed over the queries."""
    scores = np.matmul(q.astype(np.float64), k.astype(np.float64).swapaxes(2, 3))
    scores = (scores + noise[:, :, None]) / temperature
    with np.errstate(invalid="ignore"):
        shares = np.exp(scores - scores.max(axis=3, keepdims=True, initial=-np.inf))
        return np.asarray((shares / shares.sum(axis=3, keepdims=True)).sum(axis=2))


def _every(q: Array, start: int, stop: int) -> Array:  # -> (b, h, stop - start)
    """The same consecutive keys for every head."""
    return np.broadcast_to(np.arange(start, stop), (*q.shape[:2], stop - start))


def razor(
    q: Array, k: Array, v: Array, retrieval: Array, *, sinks: int, recent: int, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), int (h,) -> (b, h, p, f)
    """All keys where ``retrieval`` is 1; elsewhere sinks, newest and one token for the others (RazorAttention).

    The token is the mean of the dropped keys and of their values, weighed by their number: exact if they are alike.
    """
    size = arrays("razor", q=(q, "b h p e"), k=(k, "b h m e"), v=(v, "b h m f"))
    whole("razor", least=1, threads=threads)
    whole("razor", most=size["m"], sinks=sinks)
    whole("razor", most=size["m"] - sinks, recent=recent)
    indices("razor", below=2, retrieval=(retrieval, (size["h"],)))
    if sinks + recent == size["m"]:
        return one_pass(q, k, v, threads=threads)
    o = np.empty((*q.shape[:3], size["f"]), q.dtype)
    for far in (0, 1):
        heads = retrieval == far
        own = [np.ascontiguousarray(a[:, heads]) for a in (q, k, v)]
        if far:
            o[:, heads] = one_pass(*own, threads=threads)
        else:
            o[:, heads] = _compensated(own[0], own[1], own[2], sinks, recent, threads)
    return o


def _compensated(q: Array, k: Array, v: Array, sinks: int, recent: int, threads: int) -> Array:
    """Some keys, and one token for the others, which is merged in float64: it may outweigh all keys."""
    m = k.shape[2]
    kept = np.concatenate([np.arange(sinks), np.arange(m - recent, m)])
    lists = np.broadcast_to(kept, (*q.shape[:2], 1, len(kept)))
    x, z, o = (a.astype(np.float64) for a in seen(q, k, v, lists, max(q.shape[2], 1), threads))
    own = x.reshape(q.shape[:3]), z.reshape(q.shape[:3]), o.reshape(*q.shape[:3], v.shape[3])
    _, total, out = merge(own, _stand_in(q, k[:, :, sinks : m - recent], v[:, :, sinks : m - recent]))
    return np.asarray(out / total[..., None])


def _stand_in(q: Array, k: Array, v: Array) -> State:
    """The state of a token that stands for all these keys."""
    count = k.shape[2]
    score = np.einsum("bhpe,bhe->bhp", q.astype(np.float64), k.mean(axis=2, dtype=np.float64))
    value = count * v.mean(axis=2, dtype=np.float64)
    return score, np.full(score.shape, float(count)), np.repeat(value[:, :, None], q.shape[2], axis=2)


def task_kv(
    q: Array,
    k: Array,
    v: Array,
    vectors: Array,
    weights: Array,
    *,
    full: int,
    sinks: int,
    recent: int,
    middle: int,
    threads: int = 1,
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), (b, h, c), (b, h, m) -> (b, h, p, f)
    """All keys for the ``full`` heads furthest from the semantic centre, a few for the others (Task-KV).

    ``vectors`` says what each head attends to; the centre is their mean. The others keep, beside sinks and newest, the
    ``middle`` keys between them of most attention so far, which is ``weights``.
    """
    ranks = {"q": (q, "b h p e"), "k": (k, "b h m e"), "v": (v, "b h m f")}
    size = arrays("task_kv", **ranks, vectors=(vectors, "b h c"), weights=(weights, "b h m"))
    whole("task_kv", least=1, threads=threads)
    whole("task_kv", most=size["h"], full=full)
    whole("task_kv", most=size["m"], sinks=sinks)
    whole("task_kv", most=size["m"] - sinks, recent=recent)
    whole("task_kv", most=size["m"] - sinks - recent, middle=middle)
    ends = size["m"] - recent
    between = best(weights[..., sinks:ends], middle) + sinks
    lists = np.concatenate([_every(q, 0, sinks), between, _every(q, ends, size["m"])], -1)
    o = attended(q, k, v, lists[:, :, None], max(size["p"], 1), threads)
    if full:
        at = np.arange(size["b"])[:, None], furthest(vectors, full)
        o[at] = one_pass(*(np.ascontiguousarray(a[at]) for a in (q, k, v)), threads=threads)
    return o


def furthest(vectors: Array, count: int) -> Array:  # (b, h, c) -> int (b, count)
    """The heads whose vectors lie furthest from the mean of all."""
    apart = vectors - vectors.mean(axis=1, keepdims=True, dtype=np.float64)
    return best((apart * apart).sum(axis=2), count)


def elastic_cache(
    q: Array, k: Array, v: Array, weights: Array, *, keep: int, threads: int = 1
) -> Array:  # (b, h, p, e), (b, h, m, e), (b, h, m, f), (b, h, m) -> (b, h, p, f)
    """The keys of most attention so far, each averaged with the dropped ones nearest to it (Elastic Cache).

    A dropped key midway between two that are kept goes to the earlier.
    """
    ranks = {"q": (q, "b h p e"), "k": (k, "b h m e"), "v": (v, "b h m f")}
    size = arrays("elastic_cache", **ranks, weights=(weights, "b h m"))
    whole("elastic_cache", least=1, threads=threads)
    whole("elastic_cache", least=min(1, size["m"]), most=size["m"], keep=keep)
    kept = np.sort(best(weights, keep), axis=-1)
    to = joined(_nearest_kept(kept, size["m"]), 2)
    merged = (_averaged(joined(a, 2), to, keep).reshape(*a.shape[:2], keep, a.shape[3]) for a in (k, v))
    return one_pass(q, *merged, threads=threads)


def _nearest_kept(kept: Array, m: int) -> Array:  # int (b, h, t) -> int (b, h, m)
    """Which of the places kept, in rising order, each place is nearest to."""
    heads = joined(kept, 2)
    middles = (heads[:, 1:] + heads[:, :-1]) // 2
    found = [np.searchsorted(row, np.arange(m)) for row in middles]
    return np.array(found, np.int64).reshape(*kept.shape[:-1], m)


def _averaged(rows: Array, to: Array, keep: int) -> Array:  # (a, m, e), int (a, m) -> (a, keep, e)
    """The mean of the rows that go to each place."""
    heads = np.arange(len(rows))[:, None]
    sums, counts = np.zeros((len(rows), keep, rows.shape[2]), np.float64), np.zeros((len(rows), keep, 1))
    np.add.at(sums, (heads, to), rows)
    np.add.at(counts, (heads, to), 1)
    return (sums / counts).astype(rows.dtype)
