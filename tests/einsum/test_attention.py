"""Attention written three ways, against a plain softmax: the cascades of FuseMax (MICRO 2024), with masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from einsum import interpret, parse, split
from einsum.cascade import Cascade

WHOLE = ["naive", "three-pass", "deferred"]
TILED = ["two-pass", "one-pass"]
SHAPE = {"e": 4, "f": 3, "p": 5}


def tensors(m: int, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Random queries, keys and values for ``m`` keys."""
    rng = np.random.default_rng(seed)
    return {"Q": rng.normal(size=(4, 5)), "K": rng.normal(size=(4, m)), "V": rng.normal(size=(3, m))}


def softmax_attention(inputs: dict[str, Any], seen: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Attention by its textbook definition; ``seen[p, m]`` says which keys a query sees."""
    scores = inputs["Q"].T @ inputs["K"]
    scores = scores if seen is None else np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray((weights @ inputs["V"].T).T)


@pytest.mark.parametrize("way", WHOLE)
@settings(max_examples=8)
@given(m=st.integers(1, 12), seed=st.integers(0, 99))
def test_whole(attention: dict[str, str], way: str, m: int, seed: int) -> None:
    inputs = tensors(m, seed)
    got = interpret(parse(attention[way], m=m, **SHAPE), inputs)["AV"]
    np.testing.assert_allclose(got, softmax_attention(inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", TILED)
@settings(max_examples=8)
@given(m1=st.integers(1, 4), m0=st.integers(1, 4), seed=st.integers(0, 99))
def test_tiled(attention: dict[str, str], way: str, m1: int, m0: int, seed: int) -> None:
    inputs = tensors(m1 * m0, seed)
    got = interpret(parse(attention[way], m1=m1, m0=m0, **SHAPE), inputs)["AV"]
    np.testing.assert_allclose(got, softmax_attention(inputs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", WHOLE)
@pytest.mark.parametrize("pattern", ["causal(p, m, C)", "window(p, m, 3, 0, C)", "window(p, m, 2, 1, C)"])
def test_masked(attention: dict[str, str], way: str, pattern: str) -> None:
    inputs = tensors(9)
    cascade = parse(f"QK[m, p]: {pattern}\n{attention[way]}", m="C + P", c=4, **SHAPE)
    newest, key = np.arange(4, 9)[:, None], np.arange(9)[None, :]
    seen = key <= newest
    if pattern.startswith("window"):
        width, sinks = (3, 0) if "3" in pattern else (2, 1)
        seen &= (key > newest - width) | (key < sinks)
    results = interpret(cascade, inputs, masked=True)
    np.testing.assert_allclose(results["AV"], softmax_attention(inputs, seen), rtol=1e-12, atol=1e-12)
    assert (~results["SN"].mask == seen.T).all()


@pytest.mark.parametrize("way", WHOLE)
def test_a_masked_key_may_hold_anything(attention: dict[str, str], way: str) -> None:
    inputs = tensors(5)
    cascade = parse(f"QK[m, p]: causal(p, m)\n{attention[way]}", m=5, **SHAPE)
    clean = interpret(cascade, inputs)["AV"][:, :4]
    inputs["V"][:, 4] = np.nan
    np.testing.assert_allclose(interpret(cascade, inputs)["AV"][:, :4], clean, rtol=1e-12)


def test_grouped_queries_share_keys() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=s) for s in [(2, 3, 4, 5), (2, 4, 6), (2, 4, 6)])
    text = """
        QK[h, g, m, p] = Q[h, g, e, p] * K[h, e, m]
        GM[h, g, p]    = max[m](QK[h, g, m, p])
        SN[h, g, m, p] = exp(QK[h, g, m, p] - GM[h, g, p])
        SD[h, g, p]    = SN[h, g, m, p]
        AV[h, g, e, p] = SN[h, g, m, p] * V[h, e, m] / SD[h, g, p]
        Y[h, g, e, p]  = AV[h, g, e, p]
    """
    got = interpret(parse(text, h=2, g=3, e=4, m=6, p=5), {"Q": q, "K": k, "V": v})["Y"]
    for h in range(2):
        for g in range(3):
            want = softmax_attention({"Q": q[h, g], "K": k[h], "V": v[h]})
            np.testing.assert_allclose(got[h, g], want, rtol=1e-12, atol=1e-12)


def both(cascade: Cascade, tiled: Cascade, inputs: dict[str, Any]) -> None:
    """Two cascades make the same of everything they both make."""
    plain, in_tiles = interpret(cascade, inputs), interpret(tiled, inputs)
    assert plain.keys() == in_tiles.keys()
    for name, array in plain.items():
        np.testing.assert_allclose(in_tiles[name], array, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("way", WHOLE)
@pytest.mark.parametrize("mask", ["", "QK[m, p]: causal(p, m)\n"])
def test_splitting_changes_nothing(attention: dict[str, str], way: str, mask: str) -> None:
    cascade = parse(mask + attention[way], m=6, **SHAPE)
    both(cascade, split(cascade, m=("m1", "m0", 3), e=("e1", "e0", 2)), tensors(6))
