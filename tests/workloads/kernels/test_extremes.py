"""What happens at the edges: nothing to see, one key, infinities, NaN, huge and denormal numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum import interpret
from workloads import attention
from workloads.kernels import cache, exact, linear, memory, split

EXACT = {
    "three_pass": exact.three_pass,
    "two_pass": exact.two_pass,
    "one_pass": exact.one_pass,
    "decode_split": lambda q, k, v: split.decode_split(q, k, v, splits=3),
    "stream_k": lambda q, k, v: split.stream_k(q, k, v, workers=3, tile=7),
}
BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def draw(dtype: Any, p: int = 6, m: int = 140, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((1, 2, n, 5)).astype(dtype) for n in (p, m, m))  # type: ignore[return-value]


def meaning(q: Any, k: Any, v: Any, causal: bool = False) -> Any:
    sizes = {"heads": q.shape[1], "query": q.shape[2], "context": k.shape[2], "head_dim": q.shape[3]}
    tensors = {"Q": q, "K": k, "V": v}
    return interpret(attention.three_pass(**sizes, causal=causal), tensors)["O"]


def agree(got: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """NaN and infinities in the same places, and the rest close."""
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


@BOTH
@pytest.mark.parametrize("queries", [1, 6])
@pytest.mark.parametrize("kernel", EXACT)
def test_infinities_and_nan_are_where_the_cascade_has_them(kernel: str, queries: int, dtype: Any) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        for where in ("q", "k", "v"):
            q, k, v = draw(dtype, queries)
            q[0, 0, 0], k[0, 0, :, 0] = abs(q[0, 0, 0]), 1
            {"q": q, "k": k, "v": v}[where][0, 0, -1, 0] = bad
            agree(EXACT[kernel](q, k, v), meaning(q, k, v))


@BOTH
@pytest.mark.parametrize("queries", [1, 6])
@pytest.mark.parametrize("kernel", EXACT)
def test_a_row_masked_by_minus_infinity_is_nan_and_a_masked_block_weighs_nothing(
    kernel: str, queries: int, dtype: Any
) -> None:
    q, k, v = draw(dtype, queries)
    q[..., 0], k[..., 0] = 1, 0
    k[0, 0, :, 0] = -np.inf  # all keys of the first head
    k[0, 1, :130, 0] = -np.inf  # more than a block of keys of the second
    got = EXACT[kernel](q, k, v)
    assert np.isnan(got[0, 0]).all()
    agree(got[0, 1], meaning(q[:, 1:], k[:, 1:, 130:], v[:, 1:, 130:])[0, 0])


@pytest.mark.parametrize("kernel", [exact.three_pass, exact.two_pass, exact.one_pass])
def test_what_is_not_seen_does_not_spoil_a_row(kernel: Any) -> None:
    q, k, v = draw(np.float32, 140)
    k[0, 0, 70], v[0, 1, 70] = np.nan, np.inf
    got = kernel(q, k, v, causal=True)
    agree(got, meaning(q, k, v, causal=True))
    assert np.isfinite(got[0, :, :70]).all()
    assert np.isnan(got[0, 0, 70:]).all()


@BOTH
@pytest.mark.parametrize("kernel", EXACT)
def test_huge_logits_do_not_overflow(kernel: str, dtype: Any) -> None:
    q, k, v = draw(dtype)
    q *= dtype(1e4)
    k *= dtype(1e4)
    agree(EXACT[kernel](q, k, v), meaning(q, k, v))


@BOTH
@pytest.mark.parametrize("kernel", EXACT)
def test_denormals(kernel: str, dtype: Any) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    q, k, v = draw(dtype)
    agree(EXACT[kernel](q, k * tiny, v), meaning(q, k * tiny, v))
    got = EXACT[kernel](q * 0, k, np.full_like(v, 1000 * tiny))
    np.testing.assert_allclose(got, 1000 * tiny, rtol=0.1)


@BOTH
@pytest.mark.parametrize("kernel", EXACT)
def test_one_key_returns_its_value(kernel: str, dtype: Any) -> None:
    q, k, v = draw(dtype, 6, 1)
    np.testing.assert_array_equal(EXACT[kernel](q, k, v), np.broadcast_to(v, (1, 2, 6, 5)))


@pytest.mark.parametrize("kernel", EXACT)
def test_no_keys_give_zeros_and_empty_ranks_give_empty_results(kernel: str) -> None:
    q, k, v = draw(np.float64, 6, 0)
    np.testing.assert_array_equal(EXACT[kernel](q, k, v), np.zeros((1, 2, 6, 5)))
    q, k, v = draw(np.float64)
    assert EXACT[kernel](q[:, :, :0].copy(), k, v).shape == (1, 2, 0, 5)
    assert EXACT[kernel](q[:0], k[:0], v[:0]).shape == (0, 2, 6, 5)
    assert EXACT[kernel](q, k, v[..., :0].copy()).shape == (1, 2, 6, 0)
    means = np.broadcast_to(v.mean(2, keepdims=True), (1, 2, 6, 5))
    np.testing.assert_allclose(EXACT[kernel](q[..., :0].copy(), k[..., :0].copy(), v), means)


def test_empty_ranks_elsewhere() -> None:
    empty = np.zeros((1, 2, 0, 3))
    assert linear.based(empty, empty, empty).shape == empty.shape
    assert linear.lightning(empty, empty, empty, np.ones(2)).shape == empty.shape
    weights, factors = np.zeros((2, 3, 3)), np.zeros((1, 2, 0))
    assert memory.neural_memory(empty, empty, empty, weights, weights, factors, factors, factors).shape == empty.shape
    x, z, o = split.partial(np.ones((1, 1, 2, 3)), np.ones((1, 1, 0, 3)), np.ones((1, 1, 0, 3)))
    assert (x == -np.inf).all()
    assert not z.any()
    assert not o.any()


def test_sequences_without_keys_give_zeros_wherever_they_lie() -> None:
    q, k, v = draw(np.float32, 1, 8)
    rows = np.ascontiguousarray(np.repeat(q, 3, axis=0))
    room = [np.ascontiguousarray(np.repeat(a.swapaxes(1, 2), 3, axis=0)) for a in (k, v)]
    got = cache.virtual(rows, *room, np.array([0, 8, 0]))
    assert not got[[0, 2]].any()
    agree(got[1], meaning(q, k, v)[0])
    packed = cache.ragged(rows[:, :, 0], room[0][1], room[1][1], np.arange(4), np.array([0, 0, 8, 8]))
    np.testing.assert_array_equal(packed, got[:, :, 0])


def test_a_later_nan_leaves_earlier_tokens_of_linear_attention_alone() -> None:
    q, k, v = (a * np.float64(0.3) for a in draw(np.float64, 100, 100))
    v[0, 0, 70] = np.nan
    for got in (linear.based(q, k, v), linear.lightning(q, k, v, np.array([0.9, 0.5]))):
        assert np.isfinite(got[0, :, :70]).all()
        assert np.isnan(got[0, 0, 70:]).all()
        assert np.isfinite(got[0, 1]).all()
