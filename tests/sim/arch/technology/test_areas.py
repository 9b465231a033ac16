"""Area of a device, and the technology that its file states."""

from __future__ import annotations

from pathlib import Path

import pytest

from einsum.errors import WeirError
from sim.arch import Device, device
from sim.arch.components import Process
from sim.arch.technology import Area, Technology, areas, made

T45 = Technology(45)
FILE = """
title = "A toy"
vendor = "nobody"
architecture = "toy"
year = 2020
source = "made up"

[technology]
node = "45 nm"
dram = "hbm2"
clock = "500 MHz"

[[memory]]
name = "dram"
capacity = "1 GiB"
bandwidth = "100 GB/s"

[[memory]]
name = "buffer"
under = "dram"
capacity = "64 KiB"
area = "0.5 mm^2"

[[fanout]]
name = "pes"
under = "buffer"
count = 16

[[memory]]
name = "file"
under = "pes"
capacity = "64 B"
line = "2 B"

[[compute]]
name = "pe"
under = "file"
rate.mac.bf16 = "2 GFLOP/s"
rate.add.bf16 = "1 GOP/s"
rate.max.bf16 = "1 GOP/s"

[[compute]]
name = "stated"
under = "file"
area = "0.01 mm^2"
rate.exp.bf16 = "1 GOP/s"

[[compute]]
name = "table"
under = "file"
rate.lookup.int8 = "1 GOP/s"
"""


def load(tmp_path: Path, before: str = "", after: str = "") -> Device:
    assert before in FILE
    path = tmp_path / "toy.toml"
    path.write_text(FILE.replace(before, after, 1))
    return device(path)


def named(device: Device, technology: Technology | None) -> dict[str, Area]:
    return {one.name: one for one in areas(device, technology)}


def test_the_file_states_what_it_is_made_in(tmp_path: Path) -> None:
    assert load(tmp_path).technology == Process(45.0, "hbm2", 500e6)


def test_energies_are_modelled_at_the_files_node_or_the_one_asked_for(tmp_path: Path) -> None:
    toy = load(tmp_path)
    here, finer = made(toy), made(toy, "16 nm")
    assert here.technology == T45
    assert here.device.get("pe.energy.mac.bf16") == pytest.approx(T45.arithmetic("mac", "bf16").energy / 2)
    assert finer.device.get("pe.energy.mac.bf16") < here.device.get("pe.energy.mac.bf16")
    assert finer.device.memory.energy == here.device.memory.energy == pytest.approx(8 * 3.92e-12)


def test_without_a_technology_nothing_is_modelled() -> None:
    plain = device("tpu_v1")
    assert plain.technology is None
    assert made(plain).device is plain
    assert made(plain).technology is None


def test_given_and_modelled_areas_by_hand(tmp_path: Path) -> None:
    found = named(load(tmp_path), T45)
    assert list(found) == ["buffer", "file", "pe", "stated", "table"]  # the outermost memory is another chip
    assert (found["buffer"].how, found["buffer"].total) == ("given", 0.5)
    assert (found["stated"].how, found["stated"].instances) == ("given", 16)
    assert found["stated"].total == pytest.approx(16 * 0.01)
    assert found["file"].how == "modelled"
    assert found["file"].each == pytest.approx(1e6 * T45.register_file(32, 16).area)
    # at 500 MHz, 1 G multiply-accumulates take two units, which do additions as well, and 1 G maxima two
    units = 2 * T45.arithmetic("mac", "bf16").area + 2 * T45.arithmetic("max", "bf16").area
    assert found["pe"].each == pytest.approx(1e6 * units)
    assert (found["table"].how, found["table"].each) == ("unknown", 0.0)
    assert "no technology model of operation 'lookup'" in found["table"].model


def test_without_a_clock_the_number_of_units_is_unknown(tmp_path: Path) -> None:
    found = named(load(tmp_path, 'clock = "500 MHz"\n'), T45)
    assert found["pe"].how == "unknown"
    assert "[technology] clock" in found["pe"].model


def test_without_a_technology_only_what_is_given_is_known(tmp_path: Path) -> None:
    assert {n: a.how for n, a in named(load(tmp_path), None).items()} == {
        "buffer": "given", "file": "unknown", "pe": "unknown", "stated": "given", "table": "unknown"
    }  # fmt: skip


def test_eyeriss_is_no_larger_than_its_core() -> None:
    eyeriss = device("eyeriss")
    found = areas(eyeriss, made(eyeriss).technology)
    assert 0.2 * 12.25 < sum(one.total for one in found) < 12.25  # mm^2 of the core, wires and control included


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('node = "45 nm"', 'node = "3 um"', "'3 um' is not a number of nanometres"),
        ('node = "45 nm"\n', "", "is not a number of nanometres"),
        ('"hbm2"', '"hbm9"', "unknown kind of DRAM 'hbm9'"),
        ('clock = "500', 'clok = "500', "technology.clok: unknown key; did you mean 'clock'?"),
        ('"500 MHz"', '"0 MHz"', "is zero; it must be more"),
        ('"0.01 mm^2"', '"-1 mm^2"', "area"),
    ],
)
def test_mistakes_name_the_table(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(WeirError) as error:
        load(tmp_path, before, after)
    assert message in str(error.value)
    assert "toy.toml" in str(error.value)
