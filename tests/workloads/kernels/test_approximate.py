"""Attention that leaves keys out: exact where nothing is lost, and as near as the data allow where something is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import parse
from einsum.interpret import interpret
from sim.numerics.draw import error
from sim.numerics.locality import correlated
from workloads.kernels import eviction, selection
from workloads.kernels.core.chosen import best
from workloads.kernels.exact import one_pass

FOUND = {  # with everything looked up or kept
    "hip": lambda q, k, v: selection.hip(q, k, v, keep=k.shape[2], block=3),
    "hip_of_more_than_all": lambda q, k, v: selection.hip(q, k, v, keep=10_000),
    "retrieval_attention": lambda q, k, v: selection.retrieval_attention(
        q, k, v, np.broadcast_to(np.arange(2, 40), (*q.shape[:3], 38)).copy(), sinks=2, window=k.shape[2] - 40
    ),
    "infllm": lambda q, k, v: selection.infllm(
        q, k, v, np.ones(k.shape[:3], k.dtype), block=7, blocks=(k.shape[2] - 12) // 7, sinks=2, window=10
    ),
    "keyformer": lambda q, k, v: eviction.keyformer(
        q, k, v, *np.ones((2, *k.shape[:3]), k.dtype), keep=k.shape[2], recent=5
    )[0],
    "razor": lambda q, k, v: eviction.razor(q, k, v, np.array([0, 1]), sinks=10, recent=k.shape[2] - 10),
    "razor_all_retrieval": lambda q, k, v: eviction.razor(q, k, v, np.array([1, 1]), sinks=0, recent=0),
    "task_kv_all_full": lambda q, k, v: eviction.task_kv(
        q, k, v, q.mean(axis=2), np.ones(k.shape[:3], k.dtype), full=2, sinks=0, recent=0, middle=0
    ),
    "task_kv_all_kept": lambda q, k, v: eviction.task_kv(
        q, k, v, q.mean(axis=2), np.ones(k.shape[:3], k.dtype), full=0, sinks=9, recent=1, middle=k.shape[2] - 10
    ),
    "elastic_cache": lambda q, k, v: eviction.elastic_cache(q, k, v, np.ones(k.shape[:3], k.dtype), keep=k.shape[2]),
}


def draw(p: int = 5, m: int = 61, e: int = 8, seed: int = 0, dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((2, 2, n, e)).astype(dtype) for n in (p, m, m))  # type: ignore[return-value]


@settings(max_examples=8, deadline=None)
@given(
    p=st.sampled_from([1, 3, 5, 130]), m=st.sampled_from([47, 61, 131]), e=st.integers(1, 9), seed=st.integers(0, 99)
)
@pytest.mark.parametrize("kernel", FOUND)
def test_nothing_left_out_is_exact(kernel: str, p: int, m: int, e: int, seed: int) -> None:
    q, k, v = draw(p, m, e, seed)
    assert error(FOUND[kernel](q, k, v), one_pass(q, k, v)) <= 1e-13


@pytest.mark.parametrize("kernel", FOUND)
def test_nan_and_infinities_come_out_where_exact_attention_has_them(kernel: str) -> None:
    for bad in (np.nan, np.inf):
        q, k, v = draw()
        v[0, 1, 20, 3] = bad
        assert error(FOUND[kernel](q, k, v), one_pass(q, k, v)) <= 1e-13


@settings(max_examples=10, deadline=None)
@given(sinks=st.integers(0, 20), recent=st.integers(0, 20), seed=st.integers(0, 99))
def test_razor_is_exact_if_dropped_keys_are_identical(sinks: int, recent: int, seed: int) -> None:
    q, k, v = draw(seed=seed)
    k[:, :, sinks : 61 - recent], v[:, :, sinks : 61 - recent] = k[:, :, :1].copy(), v[:, :, :1].copy()
    got = eviction.razor(q, k, v, np.array([0, 1]), sinks=sinks, recent=recent)
    assert error(got, one_pass(q, k, v)) <= 1e-13


def test_razors_token_weighs_no_more_than_what_it_stands_for() -> None:
    """The exponential of a mean is at most the mean of exponentials: the other keys gain, never lose."""
    q, k, v = draw()
    v[:], v[:, :, 10:51] = 1, 0
    exact, got = one_pass(q, k, v), eviction.razor(q, k, v, np.array([0, 0]), sinks=10, recent=10)
    assert (got >= exact).all()
    assert (got > exact * 1.01).any()


def test_elastic_cache_is_exact_if_all_keys_are_identical_and_else_keeps_averages() -> None:
    q, k, v = draw(m=6)
    alike = [np.repeat(a[:, :, :1], 6, axis=2) for a in (k, v)]
    weights = np.broadcast_to(np.arange(6.0), (2, 2, 6)).copy()
    assert error(eviction.elastic_cache(q, alike[0], alike[1], weights, keep=2), one_pass(q, *alike)) <= 1e-13
    weights[..., 1] = 9  # kept: keys 1 and 5; key 3 lies midway and goes to the earlier
    parts = ([0, 1, 2, 3], [4, 5])
    merged = [np.stack([a[:, :, part].mean(axis=2) for part in parts], axis=2) for a in (k, v)]
    assert error(eviction.elastic_cache(q, k, v, weights, keep=2), one_pass(q, *merged)) <= 1e-13


def test_landmarks_are_exact_if_each_stands_for_identical_keys() -> None:
    """A block's landmark then scores as its keys do, plus the logarithm of their number, through a rank of its own."""
    q, k, v = draw(m=64, e=8)
    k[:, :, :60] = k[:, :, :60:6].repeat(6, axis=2)
    q[..., 7], k[..., 7] = 1, 0
    marks = np.ascontiguousarray(k[:, :, :60:6])
    marks[..., 7] = np.log(6)
    assert error(selection.landmark(q, k, v, marks, block=6, blocks=10), one_pass(q, k, v)) <= 1e-13


