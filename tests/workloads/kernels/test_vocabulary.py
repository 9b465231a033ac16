"""The loss over a vocabulary: derivatives, shards, what may be left out, and how sorting helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.numerics.draw import error
from workloads.kernels import vocabulary


def draw(n: int = 9, d: int = 6, v: int = 300, seed: int = 0, dtype: Any = np.float64) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    e, c = rng.standard_normal((n, d)) / np.sqrt(d), rng.standard_normal((v, d))
    return e.astype(dtype), c.astype(dtype), rng.integers(0, v, n)


def mean_loss(e: Any, c: Any, labels: Any) -> float:
    return float(vocabulary.cross_entropy(e, c, labels)[0].mean())


def slopes(e: Any, c: Any, labels: Any, **options: Any) -> tuple[Any, Any, float]:
    _, lse = vocabulary.cross_entropy(e, c, labels)
    upstream = np.full(len(e), 1 / max(1, len(e)), e.dtype)
    return vocabulary.cross_entropy_gradients(e, c, labels, lse, upstream, **options)


def test_the_loss_of_equal_words_is_the_logarithm_of_their_number() -> None:
    loss, lse = vocabulary.cross_entropy(np.ones((2, 3)), np.zeros((300, 3)), np.array([0, 299]))
    np.testing.assert_allclose(loss, np.log(300), rtol=1e-15)
    np.testing.assert_allclose(lse, np.log(300), rtol=1e-15)


@pytest.mark.parametrize("which", ["e", "c"])
def test_gradients_are_differences_of_the_loss(which: str) -> None:
    e, c, labels = draw()
    de, dc, kept = slopes(e, c, labels, least=0.0)
    rng, step = np.random.default_rng(1), 1e-5
    for _ in range(5):
        way = rng.standard_normal((e if which == "e" else c).shape)
        up, down = ((e + s * way, c) if which == "e" else (e, c + s * way) for s in (step, -step))
        numeric = (mean_loss(*up, labels) - mean_loss(*down, labels)) / (2 * step)
        assert ((de if which == "e" else dc) * way).sum() == pytest.approx(numeric, rel=1e-6)
    assert kept == 1


@settings(max_examples=12, deadline=None)
@given(
    n=st.sampled_from([1, 5, 129]),
    v=st.sampled_from([1, 127, 300]),
    shards=st.integers(1, 400),
    seed=st.integers(0, 99),
)
def test_any_number_of_shards_gives_the_same_loss(n: int, v: int, shards: int, seed: int) -> None:
    e, c, labels = draw(n, 5, v, seed)
    for got, whole in zip(
        vocabulary.vocabulary_parallel(e, c, labels, shards=shards), vocabulary.cross_entropy(e, c, labels), strict=True
    ):
        np.testing.assert_allclose(got, whole, rtol=1e-13, atol=1e-13)


def test_huge_logits_do_not_overflow_and_nan_stays_in_its_row() -> None:
    e, c, labels = draw(dtype=np.float32)
    loss, lse = vocabulary.cross_entropy(e * np.float32(1e18), c * np.float32(1e18), labels)
    assert np.isfinite(loss).all()
    assert np.isfinite(lse).all()
    e[3, 0] = np.nan
    assert np.isnan(vocabulary.cross_entropy(e, c, labels)[0]).nonzero()[0].tolist() == [3]


def zipf(sort: bool, least: float = vocabulary.SMALLEST) -> tuple[Any, Any, float, float]:
    """Gradients over words whose bias falls as Zipf's law has it, in a shuffled vocabulary; the share of tiles kept."""
    rng = np.random.default_rng(0)
    n, d, v = 256, 8, 6400
    e, c = rng.standard_normal((n, d)), rng.standard_normal((v, d)) * 0.3
    e[:, 0], c[:, 0] = 1, -1.5 * np.log(1 + rng.permutation(v))
    likely = np.argsort(-c[:, 0])[:50]
    labels = rng.choice(likely, n)
    order = vocabulary.sort_vocabulary(e, c) if sort else np.arange(v)
    place = np.argsort(order)
    de, dc, kept = slopes(e, np.ascontiguousarray(c[order]), place[labels], least=least)
    exact = slopes(e, c, labels, least=0.0)
    return de, dc, kept, max(error(de, exact[0]), error(dc[place], exact[1]))


def test_leaving_out_small_gradients_changes_little_and_sorting_leaves_out_more() -> None:
    _, _, shuffled, off = zipf(sort=False)
    _, _, ordered, off_ordered = zipf(sort=True)
    assert ordered < 0.3 * shuffled
    assert off < 0.02
    assert off_ordered < 0.1


def test_a_sorted_vocabulary_has_the_same_gradients() -> None:
    assert zipf(sort=True, least=0.0)[3] <= 1e-13


def test_what_is_left_out_is_bounded_by_the_limit() -> None:
    """No logit's gradient that is skipped reaches the limit, so no row of the difference exceeds its sum."""
    e, c, labels = draw(40, 6, 3000)
    exact, partly = slopes(e, c, labels, least=0.0), slopes(e, c, labels, least=0.01)
    assert partly[2] < 1
    assert (abs(exact[0] - partly[0]) <= 0.01 * abs(c).sum(axis=0) / 40).all()
    assert (abs(exact[1] - partly[1]) <= 0.01 * abs(e).sum(axis=0) / 40).all()


@pytest.mark.parametrize("threads", [2, 5])
def test_threads(threads: int) -> None:
    """The loss does not depend on them; gradients are the same to rounding, and the same every time."""
    e, c, labels = draw(300, 6, 700)
    for got, alone in zip(
        vocabulary.cross_entropy(e, c, labels, threads=threads), vocabulary.cross_entropy(e, c, labels), strict=True
    ):
        np.testing.assert_array_equal(got, alone)
    many, one = slopes(e, c, labels, least=0.0, threads=threads), slopes(e, c, labels, least=0.0)
    assert error(many[0], one[0]) <= 1e-13
    np.testing.assert_array_equal(many[1], one[1])
    np.testing.assert_array_equal(many[0], slopes(e, c, labels, least=0.0, threads=threads)[0])


def test_no_tokens() -> None:
    e, c, labels = np.zeros((0, 3)), np.ones((5, 3)), np.zeros(0, np.int64)
    assert vocabulary.cross_entropy(e, c, labels)[0].shape == (0,)
    de, dc, kept = slopes(np.zeros((0, 3)), c, labels)
    assert (de.shape, dc.any(), kept) == ((0, 3), False, 0.0)
