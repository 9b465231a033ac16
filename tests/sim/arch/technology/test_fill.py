from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from einsum.errors import WeirError
from sim.arch import Device, device
from sim.arch.technology import Technology, fill

T45 = Technology(45)
FILE = """
title = "A toy"
vendor = "nobody"
architecture = "toy"
year = 2020
source = "made up"

[[memory]]
name = "dram"
capacity = "1 GiB"
bandwidth = "100 GB/s"

[[memory]]
name = "buffer"
under = "dram"
capacity = "64 KiB"
bandwidth = "1 TB/s"

[[memory]]
name = "stated"
under = "buffer"
capacity = "1 KiB"
energy = "2 pJ/B"

[[memory]]
name = "file"
under = "stated"
capacity = "64 B"
line = "2 B"

[[compute]]
name = "pe"
under = "file"
rate.mac.bf16 = "2 GFLOP/s"
rate.map.int32 = "1 GOP/s"
rate.lookup.int8 = "1 GOP/s"
rate.exp.bf16 = "1 GOP/s"
energy.exp.bf16 = "9 pJ/op"
"""


@pytest.fixture
def toy(tmp_path: Path) -> Device:
    path = tmp_path / "toy.toml"
    path.write_text(FILE)
    return device(path)


def test_what_a_file_states_is_kept_and_the_rest_is_modelled(toy: Device) -> None:
    filled = fill(toy, T45, dram="hbm2")
    assert filled.device.get("stated.energy") == toy.get("stated.energy")
    assert filled.device.get("pe.energy.exp.bf16") == toy.get("pe.energy.exp.bf16")
    assert [row.path for row in filled.modelled] == [
        "dram.energy",
        "buffer.energy",
        "file.energy",
        "pe.energy.mac.bf16",
        "pe.energy.map.int32",
    ]
    assert filled.missing == ("pe.energy.lookup.int8",)


def test_every_row_is_what_the_device_then_answers(toy: Device) -> None:
    filled = fill(toy, T45, dram="hbm2")
    for row in filled.modelled:
        assert filled.device.get(row.path) == row.energy


def test_energies_by_hand(toy: Device) -> None:
    filled = fill(toy, T45, dram="hbm2").device
    assert filled.get("dram.energy") == pytest.approx(8 * 3.92e-12)  # per byte
    cell = T45.sram("64 KiB", 64)
    assert filled.get("buffer.energy") == pytest.approx((cell.read + cell.write) / 2 / 8)
    flops = T45.register_file(32, 16)
    assert filled.get("file.energy") == pytest.approx((flops.read + flops.write) / 2 / 2)
    # a multiply-accumulate counts as two operations
    assert filled.get("pe.energy.mac.bf16") == pytest.approx(T45.arithmetic("mac", "bf16").energy / 2)
    assert filled.get("pe.energy.map.int32") == pytest.approx(T45.arithmetic("add", "int32").energy)


def test_the_model_behind_a_row_is_named(toy: Device) -> None:
    models = {row.path: row.model for row in fill(toy, T45, dram="ddr5").modelled}
    assert models["dram.energy"] == "ddr5 (unverified)"
    assert models["buffer.energy"] == "sram of 64-bit words at 45 nm"
    assert models["file.energy"] == "register file at 45 nm"
    assert models["pe.energy.map.int32"] == "add on int32 at 45 nm"


def test_a_memory_beyond_the_fit_says_so(toy: Device) -> None:
    large = toy.with_("buffer.capacity", "64 MiB")
    row = next(row for row in fill(large, T45).modelled if row.path == "buffer.energy")
    assert row.model == "sram of 64-bit words at 45 nm, beyond the range it was fitted to"


@pytest.mark.parametrize(("capacity", "kind"), [("126 B", "register file"), ("128 B", "sram of 16-bit words")])
def test_an_array_takes_64_words(toy: Device, capacity: str, kind: str) -> None:
    row = next(row for row in fill(toy.with_("file.capacity", capacity), T45).modelled if row.path == "file.energy")
    assert row.model.startswith(f"{kind} at 45 nm")


def test_an_outermost_memory_of_unknown_kind_is_reported_missing(toy: Device) -> None:
    filled = fill(toy, T45)
    assert filled.missing == ("dram.energy", "pe.energy.lookup.int8")
    assert filled.device.memory.energy == 0.0


def test_a_memory_without_a_capacity_is_reported_missing(toy: Device) -> None:
    unbounded = replace(toy, memories=tuple(replace(m, capacity=float("inf")) for m in toy.memories))
    assert "buffer.energy" in fill(unbounded, T45).missing


def test_filling_twice_changes_nothing(toy: Device) -> None:
    once = fill(toy, T45, dram="hbm2")
    again = fill(once.device, T45, dram="hbm2")
    assert again.device == once.device
    assert again.modelled == ()


def test_an_unknown_kind_of_dram_is_refused(toy: Device) -> None:
    with pytest.raises(WeirError, match="unknown kind of DRAM 'flash'"):
        fill(toy, T45, dram="flash")
