"""Codes of ternary weights: what they hold, how few bits they take, what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.kernels import qmoe
from workloads.kernels.core.dictionary import PAIRS, WORDS, Dictionary, dictionary

BOOK = dictionary(0.885)
LENGTHS = (BOOK.words >> np.uint64(56)).astype(int)


def ternary(rng: Any, rows: int, columns: int, zeros: float) -> Any:
    other = (1 - zeros) / 2
    return rng.choice(3, p=[zeros, other, other], size=(rows, columns)).astype(np.uint8)


def weights_of(code: int) -> list[int]:
    """What a code stands for."""
    return [int(BOOK.words[code]) >> 2 * i & 3 for i in range(LENGTHS[code])]


def probability(book: Dictionary, zeros: float) -> Any:
    """Of the run behind each code."""
    lengths = (book.words >> np.uint64(56)).astype(int)
    places = (book.words[:, None] >> (2 * np.arange(2 * PAIRS)).astype(np.uint64)) & np.uint64(3)
    nonzero = (places > 0).sum(axis=1)
    return zeros ** (lengths - nonzero) * ((1 - zeros) / 2) ** nonzero


@pytest.mark.parametrize("zeros", [1 / 3, 0.6, 0.885, 0.99])
def test_no_run_left_out_is_likelier_than_one_held(zeros: float) -> None:
    book = dictionary(zeros)
    chance = probability(book, zeros)
    assert len(np.unique(book.words)) == WORDS
    digits = np.arange(9)
    pair = np.prod([np.where(d, (1 - zeros) / 2, zeros) for d in (digits // 3, digits % 3)], axis=0)
    short = (book.words >> np.uint64(56)) < 2 * PAIRS
    absent = (chance[short, None] * pair)[book.longer[:-1][short] < 0]
    assert absent.max() <= chance.min() * (1 + 1e-12)


def test_longer_runs_begin_like_the_shorter() -> None:
    for code, pair in ((0, 0), (5, 3), (200, 8)):
        more = int(BOOK.longer[code, pair])
        assert weights_of(more) == [*weights_of(code), *divmod(pair, 3)]
    assert sorted(weights_of(int(code)) for code in BOOK.longer[WORDS]) == [[a, b] for a in range(3) for b in range(3)]
    assert (np.sort(BOOK.longer[BOOK.longer >= 0]) == np.arange(WORDS)).all()  # every run follows exactly one other


@pytest.mark.parametrize(("columns", "published"), [(2080, 0.769), (6144, 0.745)])
def test_bits_a_weight(columns: int, published: float) -> None:
    """The two kinds of matrices of switch-c-2048, 88.5 % zeros; 64 more bits a row say where it begins."""
    weights = ternary(np.random.default_rng(0), 300, columns, 0.885)
    words, starts = qmoe.encode(weights)
    bits = (16 * len(words) + 64 * len(weights)) / weights.size
    assert bits == pytest.approx(published, rel=0.005)
    assert bits > 0.630  # the entropy
    np.testing.assert_array_equal(qmoe.decode(words, starts, columns=columns), weights)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(0, 4), columns=st.sampled_from([0, 1, 2, 3, 27, 28, 29, 211]),
    zeros=st.sampled_from([0.0, 0.5, 0.9, 1.0]), seed=st.integers(0, 999), threads=st.integers(1, 3),
)  # fmt: skip
def test_there_and_back(rows: int, columns: int, zeros: float, seed: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    weights = ternary(rng, rows, columns, zeros)
    words, starts = qmoe.encode(weights, threads=threads)
    np.testing.assert_array_equal(qmoe.decode(words, starts, columns=columns, threads=threads), weights)
    levels, x = rng.standard_normal((rows, 2)), rng.standard_normal(columns)
    whole = np.take_along_axis(np.concatenate([np.zeros((rows, 1)), levels], axis=1), weights.astype(int), axis=1)
    np.testing.assert_allclose(qmoe.matvec(words, starts, levels, x, threads=threads), whole @ x, atol=1e-12)


def test_every_code_is_the_longest_that_fits() -> None:
    weights = ternary(np.random.default_rng(1), 5, 300, 0.8)
    words, starts = qmoe.encode(weights)
    for row, (start, stop) in enumerate(pairwise(starts)):
        ends = np.cumsum(LENGTHS[words[start:stop]])
        for code, end in zip(words[start : stop - 1], ends[:-1], strict=True):
            assert BOOK.longer[code, 3 * weights[row, end] + weights[row, end + 1]] < 0


def test_all_zeros_take_a_code_for_28() -> None:
    words, starts = qmoe.encode(np.zeros((2, 280), np.uint8))
    assert starts.tolist() == [0, 10, 20]
    assert len(set(words.tolist())) == 1


def test_another_dictionary_for_fewer_zeros() -> None:
    weights = ternary(np.random.default_rng(2), 50, 3000, 0.6)
    fit, unfit = (len(qmoe.encode(weights, zeros=zeros)[0]) for zeros in (0.6, 0.885))
    assert fit < unfit
    words, starts = qmoe.encode(weights, zeros=0.6)
    np.testing.assert_array_equal(qmoe.decode(words, starts, columns=3000, zeros=0.6), weights)


W = np.array([[0, 1, 2], [0, 0, 0]], np.uint8)
CODES, STARTS = qmoe.encode(W)
LEVELS, X = np.ones((2, 2)), np.ones(3)
BAD: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: qmoe.encode(W.astype(int)),
        "encode: weights is int64 of shape (2, 3), expected uint8 of two ranks (r, c)",
    ),
    (lambda: qmoe.encode(W[0]), "encode: weights is uint8 of shape (3,), expected uint8 of two ranks (r, c)"),
    (lambda: qmoe.encode([[0]]), "encode: weights is a list, expected uint8 of two ranks (r, c)"),
    (lambda: qmoe.encode(W + np.uint8(1)), "encode: weights reaches 3, expected 0, 1 or 2"),
    (lambda: qmoe.encode(W, zeros=1.0), "encode: zeros is 1.0, expected a fraction from 1/3, below 1"),
    (lambda: qmoe.encode(W, zeros=float("nan")), "encode: zeros is nan, expected a fraction"),
    (lambda: qmoe.encode(W, threads=0), "encode: threads is 0, expected a whole number from 1"),
    (
        lambda: qmoe.decode(CODES.astype(np.int64), STARTS, columns=3),
        "decode: words is int64 of shape (2,), expected uint16 of one rank",
    ),
    (
        lambda: qmoe.decode(CODES, STARTS[:2], columns=3),
        "decode: starts is [0, 1], expected to rise from 0 to 2, the length",
    ),
    (lambda: qmoe.decode(CODES, STARTS + 1, columns=3), "decode: starts reaches from 1 to 3, expected 0 to 2"),
    (lambda: qmoe.decode(CODES, list(STARTS), columns=3), "decode: starts is a list, expected an array"),
    (lambda: qmoe.decode(CODES, STARTS, columns=5), "decode: row 0 of words holds 4 weights, expected 5"),
    (lambda: qmoe.decode(CODES, STARTS, columns=-1), "decode: columns is -1, expected a whole number from 0"),
    (lambda: qmoe.matvec(CODES, STARTS, np.ones((2, 3)), X), "matvec: levels has shape (2, 3), expected (r, 2)"),
    (
        lambda: qmoe.matvec(CODES, STARTS, np.ones((5, 2)), X),
        "matvec: starts has shape (3,), expected (6,) as levels has rows",
    ),
    (
        lambda: qmoe.matvec(CODES, STARTS, LEVELS, X.astype(np.float32)),
        "matvec: x holds float32, expected float64 as in levels",
    ),
    (lambda: qmoe.matvec(CODES, STARTS, LEVELS, np.ones(5)), "matvec: row 0 of words holds 4 weights, expected 5"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_refused_in_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        call()
    assert "\n" not in str(refused.value)
