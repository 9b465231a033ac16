"""Mixtures of experts against plain loops over tokens and experts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Cascade, WeirError, interpret
from einsum.counts import footprint, operations, touched, volume
from workloads import moe

Array = Any
SIZES: dict[str, Any] = {"batch": 2, "query": 6, "model": 4, "hidden": 3, "experts": 5}


def drawn(cascade: Cascade) -> dict[str, Array]:
    """Random inputs of a cascade."""
    rng = np.random.default_rng(3)
    return {name: rng.normal(size=cascade.shape(name)) for name in cascade.inputs}


def expert(x: dict[str, Array], e: int, row: Array) -> Array:
    """One token through one expert."""
    gate = row @ x["WG"][e]
    return (gate / (1 + np.exp(-gate)) * (row @ x["WU"][e])) @ x["WD"][e]


def softmax(scores: Array) -> Array:
    """Along the last axis."""
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def routed(x: dict[str, Array], weights: Callable[[Array], dict[int, float]], slots: int | None = None) -> Array:
    """Every token through its experts one by one; an expert takes ``slots`` tokens of a sequence at most."""
    out = np.zeros_like(x["X"])
    for b, sequence in enumerate(x["X"]):
        taken: dict[int, int] = {}
        for p, row in enumerate(sequence):
            for e, weight in weights(row).items():
                taken[e] = taken.get(e, 0) + 1
                if slots is None or taken[e] <= slots:
                    out[b, p] += weight * expert(x, e, row)
    return out


def best(scores: Array, chosen: int) -> dict[int, float]:
    """The highest scores by expert."""
    return {int(e): float(scores[e]) for e in np.argsort(-scores, kind="stable")[:chosen]}


def normalised(scores: dict[int, float]) -> dict[int, float]:
    """Scores divided by their sum."""
    return {e: s / sum(scores.values()) for e, s in scores.items()}


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(3, 6), st.integers(1, 3))
def test_top_k_by_loops(batch: int, query: int, experts: int, chosen: int) -> None:
    cascade = moe.top_k(batch=batch, query=query, model=4, hidden=3, experts=experts, chosen=chosen)
    x = drawn(cascade)
    want = routed(x, lambda row: normalised(best(softmax(row @ x["WR"]), chosen)))
    np.testing.assert_allclose(interpret(cascade, x)["Z"], want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("capacity", [1, 2, 6])
def test_tokens_beyond_capacity_are_dropped(capacity: int) -> None:
    cascade = moe.gshard(**SIZES, chosen=2, capacity=capacity)
    x = drawn(cascade)
    want = routed(x, lambda row: normalised(best(softmax(row @ x["WR"]), 2)), capacity)
    np.testing.assert_allclose(interpret(cascade, x)["Z"], want, rtol=1e-9, atol=1e-12)


def test_gshard_makes_room_for_an_even_spread() -> None:
    assert dict(moe.gshard(query=10, model=2, hidden=2, experts=4, chosen=2).sizes)["q"] == 5


def test_sigmoid_gate_is_not_renormalised() -> None:
    cascade = moe.sigmoid(**SIZES)
    x = drawn(cascade)
    want = routed(x, lambda row: best(1 / (1 + np.exp(-(row @ x["WR"]))), 1))
    np.testing.assert_allclose(interpret(cascade, x)["Z"], want, rtol=1e-9, atol=1e-12)


def test_cosine_gate() -> None:
    cascade = moe.x_moe(**SIZES, rank=3, temperature=0.5)
    x = drawn(cascade)

    def scores(row: Array) -> dict[int, float]:
        low = row @ x["WL"]
        cosine = x["WX"] @ low / np.linalg.norm(low) / np.linalg.norm(x["WX"], axis=1)
        return best(softmax(cosine / 0.5), 1)

    np.testing.assert_allclose(interpret(cascade, x)["Z"], routed(x, scores), rtol=1e-9, atol=1e-12)


def test_expert_choice() -> None:
    cascade = moe.expert_choice(**SIZES, capacity=2)
    x = drawn(cascade)
    want = np.zeros_like(x["X"])
    for b, sequence in enumerate(x["X"]):
        scores = softmax(sequence @ x["WR"])
        for e in range(5):
            for p, weight in best(scores[:, e], 2).items():
                want[b, p] += weight * expert(x, e, sequence[p])
    np.testing.assert_allclose(interpret(cascade, x)["Z"], want, rtol=1e-9, atol=1e-12)


def test_soft_mixture() -> None:
    cascade = moe.soft(**SIZES, slots=2)
    x = drawn(cascade)
    want = np.zeros_like(x["X"])
    for b, tokens in enumerate(x["X"]):
        scores = np.einsum("pd,dxq->pxq", tokens, x["WR"]).reshape(6, -1)
        slots = softmax(scores.T) @ tokens
        out = np.stack([expert(x, i // 2, slot) for i, slot in enumerate(slots)])
        want[b] = softmax(scores) @ out
    np.testing.assert_allclose(interpret(cascade, x)["Z"], want, rtol=1e-9)


def test_shared_experts_see_every_token() -> None:
    cascade = moe.top_k(**SIZES, chosen=2, shared=7)
    x = drawn(cascade)
    gate = x["X"] @ x["WGS"]
    shared = (gate / (1 + np.exp(-gate)) * (x["X"] @ x["WUS"])) @ x["WDS"]
    out = interpret(cascade, x)
    np.testing.assert_allclose(out["Y"], out["Z"] + shared, rtol=1e-9, atol=1e-12)


def test_only_chosen_experts_cost() -> None:
    cascade = moe.top_k(batch=1, query=8, model=4, hidden=3, experts=16, chosen=2)
    sizes = cascade.bind()
    for name in ("G", "U", "Z"):
        assert operations(cascade, cascade.einsum(name), sizes)["mac"] == 2 * 8 * 2 * 4 * 3
    gate = cascade.einsum("G")
    assert touched(cascade, gate.reads[2], gate, cascade.bind(p=1)) == pytest.approx(2 * 4 * 3)
    assert touched(cascade, gate.reads[2], gate, sizes) == pytest.approx(16 * (1 - (14 / 16) ** 8) * 4 * 3)


def test_dispatch_moves_chosen_tokens_only() -> None:
    cascade = moe.gshard(query=8, model=4, hidden=3, experts=4, chosen=2)
    assert footprint(cascade, "DS") == pytest.approx(8 * 2 * 16 / 8)  # a bf16 for each token and choice
    assert operations(cascade, cascade.einsum("XD"), cascade.bind())["mac"] == pytest.approx(2 * 8 * 2 * 4)
    assert volume(("b", "p", "x", "q"), cascade.bind()) == 8 * 4 * 4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: moe.top_k(**SIZES, chosen=6), "moe.top_k: chosen=6 of experts=5; choose from 1 to all of them"),
        (lambda: moe.sigmoid(**SIZES, chosen=0), "moe.sigmoid: chosen=0 of experts=5; choose from 1 to all of them"),
        (
            lambda: moe.expert_choice(**SIZES, capacity=7),
            "moe.expert_choice: capacity=7 exceeds query=6; an expert takes a token once",
        ),
        (
            lambda: moe.x_moe(**SIZES, rank=2, temperature=float("nan")),
            "moe.x_moe: temperature must be a positive number, not nan",
        ),
        (
            lambda: moe.gshard(**SIZES, capacity=0),
            "gshard: rank 'q' is empty: its size must be at least 1",
        ),
        (
            lambda: moe.soft(**SIZES, activation="swish"),
            "moe.soft: unknown activation 'swish'; known: gelu, relu, silu",
        ),
    ],
)
def test_mistakes_are_named(build: Callable[[], Cascade], message: str) -> None:
    with pytest.raises(WeirError) as caught:
        build()
    assert str(caught.value) == message
