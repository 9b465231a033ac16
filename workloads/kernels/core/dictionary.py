"""A dictionary of the likeliest runs of ternary weights, for codes of 16 bits (QMoE)."""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import NamedTuple

import numpy as np

from workloads.kernels.core.checks import Array

WORDS = 2**16
PAIRS = 14  # the longest run, in pairs: 28 weights of two bits leave a byte of 64 bits for its length
NINE = 9  # different pairs of weights; the first weight of a pair is the higher digit in base three


class Dictionary(NamedTuple):
    """``words[i]``: the run of code ``i``, two bits a weight from the lowest on, its length in the highest byte.

    ``longer[i, pair]`` is the code of run ``i`` with one more pair, or -1; the last row is for the empty run.
    """

    words: Array
    longer: Array


@lru_cache(maxsize=8)
def dictionary(zeros: float) -> Dictionary:
    """The likeliest runs if a weight is zero with this probability, and else one of two values with equal chance.

    A run is less likely than what it begins with, so with it all its beginnings are there: runs can be grown pair by
    pair. Runs as likely as each other are ordered by length, then as numbers.
    """
    ranks = _ranks(zeros)
    runs, kept, parents = np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, -1)
    every = []  # of every length: rank of its likelihood, pairs, the run in base nine, its beginning
    for pairs in range(1, PAIRS + 1):
        digits = np.arange(NINE)
        longer = (runs[:, None] * NINE + digits).ravel()
        nonzero = (kept[:, None] + (digits % 3 > 0) + (digits // 3 > 0)).ravel()
        likely = ranks[pairs, nonzero] >= 0
        runs, kept = longer[likely], nonzero[likely]
        parents = np.repeat(np.arange(len(parents)), NINE)[likely]
        every.append(np.stack([ranks[pairs, kept], np.full(len(runs), pairs), runs, parents]))
    return _numbered(every)


def _ranks(zeros: float) -> Array:  # -> (pairs, weights that are not zero)
    """The place of each likelihood among those of the dictionary's runs, or -1 for runs too unlikely."""
    other = (1 - zeros) / 2
    kinds = [(i, n) for i in range(1, PAIRS + 1) for n in range(2 * i + 1)]
    kinds.sort(key=lambda kind: -((2 * kind[0] - kind[1]) * np.log(zeros) + kind[1] * np.log(other)))
    ranks, held = np.full((PAIRS + 1, 2 * PAIRS + 1), -1), 0
    for rank, (i, n) in enumerate(kinds):
        if held < WORDS:
            ranks[i, n] = rank
            held += comb(2 * i, n) * 2**n
    return ranks


def _numbered(every: list[Array]) -> Dictionary:
    """The likeliest runs of all lengths as codes."""
    ranks, pairs, runs, parents = np.concatenate(every, axis=1)
    starts = np.cumsum([0, *(part.shape[1] for part in every)])
    order = np.lexsort((runs, pairs, ranks))[:WORDS]
    code = np.full(len(runs), -1)
    code[order] = np.arange(len(order))
    words, longer = np.zeros(WORDS, np.uint64), np.full((WORDS + 1, NINE), -1, np.int32)
    before = np.where(pairs == 1, WORDS, code[np.maximum(starts[np.maximum(pairs - 2, 0)] + parents, 0) * (pairs > 1)])
    longer[before[order], runs[order] % NINE] = code[order]
    for at in range(PAIRS):
        digit = runs[order] // NINE ** np.maximum(pairs[order] - 1 - at, 0) % NINE
        two = (digit // 3 + (digit % 3 << 2)).astype(np.uint64) << np.uint64(4 * at)
        words[: len(order)] |= np.where(at < pairs[order], two, 0).astype(np.uint64)
    words[: len(order)] |= (2 * pairs[order]).astype(np.uint64) << np.uint64(56)
    return Dictionary(words, longer)
