from __future__ import annotations

import pytest

from einsum.errors import WeirError
from sim.arch.technology import Technology, dram, dram_names


def test_hbm2_as_published() -> None:
    kind = dram("hbm2")
    assert kind.energy == pytest.approx(3.92e-12)
    assert (kind.activation, kind.row) == (pytest.approx(909e-12), 1024.0)
    assert kind.verified
    assert "MICRO 2017" in kind.source


@pytest.mark.parametrize("name", dram_names())
def test_every_kind_lies_in_its_range_and_says_where_it_is_from(name: str) -> None:
    kind = dram(name)
    assert 0 < kind.low <= kind.energy <= kind.high < 1e-10
    assert kind.source


def test_the_kinds_asked_for_are_there() -> None:
    assert {"ddr4", "ddr5", "lpddr4", "lpddr5", "hbm2", "hbm2e", "hbm3", "hbm3e", "gddr6"} <= set(dram_names())


def test_stacked_memory_spends_less_than_memory_on_a_board() -> None:
    stacked = [dram(name).energy for name in ("hbm2", "hbm2e", "hbm3", "hbm3e")]
    assert max(stacked) < min(dram(name).energy for name in ("ddr4", "ddr5", "gddr6", "lpddr4", "lpddr5"))


def test_the_node_of_the_logic_changes_nothing() -> None:
    assert Technology(45).dram("HBM3") == Technology(7).dram("hbm3")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("hbm9", r"unknown kind of DRAM 'hbm9'; did you mean 'hbm\d?e?'\?"),
        ("sram", "unknown kind of DRAM 'sram'"),
        (3, "unknown kind of DRAM 3"),
    ],
)
def test_an_unknown_kind_is_refused(kind: str, message: str) -> None:
    with pytest.raises(WeirError, match=message):
        dram(kind)
