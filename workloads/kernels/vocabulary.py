"""The loss over a large vocabulary, without ever holding all logits (Cut Cross-Entropy).

Tokens lie in the lanes of vectors; the words pass by in blocks, of which only a maximum and a sum remain.
"""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, arrays, indices, joined, whole
from workloads.kernels.core.exponential import exp
from workloads.kernels.core.jit import jit, run, spread
from workloads.kernels.core.online import KEYS, LANES, lanes_for, load, weigh
from workloads.kernels.core.tiles import multiply, whole_vectors

__all__ = ["cross_entropy", "cross_entropy_gradients", "sort_vocabulary", "vocabulary_parallel"]

SMALLEST = 2.0**-12  # a gradient of a logit that bf16 would round away beside one of 1


def cross_entropy(
    e: Array, c: Array, labels: Array, *, threads: int = 1
) -> tuple[Array, Array]:  # (n, d), (v, d), int (n,) -> (n,), (n,)
    """The loss of each token, and the logarithm of its softmax's divisor, which the gradients need."""
    return _losses("cross_entropy", e, c, labels, 1, threads)


def vocabulary_parallel(
    e: Array, c: Array, labels: Array, *, shards: int, threads: int = 1
) -> tuple[Array, Array]:  # (n, d), (v, d), int (n,) -> (n,), (n,)
    """The same with the words divided among ``shards``, each with its own maximum and sum, merged at the end."""
    whole("vocabulary_parallel", least=1, most=2**20, shards=shards)
    return _losses("vocabulary_parallel", e, c, labels, shards, threads)


