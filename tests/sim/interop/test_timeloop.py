"""Architectures in Timeloop's and Accelergy's form become devices; whatever is left out is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import sim
from einsum import parse
from einsum.errors import WeirError
from sim.arch import Device, device
from sim.interop import timeloop

ARRAY = """\
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {technology: "45nm", global_cycle_seconds: 2e-9}
  - !Component
    name: DRAM
    class: DRAM
    attributes: {width: 64, datawidth: 16, shared_bandwidth: 8}
  - !Component
    name: buffer
    class: smartbuffer_SRAM
    attributes: {depth: 1024, width: 128, datawidth: 16, read_bandwidth: 4, write_bandwidth: 2, n_banks: 4}
  - !Container
    name: PE
    spatial: {meshX: 4, meshY: 3}
  - !Component
    name: mac
    class: fpmac
    attributes: {exponent: 8, mantissa: 7}
"""


def made(text: str, folder: Path) -> Device:
    """The device that the imported text describes, read as a user's file."""
    path = folder / "made.toml"
    path.write_text(timeloop.convert(text).toml, encoding="utf-8")
    return device(path)


def test_an_array_by_hand(tmp_path: Path) -> None:
    chip = made(ARRAY, tmp_path)
    assert [m.name for m in chip.memories] == ["DRAM", "buffer"]
    assert chip.get("DRAM.bandwidth") == pytest.approx(8 * 2 / 2e-9)  # words of 16 bits a cycle of 2 ns
    assert chip.get("buffer.capacity") == 1024 * 128 / 8
    assert (chip.get("buffer.bandwidth"), chip.get("buffer.write_bandwidth")) == (4e9, 2e9)
    assert chip.instances("mac") == 12
    assert chip.get("mac.device_rate.mac.fp16") == pytest.approx(12 * 2 / 2e-9)
    assert chip.technology is not None
    assert chip.technology.node == 45
    assert timeloop.convert(ARRAY).missed == ()


def test_names_with_quotes_and_line_ends_are_text(tmp_path: Path) -> None:
    text = ARRAY.replace("class: DRAM", r'class: "DRAM\n[x] \\"')
    (tmp_path / "made.toml").write_text(timeloop.convert(text, 'a "b"\\c\nd').toml, encoding="utf-8")
    assert device(tmp_path / "made.toml").title == 'a "b"\\c\nd'


def test_what_is_imported_runs_a_nest(tmp_path: Path) -> None:
    gemm = parse("Z[m, n] = A[m, k] * B[k, n]", m=8, n=12, k=4)
    nest = "keep A, B, Z in DRAM\nfor m tile 1\n  spatial n tile 3 over PE_X\n    spatial n tile 1 over PE_Y\n"
    nest += "      Z on mac"
    assert "mac" in str(sim.estimate(gemm, made(ARRAY, tmp_path), mapping=nest))


def test_everything_left_out_is_named_with_its_line() -> None:
    text = ARRAY.replace("    class: fpmac\n", "    class: fpmac\n    required_actions: [compute]\n    subclass: x\n")
    text = text.replace("n_banks: 4", "n_banks: 4, multiple_buffering: 2").replace("version: 0.4", "version: 0.3")
    text += "  - !Component\n    name: noc\n    class: XY_NoC\n  - !Nothing\n    name: x\nconstraints: {}\n"
    missed = timeloop.convert(text).missed
    for line in (
        "line 2: version 0.3: read as if it were 0.4",
        "line 14: buffer: attribute 'multiple_buffering' is not read",
        "mac: 'required_actions' is not read",
        "mac: 'subclass' is not read",
        "noc: class 'XY_NoC' is neither storage nor compute",
        "a node !Nothing is not read",
        "'constraints' is not read",
    ):
        assert any(line in found for found in missed), line
    assert len(missed) == 7


def test_assumptions_are_said() -> None:
    text = ARRAY.replace(", global_cycle_seconds: 2e-9", "").replace('technology: "45nm"', "")
    missed = " ".join(timeloop.convert(text.replace("{exponent: 8, mantissa: 7}", "{}")).missed)
    assert "a cycle of 1 ns is assumed" in missed
    assert "no technology in nm" in missed
    assert "mac: no width is given; 16 bits are assumed" in missed


def test_names_stay_usable_and_apart(tmp_path: Path) -> None:
    chip = made(ARRAY.replace("name: buffer", "name: memory").replace("name: PE", "name: 1 PE/x"), tmp_path)
    assert [m.name for m in chip.memories] == ["DRAM", "memory_"]
    assert [f.name for f in chip.fanouts] == ["n1_PE_x_X", "n1_PE_x_Y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "no list 'architecture: nodes:'"),
        ("architecture: {version: 0.4, nodes: []}", "needs at least one storage and one compute node"),
        ("architecture: {nodes: [1, 2, null]}", "needs at least one storage and one compute node"),
        ("- 1", "no list 'architecture: nodes:'"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(WeirError, match=message):
        timeloop.convert(text)
