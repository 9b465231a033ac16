"""Facts that hold exactly: splits and merges in any order, blocks of any size, gradients, exponentials."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.kernels import exact, linear, memory, split
from workloads.kernels.core.exponential import _double, _single
from workloads.kernels.core.tiles import multiply


def draw(*shapes: tuple[int, ...], seed: int = 0, dtype: Any = np.float64) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def error(got: Any, expected: Any) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 97), max_size=5), order=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_any_cuts_merged_in_any_order(cuts: list[int], order: Any, seed: int) -> None:
    q, k, v = draw((1, 2, 3, 4), (1, 2, 97, 4), (1, 2, 97, 5), seed=seed)
    edges = [0, *sorted(cuts), 97]
    pieces = [split.partial(q, k[:, :, a:b].copy(), v[:, :, a:b].copy()) for a, b in pairwise(edges)]
    order.shuffle(pieces)
    _, z, o = reduce(split.merge, pieces)
    assert error(o / z[..., None], exact.one_pass(q, k, v)) <= 1e-13


@settings(max_examples=15, deadline=None)
@given(splits=st.integers(1, 150), workers=st.integers(1, 60), tile=st.integers(1, 140), devices=st.integers(1, 5))
def test_partitions_of_work_do_not_change_the_result(splits: int, workers: int, tile: int, devices: int) -> None:
    q, k, v = draw((2, 3, 2, 4), (2, 3, 97, 4), (2, 3, 97, 4))
    whole = exact.one_pass(q, k, v)
    assert error(split.decode_split(q, k, v, splits=splits), whole) <= 1e-13
    assert error(split.stream_k(q, k, v, workers=workers, tile=tile), whole) <= 1e-13
    old, new = ([np.ascontiguousarray(a[:, :, s]) for a in (k, v)] for s in (slice(95), slice(95, None)))
    assert error(split.offloaded(q, *old, *new, devices=devices), exact.one_pass(q, k, v, causal=True)) <= 1e-13


def test_a_window_as_wide_as_the_context_is_causal_attention() -> None:
    q, k, v = draw((1, 2, 150, 4), (1, 2, 200, 4), (1, 2, 200, 4))
    wide = exact.sliding_window(q, k, v, window=200)
    np.testing.assert_array_equal(wide, exact.one_pass(q, k, v, causal=True))
    narrow = exact.sliding_window(q, k, v, window=1)
    assert error(narrow, v[:, :, 50:]) <= 1e-15


def test_lightning_without_decay_sums_and_with_full_decay_forgets() -> None:
    q, k, v = draw((1, 2, 130, 4), (1, 2, 130, 4), (1, 2, 130, 4))
    got = linear.lightning(q, k, v, np.array([1.0, 0.0]))
    state = np.cumsum(k[0, 0, :, :, None] * v[0, 0, :, None, :], axis=0)
    assert error(got[0, 0], np.einsum("te,tef->tf", q[0, 0], state)) <= 1e-13
    assert error(got[0, 1], (q[0, 1] * k[0, 1]).sum(1)[:, None] * v[0, 1]) <= 1e-13


def test_based_is_softmax_where_scores_are_small() -> None:
    q, k, v = draw((1, 1, 80, 4), (1, 1, 80, 4), (1, 1, 80, 4))
    assert error(linear.based(q * 1e-3, k, v), exact.one_pass(q * 1e-3, k, v, causal=True)) <= 1e-8
    assert error(linear.based(q, k, v), exact.one_pass(q, k, v, causal=True)) > 1e-3


def answer(x: Any, w1: Any, w2: Any) -> Any:
    inner = x @ w1
    return (inner / (1 + np.exp(-inner))) @ w2


def test_the_memory_descends_the_gradient_found_by_finite_differences() -> None:
    q, k, v, w1, w2 = draw((3,), (3,), (2,), (3, 4), (4, 2))
    rate, small = 1e-3, 1e-6
    moved = []
    for weights in (w1, w2):
        gradient = np.zeros_like(weights)
        for at in np.ndindex(weights.shape):
            kept = weights[at]
            losses = []
            for weights[at] in (kept + small, kept - small):
                losses.append(((answer(k, w1, w2) - v) ** 2).sum())
            weights[at] = kept
            gradient[at] = (losses[0] - losses[1]) / (2 * small)
        moved.append(-rate * gradient)
    factors = [np.full((1, 1, 1), x) for x in (rate, 0.9, 0.25)]
    got = memory.neural_memory(*(a[None, None, None] for a in (q, k, v)), w1[None], w2[None], *factors)
    expected = answer(q, 0.75 * w1 + moved[0], 0.75 * w2 + moved[1])
    np.testing.assert_allclose(got[0, 0, 0], expected, rtol=1e-8)


def test_a_chunk_takes_its_gradients_where_it_began() -> None:
    """Without forgetting or momentum, a chunk adds up the steps that its tokens would take alone."""
    q, k, v, w1, w2 = draw((1, 1, 3, 2), (1, 1, 3, 2), (1, 1, 3, 2), (1, 2, 3), (1, 3, 2))
    rate, none = np.full((1, 1, 3), 0.01), np.zeros((1, 1, 3))
    keys, zeros = np.zeros_like(k), np.zeros_like(rate)
    together = memory.neural_memory(q, k, v, w1, w2, rate, none, none, chunk=3)
    first = memory.neural_memory(q, k, v, w1, w2, rate, none, none, chunk=1)
    np.testing.assert_allclose(together[0, 0, 0], first[0, 0, 0], rtol=1e-14)
    assert np.abs(together[0, 0, 2] - first[0, 0, 2]).max() > 1e-6
    still = memory.neural_memory(q, keys, v, w1, w2, zeros, none, none)
    np.testing.assert_allclose(still[0, 0], answer(q[0, 0], w1[0], w2[0]), rtol=1e-13)


@pytest.mark.parametrize(("function", "dtype", "least"), [(_single, np.float32, -86), (_double, np.float64, -707)])
def test_exponential(function: Any, dtype: Any, least: float) -> None:
    x = np.concatenate([np.linspace(least, 0, 2001), -np.logspace(-9, 0, 50)]).astype(dtype)
    got = np.array([function(a) for a in x])
    np.testing.assert_allclose(got, np.exp(x.astype(np.float64)), rtol=2 * np.finfo(dtype).eps)
    assert function(dtype(0)) == 1
    assert function(dtype(-np.inf)) == 0
    assert function(dtype(-1e30)) == 0
    assert np.isnan(function(dtype(np.nan)))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(0, 19), depth=st.integers(0, 9), vectors=st.integers(0, 2), single=st.booleans())
def test_uncompiled_product_is_the_sum_it_replaces(rows: int, depth: int, vectors: int, single: bool) -> None:
    dtype = np.float32 if single else np.float64
    a, b, c = draw((rows, depth), (depth, vectors * 16), (rows, vectors * 16), dtype=dtype)
    expected = np.einsum("rk,kn->rn", a.astype(np.float64), b) + c
    multiply(a, b, c)
    np.testing.assert_allclose(c, expected, rtol=1e-5, atol=1e-5)


def test_a_thousand_splits_do_not_add_up_their_roundings() -> None:
    q, k, v = draw((1, 1, 2, 16), (1, 1, 4096, 16), (1, 1, 4096, 16), dtype=np.float32)
    v += np.float32(1)
    whole = exact.one_pass(*(a.astype(np.float64) for a in (q, k, v)))
    assert error(split.decode_split(q, k, v, splits=2048), whole) <= 3e-7
