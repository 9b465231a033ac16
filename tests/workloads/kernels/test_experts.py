"""Gates and experts by hand, one order of work against the other, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.kernels import experts, gates

LOGITS = np.log(np.array([[[1.0, 4.0, 3.0], [2.0, 2.0, 4.0]]]))


def test_gshard_by_hand() -> None:
    chosen, weights = gates.gshard(LOGITS, chosen=2)
    assert chosen.tolist() == [[[1, 2], [2, 0]]]  # of two equal ones the first
    np.testing.assert_allclose(weights, [[[4 / 7, 3 / 7], [4 / 6, 2 / 6]]])


def test_sigmoid_by_hand() -> None:
    chosen, weights = gates.sigmoid(LOGITS)
    assert chosen.tolist() == [[[1], [2]]]
    np.testing.assert_allclose(weights, [[[4 / 5], [4 / 5]]])


def test_x_moe_by_hand() -> None:
    x, vectors = np.array([[[3.0, 4.0]]]), np.array([[5.0, 0.0], [0.0, 0.1]])
    chosen, weights = gates.x_moe(x, np.eye(2), vectors, temperature=0.2)
    assert chosen.tolist() == [[[1]]]  # cosines 0.6 and 0.8
    np.testing.assert_allclose(weights, 1 / (1 + np.exp(-1)))


def test_expert_choice_by_hand() -> None:
    tokens, weights = gates.expert_choice(LOGITS, capacity=1)
    assert tokens.tolist() == [[[1], [0], [1]]]
    np.testing.assert_allclose(weights, [[[2 / 8], [4 / 8], [4 / 8]]])


def test_soft_by_hand() -> None:
    dispatch, combine = gates.soft(LOGITS[..., None])
    np.testing.assert_allclose(dispatch[0, :, :, 0], [[1 / 3, 4 / 6, 3 / 7], [2 / 3, 2 / 6, 4 / 7]])
    np.testing.assert_allclose(combine[0, :, :, 0], [[1 / 8, 4 / 8, 3 / 8], [2 / 8, 2 / 8, 4 / 8]])


def test_scores_without_end_do_not_overflow() -> None:
    _, weights = gates.gshard(np.array([[[1e300, -1e300, 1e300]]]), chosen=3)
    np.testing.assert_array_equal(weights, [[[0.5, 0.5, 0.0]]])
    assert gates.sigmoid(np.array([[[-1e300, -1e308]]]))[1].tolist() == [[[0.0]]]


def test_a_nan_is_chosen_last_and_spoils_a_softmax() -> None:
    scores = np.array([[[np.nan, 1.0, 2.0]]])
    assert gates.sigmoid(scores, chosen=2)[0].tolist() == [[[2, 1]]]
    assert np.isnan(gates.gshard(scores, chosen=2)[1]).all()


def test_dispatch_by_hand() -> None:
    x, chosen = np.array([[[1.0], [2.0], [3.0], [4.0]]]), np.array([[[0, 1], [1, 0], [1, 2], [1, 0]]])
    taken, slots = experts.dispatch(x, chosen, count=4, capacity=2)
    assert taken[0, :, :, 0].tolist() == [[1, 2], [1, 2], [3, 0], [0, 0]]
    assert slots.tolist() == [[[0, 0], [1, 1], [-1, 0], [-1, -1]]]
    back = experts.combine(taken * 10, chosen, slots, np.full(chosen.shape, 0.5))
    assert back[0, :, 0].tolist() == [10, 20, 15, 0]  # the last token was dropped by both of its experts


def layer(rng: Any, *, b: int, p: int, k: int, x: int, d: int, f: int) -> tuple[Any, ...]:
    chosen = rng.random((b, p, x)).argsort(axis=-1)[..., :k].copy()
    matrices = (rng.standard_normal(s) / np.sqrt(s[1] + 1) for s in ((x, d, f), (x, d, f), (x, f, d)))
    return rng.standard_normal((b, p, d)), chosen, rng.random((b, p, k)), *matrices


@settings(max_examples=25, deadline=None)
@given(
    b=st.integers(0, 2), p=st.sampled_from([0, 1, 7, 70]), k=st.integers(0, 3), x=st.sampled_from([3, 5]),
    d=st.sampled_from([0, 1, 5, 67]), f=st.sampled_from([0, 1, 8, 131]), seed=st.integers(0, 999),
)  # fmt: skip
def test_either_order_and_slots_for_all_agree(b: int, p: int, k: int, x: int, d: int, f: int, seed: int) -> None:
    given_ = layer(np.random.default_rng(seed), b=b, p=p, k=k, x=x, d=d, f=f)
    tokens, chosen, weights, gate, up, down = given_
    each = experts.by_token(*given_)
    np.testing.assert_allclose(experts.by_expert(*given_), each, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(experts.by_expert(*given_, threads=3), each, rtol=1e-12, atol=1e-13)
    taken, slots = experts.dispatch(tokens, chosen, count=x, capacity=p)
    rows = np.ascontiguousarray(taken.swapaxes(0, 1)).reshape(x * b * p, d)
    starts = np.arange(x + 1) * b * p
    hidden = experts.grouped(rows, gate, starts)
    hidden = hidden / (1 + np.exp(-hidden)) * experts.grouped(rows, up, starts)
    made = np.ascontiguousarray(experts.grouped(hidden, down, starts).reshape(x, b, p, d).swapaxes(0, 1))
    np.testing.assert_allclose(experts.combine(made, chosen, slots, weights), each, rtol=1e-12, atol=1e-13)


def test_threads_change_nothing() -> None:
    given_ = layer(np.random.default_rng(0), b=2, p=90, k=2, x=4, d=33, f=150)
    for kernel in (experts.by_expert, experts.by_token):
        np.testing.assert_array_equal(kernel(*given_, threads=3), kernel(*given_))


def test_a_nan_stays_with_its_token() -> None:
    given_ = layer(np.random.default_rng(0), b=1, p=9, k=2, x=3, d=6, f=7)
    given_[0][0, 4, 2] = np.nan
    for kernel in (experts.by_expert, experts.by_token):
        assert np.isnan(kernel(*given_)).any(axis=-1).tolist() == [[i == 4 for i in range(9)]]


X, CHOSEN, WEIGHTS, GATE, UP, DOWN = layer(np.random.default_rng(0), b=1, p=4, k=2, x=3, d=5, f=6)
TAKEN, SLOTS = experts.dispatch(X, CHOSEN, count=3, capacity=2)
BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: gates.gshard(LOGITS, chosen=4), "gshard: chosen is 4, expected a whole number from 1 to 3"),
    (lambda: gates.gshard(LOGITS[0]), "gshard: logits has shape (2, 3), expected 3 ranks (b, p, x)"),
    (lambda: gates.sigmoid(LOGITS, chosen=0), "sigmoid: chosen is 0, expected a whole number from 1 to 3"),
    (lambda: gates.sigmoid(LOGITS.astype(int)), "sigmoid: logits holds int64, expected float32 or float64"),
    (lambda: gates.x_moe(X, GATE[0], DOWN[0]), "x_moe: vectors has shape (6, 5), expected (x, a) with a=6 as in down"),
    (
        lambda: gates.x_moe(X, GATE[0], GATE[0], temperature=float("nan")),
        "x_moe: temperature is nan, expected a positive",
    ),
    (
        lambda: gates.x_moe(X, GATE[0], np.ones((3, 6)), temperature=0),
        "x_moe: temperature is 0, expected a positive number",
    ),
    (lambda: gates.x_moe(X, GATE[0], np.ones((3, 6)), temperature="hot"), "x_moe: temperature is 'hot', expected"),
    (
        lambda: gates.expert_choice(LOGITS, capacity=3),
        "expert_choice: capacity is 3, expected a whole number from 1 to 2",
    ),
    (lambda: gates.soft(LOGITS), "soft: logits has shape (1, 2, 3), expected 4 ranks (b, p, x, q)"),
    (
        lambda: experts.dispatch(X, CHOSEN, count=2, capacity=1),
        "dispatch: experts reaches from 0 to 2, expected 0 to 1",
    ),
    (
        lambda: experts.dispatch(X, CHOSEN[0], count=3, capacity=1),
        "dispatch: experts has shape (4, 2), expected (1, 4, ...)",
    ),
    (
        lambda: experts.dispatch(X, CHOSEN.astype(float), count=3, capacity=1),
        "dispatch: experts holds float64, expected int64",
    ),
    (lambda: experts.dispatch(X, [0], count=3, capacity=1), "dispatch: experts is a list, expected an array"),
    (
        lambda: experts.dispatch(X, CHOSEN, count=3, capacity=-1),
        "dispatch: capacity is -1, expected a whole number from 0",
    ),
    (
        lambda: experts.combine(TAKEN, CHOSEN, SLOTS + 1, WEIGHTS),
        "combine: slots reaches from 0 to 2, expected -1 (dropped) to 1",
    ),
    (
        lambda: experts.combine(TAKEN, CHOSEN, None, WEIGHTS),
        "combine: slots is a NoneType, expected an array (1, 4, 2)",
    ),
    (
        lambda: experts.combine(TAKEN, CHOSEN, SLOTS, WEIGHTS[0]),
        "combine: weights has shape (4, 2), expected 3 ranks (b, p, k)",
    ),
    (
        lambda: experts.grouped(X[0], GATE, np.array([0, 2, 1, 4])),
        "grouped: starts is [0, 2, 1, 4], expected to rise from 0 to 4",
    ),
    (
        lambda: experts.grouped(X[0], GATE, np.array([0, 2, 3, 3])),
        "grouped: starts is [0, 2, 3, 3], expected to rise from 0 to 4",
    ),
    (lambda: experts.grouped(X[0], GATE, np.array([0, 4])), "grouped: starts has shape (2,), expected (4,)"),
    (
        lambda: experts.grouped(X[0], GATE, np.array([0, 2, 9, 4])),
        "grouped: starts reaches from 0 to 9, expected 0 to 4",
    ),
    (
        lambda: experts.by_expert(X, CHOSEN, WEIGHTS, GATE, UP, GATE),
        "by_expert: down has shape (3, 5, 6), expected (x, f, d)",
    ),
    (
        lambda: experts.by_expert(X, CHOSEN + 1, WEIGHTS, GATE, UP, DOWN),
        "by_expert: experts reaches from 1 to 3, expected 0 to 2",
    ),
    (
        lambda: experts.by_token(X, CHOSEN, WEIGHTS, GATE, UP[:2], DOWN),
        "by_token: up has shape (2, 5, 6), expected (x, d, f) with x=3",
    ),
    (lambda: experts.by_token(X, CHOSEN, WEIGHTS, GATE, UP, DOWN, threads=0), "by_token: threads is 0, expected"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_refused_in_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        call()
    assert "\n" not in str(refused.value)
