from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from einsum.errors import WeirError
from sim.arch import bits, device, device_names
from sim.arch.devices import FOLDER
from sim.arch.technology import dram, dram_names

WHOLE = """
title = "Toy"
vendor = "Nobody"
architecture = "Paper"
year = 2026
source = "invented for this test"

[[memory]]
name = "hbm"
capacity = "80 GB"
bandwidth = "2 TB/s"

[[fanout]]
name = "sm"
under = "hbm"
count = 4

[[compute]]
name = "tensor"
under = "sm"
[compute.device_rate.mac]
bf16 = "400 TFLOP/s"

[[link]]
name = "nvlink"
scope = "node"
bandwidth = "450 GB/s"

[power]
tdp = "100 W"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", device_names())
def test_every_shipped_device_loads_and_runs_a_transformer(name: str) -> None:
    found = device(name)
    assert found.name == name
    assert found.source
    assert found.capacity < float("inf")
    assert found.memory.rate < float("inf")
    assert found.rate("mac", "bf16") > found.rate("add", "bf16") >= found.rate("exp", "bf16") > 0
    assert all(bits(dtype) for unit in found.computes for _, dtype, _ in unit.rates)


@pytest.mark.parametrize("name", device_names())
def test_what_is_unverified_names_something_of_the_device(name: str) -> None:
    found = device(name)
    for field in found.unverified:
        assert any(path == field or path.startswith(f"{field}.") for path in found.paths), field


def test_names_and_aliases_are_unique() -> None:
    files = [tomllib.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.toml")]
    names = [*device_names(), *(alias for raw in files for alias in raw["aliases"])]
    assert len(set(names)) == len(names)
    assert len(device_names()) >= 40


@pytest.mark.parametrize(("alias", "name"), [("h100", "h100_sxm"), ("a100", "a100_sxm_80gb"), ("910b", "ascend_910b")])
def test_aliases(alias: str, name: str) -> None:
    assert device(alias) is device(alias)
    assert device(alias) == device(name)


def test_the_h100_ridge_point_by_hand() -> None:
    h100 = device("h100")
    assert h100.rate("mac", "bf16") / h100.memory.rate == pytest.approx(989 / 3.35)
    assert h100.rate("mac", "fp8") == pytest.approx(1979e12)


def test_special_functions_by_hand() -> None:
    # 132 SMs x 16 results x 1.83 GHz
    assert device("h100").rate("exp", "fp32") == pytest.approx(132 * 16 * 1.83e9, rel=1e-3)
    assert device("h100").rate("max", "fp32") == pytest.approx(33.5e12)


def test_the_h800_is_an_h100_with_less_link() -> None:
    h100, h800 = device("h100").link("node"), device("h800").link("node")
    assert h100 is not None
    assert h800 is not None
    assert (h100.bandwidth, h800.bandwidth) == (450e9, 200e9)
    assert device("h800").memory == device("h100").memory


def test_what_a_file_says_of_power_replaces_the_default_share() -> None:
    h100 = device("h100").power
    assert h100 is not None
    assert h100.memory == 109  # stated
    assert (h100.idle, h100.active, h100.compute) == pytest.approx((0.19 * 700, 0.24 * 700, 0.86 * 700))


def test_memory_draws_its_kinds_energy_a_bit_at_full_bandwidth() -> None:
    """Files with power and a kind of memory whose energy is published state it; marked, where that is not sure."""
    stated = 0
    for name in device_names():
        one, text = device(name), (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
        kind = re.search(r"^\[\[memory\]\] # (\w+)", text, re.MULTILINE)
        if one.power is None or kind is None or kind[1].lower() not in dram_names():
            continue
        assert one.power.memory == pytest.approx(8 * dram(kind[1]).energy * one.memory.rate, rel=0.005), name
        assert ("power.memory" in one.unverified) != dram(kind[1]).verified, name
        stated += 1
    assert stated > 30


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    own = device(write(tmp_path, WHOLE))
    assert own == device(str(tmp_path / "toy.toml"))
    assert own.name == "toy"
    assert own.get("tensor.rate.mac.bf16") == 100e12  # 400 TFLOP/s over four SMs
    assert own.rate("mac", "bf16") == 400e12
    assert own.power is not None
    assert (own.power.idle, own.power.compute) == (pytest.approx(19.0), pytest.approx(86.0))


def test_a_rate_may_be_given_per_instance(tmp_path: Path) -> None:
    assert device(write(tmp_path, WHOLE.replace("device_rate", "rate"))).rate("mac", "bf16") == 1600e12


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bandwidth = ", "bandwith = ", "toy.toml:11:1: memory.hbm.bandwith: unknown key; did you mean 'bandwidth'?"),
        ("title = ", "titel = ", "titel: unknown key; did you mean 'title'?"),
        ('title = "Toy"', "", "toy.toml:1:1: title: is missing"),
        ('"Toy"', "7", "title: must be text, not 7"),
        ("year = 2026", "year = 20.5", "year: 20.5 is not a whole number"),
        ("[[link]]", "[[lnik]]", "lnik: unknown key; did you mean 'link'?"),
        ('"80 GB"', '"80 K"', "memory.hbm.capacity: '80 K' is ambiguous"),
        ('"80 GB"', '"80 GB/s"', "memory.hbm.capacity: '80 GB/s' has the wrong unit"),
        ('"80 GB"', "nan", "memory.hbm.capacity: nan is not a finite number"),
        ('"2 TB/s"', '"-2 TB/s"', "'-2 TB/s' is negative"),
        ('"2 TB/s"', '"0 TB/s"', "'0 TB/s' is zero; it must be more"),
        ("count = 4", "count = 0", "fanout.sm.count: 0 is zero"),
        ("count = 4", "count = 2.5", "2.5 is not a whole number"),
        ("count = 4", "count = 1e12", "not a whole number below 1e9"),
        ('under = "hbm"', 'under = "hmb"', "fanout.sm.under: unknown 'hmb'; did you mean 'hbm'?"),
        ('under = "hbm"', 'under = "sm"', "fanout.sm.under: is under itself"),
        ('name = "sm"', 'name = "hbm"', "fanout.hbm.name: two components are called 'hbm'"),
        ('name = "sm"', 'name = "s.m"', "fanout[1].name: a component's name cannot be 's.m'"),
        ('name = "sm"', "", "fanout[1].name: is missing"),
        ('scope = "node"', 'scope = "rack"', "link.nvlink.scope: unknown scope 'rack'; known: host, network"),
        ('bandwidth = "450 GB/s"', "", "toy.toml:24:1: link.nvlink.bandwidth: is missing"),
        (
            "[compute.device_rate.mac]",
            "[compute.device_rate.maac]",
            "compute.tensor.device_rate.maac: unknown key; did you mean 'mac'?",
        ),
        ("bf16 =", "half =", "compute.tensor.device_rate.mac.half: data type 'half' is not letters and bits"),
        (
            '"400 TFLOP/s"',
            '"400 TB/s"',
            "compute.tensor.device_rate.mac.bf16: '400 TB/s' has the wrong",
        ),
        ("[compute.device_rate.mac]", "[compute.energy.mac]", "give either 'rate' (one instance) or 'device_rate'"),
        ("[power]", "[powr]", "powr: unknown key; did you mean 'power'?"),
        ('tdp = "100 W"', 'idle = "10 W"', "power.tdp: is missing"),
        ("[[memory]]", "[memory]", "memory: is written [[memory]], once for each entry"),
        (
            'name = "hbm"',
            'name = "hbm"\nunder = "sm"',
            "memory: exactly one [[memory]] without 'under' is needed; there are 0",
        ),
        ("[[compute]]", "[[compute]", "toy.toml:18:10: not valid TOML: Expected ']]'"),
        ('source = "invented for this test"', "unverified = 3", "unverified: must be a list of texts, not 3"),
    ],
)
def test_a_malformed_file_is_refused_in_words(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in WHOLE
    with pytest.raises(WeirError) as caught:
        device(write(tmp_path, WHOLE.replace(old, new, 1)))
    assert message in str(caught.value)


def test_every_problem_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    text = WHOLE.replace("bandwidth = ", "bandwith = ", 1).replace('"Toy"', "7").replace("count = 4", "count = 0")
    with pytest.raises(WeirError) as caught:
        device(write(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("toy.toml") for line in lines)


def test_what_is_not_a_readable_file(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.toml", "no such device file: "),
        (tmp_path, " is a folder, not a device file"),
        (tmp_path / "binary.toml", "binary.toml: not UTF-8 text"),
        (tmp_path / "huge.toml", "huge.toml: larger than 1 MiB"),
        (tmp_path / "deep.toml", "deep.toml:1:1: not valid TOML"),
        ("nul\0.toml", "cannot read the device file"),
    ):
        (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
        (tmp_path / "huge.toml").write_text("#" * (2**20 + 1))
        (tmp_path / "deep.toml").write_text("a = " + "[" * 100_000)
        with pytest.raises(WeirError) as caught:
            device(path)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("h101", "unknown device 'h101'; did you mean 'h100'?"),
        ("", "unknown device ''; a file of your own is given by its path, ending .toml"),
        ("zzzzzz", "unknown device 'zzzzzz'; a file of your own"),
        ("../secrets", "unknown device '../secrets'"),
    ],
)
def test_an_unknown_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        device(name)
    assert message in str(caught.value)


def test_a_unit_may_be_a_chain(tmp_path: Path) -> None:
    chained = WHOLE.replace('under = "sm"\n[compute', 'under = "sm"\nchained = true\n[compute')
    assert [unit.chained for unit in device(write(tmp_path, chained)).computes] == [True]
    assert [unit.chained for unit in device(write(tmp_path, WHOLE)).computes] == [False]


def test_a_chain_is_true_or_false(tmp_path: Path) -> None:
    odd = WHOLE.replace('under = "sm"\n[compute', 'under = "sm"\nchained = "yes"\n[compute')
    with pytest.raises(WeirError, match=r"compute\.tensor\.chained: must be true or false"):
        device(write(tmp_path, odd))


def test_wires_of_a_fan_out_have_a_topology(tmp_path: Path) -> None:
    wires = 'count = 4\ntopology = "mesh"\npitch = "50 um"\nbandwidth = "1 GB/s"'
    [fan] = device(write(tmp_path, WHOLE.replace("count = 4", wires))).fanouts
    assert (fan.topology, fan.pitch, fan.bandwidth, fan.sides) == ("mesh", pytest.approx(5e-5), 1e9, (2, 2))
    with pytest.raises(WeirError, match=r"fanout\.sm\.pitch: needs a 'topology': bus, chain, mesh, tree"):
        device(write(tmp_path, WHOLE.replace("count = 4", 'count = 4\npitch = "50 um"')))
    with pytest.raises(WeirError, match="topology"):
        device(write(tmp_path, WHOLE.replace("count = 4", 'count = 4\ntopology = "ring"')))
