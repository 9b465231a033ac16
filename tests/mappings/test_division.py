"""How training steps are divided: heads by a brute force, sums of like parts, experts over tensors and replicas."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import Cascade, WeirError, parse
from mappings.division import Division, heads, products
from mappings.kernels import standing
from mappings.layout import Layout
from workloads.training import forward, step
from workloads.transformer import model

ATTENTION = "QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]"


def made(name: str, kind: int = 0, batch: int = 1) -> Cascade:
    spec = model(name).spec
    return step(forward(spec, spec.layers[kind], batch=batch, sequence=128))


@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 24))
def test_heads_go_round_wherever_they_can(groups: int, shared: int, ways: int) -> None:
    """By brute force: pairs of divisors of the ways, no larger than there are heads and queries to share one."""
    cascade = parse(ATTENTION, b=1, g=groups, r=shared, p=2, m=2, e=2)
    can = any(ways % a == 0 and a <= groups and ways // a <= shared for a in range(1, ways + 1))
    try:
        found = {loop.rank: loop.ways for loop in heads(cascade, ways)}
    except WeirError as why:
        would = int(str(why).split("; ")[1].split()[0])
        assert prod(loop.ways for loop in heads(cascade, would)) == would < ways
        assert ways > groups
        return
    assert can
    assert prod(found.values()) == ways
    assert found["g"] <= groups
    assert found["r"] <= shared


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "mixtral-8x7b", "qwen2-7b", "llama-3-8b"])
def test_what_goes_into_one_sum_is_partial_alike(name: str, sequence: bool) -> None:
    """Few key-value heads and routers would leave some products whole, or in fewer parts: all are in eight."""
    ways = 4 if name == "qwen2-7b" else 8
    whole = made(name)
    place = Division("model", ways, sequence).place(whole)
    stands = standing(whole, Layout((place,)))
    sums = [e for e in whole.einsums if products(whole, e)]
    assert {"DXN", "DAN"} <= {e.output.tensor for e in sums}
    for einsum in sums:
        assert {stands[n] for n in (*einsum.inputs, einsum.output.tensor)} == {(ways, (1, 1, 1))}, einsum.name


def test_experts_over_replicas_have_their_sequences_beside_each_other() -> None:
    whole = made("mixtral-8x7b", batch=2)
    place = Division("model", 4, sequence=True, experts=8, copies=2).place(whole)
    ways = {e.name: place.ways(e) for e in whole.einsums}
    assert place.count == 8
    assert ways["G"] == ways["Z"] == ways["DWG"] == {"x": 8}
    assert ways["XN"] == ways["RL"] == {"b": 2, "p": 4}
    assert ways["Q"] == {"b": 2, "g": 4}


def test_what_experts_leave_divides_their_hidden_rank() -> None:
    whole = made("mixtral-8x7b")
    ways = {e.name: Division("model", 8, experts=2).place(whole).ways(e) for e in whole.einsums}
    assert ways["G"] == ways["DWG"] == {"x": 2, "f": 4}
    assert ways["Q"] == {"g": 8}


def test_ulysses_divides_heads_in_attention_and_positions_elsewhere() -> None:
    whole = made("llama-3-8b")
    ways = {e.name: Division("model", 16, ulysses=True).place(whole).ways(e) for e in whole.einsums}
    assert ways["QK"] == ways["AV"] == {"g": 8, "r": 2}
    assert ways["Q"] == ways["G"] == ways["DWG"] == {"p": 16}
