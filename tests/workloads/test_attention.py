"""Attention cascades compute softmax attention, in as many passes as their names say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Cascade, WeirError, interpret, passes
from einsum.counts import operations, total_operations
from workloads import attention

Array = Any
FEW = settings(max_examples=15, deadline=None)


def softmax_attention(q: Array, k: Array, v: Array, seen: Array | None = None) -> Array:
    """The definition, for ``q[.., p, e]``, ``k[.., m, e]``, ``v[.., m, f]``; unseen keys get no weight."""
    scores = q @ np.swapaxes(k, -1, -2)
    if seen is not None:
        scores = np.where(seen, scores, -np.inf)
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True) @ v


def qkv(cascade: Cascade) -> dict[str, Array]:
    """Random inputs of a cascade."""
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=cascade.shape(name)) for name in cascade.inputs}


SIZES = {"batch": 2, "heads": 3, "query": 4, "context": 8, "head_dim": 5}
PLAIN: list[tuple[Callable[..., Cascade], dict[str, int]]] = [
    (attention.three_pass, {}),
    (attention.two_pass, {"block": 4}),
    (attention.one_pass, {"block": 2}),
    (attention.one_pass, {}),
    (attention.decode_split, {"splits": 4}),
    (attention.grouped_query, {"kv_heads": 3}),
]


@pytest.mark.parametrize(("build", "more"), PLAIN)
def test_every_form_is_softmax_attention(build: Callable[..., Cascade], more: dict[str, int]) -> None:
    cascade = build(**SIZES, **more)
    x = qkv(cascade)
    out = interpret(cascade, x)["O"]
    q = x["Q"][:, :, 0] if build is attention.grouped_query else x["Q"]  # one query to a key head
    want = softmax_attention(q, x["K"], x["V"])
    np.testing.assert_allclose(out.reshape(want.shape), want, rtol=1e-12)


@FEW
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_one_pass_at_any_shape(query: int, blocks: int, inner: int, width: int, heads: int) -> None:
    cascade = attention.one_pass(heads=heads, query=query, context=blocks * inner, head_dim=width, block=inner)
    x = qkv(cascade)
    want = softmax_attention(x["Q"], x["K"], x["V"])
    np.testing.assert_allclose(interpret(cascade, x)["O"], want, rtol=1e-10)


def test_one_pass_survives_large_scores() -> None:
    cascade = attention.one_pass(query=1, context=4, head_dim=1, block=2)
    x = {"Q": np.full((1, 1, 1, 1), 1000.0), "K": np.arange(4.0).reshape(1, 1, 4, 1), "V": np.ones((1, 1, 4, 1))}
    assert interpret(cascade, x)["O"].item() == 1.0


def test_causal_queries_are_the_last_of_the_context() -> None:
    cascade = attention.three_pass(query=2, context=5, head_dim=3, causal=True)
    x = qkv(cascade)
    seen = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], bool)
    want = softmax_attention(x["Q"], x["K"], x["V"], seen)
    np.testing.assert_allclose(interpret(cascade, x)["O"], want, rtol=1e-12)


def test_causal_scores_cost_what_is_seen() -> None:
    cascade = attention.multi_query(heads=2, query=2, context=5, head_dim=3, causal=True)
    assert operations(cascade, cascade.einsum("QK"), cascade.bind())["mac"] == 2 * 2 * 3 * (4 + 5)


def test_window_with_sinks() -> None:
    cascade = attention.sliding_window(query=3, context=8, head_dim=2, window=2, sinks=1)
    x = qkv(cascade)
    seen = np.zeros((3, 8), bool)
    seen[:, 0] = True
    for row, last in enumerate((5, 6, 7)):
        seen[row, last - 1 : last + 1] = True
    want = softmax_attention(x["Q"], x["K"], x["V"], seen)
    np.testing.assert_allclose(interpret(cascade, x)["O"], want, rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_grouped_queries_share_keys(causal: bool) -> None:
    cascade = attention.grouped_query(heads=4, kv_heads=2, query=2, context=3, head_dim=2, causal=causal)
    x = qkv(cascade)
    seen = np.array([[1, 1, 0], [1, 1, 1]], bool) if causal else None
    want = softmax_attention(x["Q"], x["K"][:, :, None], x["V"][:, :, None], seen)
    np.testing.assert_allclose(interpret(cascade, x)["O"], want, rtol=1e-12)


def test_multi_query_reads_one_key_for_all_heads() -> None:
    cascade = attention.multi_query(heads=4, query=2, context=3, head_dim=2)
    x = qkv(cascade)
    want = softmax_attention(x["Q"], x["K"][:, None], x["V"][:, None])
    np.testing.assert_allclose(interpret(cascade, x)["O"], want, rtol=1e-12)
    assert cascade.elements("K") == 3 * 2


@FEW
@given(st.integers(1, 3), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_absorbed_latent_attention_equals_naive(heads: int, query: int, before: int, causal: bool) -> None:
    sizes = {"heads": heads, "query": query, "context": query + before, "latent": 5, "head_dim": 3, "rope_dim": 2}
    naive, absorbed = attention.mla_naive(**sizes, causal=causal), attention.mla_absorbed(**sizes, causal=causal)
    x = qkv(naive)
    assert set(absorbed.inputs) == set(x)
    np.testing.assert_allclose(interpret(naive, x)["O"], interpret(absorbed, x)["O"], rtol=1e-9, atol=1e-12)


def test_naive_latent_attention_by_the_definition() -> None:
    cascade = attention.mla_naive(heads=2, query=1, context=3, latent=4, head_dim=3, rope_dim=2)
    x = qkv(cascade)
    latent, turned = x["CKV"][..., :4], x["CKV"][..., 4:]
    keys = np.einsum("bml,lhn->bhmn", latent, x["WUK"])
    keys = np.concatenate([keys, np.broadcast_to(turned[:, None], (1, 2, 3, 2))], axis=-1)
    want = softmax_attention(x["Q"], keys, np.einsum("bml,lhf->bhmf", latent, x["WUV"]))
    np.testing.assert_allclose(interpret(cascade, x)["O"], want, rtol=1e-10)


@pytest.mark.parametrize(
    ("cascade", "rank", "count"),
    [
        (attention.three_pass(query=2, context=8, head_dim=2), "m", 3),
        (attention.multi_query(heads=2, query=2, context=8, head_dim=2), "m", 2),
        (attention.two_pass(query=2, context=8, head_dim=2, block=4), "m", 2),
        (attention.one_pass(query=2, context=8, head_dim=2, block=4), "m", 1),
    ],
)
def test_passes_are_what_the_names_say(cascade: Cascade, rank: str, count: int) -> None:
    assert passes(cascade).rank(rank) == count


def test_deferral_divides_outputs_instead_of_scores() -> None:
    sizes: dict[str, Any] = {"heads": 1, "query": 4, "context": 64, "head_dim": 8}
    assert total_operations(attention.three_pass(**sizes))["div"] == 4 * 64
    assert total_operations(attention.multi_query(**sizes))["div"] == 4 * 8


def test_products_cost_two_operations_each() -> None:
    cascade = attention.three_pass(batch=2, heads=3, query=4, context=5, head_dim=6)
    assert total_operations(cascade)["mac"] == 2 * (2 * 3 * 4 * 5 * 6) * 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: attention.three_pass(query=9, context=8, head_dim=4, causal=True),
            "three_pass: query=9 exceeds context=8; the context includes the queries",
        ),
        (
            lambda: attention.one_pass(query=1, context=8, head_dim=4, block=3),
            "one_pass: block=3 does not divide context=8; give a divisor",
        ),
        (
            lambda: attention.two_pass(query=1, context=8, head_dim=4, block=0),
            "two_pass: block=0 does not divide context=8; give a divisor",
        ),
        (
            lambda: attention.decode_split(context=8, head_dim=4, splits=5),
            "decode_split: splits=5 does not divide context=8; give a divisor",
        ),
        (
            lambda: attention.grouped_query(heads=6, kv_heads=4, query=1, context=2, head_dim=2),
            "grouped_query: heads=6 is not a multiple of kv_heads=4; give a divisor",
        ),
        (
            lambda: attention.three_pass(query=1, context=-8, head_dim=4),
            "three_pass: size of rank 'm' must be a whole number from 0 to 2**62, not -8",
        ),
        (
            lambda: attention.sliding_window(query=1, context=8, head_dim=4, window=0),
            "expected a whole number above 0",
        ),
        (
            lambda: attention.one_pass(query=1, context=2.5, head_dim=4),  # type: ignore[arg-type]
            "one_pass: size of rank 'context' must be a whole number from 0 to 2**62, not 2.5",
        ),
    ],
)
def test_mistakes_are_named(build: Callable[[], Cascade], message: str) -> None:
    with pytest.raises(WeirError) as caught:
        build()
    assert message in str(caught.value)
