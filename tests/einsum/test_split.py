"""Rank splitting: the same meaning in tiles, and the splits that would have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import WeirError, interpret, parse, split
from einsum.counts import total_operations

MATMUL = parse("Z[m, n] = A[m, k] * B[k, n]", m=6, n=4, k=12)


@settings(max_examples=30)
@given(st.sampled_from([1, 2, 3, 4, 6, 12]), st.sampled_from([1, 2, 3, 6]), st.integers(0, 99))
def test_matmul_in_tiles(inner: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(6, 12)), rng.normal(size=(12, 4))
    tiled = split(MATMUL, k=("k1", "k0", inner), m=("m1", "m0", rows))
    np.testing.assert_allclose(interpret(tiled, {"A": a, "B": b})["Z"], a @ b, atol=1e-12)
    assert total_operations(tiled) == total_operations(MATMUL)


def test_splitting_twice_makes_three_levels() -> None:
    twice = split(split(MATMUL, k=("k1", "k0", 6)), k0=("j1", "j0", 2))
    assert str(twice.einsums[0].reads[0]) == "A[m, k1*K0 + j1*J0 + j0]"
    assert twice.bind()["k"] == twice.shape("A")[1] == 12
    got = interpret(twice, {"A": np.ones((6, 12)), "B": np.ones((12, 4))})
    assert (got["Z"] == 12).all()


def test_convolution_in_tiles() -> None:
    line, kernel = np.arange(10.0), np.array([1.0, -1.0, 2.0])
    whole = parse("O[x] = I[x + r] * F[r]", x=8, r=3)
    tiled = split(whole, x=("x1", "x0", 4))
    for cascade in (whole, tiled):
        got = interpret(cascade, {"I": line, "F": kernel})["O"]
        np.testing.assert_allclose(got, np.correlate(line, kernel))


def test_what_is_printed_reads_back() -> None:
    tiled = split(MATMUL, k=("k1", "k0", 3))
    assert str(parse("A[m, k]: bf16\nB[k, n]: bf16\n" + str(tiled), m=6, n=4, k1=4, k0=3, k="K1*K0")) == str(tiled)


def test_tiles_resize() -> None:
    assert split(MATMUL, k=("k1", "k0", 3)).with_sizes(k1=5).shape("A") == (6, 15)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({"k": ("k1", "k0", 5)}, "k=12 does not divide into tiles of 5"),
        ({"k": ("k1", "k0", 0)}, "does not divide into tiles of 0"),
        ({"k": ("k1", "k0", -3)}, "size of rank 'k0' must be a whole number"),
        ({"k": ("k1", "k0", 2.0)}, "size of rank 'k0' must be a whole number"),
        ({"k": ("k1", "k0")}, "takes (outer, inner, size of inner)"),
        ({"k": 4}, "takes (outer, inner, size of inner)"),
        ({"k": ("m", "k0", 3)}, "cannot be split into 'm', which is a rank already"),
        ({"k": ("k", "k0", 3)}, "cannot be split into 'k', which is a rank already"),
        ({"k": ("k1", "k1", 3)}, "must have different names, not k1, k1"),
        ({"k": ("x", "k0", 3), "m": ("x", "m0", 2)}, "must have different names"),
        ({"k": ("K1", "k0", 3)}, "'K1' cannot name a rank"),
        ({"q": ("q1", "q0", 3)}, "no rank 'q' to split; known: k, m, n"),
    ],
)
def test_refused(ranks: dict[str, Any], message: str) -> None:
    with pytest.raises(WeirError) as caught:
        split(MATMUL, **ranks)
    assert message in str(caught.value)


def test_ranks_whose_order_matters_stay_whole() -> None:
    with pytest.raises(WeirError, match="'m' cannot be split: R is a recurrence along it"):
        split(parse("R[0] = 0\nR[m + 1] = R[m] + A[m]", m=4), m=("m1", "m0", 2))
    with pytest.raises(WeirError, match="'m' cannot be split: Z is sort along it"):
        split(parse("Z[m] = sort[m](A[m])", m=4), m=("m1", "m0", 2))
