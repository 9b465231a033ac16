"""Codes of ternary weights, against look-ups in the table of what each code stands for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from einsum import Cascade, parse
from sim.numerics.draw import Draw, Pair, Row, Tensors
from workloads.kernels import qmoe
from workloads.kernels.core.dictionary import dictionary

DECODE = "W[r, c] = L[I[r, c], J[r, c]]"
MATVEC = "V[r, c] = S[r, W[r, c]]\nY[r] = V[r, c] * X[c]"


def _ternary(d: Draw) -> Any:
    """Weights with many zeros, or few."""
    shape = (d.b * d.h, d.m)
    return np.where(d.rng.random(shape) < d.rng.choice([0.0, 0.5, 0.9, 1.0]), 0, d.rng.integers(0, 3, shape))


def _looked_up(words: Any, starts: Any, columns: int) -> tuple[Cascade, Tensors]:
    """Decoding as a gather: for each weight its code and its place in the run, found by summing lengths."""
    packed = dictionary(qmoe.ZEROS).words
    table = (packed[:, None] >> (2 * np.arange(28)).astype(np.uint64)) & np.uint64(3)
    rows = [words[start:stop] for start, stop in pairwise(starts)]
    lengths = [(packed[row] >> np.uint64(56)).astype(np.int64) for row in rows]
    which = [np.repeat(row, n)[:columns] for row, n in zip(rows, lengths, strict=True)]
    place = [np.concatenate([np.arange(i) for i in (*n, 0)])[:columns] for n in lengths]
    tensors = {"L": table.astype(np.int64), "I": np.array(which, np.int64), "J": np.array(place, np.int64)}
    return parse(DECODE, r=len(rows), c=columns), tensors


def encode(d: Draw) -> Iterator[Pair]:
    weights = _ternary(d).astype(np.uint8)
    words, starts = d.run(qmoe.encode, weights)
    cascade, tensors = _looked_up(words, starts, d.m)
    yield weights.astype(d.dtype), cascade, tensors, "W"


def decode(d: Draw) -> Iterator[Pair]:
    words, starts = qmoe.encode(_ternary(d).astype(np.uint8))
    cascade, tensors = _looked_up(words, starts, d.m)
    yield d.run(qmoe.decode, words, starts, columns=d.m).astype(d.dtype), cascade, tensors, "W"


def matvec(d: Draw) -> Iterator[Pair]:
    weights = _ternary(d)
    words, starts = qmoe.encode(weights.astype(np.uint8))
    levels, x = d.values(len(weights), 2), d.values(d.m)
    t = {"S": np.concatenate([np.zeros((len(weights), 1), d.dtype), levels], axis=1), "W": weights, "X": x}
    cascade = parse(MATVEC, r=len(weights), c=d.m)
    yield d.run(qmoe.matvec, words, starts, levels, x), cascade, t, "Y"


ROWS = {"qmoe.encode": Row(encode), "qmoe.decode": Row(decode), "qmoe.matvec": Row(matvec)}
