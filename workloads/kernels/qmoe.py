"""Ternary weights in codes of 16 bits, less than a bit a weight where most are zero (QMoE).

A weight is 0, 1 or 2: zero, or the first or the second value of its row. Each code stands for a run of up to 28.
``zeros`` is the fraction of zeros that the dictionary of runs expects; weights may have any.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.kernels.core.checks import Array, arrays, bounds, contiguous, whole
from workloads.kernels.core.dictionary import WORDS, Dictionary, dictionary
from workloads.kernels.core.jit import jit, run

__all__ = ["decode", "encode", "matvec"]

ZEROS = 0.885  # the fraction that the dictionary of the published models expects
_TWO, _WEIGHT, _LENGTH = np.uint64(2), np.uint64(3), np.uint64(56)


def encode(
    weights: Array, *, zeros: float = ZEROS, threads: int = 1
) -> tuple[Array, Array]:  # uint8 (r, c) -> uint16 (words), int (r + 1)
    """The codes of every row, each the longest run that fits, and where each row begins; zeros fill a pair."""
    whole("encode", least=1, threads=threads)
    if not isinstance(weights, np.ndarray) or weights.ndim != 2 or weights.dtype != np.uint8:
        raise ValueError(f"encode: weights is {_described(weights)}, expected uint8 of two ranks (r, c)")
    contiguous("encode", "weights", weights, "(r, c)")
    if weights.size and weights.max() > 2:
        raise ValueError(f"encode: weights reaches {weights.max()}, expected 0, 1 or 2")
    book = _dictionary("encode", zeros)
    rows, columns = weights.shape
    padded = np.zeros((rows, columns + columns % 2), np.uint8)
    padded[:, :columns] = weights
    pairs: Array = 3 * padded[:, ::2] + padded[:, 1::2]
    words, counts = np.zeros(pairs.shape, np.uint16), np.zeros(rows, np.int64)
    run(_encode, rows, threads, pairs, book.longer, words, counts)
    return words[np.arange(pairs.shape[1]) < counts[:, None]], np.concatenate([[0], np.cumsum(counts)])


def decode(
    words: Array, starts: Array, *, columns: int, zeros: float = ZEROS, threads: int = 1
) -> Array:  # uint16 (words), int (r + 1) -> uint8 (r, c)
    """The weights behind the codes."""
    book, words, starts = _coded("decode", words, starts, columns, zeros, threads)
    weights = np.zeros((len(starts) - 1, columns), np.uint8)
    run(_decode, len(weights), threads, words, starts, book.words, weights)
    return weights


def matvec(
    words: Array, starts: Array, levels: Array, x: Array, *, zeros: float = ZEROS, threads: int = 1
) -> Array:  # uint16 (words), int (r + 1), (r, 2), (c) -> (r)
    """The matrix behind the codes times ``x``, read as codes; ``levels`` are the two values of each row."""
    size = arrays("matvec", levels=(levels, "r v"), x=(x, "c"))
    if size["v"] != 2:
        raise ValueError(f"matvec: levels has shape {levels.shape}, expected (r, 2)")
    book, words, starts = _coded("matvec", words, starts, size["c"], zeros, threads)
    if len(starts) != size["r"] + 1:
        raise ValueError(f"matvec: starts has shape {starts.shape}, expected ({size['r'] + 1},) as levels has rows")
    y = np.zeros(size["r"], x.dtype)
    given = (np.require(a, requirements="W") for a in (levels, x))
    run(_matvec, len(y), threads, words, starts, book.words, *given, y)
    return y


def _described(given: Any) -> str:
    if isinstance(given, np.ndarray):
        return f"{given.dtype} of shape {given.shape}"
    return f"a {type(given).__name__}"


def _dictionary(kernel: str, zeros: Any) -> Dictionary:
    if not isinstance(zeros, float | np.floating) or not 1 / 3 <= zeros < 1:
        raise ValueError(f"{kernel}: zeros is {zeros!r}, expected a fraction from 1/3, below 1")
    return dictionary(float(zeros))


def _coded(
    kernel: str, words: Array, starts: Array, columns: int, zeros: float, threads: int
) -> tuple[Dictionary, Array, Array]:
    """The dictionary, and codes that do fill rows of ``columns`` weights with it."""
    whole(kernel, least=1, threads=threads)
    whole(kernel, columns=columns)
    if not isinstance(words, np.ndarray) or words.ndim != 1 or words.dtype != np.uint16:
        raise ValueError(f"{kernel}: words is {_described(words)}, expected uint16 of one rank")
    contiguous(kernel, "words", words, "(words)")
    bounds(kernel, len(words), "words", starts=starts)
    book = _dictionary(kernel, zeros)
    lengths = np.concatenate([[0], np.cumsum(book.words[words] >> _LENGTH, dtype=np.int64)])
    held = np.diff(lengths[starts])
    wrong = np.flatnonzero(held != columns + columns % 2)
    if len(wrong):
        raise ValueError(f"{kernel}: row {wrong[0]} of words holds {held[wrong[0]]} weights, expected {columns}")
    return book, np.require(words, requirements="W"), np.require(starts, requirements="W")


@jit
def _encode(first: int, stop: int, pairs: Array, longer: Array, words: Array, counts: Array) -> None:
    for row in range(first, stop):
        code, count = WORDS, 0
        for pair in pairs[row]:
            if longer[code, pair] < 0:
                words[row, count] = code
                count, code = count + 1, WORDS
            code = longer[code, pair]
        if code != WORDS:
            words[row, count] = code
            count += 1
        counts[row] = count


@jit
def _decode(first: int, stop: int, words: Array, starts: Array, runs: Array, weights: Array) -> None:
    columns = weights.shape[1]
    for row in range(first, stop):
        column = 0
        for at in range(starts[row], starts[row + 1]):
            held = runs[words[at]]
            for _ in range(min(held >> _LENGTH, columns - column)):
                weights[row, column] = held & _WEIGHT
                held >>= _TWO
                column += 1


@jit
def _matvec(
    first: int, stop: int, words: Array, starts: Array, runs: Array, levels: Array, x: Array, y: Array
) -> None:  # (words), (r + 1), (2**16), (r, 2), (c) -> (r)
    sums, counts = np.zeros(4, np.float64), np.zeros(4, np.int64)  # of what meets a weight of each kind
    for row in range(first, stop):
        sums[:], counts[:] = 0, 0
        column = 0
        for at in range(starts[row], starts[row + 1]):
            held = runs[words[at]]
            for _ in range(min(held >> _LENGTH, len(x) - column)):
                sums[held & _WEIGHT] += x[column]
                counts[held & _WEIGHT] += 1
                held >>= _TWO
                column += 1
        total = 0 * sums[0]  # NaN if a zero meets NaN or infinity
        for kind in (1, 2):
            total += levels[row, kind - 1] * sums[kind] if counts[kind] else 0
        y[row] = total
