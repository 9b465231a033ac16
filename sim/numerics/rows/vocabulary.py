"""The loss over a vocabulary, against the cascades of :mod:`workloads.vocabulary`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einsum import interpret
from sim.numerics.draw import Draw, Pair, Row, Tensors
from workloads import vocabulary as cascades
from workloads.kernels import vocabulary


def _texts(d: Draw) -> tuple[Tensors, dict[str, int]]:
    """Embeddings, classifier and labels, with the sizes as the cascades name them."""
    tokens, words = d.p * d.r, d.m + 2
    t = {"E": d.query(tokens, d.e), "C": d.normal(words, d.e), "Y": d.rng.integers(0, words, tokens)}
    return t, {"tokens": tokens, "width": d.e, "words": words}


def cross_entropy(d: Draw) -> Iterator[Pair]:
    t, sizes = _texts(d)
    loss, lse = d.run(vocabulary.cross_entropy, *t.values())
    yield loss, cascades.cross_entropy(**sizes), t, "LOSS"
    yield lse, cascades.cross_entropy(**sizes), t, "LSE"


def vocabulary_parallel(d: Draw) -> Iterator[Pair]:
    t, sizes = _texts(d)
    for shards in (s for s in (1, 2, 3, sizes["words"]) if sizes["words"] % s == 0):
        loss, lse = d.run(vocabulary.vocabulary_parallel, *t.values(), shards=shards)
        cascade = cascades.vocabulary_parallel(**sizes, shards=shards)
        yield loss, cascade, t, "LOSS"
        yield lse, cascade, t, "LSE"


def cross_entropy_gradients(d: Draw) -> Iterator[Pair]:
    t, sizes = _texts(d)
    lse = interpret(cascades.cross_entropy(**sizes), t)["LSE"].astype(d.dtype)
    t |= {"LSE": lse, "UP": d.values(sizes["tokens"])}
    de, dc, _ = d.run(vocabulary.cross_entropy_gradients, *t.values(), least=0.0)
    t |= {"WORD": np.arange(sizes["words"])}
    yield de, cascades.cross_entropy_gradients(**sizes), t, "DE"
    yield dc, cascades.cross_entropy_gradients(**sizes), t, "DC"


def sort_vocabulary(d: Draw) -> Iterator[Pair]:
    t, sizes = _texts(d)
    del t["Y"]
    yield d.run(vocabulary.sort_vocabulary, *t.values()), cascades.sort_vocabulary(**sizes), t, "I"


# Where logits are huge, their logarithm of a sum is known to fewer digits than its exponential needs; where all words
# are equal, gradients cancel to nothing but rounding.
MODEST = ("normal", "exact", "tiny", "zero")

ROWS = {
    "vocabulary.cross_entropy": Row(cross_entropy),
    "vocabulary.vocabulary_parallel": Row(vocabulary_parallel),
    "vocabulary.cross_entropy_gradients": Row(cross_entropy_gradients, kinds=MODEST),
    "vocabulary.sort_vocabulary": Row(sort_vocabulary),
}
