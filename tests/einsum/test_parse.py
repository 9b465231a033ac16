"""Text to cascade and back, and what the parser says to those who write it wrongly."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Const, WeirError, parse
from einsum.cascade import Cascade

SIZES = {"m": 4, "n": 3, "k": 2}


def read(text: str, **more: int) -> Cascade:
    """Parse with sizes for whichever of m, n, k the text mentions."""
    return parse(text, **{r: s for r, s in SIZES.items() if re.search(rf"\b{r}\b", text)}, **more)


def test_a_matmul_is_a_contraction() -> None:
    [einsum] = read("Z[m, n] = A[m, k] * B[k, n]").einsums
    assert einsum.ranks == ("m", "n", "k")
    assert einsum.reduced == ("k",)
    assert einsum.inputs == ("A", "B")
    assert einsum.contraction


def test_a_maximum_is_no_contraction() -> None:
    [einsum] = read("Z[m] = max[k](A[m, k] * B[k])").einsums
    assert (einsum.reduction, einsum.contraction) == ("max", False)


def test_kinds_of_tensors() -> None:
    cascade = read("K[m, n]: (state, fp8)\nW[n]: weight\nK[m, n] = X[m] * W[n]\nY[m] = K[m, n]\nZ = Y[m]")
    assert cascade.inputs == ("X", "W", "K")
    assert cascade.outputs == ("K", "Z")
    assert cascade.intermediates == ("Y",)
    assert [(t.name, t.kind, t.dtype) for t in cascade.tensors][2] == ("K", "state", "fp8")


def test_affine_indices() -> None:
    cascade = parse("Z[x] = A[x + 2*r] * B[r] + C[m1*M0 + m0]", x=5, r=3, m1=2, m0=4)
    assert cascade.shape("A") == (5 + 2 * 2,)
    assert cascade.shape("C") == (8,)
    assert cascade.einsums[0].reduced == ("r", "m1", "m0")


def test_falling_index_is_largest_at_zero() -> None:
    cascade = parse("Z[z, i] = A[I - z*I + i]", z=2, i=3)
    assert cascade.shape("A") == (3 + 3,)
    assert cascade.einsums[0].reads[0].indices[0].value({"i": 3}, {"z": 1, "i": 2}) == 2  # type: ignore[union-attr]


def test_iterative_rank_and_initial_value() -> None:
    cascade = read("R[0] = -inf\nR[m + 1] = max(R[m], A[m])\nZ = R[M]")
    assert cascade.iterative == ("m",)
    assert [e.name for e in cascade.einsums] == ["R.init", "R", "Z"]
    assert cascade.shape("R") == (5,)
    assert cascade.einsums[0].expr == Const(-math.inf)


def test_scatter_may_name_the_rank_it_scatters() -> None:
    [einsum] = read("Y[n]: bf16\nY[I[m]] = max[m](X[m])").einsums
    assert (einsum.reduction, einsum.scattered, einsum.reduced) == ("max", ("m",), ())


def test_capitals_are_sizes_only_of_ranks_that_index() -> None:
    cascade = read("# of a rank m and a scalar A\nZ[m] = B[m] * A / M")
    assert cascade.inputs == ("B", "A")


def test_size_of_a_rank_that_only_sizes() -> None:
    cascade = parse("Z[m] = A[m] / E", m=4, e=64)
    assert cascade.inputs == ("A",)
    assert str(cascade.einsums[0]) == "Z[m] = A[m] / E"


def test_derived_sizes_in_any_order() -> None:
    cascade = parse("Z[m] = A[m] * B[p]", m="C + P", p="2*D", c=3, d=2)
    assert cascade.bind()["m"] == 7
    assert cascade.bind(d=5)["m"] == 13
    assert cascade.bind(c=np.array([0, 1]))["m"].tolist() == [4, 5]


names = st.sampled_from(["A", "B", "C", "Dx"])
ranks = st.sampled_from(["m", "n", "k"])
indices = st.one_of(
    ranks, st.builds("{} + {}".format, ranks, st.integers(1, 9)), st.builds("{}*{}".format, st.integers(2, 5), ranks)
)
leaves = st.one_of(
    st.builds(
        lambda name, idx: f"{name}{len(idx)}[{', '.join(idx)}]", names, st.lists(indices, min_size=1, max_size=3)
    ),
    st.floats(0.001, 1e6, allow_nan=False).map(repr),
    st.sampled_from(["M", "inf", "-2.5"]),
)
infix = st.sampled_from(["+", "-", "*", "/", "**", "<", "<=", ">=", "==", ">"])
bodies = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, infix, inner),
        st.builds("{}({})".format, st.sampled_from(["exp", "silu", "one"]), inner),
        st.builds("max({}, {})".format, inner, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=60)
@given(st.lists(bodies, min_size=1, max_size=3), st.sampled_from(["", "max", "prod"]))
def test_printing_reads_back(lines: list[str], reduction: str) -> None:
    text = "\n".join(f"Z{i}[m] = {body} * W[m]" for i, body in enumerate(lines))
    if reduction:
        text += f"\nY[m] = {reduction}[n, k](A2[n, k] * W[m])"
    sizes = {r: s for r, s in SIZES.items() if re.search(rf"\b{r}\b", text)}
    cascade = parse(text, **sizes)
    assert parse(str(cascade), **sizes) == _at_lines(cascade)


def _at_lines(cascade: Cascade) -> Cascade:
    """The cascade as if its text began with the comment that printing puts first."""
    from dataclasses import replace

    return replace(cascade, einsums=tuple(replace(e, line=e.line + 1) for e in cascade.einsums))


MALFORMED = {
    "": "no Einsum in the text",
    "# nothing": "no Einsum in the text",
    "A[m]: fp8": "no Einsum in the text",
    "Z[m] = ": "not an expression (invalid syntax)",
    "Z[m] = A[m, k": "'[' was never closed",
    "Z[m] == A[m]": "expected an Einsum (Z[m] = ...) or a declaration",
    "Z[m] += A[m]": "expected an Einsum",
    "Z[m] = Y[m] = A[m]": "expected an Einsum",
    "Z[m], Y[m] = A[m]": "expected a tensor",
    "z[m] = A[m]": "tensor names begin with a capital letter: 'z'",
    "Z[m] = a[m]": "tensor names begin with a capital letter: 'a'",
    "Z[m] = A[m]\0": "null bytes",
    "Z[m] = A[m]\ud800": "surrogates not allowed",
    "Z[m] = " + "(" * 100_000 + "A[m]" + ")" * 100_000: "too many nested parentheses",
    "Z[m] = " + "exp(" * 80 + "A[m]" + ")" * 80: "nested more than 60 deep",
    "Z[m] = " + "-" * 100_000 + "A[m]": "nested too deep|not readable as a cascade",
    "Z[m] = A[" + "+".join(["m"] * 5000) + "]": "nested too deep|not readable as a cascade",
    "Z[m] = " + "9" * 300_000: "at most 262144 are read",
    "Z[m] = " + "9" * 5000: "digits",
    "Z[m] = " + "9" * 400: "only finite numbers",
    "Z[m] = 1e400": "only finite numbers",
    "Z[m] = A[" + "9" * 30 + "]": "below 2**62",
    "Z[m] = A[m * 4000000000 * 4000000000]": "below 2**62",
    "Z[if] = A[if]": "invalid syntax",
    "Z[lambda] = A[m]": "invalid syntax",
    "Z[m] = __import__('os')": "unknown function '__import__'",
    "__import__('os').system('true')": "expected an Einsum",
    "Z[m] = (lambda x: x)(A[m])": "expected the name of a function",
    "Z[m] = [x for x in A[m]]": "expected a tensor",
    "Z[m] = (Y := A[m])": "expected a tensor",
    "Z[m] = A.T": "expected a tensor",
    "Z[m] = A[m] @ B[m]": "expected a tensor",
    "Z[m] = A[m] if B[m] else C[m]": "expected a tensor",
    "Z[m] = A[m] < B[m] < C[m]": "expected a tensor",
    "Z[m] = 'text'": "only finite numbers",
    "Z[m] = '\\d'": "only finite numbers",
    "Z[m] = True": "only finite numbers",
    "Z[m] = f'{A}'": "expected a tensor",
    "Z[m] = exp(x=A[m])": "plain operands",
    "Z[m] = mx[k](A[m, k])": "unknown reduction 'mx'; did you mean 'max'?",
    "Z[m] = expp(A[m])": "unknown function 'expp'; did you mean 'exp'?",
    "Z[m] = sum(A[m])": "a reduction names its ranks: sum[m](...)",
    "Z[m] = max(A[m])": "max takes 2 operands, not 1",
    "Z[m] = max[m](A[m, k])": "must name the ranks read and not written (k)",
    "Z[m] = max[k](A[m])": "(none here)",
    "Z[m] = A[m] + max[k](B[m, k])": "give it a line of its own",
    "Z[m] = A[m*k]": "may not multiply two rank variables",
    "Z[m] = A[m/2]": "expected a rank",
    "Z[m] = A[1.5]": "expected a rank",
    "Z[m] = A[m:k]": "expected a rank",
    "Z[m] = A[-1]": "A[-1] reaches place -1; places count from 0",
    "Z[m] = A[m - 2]": "reaches place -2",
    "Z[m] = A[m]\nZ[m, k] = A[m]": "line 2: Z[m, k] has 2 ranks; Z has 1 elsewhere",
    "Z[m] = Y[m]\nY[m] = A[m]": "Y is read before it is written",
    "S[m + 1] = S[m] + A[m]": "S is read before it is written",
    "Z[m] = A[q]": "rank 'q' has no size; pass q=...",
    "Z[k] = top_k[m](A[m])": "top_k names 2 ranks",
    "Z[n] = sort[m](A[m])": "sort leaves ranks (m); the output has (n)",
    "Z = argmax[n](A[m])": "argmax works along 'n', which is not read here",
    "A[m]: fp8\nA[m]: fp8\nZ[m] = A[m]": "declared twice",
    "A[m]: fp99\nZ[m] = A[m]": "unknown kind, type or sparsity 'fp99'",
    "A[m]: (state, weight)\nZ[m] = A[m]": "a second kind: the tensor is state already",
    "A[m]: (fp8, fp16)\nZ[m] = A[m]": "a second type: the tensor is fp8 already",
    "A[m, n]: cauzal(m, n)\nZ[m] = A[m, n]": "unknown sparsity 'cauzal'; did you mean 'causal'?",
    "A[m, n]: causal(m)\nZ[m] = A[m, n]": "causal takes (rank, rank, offset?)",
    "A[m, n]: causal(m, m)\nZ[m] = A[m, n]": "causal needs different ranks",
    "A[m]: causal(m, n)\nZ[m] = A[m]": "rank 'n' is not one of the tensor's (m)",
    "A[m]: uniform(2.0)\nZ[m] = A[m]": "a fraction above 0 and at most 1",
    "A[m]: uniform(-0.5)\nZ[m] = A[m]": "a fraction above 0 and at most 1",
    "A[m]: n_of_m(m, 5, 4)\nZ[m] = A[m]": "5 places of a group of 4",
    "A[m]: n_of_m(m, 1.5, 4)\nZ[m] = A[m]": "a whole number above 0",
    "A[m, n]: window(m, n, 2, 1.5)\nZ[m] = A[m, n]": "expected a whole number",
    "A[m, n]: power_law(m, n, 0.5, 1e999)\nZ[m] = A[m, n]": "expected a number",
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.items())
def test_malformed(text: str, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        read(text)
    assert any(one in str(caught.value) for one in message.split("|"))  # Pythons differ in what is too deep for them
    assert str(caught.value).startswith("cascade: ")


def test_caret_runs_under_the_culprit() -> None:
    with pytest.raises(WeirError) as caught:
        read("Y[m] = B[m]\nZ[m] = mx[k](A[m, k])")
    assert str(caught.value).split("\n") == [
        "cascade: line 2: unknown reduction 'mx'; did you mean 'max'?",
        "  Z[m] = mx[k](A[m, k])",
        "         ^^",
    ]


def test_long_lines_are_shown_around_the_culprit() -> None:
    with pytest.raises(WeirError) as error:
        parse("Z[m] = " + " + ".join(["A[m]"] * 40) + " + epx(A[m])" + " " * 5000 + "# why", m=2)
    said, line, carets = str(error.value).split("\n")
    assert "did you mean 'exp'?" in said
    assert len(line) < 130
    assert line[carets.index("^") :].startswith("epx")


def test_long_names_are_refused() -> None:
    with pytest.raises(WeirError, match="a name of 5001 characters; at most 64 are read") as error:
        parse(f"Z[m] = A[m{'x' * 5000}]", m=2)
    assert len(str(error.value)) < 500


def test_caret_counts_characters_not_bytes() -> None:
    with pytest.raises(WeirError) as caught:
        parse("Zé[m] = exq(A[m])", m=2)
    assert str(caught.value).split("\n")[2] == " " * 10 + "^^^"


SIZE = "size of rank 'm' must be a whole number from 0 to 2**62"


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (-1, f"{SIZE}, not -1"),
        (0, "rank 'm' is empty: its size must be at least 1"),
        (math.nan, f"{SIZE}, not nan"),
        (1.5, f"{SIZE}, not 1.5"),
        (True, f"{SIZE}, not True"),
        (None, f"{SIZE}, not None"),
        (2**70, f"{SIZE}, not {2**70}"),
        ("", "must be a number or a sum of sizes"),
        ("4x", "invalid decimal literal"),
        ("1e9", "expected a rank"),
        ("__import__('os')", "expected a rank"),
        ("n", "may use sizes (capitals) only, not 'n'"),
        ("M", "sizes of ranks m depend on each other"),
        ("-2", f"{SIZE}, not -2"),
        ("N - 5", f"{SIZE}, not -3"),
    ],
)
def test_absurd_sizes(size: Any, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        parse("Z[m, n] = A[m] * B[n]", m=size, n=2)
    assert message in str(caught.value)


def test_sizes_that_nothing_uses() -> None:
    with pytest.raises(WeirError, match="a size is given for 'mm', which no Einsum uses; did you mean 'm'"):
        parse("Z[m] = A[m]", m=2, mm=3)


def test_resizing() -> None:
    cascade = read("Z[m] = A[m, k]")
    assert cascade.with_sizes(m=9).shape("A") == (9, 2)
    with pytest.raises(WeirError, match="no rank 'q' to size"):
        cascade.with_sizes(q=1)
    with pytest.raises(WeirError, match="rank 'm' is empty"):
        cascade.with_sizes(m=0)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    cascade = read("Scores[m] = A[m]")
    with pytest.raises(WeirError, match="no tensor 'Score'; did you mean 'Scores'"):
        cascade.tensor("Score")
    with pytest.raises(WeirError, match="no Einsum 'Score'; did you mean 'Scores'"):
        cascade.einsum("Score")


def test_a_falling_index_prints_as_it_is_written() -> None:
    assert str(parse("Z[i] = A[2*I - i*I]", i=2)).endswith("Z[i] = A[2*I - i*I]")
    assert str(parse("Z[i] = A[3 - i - 1]", i=2)).endswith("Z[i] = A[3 - i - 1]")


def test_a_type_may_be_declared_without_ranks() -> None:
    cascade = parse("I: int8\nS: fp8\nO[p] = I[p] * S\nU[q] = I[q + 1]", p=3, q=4)
    assert [cascade.tensor(n).dtype for n in "ISOU"] == ["int8", "fp8", "bf16", "bf16"]
    assert cascade.tensor("I").ranks == (None,)  # two ranks move it
    assert cascade.shape("I") == (5,)
    assert cascade.tensor("S").ranks == ()