@pytest.mark.parametrize("blocks", [0, 3, 10])
def test_weights_of_landmark_attention_sum_to_one(blocks: int) -> None:
    q, k, v = draw(m=64)
    got = selection.landmark(q, k, np.ones_like(v), np.ascontiguousarray(k[:, :, :60:6]), block=6, blocks=blocks)
    np.testing.assert_allclose(got, 1, rtol=1e-14)


def test_retrieval_with_the_nearest_keys_beats_retrieval_with_others() -> None:
    q, k, v = draw(m=400, e=16)
    inner = np.ascontiguousarray(k[:, :, 4:-16])
    near = selection.nearest(q, inner, keep=40) + 4
    far = selection.nearest(-q, inner, keep=40) + 4
    exact = one_pass(q, k, v)
    errors = [error(selection.retrieval_attention(q, k, v, n, sinks=4, window=16), exact) for n in (near, far)]
    assert errors[0] < 0.1 < errors[1]


def approximate(locality: float, seed: int = 0) -> dict[str, float]:
    """The error of methods that look at few of 2048 keys, scores having a standard deviation of 3."""
    rng = np.random.default_rng(seed)
    m, e, block = 2048, 32, 16
    k = correlated(rng, 1, 4, m, e, block=block, locality=locality)
    v = correlated(rng, 1, 4, m, e, block=block, locality=locality)
    q = rng.standard_normal((1, 4, 1, e)) * 3 / np.sqrt(e)
    exact = one_pass(q, k, v)
    marks = np.ascontiguousarray(k[:, :, : (m - 1) // block * block].reshape(1, 4, -1, block, e).mean(axis=3))
    weights, oracle = np.ones((1, 4, m)), selection.nearest(q, k, keep=256)
    results = {
        "oracle": selection.retrieval_attention(q, k, v, oracle, sinks=0, window=0),
        "hip": selection.hip(q, k, v, keep=256, block=1),
        "landmark": selection.landmark(q, k, v, marks, block=block, blocks=16),
        "elastic_cache": eviction.elastic_cache(q, k, v, rng.random(weights.shape), keep=256),
        "razor": eviction.razor(q, k, v, np.zeros(4, int), sinks=4, recent=252),
    }
    return {name: error(result, exact) for name, result in results.items()}


def test_trees_and_blocks_live_off_locality() -> None:
    apart, alike = approximate(0.0), approximate(0.95)
    assert alike["hip"] < 0.5 * apart["hip"]
    assert alike["landmark"] < 0.5 * apart["landmark"]
    assert alike["elastic_cache"] < 0.5 * apart["elastic_cache"]
    for errors in (apart, alike):
        assert errors["oracle"] <= errors["hip"]
        assert errors["oracle"] < 0.25
    assert apart["hip"] > 0.5  # the tree finds little among keys that say nothing about their neighbours


@settings(max_examples=12, deadline=None)
@given(keep=st.sampled_from([1, 2, 7, 30, 61]), seed=st.integers(0, 99))
def test_more_keys_are_never_worse_for_the_nearest(keep: int, seed: int) -> None:
    """The share of the softmax that the nearest keys hold grows with their number, and is all of it at the end."""
    q, k, _ = draw(seed=seed)
    ones = np.ones((2, 2, 61, 1))
    weights = np.exp(q @ k.swapaxes(2, 3))
    near = selection.nearest(q, k, keep=keep)
    mass = np.take_along_axis(weights, near, -1).sum(-1)
    others = np.sort(weights, axis=-1)[..., ::-1][..., :keep].sum(-1)
    np.testing.assert_allclose(mass, others, rtol=1e-12)
    assert selection.retrieval_attention(q, k, ones, near, sinks=0, window=0) == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.data())
def test_best_is_a_stable_descending_sort(values: list[int], data: st.DataObject) -> None:
    keep = data.draw(st.integers(0, len(values)))
    want = sorted(range(len(values)), key=lambda i: (-values[i], i))[:keep]
    assert best(np.array([values, values], float), keep).tolist() == [want, want]


def test_best_puts_nan_last() -> None:
    assert best(np.array([np.nan, -np.inf, 1.0, np.nan, 2.0]), 4).tolist() == [4, 2, 1, 0]


def test_top_k_is_the_interpreters() -> None:
    scores = np.random.default_rng(0).integers(0, 50, (3, 500)).astype(float)
    meant = interpret(parse("I[r, k] = arg_top_k[n, k](S[r, n])", r=3, n=500, k=77), {"S": scores})["I"]
    np.testing.assert_array_equal(selection.top_k(scores, keep=77), meant)


def test_keyformer_accumulates_and_keeps_what_is_newest() -> None:
    q, k, v = draw(p=1, m=12)
    noise, score = np.zeros((2, 2, 12)), np.zeros((2, 2, 12))
    score[..., 3] = 5
    o, grown = eviction.keyformer(q, k, v, noise, score, keep=4, recent=3)
    assert grown.sum() == pytest.approx(4 * 6)
    kept = [np.ascontiguousarray(a[:, :, [3, 9, 10, 11]]) for a in (k, v)]
    assert error(o, one_pass(q, *kept)) <= 1e-13


def test_task_kv_gives_all_keys_to_the_heads_furthest_from_the_centre() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 4, n, 6)) for n in (2, 40, 40))
    vectors = np.zeros((1, 4, 6))
    vectors[0, 2, 0] = 1
    got = eviction.task_kv(q, k, v, vectors, rng.random((1, 4, 40)), full=1, sinks=1, recent=2, middle=3)
    exact = one_pass(q, k, v)
    assert [error(got[:, h], exact[:, h]) < 1e-13 for h in range(4)] == [False, False, True, False]


