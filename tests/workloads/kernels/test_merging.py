"""Tokens that become one, and facts written into weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.numerics.draw import error
from workloads.kernels import editing, merging


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def test_the_closest_pair_by_hand() -> None:
    x = np.array([[[0.0, 1], [5, 0], [3, 0.1], [-1, -1]]])  # token 2 points as token 1 does
    tokens, stands = merging.tome(x, x, np.array([[1.0, 3, 1, 1]]), merged=1)
    np.testing.assert_allclose(tokens, np.array([[[0, 1], [4.5, 0.025], [-1, -1]]]))
    assert stands.tolist() == [[1, 4, 1]]


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(2, 30), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_what_tokens_stand_for_and_their_weighed_mean_stay(tokens: int, share: float, seed: int) -> None:
    x, weight = draw(2, tokens, 3, seed=seed), np.random.default_rng(seed).integers(1, 5, (2, tokens)).astype(float)
    merged = int(share * ((tokens + 1) // 2))
    fewer, stands = merging.tome(x, draw(2, tokens, 4, seed=seed + 1), weight, merged=merged)
    assert fewer.shape == (2, tokens - merged, 3)
    np.testing.assert_allclose(stands.sum(axis=1), weight.sum(axis=1))
    np.testing.assert_allclose((fewer * stands[..., None]).sum(axis=1), (x * weight[..., None]).sum(axis=1), atol=1e-12)


def test_nothing_merged_only_reorders() -> None:
    x, weight = draw(1, 7, 3), np.ones((1, 7))
    tokens, stands = merging.tome(x, x, weight, merged=0)
    np.testing.assert_array_equal(tokens, x[:, [0, 2, 4, 6, 1, 3, 5]])
    np.testing.assert_array_equal(stands, weight)


def test_identical_frames_merge_without_loss() -> None:
    frame = draw(1, 1, 6, 4)
    video = np.repeat(frame, 4, axis=1)
    tokens, stands = merging.tempme(video, video, np.ones((1, 4, 6)), merged=6)
    assert tokens.shape == (1, 2, 6, 4)
    np.testing.assert_allclose(tokens, np.repeat(frame, 2, axis=1), rtol=1e-15)
    assert (stands == 2).all()


def test_error_of_merging_falls_as_neighbours_are_more_alike() -> None:
    errors = []
    for noise in (1.0, 0.1, 0.0):
        pairs = draw(1, 32, 1, 8).repeat(2, axis=2).reshape(1, 64, 8) + noise * draw(1, 64, 8, seed=1)
        tokens, stands = merging.tome(pairs, pairs, np.ones((1, 64)), merged=32)
        errors.append(error(tokens, pairs[:, 1::2]))
        assert stands.sum() == 64
    assert errors[0] > errors[1] > errors[2] == 0


def moments(width: int, seed: int = 0) -> Any:
    seen = draw(width, 5 * width, seed=seed)
    return seen @ seen.T / (5 * width)


@settings(max_examples=15, deadline=None)
@given(outputs=st.integers(1, 6), width=st.integers(2, 20), facts=st.integers(0, 6), seed=st.integers(0, 99))
def test_an_edit_writes_its_facts_and_changes_nothing_else_more_than_it_must(
    outputs: int, width: int, facts: int, seed: int
) -> None:
    """Keys map to their values; and the change is orthogonal, as memory measures, to every change that keeps them."""
    facts = min(facts, width - 1)
    w, memory = draw(outputs, width, seed=seed), moments(width, seed)
    keys, values = np.linalg.qr(draw(width, width, seed=seed + 1))[0][:, :facts].copy(), draw(outputs, facts, seed=seed)
    new = editing.emmet(w, memory, keys, values)
    np.testing.assert_allclose(new @ keys, values, atol=1e-10)
    free = draw(outputs, width, seed=seed + 2)
    free -= free @ keys @ keys.T  # a change that maps the keys to nothing
    assert abs(np.trace((new - w) @ memory @ free.T)) <= 1e-9 * (1 + np.linalg.norm(new - w) * np.linalg.norm(free))


def test_an_edit_of_a_fact_already_known_changes_nothing() -> None:
    w, keys = draw(3, 5), draw(5, 2)
    np.testing.assert_allclose(editing.emmet(w, moments(5), keys, w @ keys), w, atol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: editing.emmet(np.ones((2, 3)), -np.eye(3), np.ones((3, 1)), np.ones((2, 1))),
            "memory has shape (3, 3), expected symmetric and positive definite",
        ),
        (
            lambda: editing.emmet(np.ones((2, 2)), np.array([[1.0, 1], [0, 1]]), np.ones((2, 1)), np.ones((2, 1))),
            "memory has shape (2, 2), expected symmetric",
        ),
        (
            lambda: editing.emmet(np.ones((2, 3)), np.eye(3), np.zeros((3, 2)), np.ones((2, 2))),
            "keys has shape (3, 2), expected independent columns",
        ),
        (
            lambda: merging.tome(np.ones((1, 5, 2)), np.ones((1, 5, 2)), np.ones((1, 5)), merged=4),
            "tome: merged is 4, expected a whole number from 0 to 3",
        ),
        (
            lambda: merging.tome(np.ones((1, 5, 2)), np.ones((1, 4, 2)), np.ones((1, 5)), merged=1),
            "tome: metric has shape (1, 4, 2), expected (b, t, e) with t=5 as in x",
        ),
        (
            lambda: merging.tempme(np.ones((1, 3, 5, 2)), np.ones((1, 3, 5, 2)), np.ones((1, 3, 5)), merged=1),
            "tempme: x has shape (1, 3, 5, 2), expected an even number of frames",
        ),
    ],
)
def test_bad_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call()
    assert message in str(caught.value)
