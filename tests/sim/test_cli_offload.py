"""``weir offload``, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.cli import main

SAMPLE = (
    "offload mixtral-8x7b --on l4 --method moe_lightning --prompt 77 --output 32 --micro 324 --batches 14"
    " --set gpu_memory=24GiB --set host_memory=197880360960B --set down=16GiB/s --set gpu_bandwidth=285GiB/s"
    " --set host_bandwidth=76GiB/s --set gpu_flops=104TFLOP/s --set host_flops=1.6TFLOP/s"
)


def test_the_sample_of_moe_lightning_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plan.json"
    assert main([*SAMPLE.split(), "--save", str(file), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(file.read_text())
    assert printed["fractions"]["weights.gpu"] == pytest.approx(0.055884688)
    assert printed["tokens_per_second"] == pytest.approx(944.66, rel=1e-4)
    assert list(tmp_path.iterdir()) == [file]


def test_text_says_what_lies_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offload", "opt-30b", "--on", "t4", "--micro", "16", "--batches", "4"]) == 0
    out = capsys.readouterr().out
    assert "generated tokens/s" in out
    assert [line.split()[0] for line in out.splitlines() if "%" in line][:3] == ["weights", "cache", "hidden"]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ("opt-175b --on t4 --set host_memory=200GB", 3, "no placement fits"),
        ("opt-30b --on t4 --set dwn=1GB/s", 2, "nothing is called 'dwn'; did you mean 'down'"),
        ("opt-30b --on t4 --fix weights=1", 2, "no fraction 'weights'"),
        ("opt-30b --on t4 --fix weights.gpu", 2, "write --fix weights.gpu=20%"),
        ("opt-30b --on t4 --method lexgen", 2, "did you mean 'flexgen'"),
        ("opt-30b --on t4 --save /nowhere/at/all.json --micro 1 --batches 1", 2, "No such file"),
        ("opt-30b --on t4 --compress 0", 2, "ratio is at least 1"),
    ],
)
def test_mistakes_are_one_line(argv: str, code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["offload", *argv.split()]) == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
