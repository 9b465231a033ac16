"""Products by table: equal to products, and as near as eight bits allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.numerics.draw import error
from workloads.kernels import lookup


def planes(weights: Any, bits: int) -> Any:
    """Whole numbers from 0 to ``2**bits - 1`` as planes of signs."""
    return np.stack([np.where(weights >> b & 1, 1.0, -1.0) for b in range(bits)])


@settings(max_examples=15, deadline=None)
@given(
    bits=st.integers(1, 4), n=st.integers(1, 3), m=st.integers(1, 9), groups=st.integers(1, 20), seed=st.integers(0, 99)
)
def test_planes_of_signs_multiply_as_the_weights_they_stand_for(
    bits: int, n: int, m: int, groups: int, seed: int
) -> None:
    """A number of so many bits is, less half their range, the sum of its signs times half the powers of two."""
    rng = np.random.default_rng(seed)
    weights, x = rng.integers(0, 2**bits, (m, 4 * groups)), rng.standard_normal((n, 4 * groups))
    scale = np.repeat(2.0 ** np.arange(bits)[:, None] / 2, m, axis=1)
    got = lookup.t_mac(x, lookup.pack(planes(weights, bits)), scale)
    np.testing.assert_allclose(got, x @ (weights - (2**bits - 1) / 2).T, atol=1e-12)


def test_codes_by_hand() -> None:
    signs = np.array([[[1.0, -1, 1, -1, -1, -1, -1, 1]]])
    assert lookup.pack(signs).tolist() == [[[0b0101, 0b1000]]]
    x = np.array([[1.0, 2, 3, 4, 5, 6, 7, 8]])
    assert lookup.t_mac(x, lookup.pack(signs), np.array([[2.0]])).tolist() == [[2.0 * (1 - 2 + 3 - 4 - 5 - 6 - 7 + 8)]]


def test_tables_of_eight_bits_stay_within_the_published_limit() -> None:
    rng = np.random.default_rng(0)
    x, codes = rng.standard_normal((8, 4096)), rng.integers(0, 16, (2, 256, 1024)).astype(np.uint8)
    scale = np.repeat([[1.0], [2.0]], 256, axis=1)
    exact, small = lookup.t_mac(x, codes, scale), lookup.t_mac_int8(x, codes, scale)
    squared = error(small, exact) ** 2
    assert 1e-6 < squared < 5e-4  # the authors' own test allows as much, and eight bits are not free
    assert np.isnan(lookup.t_mac_int8(np.full((1, 8), np.nan), codes[:, :, :2].copy(), scale)).all()


def test_a_clear_sign_takes_its_row_whole_and_an_unclear_one_half() -> None:
    tables = np.arange(8.0).reshape(1, 4, 2)
    rows = lookup.memory_former(np.array([[40.0, 40], [-40, 40], [40, -40], [0, 40]]), tables)
    np.testing.assert_allclose(rows, [tables[0, 3], tables[0, 2], tables[0, 1], tables[0, 3] / 2], rtol=1e-14)


def test_weights_of_all_rows_sum_to_one() -> None:
    """Each sign as likely as the sigmoid of twice its activation says: over all choices that is one."""
    x = np.random.default_rng(0).standard_normal(3)
    total = 0.0
    for choice in range(8):
        signs = np.array([1 if choice >> t & 1 else -1 for t in range(3)])
        total += float(np.prod(1 / (1 + np.exp(-2 * signs * x))))
    assert total == pytest.approx(1)
    chosen = sum(1 << t for t in range(3) if x[t] >= 0)
    one_hot = np.eye(8)[None]
    weight = float(np.prod(1 / (1 + np.exp(-2 * abs(x)))))
    np.testing.assert_allclose(lookup.memory_former(x[None], one_hot)[0], np.eye(8)[chosen] * weight)


@pytest.mark.parametrize("threads", [2, 5])
def test_results_do_not_depend_on_threads(threads: int) -> None:
    rng = np.random.default_rng(0)
    x, codes, scale = rng.standard_normal((9, 64)), rng.integers(0, 16, (2, 33, 16)).astype(np.uint8), np.ones((2, 33))
    tables = rng.standard_normal((8, 256, 5))
    for kernel, given_ in (
        (lookup.t_mac, (codes, scale)), (lookup.t_mac_int8, (codes, scale)), (lookup.memory_former, (tables,)),
    ):  # fmt: skip
        np.testing.assert_array_equal(kernel(x, *given_, threads=threads), kernel(x, *given_))


def test_nothing_in_nothing_out() -> None:
    assert lookup.t_mac(np.zeros((0, 8)), np.zeros((1, 3, 2), np.uint8), np.ones((1, 3))).shape == (0, 3)
    assert not lookup.t_mac_int8(np.zeros((2, 0)), np.zeros((1, 3, 0), np.uint8), np.ones((1, 3))).any()
    assert not lookup.memory_former(np.zeros((2, 0)), np.ones((0, 4, 3))).any()
