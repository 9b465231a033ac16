from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import Part, Program, parse
from mappings.layout import Layout, Place
from mappings.parallel import layout, prefilled
from mappings.tree import Spatial
from sim.model import memory
from workloads.transformer import from_config

TEXT = """
WQ[d, g, e]: weight
WO[g, e, d]: (weight, fp8)
W1[d, f]: weight
W2[f, d]: weight
K[b, g, m, e]: state
Q[b, g, p, e] = X[b, p, d] * WQ[d, g, e]
K[b, g, C + p, e] = Q[b, g, p, e]
S[b, g, p, m] = Q[b, g, p, e] * K[b, g, m, e]
O[b, g, p, e] = S[b, g, p, m] * K[b, g, m, e]
A[b, p, d] = O[b, g, p, e] * WO[g, e, d]
H[b, p, f] = A[b, p, d] * W1[d, f]
Y[b, p, d] = H[b, p, f] * W2[f, d]
"""
HEAD = "WU[d, v]: weight\nL[b, v] = X[b, d] * WU[d, v]"
ONE = 64 * 8 * 8  # elements of WQ, of WO and (f = g e) of W1 and of W2


def program(times: int = 4, shared: tuple[str, ...] = ()) -> Program:
    sizes: dict[str, Any] = {"b": 1, "p": 1, "c": 7, "m": "C + P", "d": 64, "g": 8, "e": 8, "f": 64}
    layer = parse(TEXT, name="layer", **sizes)
    return Program("toy", (Part(layer, times), Part(parse(HEAD, name="head", b=1, d=64, v=128))), shared)


@given(tp=st.sampled_from([1, 2, 4, 8]))
def test_devices_together_hold_every_parameter_once(tp: int) -> None:
    each = memory.weights(program(), layout(program(), {"model": tp}, tp=tp))["model"]
    assert tp * each == 4 * (3 * 2 * ONE + ONE) + 2 * 64 * 128
    assert program().parameters == 4 * 4 * ONE + 64 * 128


def test_stages_hold_their_layers_and_replicas_everything() -> None:
    whole = memory.weights(program(), layout(program(), {"model": 1}))["model"]
    head = 2 * 64 * 128
    staged = memory.weights(program(), layout(program(), {"model": 2}, tp=1, pp=2))["model"]
    assert staged - head == (whole - head) / 2
    assert memory.weights(program(), layout(program(), {"model": 2}, tp=1, replicas=2))["model"] == whole


def test_a_shared_weight_is_held_once() -> None:
    tied = "WU[d, v]: weight\nX[b, d] = Z[b, v] * WU[d, v]"
    parts = (Part(parse(tied, name="in", b=1, d=64, v=128)), *program().parts)
    one = layout(program(), {"model": 1})
    held = [memory.weights(Program("toy", parts, shared), one)["model"] for shared in ((), ("WU",))]
    assert held[0] - held[1] == 2 * 64 * 128


@given(b=st.integers(1, 64).map(lambda n: 8 * n), c=st.integers(0, 1000), ways=st.sampled_from([1, 2, 4, 8]))
def test_state_grows_with_requests_and_context(b: int, c: int, ways: int) -> None:
    for degrees in ({"tp": ways}, {"tp": 1, "dp": ways}):
        made = layout(program(), {"model": ways}, **degrees)  # type: ignore[arg-type]
        assert memory.state(program(), made, b=b, c=c, p=1)["model"] == 4 * b * 8 * (c + 1) * 8 * 2 / ways


@pytest.mark.parametrize("ways", [2, 4])
def test_keys_divided_along_the_context_are_held_in_parts(ways: int) -> None:
    """What is written (one position) does not say how the rest is divided; what is read does."""
    made = Layout((Place("model", ways, (Spatial("m", ways),)),))
    assert memory.state(program(), made, b=3, c=7, p=1)["model"] == 4 * 3 * 8 * 8 * 8 * 2 / ways


def test_state_lies_with_the_attention_and_divided_as_there() -> None:
    made = layout(program(), {"model": 2, "attention": 4})
    held = memory.state(program(), made, b=3, c=7, p=1)
    assert held == {"model": 0.0, "attention": 4 * 3 * 8 * 8 * 8 * 2 / 4}
    assert memory.weights(program(), made)["attention"] == 0.0
    home = prefilled(program(), made)
    sent = memory.state(program(), home, b=3, c=0, p=8)
    assert sent["model"] == 0.0
    assert sent["attention"] == held["attention"]


def test_what_has_left_a_sliding_window_takes_no_memory() -> None:
    windowed = from_config("mistral-7b")  # 32 layers, keys and values of 8 heads of 128, a window of 4096
    laid = Layout((Place("model", 1),))
    each = 32 * 2 * 8 * 128 * 2
    for context in (100, 4096, 20_000):
        held = memory.state(windowed.decode, laid, b=3.0, c=context - 1, p=1)["model"]
        assert held == pytest.approx(3 * each * min(context, 4096))
        assert held == pytest.approx(3 * windowed.state_bytes(context))


def test_the_embedding_and_the_head_lie_on_different_stages() -> None:
    """80 layers of 855,654,400 parameters, two tables of 128256 x 8192, norms of 8192; bf16."""
    llama = from_config("llama-3-70b")
    layers, table = 80 * 855_654_400 * 2, 128_256 * 8192 * 2
    whole = memory.weights(llama.decode, Layout((Place("model", 1),)))["model"]
    staged = memory.weights(llama.decode, Layout((Place("model", 1),), stages=2))["model"]
    assert whole == layers + 2 * table + 8192 * 2
    assert staged == layers / 2 + table + 8192 * 2
