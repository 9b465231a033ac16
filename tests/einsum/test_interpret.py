"""The interpreter against NumPy's own einsum, SciPy's convolution and hand-sized sums."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import opt_einsum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, sparse

from einsum import WeirError, interpret, parse
from einsum.sparsity import Actual

RNG = np.random.default_rng(3)


def run(text: str, tensors: dict[str, Any], **sizes: Any) -> dict[str, Any]:
    """What a cascade of the given sizes makes of the given tensors."""
    return interpret(parse(text, **sizes), tensors)


# -- contractions

letters = st.lists(st.sampled_from("abcde"), unique=True, min_size=0, max_size=4)


@settings(max_examples=80)
@given(st.lists(letters, min_size=2, max_size=4), st.permutations("abcde"), st.integers(0, 31), st.integers(0, 999))
def test_sums_of_products(operands: list[list[str]], order: list[str], kept: int, seed: int) -> None:
    used = {r for ranks in operands for r in ranks}
    output = [r for i, r in enumerate(order) if r in used and kept >> i & 1]
    sizes = {r: n for r, n in zip("abcde", (2, 3, 1, 4, 2), strict=True) if r in used}
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=[sizes[r] for r in ranks]) for ranks in operands]
    text = "Z = " if not output else f"Z[{', '.join(output)}] = "
    text += " * ".join(f"T{i}[{', '.join(r)}]" if r else f"T{i}" for i, r in enumerate(operands))
    got = run(text, {f"T{i}": a for i, a in enumerate(arrays)}, **sizes)["Z"]
    spec = ",".join("".join(r) for r in operands) + "->" + "".join(output)
    np.testing.assert_allclose(got, np.einsum(spec, *arrays), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got, opt_einsum.contract(spec, *arrays), rtol=1e-12, atol=1e-12)


def test_diagonals_and_traces() -> None:
    a = RNG.normal(size=(4, 4))
    np.testing.assert_array_equal(run("Z[i] = A[i, i]", {"A": a}, i=4)["Z"], np.diag(a))
    assert run("Z = A[i, i]", {"A": a}, i=4)["Z"] == pytest.approx(np.trace(a))


def test_named_reductions() -> None:
    a = RNG.normal(size=(3, 5))
    for name in ("sum", "max", "min", "prod"):
        got = run(f"Z[m] = {name}[k](A[m, k])", {"A": a}, m=3, k=5)["Z"]
        np.testing.assert_allclose(got, getattr(np, name)(a, axis=1))
    held = a > 0
    assert (run("Z[m] = any[k](A[m, k] > 0)", {"A": a}, m=3, k=5)["Z"] == held.any(axis=1)).all()
    assert (run("Z[m] = all[k](A[m, k] > 0)", {"A": a}, m=3, k=5)["Z"] == held.all(axis=1)).all()


def test_a_count_of_comparisons_is_a_number() -> None:
    assert run("Z = (A[k] > 0) * B[k]", {"A": [1, -1, 2], "B": [1, 1, 1]}, k=3)["Z"] == 2.0


def test_broadcasts_and_literals() -> None:
    got = run("Z[m, n] = 2 * A[m] - M / 4", {"A": [1.0, 2.0]}, m=2, n=3)["Z"]
    assert got.tolist() == [[1.5] * 3, [3.5] * 3]


def test_non_finite_values_travel_as_in_numpy() -> None:
    got = run("Z[m] = A[m] / B[m]\nY = max[m](Z[m])", {"A": [1, 0, np.nan], "B": [0, 0, 1]}, m=3)
    np.testing.assert_array_equal(got["Z"], [np.inf, np.nan, np.nan])
    assert np.isnan(got["Y"])


def test_single_precision() -> None:
    cascade = parse("Z[m] = A[m, k] * B[k]", m=2, k=3)
    assert interpret(cascade, {"A": np.ones((2, 3)), "B": np.ones(3)}, dtype=np.float32)["Z"].dtype == np.float32


# -- affine indices


@settings(max_examples=25)
@given(c=st.integers(1, 3), x=st.integers(1, 6), y=st.integers(1, 5), r=st.integers(1, 3), s=st.integers(1, 3))
def test_convolution(c: int, x: int, y: int, r: int, s: int) -> None:
    image, kernel = RNG.normal(size=(c, x + r - 1, y + s - 1)), RNG.normal(size=(c, r, s))
    got = run("O[x, y] = I[c, x + r, y + s] * F[c, r, s]", {"I": image, "F": kernel}, c=c, x=x, y=y, r=r, s=s)["O"]
    want = sum(signal.correlate2d(image[i], kernel[i], mode="valid") for i in range(c))
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_strided_and_dilated_convolution() -> None:
    line, kernel = RNG.normal(size=2 * 4 + 3 * 2 + 1), RNG.normal(size=3)
    got = run("O[x] = I[2*x + 3*r] * F[r]", {"I": line} | {"F": kernel}, x=5, r=3)["O"]
    np.testing.assert_allclose(got, [sum(line[2 * x + 3 * r] * kernel[r] for r in range(3)) for x in range(5)])


def test_full_convolution_adds_what_lands_on_one_place() -> None:
    a, b = RNG.normal(size=6), RNG.normal(size=3)
    np.testing.assert_allclose(run("Z[x + r] = A[x] * B[r]", {"A": a, "B": b}, x=6, r=3)["Z"], np.convolve(a, b))


def test_reversed_reading() -> None:
    assert run("Z[k] = A[K - 1 - k]", {"A": [1, 2, 3]}, k=3)["Z"].tolist() == [3, 2, 1]


def test_halves_exchanged_by_a_falling_index() -> None:
    got = run("Z[z, i] = A[I - z*I + i]", {"A": [0, 1, 2, 3]}, z=2, i=2)["Z"]
    assert got.tolist() == [[2, 3], [0, 1]]


def test_writing_a_slice_of_state_leaves_the_callers_array_alone() -> None:
    cache = np.zeros((2, 5))
    text = "K[b, m]: state\nK[b, C + p] = X[b, p]\nY[b] = K[b, m]"
    got = run(text, {"K": cache, "X": np.ones((2, 2))}, b=2, m="C + P", c=3, p=2)
    assert got["K"].tolist() == [[0, 0, 0, 1, 1]] * 2
    assert got["Y"].tolist() == [2, 2]
    assert not cache.any()


def test_results_never_alias_inputs() -> None:
    a = np.ones(3)
    got = run("Z[m] = A[m]", {"A": a}, m=3)["Z"]
    got += 1
    assert a.tolist() == [1, 1, 1]


# -- recurrences


def test_running_maximum_keeps_every_step() -> None:
    got = run("R[0] = -inf\nR[m + 1] = max(R[m], A[m])\nZ = R[M]", {"A": [1, 3, 2]}, m=3)
    assert got["R"].tolist() == [-np.inf, 1, 3, 3]
    assert got["Z"] == 3


def test_two_lines_that_feed_each_other_run_in_step() -> None:
    text = "F[0] = 0\nG[0] = 1\nF[m + 1] = G[m]\nG[m + 1] = F[m] + G[m]"
    assert run(text, {}, m=6)["F"].tolist() == [0, 1, 1, 2, 3, 5, 8]


def test_a_line_between_that_reads_the_recurrence_sees_it_whole() -> None:
    text = "S[0] = 0\nP[m] = S[m] * B[m]\nQ[m] = P[m] + 1\nS[m + 1] = P[m] + A[m]\nZ = Q[m]"
    got = run(text, {"A": [1, 2, 3], "B": [1, 2, 3]}, m=3)
    assert got["S"].tolist() == [0, 1, 4, 15]
    assert got["Z"] == (0 + 2 + 12) + 3


def test_what_is_never_written_is_absent() -> None:
    got = interpret(parse("S[C + m] = A[m]\nZ = min[m](S[2*m])", m=2, c=1), {"A": [5, 6]}, masked=True)
    assert got["S"].tolist() == [None, 5, 6]
    assert got["Z"] == 6


def test_a_recurrence_may_not_need_all_of_itself() -> None:
    with pytest.raises(WeirError, match="T feeds a recurrence along 'm' and must be written at every 'm'"):
        run("S[0] = 0\nT = S[m] * A[m]\nS[m + 1] = T * A[m]", {"A": [1, 2]}, m=2)


# -- absent places


def test_causal_sums_skip_the_future() -> None:
    got = run("A[p, m]: causal(p, m)\nZ[p] = A[p, m] * B[m]", {"A": np.ones((3, 3)), "B": [1, 10, 100]}, p=3, m=3)
    assert got["Z"].tolist() == [1, 11, 111]


def test_what_is_absent_does_not_count_even_times_infinity() -> None:
    got = run("A[p, m]: causal(p, m)\nZ[p] = A[p, m] * B[m]", {"A": np.ones((2, 2)), "B": [1, np.inf]}, p=2, m=2)
    assert got["Z"].tolist() == [1, np.inf]


def test_a_computed_tensor_is_computed_only_where_declared() -> None:
    cascade = parse("Z[p, m]: causal(p, m)\nZ[p, m] = A[p] * B[m]\nY = min[p, m](Z[p, m])", p=2, m=2)
    given_ = {"A": [1, 2], "B": [3, -4]}
    assert interpret(cascade, given_)["Z"].tolist() == [[3, 0], [6, -8]]
    assert interpret(cascade, given_, masked=True)["Z"].mask.tolist() == [[False, True], [False, False]]
    assert interpret(cascade, given_)["Y"] == -8


def test_merging() -> None:
    a = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, True])
    b = np.ma.array([5.0, 7.0, 9.0], mask=[False, False, True])
    for text, want in {
        "A[m] * B[m]": [5, None, None],
        "A[m] + B[m]": [6, 7, None],
        "A[m] - B[m]": [-4, None, None],
        "B[m] - A[m]": [4, 7, None],
        "max(A[m], B[m])": [5, 7, None],
        "min(B[m], A[m])": [1, 7, None],
        "1 - B[m]": [-4, -6, None],
        "one(A[m])": [1, None, None],
    }.items():
        got = interpret(parse(f"Z[m] = {text}", m=3), {"A": a, "B": b} if "B" in text else {"A": a}, masked=True) \
            if "A" in text else interpret(parse(f"Z[m] = {text}", m=3), {"B": b}, masked=True)  # fmt: skip
        assert got["Z"].tolist() == want, text


def test_reductions_skip_the_absent() -> None:
    a = np.ma.array([[3.0, 5.0], [2.0, 4.0]], mask=[[False, True], [True, True]])
    for name, want in {"sum": 3, "max": 3, "min": 3, "prod": 3}.items():
        got = interpret(parse(f"Z[m] = {name}[k](A[m, k])", m=2, k=2), {"A": a}, masked=True)["Z"]
        assert got.tolist() == [want, None]


def test_a_scipy_matrix_brings_its_own_pattern() -> None:
    a = sparse.csr_array(([1.0, 0.0], ([0, 1], [1, 0])), shape=(2, 2))  # an explicit zero is present
    got = interpret(parse("Z[m] = min[k](A[m, k])", m=2, k=2), {"A": a}, masked=True)["Z"]
    assert got.tolist() == [1, 0]
    got = interpret(parse("Z[k] = max[m](A[m, k] - 5)", m=2, k=2), {"A": a}, masked=True)["Z"]
    assert got.tolist() == [-5, -4]


@settings(max_examples=20)
@given(st.integers(0, 99))
def test_sparse_product_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (sparse.random_array((5, 5), density=0.3, rng=rng) for _ in range(2))
    got = interpret(parse("Z[m, n] = A[m, k] * B[k, n]", m=5, n=5, k=5), {"A": a, "B": b}, masked=True)["Z"]
    np.testing.assert_allclose(got.filled(0), (a @ b).toarray(), atol=1e-12)
    structure = (a != 0).astype(float) @ (b != 0).astype(float)
    assert (~got.mask == (structure.toarray() > 0)).all()


def test_random_patterns_follow_the_seed() -> None:
    cascade = parse("A[m]: uniform(0.5)\nZ = A[m]", m=64)
    first, again, other = (interpret(cascade, {"A": np.ones(64)}, seed=s)["Z"] for s in (1, 1, 2))
    assert first == again != other


def test_an_inferred_pattern_is_not_drawn_again() -> None:
    cascade = parse("A[m]: uniform(0.5)\nB[m] = A[m] * 1\nZ = B[m]\nY = A[m]", m=64)
    got = interpret(cascade, {"A": np.ones(64)})
    assert got["Z"] == got["Y"]


# -- what callers do wrong

MATMUL = parse("Z[m, n] = Alpha[m, k] * B[k, n]", m=2, n=3, k=4)
GOOD = {"Alpha": np.ones((2, 4)), "B": np.ones((4, 3))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"B": None}, "tensor 'B' is not given; missing: B"),
        ({"Alfa": 1}, "'Alfa' is no tensor of this cascade; did you mean 'Alpha'?"),
        ({"Z": 1}, "'Z' is computed, not given"),
        ({"B": np.ones((3, 4))}, "B has shape (3, 4); expected (k=4, n=3)"),
        ({"B": np.ones(4)}, "B has shape (4,); expected (k=4, n=3)"),
        ({"B": [[1, 2], [3]]}, "B is not an array of numbers"),
        ({"B": np.ones((4, 3)) * 1j}, "B holds complex128, not real numbers"),
        ({"B": np.full((4, 3), "x")}, "not real numbers"),
    ],
)
def test_wrong_inputs(change: dict[str, Any], message: str) -> None:
    given_ = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    with pytest.raises(WeirError) as caught:
        interpret(MATMUL, given_)
    assert message in str(caught.value)


def test_dtype_must_be_floating() -> None:
    with pytest.raises(WeirError, match="dtype must be a floating type, not int64"):
        interpret(MATMUL, GOOD, dtype=np.int64)


def test_what_would_not_fit_is_refused_before_it_is_made() -> None:
    huge = parse("Z[m, n] = A[m] * B[n]", m=10**6, n=10**6)
    with pytest.raises(WeirError, match=r"an intermediate over \(m, n\) takes 8e\+12 bytes, more than the limit"):
        interpret(huge, {"A": np.ones(10**6), "B": np.ones(10**6)})
    with pytest.raises(WeirError, match="more than the limit of 10"):
        interpret(MATMUL, GOOD, limit=10)


def test_a_declared_rank_that_is_too_short_for_an_access() -> None:
    with pytest.raises(WeirError, match=r"A\[m \+ 2\] reaches place 3 of dimension 0, which has 2 places"):
        run("A[m]: bf16\nZ[m] = A[m + 2]", {"A": np.ones(2)}, m=2)


def test_a_matrix_in_hand_as_sparsity() -> None:
    cascade = parse("Z[m] = A[m, k]", m=2, k=2)
    held = replace(cascade.tensor("A"), ranks=("m", "k"), patterns=(Actual.of(np.eye(2), "m", "k"),))
    cascade = replace(cascade, tensors=(held, cascade.tensor("Z")))
    assert interpret(cascade, {"A": [[1, 2], [3, 4]]})["Z"].tolist() == [1, 4]
    with pytest.raises(WeirError, match=r"the sparsity of A has shape \(2, 2\); its ranks \(m, k\) have \(3, 2\)"):
        interpret(cascade.with_sizes(m=3), {"A": np.ones((3, 2))})
