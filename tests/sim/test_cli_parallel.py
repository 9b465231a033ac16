"""``weir pipeline`` and ``weir ranges``, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.cli import main

PASSES = "pipeline --stages 4 --forward 10ms --backward 20ms --microbatches 8"
MODEL = "pipeline gpt2-xl --on 4xa100 --sequence 1K --microbatches 8 --seconds 0"
RANGES = "ranges llama-3-8b --on 1xa100 --on 2xl4 --batch 4 --context 512 --seconds 2"


def test_measured_passes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file, picture = tmp_path / "passes.csv", tmp_path / "passes.png"
    argv = [*PASSES.split(), "--schedule", "1f1b", "--json", "--save", str(file), "--plot", str(picture)]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    [row] = found["schedules"]
    assert row["seconds"] == pytest.approx((8 + 3) * 30e-3)
    assert row["held"] == 4
    assert row["idle"] == pytest.approx(3 / 11)
    assert row["bytes"] is None
    assert len(file.read_text(encoding="utf-8").splitlines()) == 1 + 8 * 8
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_every_schedule_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(MODEL.split()) == 0
    out = capsys.readouterr().out
    for name in ("1f1b", "gpipe", "interleaved", "v_half", "vocabulary", "vocabulary_2", "v_half_vocabulary"):
        assert name in out
    assert "layers by stage 12, 12, 12, 12" in out
    assert main([*MODEL.split(), "--csv"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    seconds = {row[0]: float(row[1]) for row in rows[1:]}
    assert seconds["vocabulary"] < seconds["1f1b"]


def test_what_cannot_be_made_is_left_out_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PASSES.replace("8", "6").split()]) == 0
    out = capsys.readouterr().out
    assert "interleaved left out: 6 microbatches are not a multiple of 4 devices" in out
    assert "vocabulary" not in out


def test_ranges_as_text_json_and_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "ranges.png"
    assert main([*RANGES.split(), "--json", "--plot", str(picture)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["nodes"]) == 3
    assert found["tokens_per_second"] <= found["bound"] * (1 + 1e-9)
    assert max(node["stop"] for node in found["nodes"]) == 32
    assert all(0 <= node["busy"] <= 1 + 1e-6 for node in found["nodes"])
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert main(RANGES.split()) == 0
    assert "a100_sxm_80gb 0" in capsys.readouterr().out


def test_slow_links_carry_less(capsys: pytest.CaptureFixture[str]) -> None:
    flows = []
    for rate in ("10Gb/s", "1Mb/s"):
        argv = f"ranges llama-3-70b --on 2xa100_sxm_80gb --on 3xl40s --between {rate} --link {rate} --seconds 2 --json"
        assert main(argv.split()) == 0
        flows.append(json.loads(capsys.readouterr().out)["tokens_per_second"])
    assert 0 < flows[1] < 1e6 / 8 / (8192 * 2) * 6  # 1 Mb/s is 7.6 tokens/s on each of the links into the last node
    assert flows[1] < flows[0]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ("pipeline", 2, "give a MODEL and --on, or --forward and --backward"),
        ("pipeline gpt2-xl", 2, "give --on CLUSTER too"),
        ("pipeline gpt2-xl --on 4xa100 --forward 1ms", 2, "not both"),
        ("pipeline gpt2-xl --on 64xa100", 2, "64 stages cannot share 48 layers"),
        ("pipeline gpt2-xl --on 4xa100 --microbatches 9999999", 2, "at most 256 stages and 50,000"),
        (f"{PASSES} --schedule v_hlf", 2, "did you mean 'v_half'"),
        (f"{PASSES} --schedule vocabulary", 2, "vocabulary needs --output S,T"),
        (f"{PASSES} --output 1ms", 2, "two times, S and T"),
        ("pipeline --forward 1ms --backward 2ms", 2, "one time and --stages"),
        (
            "pipeline --stages 8 --forward 1e308s --backward 1ms",
            2,
            "--forward '1e308s': a pass of more than 1,000,000 s",
        ),
        ("calibrate nowhere --device h100", 2, "'nowhere': no such folder or file of measurements"),
        ("calibrate . --device h100 --out h100.json", 2, "--out 'h100.json': end the name in .toml"),
        ("pipeline --forward 1ms,2ms --backward 2ms --stages 3", 2, "2 times for 3 stages"),
        ("pipeline --forward 1 --backward 2ms --stages 3", 2, "--forward"),
        ("pipeline --forward -1ms --backward 2ms --stages 3", 2, "--forward"),
        (f"{PASSES} --on 4xa100", 2, "--on is for a MODEL"),
        (f"{PASSES} --plot x.gif", 2, "end the name in .png"),
        (f"{PASSES} --save /nowhere/at/all.csv", 2, "no folder"),
        (f"{PASSES} --seconds -1", 2, "--seconds must be more than 0"),
        ("pipeline gemma-2-2b --on 27xa100", 2, "27 stages cannot share 26 layers of gemma-2-2b"),
        ("ranges llama-3-8b --on 2xl4 --seconds nan", 2, "--seconds must be more than 0"),
        ("ranges llama-3-8b --on 65xl4", 2, "65 nodes; at most 64"),
        ("ranges llama-3-8b --on 2xl4 --link 0B/s", 2, "nothing would flow"),
        ("ranges llama-3-70b --on 2xl4", 3, "layers"),
        ("ranges llama-3-8b --on 2xl44", 2, "did you mean"),
    ],
)
def test_mistakes_are_one_line(argv: str, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv.split()) == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_pipeline_of_layers_of_several_kinds_says_what_each_takes(capsys: pytest.CaptureFixture[str]) -> None:
    argv = "pipeline gemma-2-2b --on 2xa100 --sequence 1024 --microbatches 4 --schedule 1f1b"
    assert main(argv.split()) == 0
    said = capsys.readouterr().out
    assert "each of 13 layer_local takes" in said
    assert "\neach of 13 layer_global takes" in said
    assert "layers by stage 13, 13" in said
    assert "kinds of layers come one after the other" in said


def test_a_picture_of_too_much_leaves_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["pipeline", "--forward", "10ms", "--backward", "20ms", "--stages", "8", "--microbatches", "300"]
    argv += ["--schedule", "1f1b", "--plot", str(tmp_path / "p.png"), "--save", str(tmp_path / "p.csv")]
    assert main(argv) == 2
    said = capsys.readouterr()
    assert "1f1b" in said.out
    assert said.err == "weir: 4800 passes; at most 4000 can be seen, schedule fewer microbatches\n"
    assert (tmp_path / "p.csv").exists()
