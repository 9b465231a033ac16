"""Operations, footprints, traffic and intensity, by hand and against what the interpreter really does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import interpret, parse
from einsum.counts import footprint, intensity, operations, parameters, reads, total_operations, traffic, writes

MATMUL = parse("B[k, n]: weight\nZ[m, n] = A[m, k] * B[k, n]", m=2, n=3, k=5)


def test_matmul_by_hand() -> None:
    assert total_operations(MATMUL) == {"mac": 2 * 2 * 3 * 5}
    assert reads(MATMUL) == {"A": 2 * 5 * 2, "B": 5 * 3 * 2}
    assert writes(MATMUL) == {"Z": 2 * 3 * 2}
    assert traffic(MATMUL) == 20 + 30 + 12
    assert intensity(MATMUL) == 60 / 62
    assert parameters(MATMUL) == 15


def test_bytes_follow_the_type() -> None:
    cascade = parse("A[m]: fp8\nB[m]: u4\nZ = A[m] * B[m]", m=6)
    assert (footprint(cascade, "A"), footprint(cascade, "B"), footprint(cascade, "Z")) == (6, 3, 2)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Z[m] = exp(A[m])", {"exp": 4}),
        ("Z[m] = A[m] * B[m]", {"mul": 4}),
        ("Z[m] = A[m] / B[m] - C", {"div": 4, "add": 4}),
        ("Z[m] = A[m, k]", {"add": 12}),
        ("Z[m] = max[k](A[m, k])", {"max": 12}),
        ("Z[m] = max[k](A[m, k] * B[k])", {"mul": 12, "max": 12}),
        ("Z[m] = silu(A[m])", {"exp": 4, "add": 4, "div": 4}),
        ("Z[m] = copy(A[m])", {}),
        ("Z = argmax[m](A[m])", {"compare": 4}),
        ("Z[m] = sort[m](A[m])", {"compare": 8}),
        ("Z[m] = scan[m](A[m])", {"add": 4}),
        ("W[v]: weight\nZ[m] = W[I[m]]", {"lookup": 4}),
        ("Y[v]: bf16\nY[I[m]] = A[m]", {"atomic": 4}),
        ("Z[m] = exp(A) * B[m]", {"exp": 1, "mul": 4}),
    ],
)
def test_operations_by_class(text: str, want: dict[str, int]) -> None:
    sizes = {r: n for r, n in {"m": 4, "k": 3, "v": 9}.items() if f"[{r}" in text or f" {r}" in text or f"{r}]" in text}
    assert total_operations(parse(text, **sizes)) == want


def test_arrays_of_sizes_count_many_designs_at_once() -> None:
    sizes = MATMUL.bind(m=np.array([1, 2, 4]))
    assert operations(MATMUL, MATMUL.einsums[0], sizes)["mac"].tolist() == [30, 60, 120]


@settings(max_examples=40)
@given(p=st.integers(1, 7), c=st.integers(0, 7), window=st.integers(0, 4), e=st.integers(1, 3))
def test_masked_multiplies_are_those_the_interpreter_does(p: int, c: int, window: int, e: int) -> None:
    """Multiplying ones by ones, the interpreter's sum is the number of products that it formed."""
    pattern = f"window(p, m, {window}, 0, C)" if window else "causal(p, m, C)"
    text = f"S[m, p]: {pattern}\nS[m, p] = Q[e, p] * K[e, m]\nA[m, p] = one(S[m, p])\nZ[f, p] = A[m, p] * V[f, m]"
    cascade = parse(text, p=p, m="C + P", c=c, e=e, f=2)
    ones = {name: np.ones(cascade.shape(name)) for name in cascade.inputs}
    done = interpret(cascade, ones)
    for name in ("S", "Z"):
        counted = operations(cascade, cascade.einsum(name), cascade.bind())["mac"] / 2
        assert done[name].sum() == pytest.approx(counted)


@settings(max_examples=20)
@given(t=st.integers(1, 9), e=st.integers(2, 6), seed=st.integers(0, 99))
def test_routed_multiplies_are_those_the_interpreter_does(t: int, e: int, seed: int) -> None:
    text = "G[t, e]: per_row(e, 2)\nH[t, e, f] = one(G[t, e]) * X[t, d] * W[e, d, f]"
    cascade = parse(text, t=t, e=e, d=3, f=2)
    ones = {name: np.ones(cascade.shape(name)) for name in cascade.inputs}
    done = interpret(cascade, ones, seed=seed)["H"].sum()
    assert done == t * 2 * 3 * 2
    assert operations(cascade, cascade.einsums[0], cascade.bind())["mac"] / 2 == pytest.approx(done)


def test_causal_halves_the_work_of_a_long_sequence() -> None:
    text = "S[m, p] = Q[e, p] * K[e, m]"
    dense = total_operations(parse(text, m=1000, p=1000, e=4))["mac"]
    causal = total_operations(parse("S[m, p]: causal(p, m)\n" + text, m=1000, p=1000, e=4))["mac"]
    assert causal / dense == pytest.approx(1001 / 2000)
