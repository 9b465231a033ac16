"""``weir map``: a cascade under a loop nest, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.cli import main

CHIP = """\
title = "a small array"
vendor = "nobody"
architecture = "toy"
year = 2026
source = "made up for a test"
[[memory]]
name = "dram"
capacity = "1 GB"
bandwidth = "16 GB/s"
energy = "31.2 pJ/B"
[[memory]]
name = "buffer"
under = "dram"
capacity = "1 KiB"
bandwidth = "256 GB/s"
energy = "1 pJ/B"
[[compute]]
name = "alu"
under = "buffer"
[compute.rate]
mac.bf16 = "2 GFLOP/s"
map.bf16 = "1 Gop/s"
[compute.energy]
mac.bf16 = "0.5 pJ/op"
"""
GEMM = "Z[m, n] = A[m, k] * B[k, n]\n"
NEST = "keep A, B, Z in dram\nfor m tile 4\n  for n tile 4\n    keep A, B, Z in buffer\n    Z on alu\n"
FUSED = """\
keep Q, K, V, O in dram
for p tile 8
  keep Q, GM, SD, O in buffer
  for m tile 1
    keep K, V, QK, SN, A in buffer
    sequence
      QK on alu
      GM on alu
      SN on alu
      SD on alu
      A on alu
      O on alu
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("chip.toml", CHIP), ("gemm.txt", GEMM), ("nest.txt", NEST), ("fused.txt", FUSED)):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ASK = ["map", "gemm.txt", "m=8", "n=8", "k=8", "--on", "chip.toml", "--mapping", "nest.txt"]


def test_levels_units_and_cost_are_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ASK) == 0
    out = capsys.readouterr().out
    assert out.startswith("gemm on chip: ")
    assert "bound by compute" in out
    assert "alu" in out


def test_show_prints_cascade_nest_and_counts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK, "--show"]) == 0
    out = capsys.readouterr().out
    assert "Z[m, n] = A[m, k] * B[k, n]" in out
    assert NEST.strip() in out
    assert "updates" in out


def test_json_counts_what_a_hand_does(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "weir.map/1"
    assert found["bytes"]["dram"] == 2 * (8 * 8 + 2 * 8 * 8 + 8 * 8)  # A and Z once, B for each of two pieces of m
    assert found["joules_by"]["alu"] == pytest.approx(2 * 8**3 * 0.5e-12)
    assert found["seconds"] == pytest.approx(8**3 / 1e9 + 2 * (8 * 8 + 2 * 8 * 8) / 16e9)


def test_estimate_takes_a_mapping_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"--size={r}=8" for r in "mnk"]
    assert main(["estimate", "gemm.txt", *sizes, "--on", "chip.toml", "--mapping", "nest.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cascade"] == "gemm"


THREE = ["map", "attention.three_pass", "query=64", "context=512", "head_dim=4", "--on", "chip.toml"]


def test_fusion_across_a_pass_is_refused_with_what_is_legal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*THREE, "--mapping", "fused.txt"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "pass 2 of 3" in lines[0]
    assert [line.split(": ")[2] for line in lines[2:]] == ["recompute in each pass", "spill between passes"]
    assert main([*THREE, "--mapping", "fused.txt", "--show"]) == 2
    assert "QK_2 on alu" in capsys.readouterr().err


BAD = [
    (["map", "gemm.txt", "m=8", "--on", "chip.toml", "--mapping", "nest.txt"], "rank 'k' has no size; pass k=..."),
    (["map", "gem.txt", "--on", "chip.toml", "--mapping", "nest.txt"], "cannot read the cascade 'gem.txt'"),
    (
        ["map", "attention.tree_pass", "--on", "chip.toml", "--mapping", "nest.txt"],
        "did you mean 'attention.three_pass'?",
    ),
    ([*ASK[:-1], "none.txt"], "cannot read the mapping 'none.txt'"),
    (
        ["map", "attention.three_pass", "--on", "chip.toml", "--mapping", "nest.txt"],
        "attention.three_pass needs query=...",
    ),
    ([*THREE[:2], "heds=2", *THREE[2:], "--mapping", "fused.txt"], "has no size 'heds'; did you mean 'heads'?"),
    ([*THREE[:2], "heads=0", *THREE[2:], "--mapping", "fused.txt"], "heads must be a whole number from 1"),
    ([*ASK[:2], "m", *ASK[3:]], "SIZE 'm': write SIZE context=4096"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=range(len(BAD)))
def test_mistakes_are_one_line(argv: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
