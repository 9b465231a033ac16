"""Which Einsums of a training step share a kernel, and what is divided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from einsum import Cascade
from mappings.division import Division
from mappings.kernels import kernels
from mappings.training import Kernels, layout
from workloads.pieces import Style
from workloads.training import forward, step
from workloads.transformer import model

EAGER = Kernels("eager", eager=True, dropout=0.1, begin=("QM", "PRK", "AN_M", "DPR", "DQM_1"), added=True)
FUSED = Kernels("fused", added=True)


def made(name: str = "gpt2-xl", kind: Kernels = EAGER) -> tuple[Cascade, str]:
    ahead = forward(model(name).spec, sequence=128, style=Style(kind.eager, kind.dropout))
    whole = step(ahead)
    return whole, whole.einsums[len(ahead.einsums)].name


def groups(kind: Kernels, name: str = "gpt2-xl", ways: int = 1, sequence: bool = False) -> list[str]:
    whole, turn = made(name, kind)
    laid = layout(whole, kind, Division("model", ways, sequence), turn)
    return [" ".join(e.name for e in group) for group in kernels(whole, laid)]


def test_eager_attention_is_a_kernel_a_product_and_a_pass_over_scores() -> None:
    found = groups(EAGER)
    at = found.index("QK")
    assert found[at : at + 4] == ["QK", "QM LS PR", "PRK", "O"]
    assert {"DPRK", "DV", "DPR", "DQM_1 DLS DQM_2 DQM DQK", "DQB", "DK"} <= set(found)


def test_fused_attention_is_one_kernel_each_way() -> None:
    found = groups(FUSED)
    assert [g for g in found if "QK" in g.split()] == ["QK GM SN SD AV O"]
    [back] = [g for g in found if "DQB" in g.split()]
    assert {"DSN_1", "DV", "DQB", "DK"} <= set(back.split())


def test_products_of_one_input_or_into_one_sum_are_merged() -> None:
    found = groups(EAGER)
    assert "Q KN VN QB KNB K VNB V" in found  # a bias is added on the way out
    assert "DXN_1 DXN_2 DXN_3 DXN" in found
    [weights] = [g for g in found if "DWQ" in g.split()]
    assert sorted(weights.split()) == sorted(["DWQ", "DWQ_SUM", "DWK", "DWK_SUM", "DWV", "DWV_SUM"])


def test_gradients_are_added_in_kernels_of_their_own_where_they_are_not_fused() -> None:
    found = groups(replace(EAGER, added=False))
    assert "DWU" in found
    assert not any("DWU" in g.split() and "DWU_SUM" in g.split() for g in found)


@pytest.mark.parametrize("name", ["gpt2-xl", "llama-3-8b"])
def test_a_bias_waits_for_sums_over_devices(name: str) -> None:
    apart = groups(FUSED, name, ways=5 if name == "gpt2-xl" else 8)
    assert "Y" in apart
    assert "Z" in apart


def test_the_backward_pass_begins_a_kernel() -> None:
    whole, turn = made()
    for ways, sequence in ((1, False), (5, True)):
        found = groups(EAGER, ways=ways, sequence=sequence)
        assert sum(g.split()[0] == turn for g in found) == 1
    assert whole.einsums[0].name == found[0].split()[0]


def test_positions_are_divided_where_nothing_else_is() -> None:
    whole, turn = made("llama-3-8b", FUSED)
    place = layout(whole, FUSED, Division("model", 8, sequence=True), turn).places[0]
    ways = {e.name: place.ways(e) for e in whole.einsums}
    assert ways["XN"] == ways["A"] == ways["DX"] == {"p": 8}
    assert ways["Q"] == ways["Y"] == ways["DWQ"] == {"g": 8}
    assert ways["U"] == ways["DWU"] == {"f": 8}
    assert ways["DXN"] == {}  # it adds up parts of the whole
