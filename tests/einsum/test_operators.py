"""Gather, scatter, top-k, sort, argmax and scan, with and without absent places."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import WeirError, interpret, parse

ROW = [3.0, 9.0, 9.0, -1.0, 4.0]


def along(operator: str, output: str, values: Any, **sizes: int) -> Any:
    """The result of one operator along ``e``, absent places as ``None``."""
    cascade = parse(f"Z[{output}] = {operator}(X[e])" if output else f"Z = {operator}(X[e])", e=len(values), **sizes)
    return interpret(cascade, {"X": values}, masked=True)["Z"].tolist()


@pytest.mark.parametrize(
    ("operator", "output", "want"),
    [
        ("top_k[e, k]", "k", [9, 9, 4]),
        ("arg_top_k[e, k]", "k", [1, 2, 4]),  # ties by lowest index
        ("sort[e]", "e", [-1, 3, 4, 9, 9]),
        ("argsort[e]", "e", [3, 0, 4, 1, 2]),
        ("scan[e]", "e", [3, 12, 21, 20, 24]),
        ("scan_max[e]", "e", [3, 9, 9, 9, 9]),
        ("argmax[e]", "", 1),
        ("argmin[e]", "", 3),
    ],
)
def test_by_hand(operator: str, output: str, want: Any) -> None:
    assert along(operator, output, ROW, **({"k": 3} if "k]" in operator else {})) == want


@pytest.mark.parametrize(
    ("operator", "output", "want"),
    [
        ("top_k[e, k]", "k", [4, 3, -1]),
        ("arg_top_k[e, k]", "k", [4, 0, 3]),
        ("top_k[e, k]", "k", [4, 3, -1, None]),
        ("sort[e]", "e", [-1, 3, 4, None, None]),
        ("scan[e]", "e", [3, None, None, 2, 6]),
        ("scan_max[e]", "e", [3, None, None, 3, 4]),
        ("argmax[e]", "", 4),
        ("argmin[e]", "", 3),
    ],
)
def test_absent_places_are_skipped(operator: str, output: str, want: Any) -> None:
    row = np.ma.array(ROW, mask=[False, True, True, False, False])
    assert along(operator, output, row, **({"k": len(want)} if "k]" in operator else {})) == want


def test_argmax_of_nothing_is_absent() -> None:
    assert along("argmax[e]", "", np.ma.array([1.0, 2.0], mask=True)) is None


def test_argmax_among_minus_infinities_is_one_that_is_present() -> None:
    row = np.ma.array([0.0, -np.inf], mask=[True, False])
    assert along("argmax[e]", "", row) == 1


@settings(max_examples=40)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.data())
def test_top_k_is_a_stable_descending_sort(values: list[int], data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(values)))
    want = sorted(range(len(values)), key=lambda i: (-values[i], i))[:kept]
    assert along("arg_top_k[e, k]", "k", values, k=kept) == want


def test_top_k_of_too_few() -> None:
    with pytest.raises(WeirError, match="top-k of k=6 places out of e=5; k must be at most 5"):
        along("top_k[e, k]", "k", ROW, k=6)


def test_operators_work_along_any_axis_of_an_expression() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    got = interpret(parse("Z[t, k, h] = top_k[e, k](2 * X[t, e, h])", t=3, e=4, h=2, k=2), {"X": x})["Z"]
    np.testing.assert_allclose(got, -np.sort(-2 * x, axis=1)[:, :2])


def test_gather_and_lookup_table() -> None:
    table, tokens = np.arange(12.0).reshape(6, 2), [5, 0, 5]
    cascade = parse("W[v, d]: weight\nX[t, d] = W[I[t], d]", v=6, d=2, t=3)
    np.testing.assert_array_equal(interpret(cascade, {"W": table, "I": tokens})["X"], table[tokens])


def test_gather_of_a_gather_with_an_affine_axis() -> None:
    a, i, j = np.arange(20.0).reshape(5, 4), np.array([4, 2, 0]), np.array([2, 1])
    got = interpret(parse("A[v, w]: bf16\nI[u]: int32\nZ[t, x] = A[I[J[t]], x + 1]", v=5, w=4, u=3, t=2, x=3),
                    {"A": a, "I": i, "J": j})["Z"]  # fmt: skip
    np.testing.assert_array_equal(got, a[i[j], 1:])


def test_an_undeclared_table_may_have_any_height() -> None:
    got = interpret(parse("X[t] = W[I[t]]", t=2), {"W": np.arange(99), "I": [98, 7]})["X"]
    assert got.tolist() == [98, 7]


@pytest.mark.parametrize(("name", "want"), [("sum", [2, 0, 14]), ("max", [2, 0, 8]), ("prod", [0, 0, 48])])
def test_scatter_reduces_what_lands_together(name: str, want: list[float]) -> None:
    head = "X[t]" if name == "sum" else f"{name}[t](X[t])"
    cascade = parse(f"Y[n]: bf16\nY[I[t]] = {head}", n=3, t=4)
    assert interpret(cascade, {"X": [2, 6, 0, 8], "I": [0, 2, 0, 2]})["Y"].tolist() == want


def test_scatter_is_present_where_it_was_written() -> None:
    cascade = parse("Y[t, e]: per_row(e, 1)\nY[t, I[t]] = X[t]\nZ[e] = min[t](Y[t, e])", t=3, e=3)
    got = interpret(cascade, {"X": [5.0, 6.0, 7.0], "I": [2, 0, 2]}, masked=True)
    assert got["Y"].tolist() == [[None, None, 5], [6, None, None], [None, None, 7]]
    assert got["Z"].tolist() == [6, None, 5]


def test_scatter_skips_absent_indices_and_values() -> None:
    cascade = parse("Y[n]: bf16\nY[I[t]] = X[t]", n=3, t=3)
    index = np.ma.array([0, 1, 2], mask=[False, True, False])
    value = np.ma.array([5.0, 6.0, 7.0], mask=[False, False, True])
    assert interpret(cascade, {"X": value, "I": index}, masked=True)["Y"].tolist() == [5, None, None]


@pytest.mark.parametrize("text", ["W[v, d]: weight\nX[t, d] = W[I[t], d]", "W[v, d]: bf16\nW[I[t], d] = X[t, d]"])
@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 6], "W[I[t], d]: I[t] is 6, outside W's 6 places"),
        ([-1, 0], "I[t] is -1, outside"),
        ([0.5, 0], "I is used as an index and holds 0.5; an index must be a whole number"),
        ([np.nan, 0], "holds nan"),
        ([np.inf, 0], "holds inf"),
    ],
)
def test_indices_out_of_range(text: str, index: list[float], message: str) -> None:
    cascade = parse(text, v=6, d=2, t=2)
    with pytest.raises(WeirError) as caught:
        interpret(cascade, {"I": index, **{n: np.ones(cascade.shape(n)) for n in cascade.inputs if n != "I"}})
    assert message in str(caught.value)


ROUTED = """
    G[t, e]: per_row(e, 2)
    S[t, e] = X[t, d] * R[d, e]
    T[t, k] = top_k[e, k](S[t, e])
    I[t, k] = arg_top_k[e, k](S[t, e])
    E[t, k] = exp(T[t, k])
    N[t] = E[t, k]
    P[t, k] = E[t, k] / N[t]
    G[t, I[t, k]] = P[t, k]
    H[t, e, f] = one(G[t, e]) * X[t, d] * W[e, d, f]
    A[t, e, f] = relu(H[t, e, f])
    Y[t, d] = G[t, e] * A[t, e, f] * V[e, f, d]
"""


def test_routing_by_scatter_equals_a_loop_over_experts() -> None:
    """A mixture of experts: each token's top two, dispatched as a sparse tensor, combined by its gates."""
    rng = np.random.default_rng(1)
    t, e, d, f, k = 6, 4, 3, 5, 2
    x, r, w, v = (rng.normal(size=s) for s in [(t, d), (d, e), (e, d, f), (e, f, d)])
    got = interpret(parse(ROUTED, t=t, e=e, d=d, f=f, k=k), {"X": x, "R": r, "W": w, "V": v}, masked=True)
    want = np.zeros((t, d))
    for token in range(t):
        scores = x[token] @ r
        chosen = np.argsort(-scores)[:k]
        gates = np.exp(scores[chosen]) / np.exp(scores[chosen]).sum()
        for gate, expert in zip(gates, chosen, strict=True):
            want[token] += gate * (np.maximum(x[token] @ w[expert], 0) @ v[expert])
    np.testing.assert_allclose(got["Y"].filled(0), want, atol=1e-12)
    assert (~got["A"].mask).sum() == t * k * f  # experts ran only where routed
