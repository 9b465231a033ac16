"""``weir map``: a cascade under a loop nest, as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from einsum import WeirError, parse
from sim.cli import main
from sim.model.estimate import estimate

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


def test_wires_are_counted_timed_and_priced(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fan = '[[fanout]]\nname = "lanes"\nunder = "buffer"\ncount = 4\n'
    fan += 'topology = "chain"\npitch = "50 um"\nbandwidth = "1 MB/s"\n'
    chip = CHIP.replace('under = "buffer"', 'under = "lanes"').replace("[[compute]]", f"{fan}[[compute]]")
    (here / "chip.toml").write_text(chip)
    (here / "nest.txt").write_text(NEST.replace("    Z on", "    spatial n tile 1 over lanes\n      Z on"))
    assert main([*ASK, "--show", "--technology", "45 nm"]) == 0
    out = capsys.readouterr().out
    assert "bound by lanes" in out
    assert re.search(r"lanes +B +hops +1,280", out)  # 1 + 2 + 3 + 4 links, for 2 pieces of n, 8 of m, 8 of k
    assert "energy of lanes is modelled: wires at 45 nm, 50 um to a neighbour" in out
    assert main([*ASK, "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)["wires"]
    assert (row["fanout"], row["joules"]) == ("lanes", 0)
    assert row["hops"] == 4 * 8 * 8 * 2 + 2 * (1 + 2 + 3 + 4) * 8 * 8 * 2  # A by multicast, B and Z each by itself
    assert row["seconds"] == pytest.approx(2 * (8 * 8 * 2 + 8**3) / 1e6)


def test_estimate_takes_a_mapping_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"--size={r}=8" for r in "mnk"]
    assert main(["estimate", "gemm.txt", *sizes, "--on", "chip.toml", "--mapping", "nest.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cascade"] == "gemm"


THREE = ["map", "attention.three_pass", "query=64", "context=512", "head_dim=4", "--on", "chip.toml"]


def test_fusion_across_a_pass_is_refused_with_what_is_legal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*THREE, "--mapping", "fused.txt"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("weir: fused.txt: line 4: SN reads GM under 'for m tile 1'")
    assert "pass 2 of 3" in lines[0]
    assert [line.split(": ")[2] for line in lines[2:]] == ["recompute in each pass", "spill between passes"]
    assert main([*THREE, "--mapping", "fused.txt", "--show"]) == 2
    assert "QK_2 on alu" in capsys.readouterr().err


def asked_json(capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    assert main([*ASK, *more, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def without(here: Path, *lines: str) -> None:
    text = CHIP
    for line in lines:
        assert line in text
        text = text.replace(line, "")
    (here / "chip.toml").write_text(text)


def test_a_technology_models_what_the_file_leaves_out_and_says_so(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without(here, 'energy = "1 pJ/B"\n', '[compute.energy]\nmac.bf16 = "0.5 pJ/op"\n')
    plain, modelled = asked_json(capsys), asked_json(capsys, "--technology", "16 nm")
    assert plain["joules_by"]["alu"] == 0
    assert plain["notes"] == [
        "no energy is known for alu, buffer: counted as 0 J; a technology models what a file leaves out"
    ]
    assert modelled["joules_by"]["alu"] > 0
    assert modelled["joules_by"]["dram"] == plain["joules_by"]["dram"]  # stated
    assert "buffer.energy is modelled: sram of 64-bit words at 16 nm, beyond" in modelled["notes"][0]
    assert "alu.energy.mac.bf16 is modelled: mac on bf16 at 16 nm" in modelled["notes"]
    assert modelled["seconds"] == plain["seconds"]


def test_show_prints_each_area_given_or_modelled(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "chip.toml").write_text(
        CHIP.replace('energy = "1 pJ/B"', 'energy = "1 pJ/B"\narea = "0.25 mm^2"')
        + '[technology]\nnode = 45\nclock = "1 GHz"\n'
    )
    assert main([*ASK, "--show"]) == 0
    out = capsys.readouterr().out
    [alu] = [line.split() for line in out.splitlines() if line.split()[3:4] == ["modelled"]]
    assert alu[3:] == ["modelled", "mac,", "map", "at", "45", "nm"]
    [buffer] = [line.split() for line in out.splitlines() if line.startswith("buffer") and "given" in line]
    assert buffer == ["buffer", "1", "0.25", "given"]
    assert "all that is known" in out
    total = asked_json(capsys)["area"]
    assert sum(one["mm2"] for one in total) > 0.25


def test_a_trace_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import gzip

    assert main([*ASK, "--trace", "out.json.gz"]) == 0
    events = json.loads(gzip.decompress((here / "out.json.gz").read_bytes()))["traceEvents"]
    assert sum(e.get("cat") == "run" for e in events) == 4


def test_all_pictures_of_a_run_are_drawn(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK, "--plot", "out.svg"]) == 0
    drawn = (here / "out.svg").read_text()
    assert drawn.startswith("<?xml")
    assert len(drawn) > 20_000


WRONG = [
    ("keep A, B, Z in buffer", "keep A, B, Z in bufer", "line 4: 'keep A, B, Z in bufer': chip has no level 'bufer'"),
    ("for n tile 4", "for x tile 4", "line 3: 'for x tile 4': no rank 'x'"),
    ("Z on alu", "Z on mac", "line 5: 'Z on mac': chip has no unit 'mac'"),
    ("for m tile 4\n  for n tile 4", "for m tile 8\n  for n tile 8", "line 4: 'buffer' must hold 384 bytes"),
    ("keep A, B, Z in dram", "keep A, B in dram", "line 4: 'keep A, B, Z in buffer' is the outermost keep of Z"),
    ("for m tile 4", "for m 4", "line 2: 'for m 4' is not understood"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), WRONG, ids=range(len(WRONG)))
def test_a_mistake_in_a_nest_is_shown_with_its_line(
    right: str, wrong: str, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert right in NEST
    (here / "nest.txt").write_text(NEST.replace(right, wrong))
    (here / "chip.toml").write_text(CHIP.replace("1 KiB", "256 B"))
    assert main(ASK) == 2
    assert f"weir: nest.txt: {message}" in capsys.readouterr().err
    with pytest.raises(WeirError, match=f"^nest.txt: {re.escape(message)}"):
        estimate(parse(GEMM, m=8, n=8, k=8), "chip.toml", mapping="nest.txt")


BAD = [
    (
        ["estimate", "gemm.txt", "--on", "chip.toml"],
        "gemm.txt: a cascade and its sizes need a loop nest",
    ),
    (["estimate", "llama-3-8b", "--size", "m=8", "--on", "1xh100"], "need a loop nest: --mapping FILE"),
    ([*ASK, "--plot", "out.txt"], "--plot 'out.txt': end the name in .png or .svg or .pdf"),
    ([*ASK, "--technology", "1 m"], "technology node '1 m' is not a number of nanometres"),
    ([*ASK, "--technology", "2"], "technology node 2 nm is outside the models' 5 nm to"),
    ([*ASK, "--trace", "out.txt"], "trace file 'out.txt': its name must end .json or .json.gz"),
    (["map", "gemm.txt", "m=8", "--on", "chip.toml", "--mapping", "nest.txt"], "rank 'k' has no size; pass k=..."),
    (["map", "gem.txt", "--on", "chip.toml", "--mapping", "nest.txt"], "no such cascade file: gem.txt"),
    (
        ["map", "attention.tree_pass", "--on", "chip.toml", "--mapping", "nest.txt"],
        "did you mean 'attention.three_pass'?",
    ),
    ([*ASK[:-1], "none.txt"], "no such mapping file: none.txt"),
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


def test_a_mapping_is_found_saved_and_read_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ASK[:-2]
    assert main([*asked, "--objective", "energy", "--save", "best.txt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "no mapping can go below" in found["proof"]
    joules = []
    for nest in ("best.txt", "nest.txt"):
        assert main([*asked, "--mapping", nest, "--json"]) == 0
        joules.append(json.loads(capsys.readouterr().out)["joules"])
    assert found["joules"] == joules[0] <= joules[1]
    assert (here / "best.txt").read_text().startswith("keep A, B, Z in dram\n")


def test_as_many_nests_are_tried_as_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASK[:-2], "--nests", "7"]) == 0
    [(tried, of)] = re.findall(r"(\d+) of (\d+) nests, chosen by descent", " ".join(capsys.readouterr().out.split()))
    assert int(tried) <= 7 < int(of)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--objective", "speed"], "unknown objective 'speed'"),
        (["--save", "no/such/folder/nest.txt"], "no folder that can be written to"),
        (["--mapping", "nest.txt", "--save", "x.txt"], "--objective, --nests and --save are for a search"),
        (["--mapping", "nest.txt", "--nests", "5"], "--objective, --nests and --save are for a search"),
        (["--nests", "0"], "--nests must be a whole number from 1"),
    ],
)
def test_mistakes_about_a_search(here: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str) -> None:
    assert main([*ASK[:-2], *more]) == 2
    assert message in capsys.readouterr().err