def test_no_queries_and_no_keys() -> None:
    q, k, v = draw()
    none, bare = q[:, :, :0].copy(), [a[:, :, :0].copy() for a in (k, v)]
    assert selection.hip(none, k, v, keep=4).shape == (2, 2, 0, 8)
    assert not selection.hip(q, *bare, keep=4).any()
    assert eviction.elastic_cache(none, k, v, np.ones((2, 2, 61)), keep=4).shape == (2, 2, 0, 8)
    empty = np.zeros((2, 2, 5, 0), np.int64)
    assert not selection.retrieval_attention(q, k, v, empty, sinks=0, window=0).any()
    assert eviction.razor(none, k, v, np.array([0, 1]), sinks=1, recent=1).shape == (2, 2, 0, 8)


@pytest.mark.parametrize("threads", [2, 7])
def test_results_do_not_depend_on_threads(threads: int) -> None:
    q, k, v = draw(p=9)
    weights = np.random.default_rng(1).random((2, 2, 61))
    marks = np.ascontiguousarray(k[:, :, :60:6])
    cases: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
        (selection.hip, (), {"keep": 8, "block": 2}),
        (selection.landmark, (marks,), {"block": 6, "blocks": 3}),
        (selection.infllm, (weights,), {"block": 6, "blocks": 3, "sinks": 1, "window": 3}),
        (eviction.elastic_cache, (weights,), {"keep": 9}),
        (eviction.task_kv, (q.mean(axis=2), weights), {"full": 1, "sinks": 1, "recent": 2, "middle": 9}),
    ]
    for kernel, given_, options in cases:
        alone = kernel(q, k, v, *given_, **options)
        np.testing.assert_array_equal(kernel(q, k, v, *given_, **options, threads=threads), alone)