def _losses(kernel: str, e: Array, c: Array, labels: Array, shards: int, threads: int) -> tuple[Array, Array]:
    size = arrays(kernel, e=(e, "n d"), c=(c, "v d"))
    whole(kernel, least=1, threads=threads)
    indices(kernel, below=size["v"], labels=(labels, (size["n"],)))
    peak = np.full((shards, size["n"]), -np.inf, e.dtype)
    total = np.zeros_like(peak)
    tiles = -(-size["n"] // LANES)
    run(_sums, shards * tiles, threads, joined(e, 1), joined(c, 1), peak, total)
    with np.errstate(invalid="ignore", divide="ignore"):
        top = peak.max(axis=0)
        lse = top + np.log((total * np.exp(peak - np.where(np.isfinite(top), top, 0))).sum(axis=0))
    return lse - np.einsum("nd,nd->n", e, c[labels]), lse


@jit
def _sums(first: int, stop: int, e: Array, c: Array, peak: Array, total: Array) -> None:  # (n, d), (v, d) -> (s, n)
    """Maximum and sum of the exponentials of one shard's logits."""
    shards, tokens = peak.shape
    lanes, tiles = lanes_for(tokens, e), (tokens + LANES - 1) // LANES
    query, scores = np.empty((e.shape[1], lanes), e.dtype), np.empty((KEYS, lanes), e.dtype)
    top, part, nothing = np.empty(lanes, e.dtype), np.empty(lanes, e.dtype), np.empty((0, lanes), e.dtype)
    for item in range(first, stop):
        shard, start = item // tiles, item % tiles * LANES
        count = min(LANES, tokens - start)
        load(e, start, count, query)
        top[:] = -np.inf
        part[:] = 0
        last = c.shape[0] * (shard + 1) // shards
        for word in range(c.shape[0] * shard // shards, last, KEYS):
            words = min(KEYS, last - word)
            block = scores[:words]
            block[:] = 0
            multiply(c[word : word + words], query, block)
            weigh(block, top, part, nothing)
        for i in range(count):
            peak[shard, start + i], total[shard, start + i] = top[i], part[i]


def cross_entropy_gradients(
    e: Array, c: Array, labels: Array, lse: Array, upstream: Array, *, least: float = SMALLEST, threads: int = 1
) -> tuple[Array, Array, float]:  # (n, d), (v, d), int (n,), (n,), (n,) -> (n, d), (v, d)
    """Gradients of losses weighed by ``upstream``, logits computed anew, and the share of tiles that took part.

    A tile of words and tokens where no logit's gradient reaches ``least`` is left out; 0 leaves out none. Sorted words
    (:func:`sort_vocabulary`) leave out more.
    """
    size = arrays("cross_entropy_gradients", e=(e, "n d"), c=(c, "v d"), lse=(lse, "n"), upstream=(upstream, "n"))
    whole("cross_entropy_gradients", least=1, threads=threads)
    indices("cross_entropy_gradients", below=size["v"], labels=(labels, (size["n"],)))
    if not isinstance(least, int | float | np.floating) or not 0 <= least < 1:
        raise ValueError(f"cross_entropy_gradients: least is {least!r}, expected a number from 0 to below 1")
    blocks = -(-size["v"] // KEYS)
    shares = max(1, min(threads, blocks))
    rows, across = _laid_out(e)
    de, dc = np.zeros((shares, *across.shape), e.dtype), np.zeros((size["v"], rows.shape[2]), e.dtype)
    kept = np.zeros(shares, np.int64)
    given = (joined(a, 1) for a in (c, labels, lse, upstream))
    run(_descend, shares, threads, rows, across, *given, e.dtype.type(least), de, dc, kept)
    back = de.sum(axis=0).swapaxes(1, 2).reshape(rows.shape[0] * rows.shape[1], size["d"])[: size["n"]]
    share = float(kept.sum() / max(1, blocks * len(rows)))
    return np.ascontiguousarray(back), np.ascontiguousarray(dc[:, : size["d"]]), share


def _laid_out(e: Array) -> tuple[Array, Array]:  # (n, d) -> (tiles, i, d in whole vectors), (tiles, d, i)
    """Tiles of tokens as rows and across lanes; what is left over holds zeros."""
    n, d = e.shape
    lanes = lanes_for(n, e)
    rows = np.zeros((-(-n // LANES), lanes, whole_vectors(d, e.itemsize)), e.dtype)
    rows.reshape(len(rows) * lanes, rows.shape[2])[:n, :d] = e
    return rows, np.ascontiguousarray(rows[:, :, :d].swapaxes(1, 2))


@jit
def _descend(
    first: int,
    stop: int,
    rows: Array,
    across: Array,
    c: Array,
    labels: Array,
    lse: Array,
    upstream: Array,
    least: float,
    de: Array,
    dc: Array,
    kept: Array,
) -> None:  # (tiles, i, >=d), (tiles, d, i), (v, d), (n), (n), (n) -> (s, tiles, d, i), (v, >=d), (s)
    """Blocks of words, each with all tokens; every share of the blocks has a gradient of the tokens to itself."""
    scores = np.empty((KEYS, across.shape[2]), c.dtype)
    blocks = (c.shape[0] + KEYS - 1) // KEYS
    for share in range(first, stop):
        for at in range(blocks * share // de.shape[0], blocks * (share + 1) // de.shape[0]):
            word, end = at * KEYS, min((at + 1) * KEYS, c.shape[0])
            words, block = c[word:end], scores[: end - word]
            for tile in range(len(rows)):
                some = slice(tile * LANES, min((tile + 1) * LANES, len(labels)))
                block[:] = 0
                multiply(words, across[tile], block)
                if _slopes(block, word, labels[some], lse[some], upstream[some], least):
                    kept[share] += 1
                    multiply(words.T, block, de[share, tile])
                    multiply(block, rows[tile], dc[word:end])


@jit
def _slopes(
    block: Array, word: int, labels: Array, lse: Array, upstream: Array, least: float
) -> bool:  # (v, i), first word, at most (i) three times
    """Logits into their gradients; whether any reaches ``least`` (a NaN does)."""
    count, one, large = len(labels), block.dtype.type(1), False
    for v in range(block.shape[0]):
        for i in range(count):
            block[v, i] = exp(block[v, i] - lse[i])
    for i in range(count):
        if word <= labels[i] < word + block.shape[0]:
            block[labels[i] - word, i] -= one
    for v in range(block.shape[0]):
        for i in range(count):
            large |= not abs(block[v, i]) < least
            block[v, i] *= upstream[i]
        for i in range(count, block.shape[1]):
            block[v, i] = 0
    return large


def sort_vocabulary(e: Array, c: Array, *, threads: int = 1) -> Array:  # (n, d), (v, d) -> int (v,)
    """Words by their mean logit, lowest first: those that matter come to lie together."""
    arrays("sort_vocabulary", e=(e, "n d"), c=(c, "v d"))
    whole("sort_vocabulary", least=1, threads=threads)
    mean = e.sum(axis=0, dtype=np.float64)
    [logits] = spread(lambda words: (np.einsum("vd,d->v", words, mean),), threads, c)
    return np.argsort(logits, kind="stable")
