"""Backward passes that were derived, against finite differences of the forward pass."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Cascade, WeirError, interpret, parse
from einsum.adjoint import SLOPES, adjoint
from einsum.counts import operations
from einsum.ops import MAPS

STEP = 1e-6


def differs(cascade: Cascade, backward: Cascade, output: str, *, low: float = 0.3, seed: int = 0) -> float:
    """The largest relative difference between derived and measured slopes along one random direction an input."""
    rng = np.random.default_rng(seed)
    real = [n for n in cascade.inputs if not cascade.tensor(n).dtype.startswith("int")]
    given_: dict[str, Any] = {n: rng.uniform(low, 1.7, cascade.shape(n)) for n in real}
    given_ |= {n: rng.integers(0, 2, cascade.shape(n)) for n in cascade.inputs if n not in real}
    out = interpret(cascade, given_)
    weigh = rng.normal(size=np.shape(out[output]))
    values: dict[str, Any] = {**given_, **out, f"D{output}": weigh}
    slopes = interpret(backward, {n: values[n] for n in backward.inputs})
    worst = 0.0
    for name in real:
        if f"D{name}" not in backward.produced:
            continue
        along = rng.normal(size=np.shape(given_[name]))
        ends = [interpret(cascade, {**given_, name: given_[name] + s * along})[output] for s in (STEP, -STEP)]
        measured = float(((ends[0] - ends[1]) * weigh).sum()) / (2 * STEP)
        derived = float((slopes[f"D{name}"] * along).sum())
        worst = max(worst, abs(measured - derived) / max(1e-3, abs(measured)))
    return worst


@pytest.mark.parametrize("op", sorted(SLOPES))
def test_every_map_has_the_slope_that_is_measured(op: str) -> None:
    arity = MAPS[op].arity
    args = ", ".join(f"{'ABC'[i]}[m, k]" for i in range(arity))
    cascade = parse(f"Y[m, k] = {op}({args})\nZ[m] = Y[m, k] * W[k]", m=3, k=4)
    assert differs(cascade, adjoint(cascade), "Z") < 1e-5


def test_every_map_has_a_slope() -> None:
    assert set(SLOPES) == set(MAPS)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_a_chain_of_products_and_sums(m: int, n: int, k: int, seed: int) -> None:
    cascade = parse(
        "Z[m, n] = A[m, k] * B[k, n]\nS[m] = Z[m, n]\nG[m] = max[n](Z[m, n])\n"
        "Y[m, n] = Z[m, n] / S[m] + exp(Z[m, n] - G[m]) + A[m, 0] * 0.5 + V[n]",
        m=m, n=n, k=k,
    )  # fmt: skip
    assert differs(cascade, adjoint(cascade), "Y", seed=seed) < 1e-5


def test_a_convolution_and_a_gather() -> None:
    conv = parse("Z[x, c] = I[x + r] * F[r, c]", x=4, r=3, c=2)
    assert differs(conv, adjoint(conv), "Z") < 1e-6
    look = parse("T[n]: int32\nW[v, d]: weight\nE[n, d] = W[T[n], d]\nY[n] = E[n, d] * E[n, d]", n=5, d=3, v=3)
    taken = adjoint(look)
    rng = np.random.default_rng(1)
    words, table = np.array([0, 2, 2, 1, 0]), rng.normal(size=(3, 3))
    rows = table[words]
    slopes = interpret(taken, {"T": words, "E": rows, "DY": np.ones(5)})
    by_hand = np.zeros((3, 3))
    np.add.at(by_hand, words, 2 * rows)
    np.testing.assert_allclose(slopes["DW"], by_hand)


def test_masked_places_have_no_gradient() -> None:
    cascade = parse(
        "QK[p, m]: causal(p, m)\nQK[p, m] = Q[p, e] * K[m, e]\nSN[p, m] = exp(QK[p, m])\nSD[p] = SN[p, m]\n"
        "O[p] = SN[p, m] * V[m] / SD[p]",
        p=4, m=4, e=2,
    )  # fmt: skip
    assert differs(cascade, adjoint(cascade), "O") < 1e-5


@pytest.mark.parametrize(
    ("declared", "line"),
    [
        ("A[m, k]: uniform(0.5)", "B[m, k] = exp(A[m, k])"),  # B is read, whose places follow from A's
        ("A[m, k]: per_row(k, 2)", "B[m, k] = exp(A[m, k])"),
        ("A[m, k]: uniform(0.5)", "B[m, k] = A[m, k] * A[m, k]"),  # A is read in both passes, at the same places
        ("B[m, k]: uniform(0.5)", "B[m, k] = exp(A[m, k])"),
    ],
)
def test_places_drawn_in_the_forward_pass_are_those_of_the_backward_pass(declared: str, line: str) -> None:
    cascade = parse(f"{declared}\n{line}\nY[m] = B[m, k] * V[k]", m=5, k=6)
    assert differs(cascade, adjoint(cascade), "Y") < 1e-5


def test_what_is_recomputed_is_not_read() -> None:
    cascade = parse("A[m] = exp(X[m])\nB[m] = square(A[m])\nC[m] = sin(B[m])\nY[m] = C[m] * C[m]", m=5)
    plain, again = adjoint(cascade), adjoint(cascade, recompute=("A", "B", "C"))
    assert set(plain.inputs) == {"DY", "C", "B", "A"}
    assert set(again.inputs) == {"DY", "X"}
    assert differs(cascade, again, "Y") < 1e-5


def test_a_softmax_s_gradient_needs_its_result_alone() -> None:
    ahead = parse("LS[p] = logsumexp[m](X[p, m])\nY[p, m] = exp(X[p, m] - LS[p])", p=3, m=5)
    behind = adjoint(ahead)
    assert set(behind.inputs) == {"DY", "Y"}
    rng = np.random.default_rng(1)
    x, above = rng.normal(size=(2, 3, 5))
    y = interpret(ahead, {"X": x})["Y"]
    np.testing.assert_allclose(y, np.exp(x) / np.exp(x).sum(1, keepdims=True))
    by_hand = y * (above - (above * y).sum(1, keepdims=True))
    np.testing.assert_allclose(interpret(behind, {"DY": above, "Y": y})["DX"], by_hand)


def test_constants_carry_no_gradient() -> None:
    cascade = parse("Y[m] = A[m] * B[m]", m=3)
    assert adjoint(cascade, constants=("A",)).produced == ("DB",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Y[k] = top_k[m, k](X[m])", "top_k has no derivative here without arg_top_k"),
        ("Y = prod[m](X[m])", "a prod has no derivative here"),
        ("R[0] = 0\nR[m + 1] = R[m] + X[m]", "no derivative along the iterative rank 'm'"),
        ("DX[m] = X[m]", "the gradient of X would be called DX, which is a tensor already"),
    ],
)
def test_what_has_no_derivative_says_so(text: str, message: str) -> None:
    sizes: dict[str, Any] = {"m": 3} | ({"k": 2} if "k" in text.split("]", maxsplit=1)[0] else {})
    with pytest.raises(WeirError, match=message):
        adjoint(parse(text, **sizes))


def test_an_unknown_output_names_the_nearest() -> None:
    with pytest.raises(WeirError, match="no tensor 'YY'; did you mean 'Y'"):
        adjoint(parse("Y[m] = exp(X[m])", m=2), outputs=("YY",))


MOE = """
RL[p, x] = X[p, d] * WR[d, x]
TV[p, k] = top_k[x, k](RL[p, x])
TI[p, k] = arg_top_k[x, k](RL[p, x])
TE[p, k] = exp(TV[p, k])
TS[p] = TE[p, k]
RT[p, TI[p, k]] = TE[p, k] / TS[p]
U[p, x, f] = one(RT[p, x]) * X[p, d] * WU[x, d, f]
H[p, x, f] = silu(U[p, x, f])
Z[p, d] = RT[p, x] * H[p, x, f] * WD[x, f, d]
"""


@pytest.mark.parametrize("seed", range(3))
def test_routed_experts(seed: int) -> None:
    """The router's gradient goes to the experts chosen, and each product is one with the weights of those alone."""
    cascade = parse(MOE, p=3, d=4, x=4, f=5, k=2)
    backward = adjoint(cascade)
    assert differs(cascade, backward, "Z", seed=seed) < 1e-5
    macs, twice = (sum(float(operations(c, e, c.bind()).get("mac", 0)) for e in c.einsums) for c in (cascade, backward))
    assert twice < 3 * macs  # two for each product, and one more for the router
