"""``weir offload``, ``weir rent`` and ``weir cache``, as they are typed."""

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
    kept = json.loads(file.read_text())
    assert printed == kept | {"manifest": kept["manifest"] | {"output": ""}}
    assert printed["fractions"]["weights.gpu"] == pytest.approx(0.055884688)
    assert printed["tokens_per_second"] == pytest.approx(944.66, rel=1e-4)
    assert list(tmp_path.iterdir()) == [file]


def test_text_and_picture_say_what_lies_where(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "where.png"
    argv = ["offload", "opt-30b", "--on", "t4", "--micro", "16", "--batches", "4", "--plot", str(picture)]
    assert main(argv) == 0
    assert picture.read_bytes()[:4] == b"\x89PNG"
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


CACHE = "cache llama-3-8b --on a100 --trace azure_conv --requests 100 --longest 16384"
RENT = "rent llama-3-8b --on 1xh100 --on 2xh100 --prompt 1000 --output 200 --rate 20 --prices lamina_2024"


def test_renting_as_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RENT.split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proven"]
    assert found["usd_per_hour"] == pytest.approx(sum(row["usd_per_hour"] for row in found["templates"]))
    assert main(RENT.split()) == 0
    out = capsys.readouterr().out
    assert f"{found['usd_per_hour']:.2f} USD/h, proven cheapest" in out
    assert "where requests go" in out


def test_renting_at_a_price_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RENT.split(), "--price", "h100=1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usd_per_hour"] == sum(row["count"] * int(row["template"][0]) for row in found["templates"])


def test_memory_for_keys_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*CACHE.split(), "--csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "allocator", "static", "paged 16", "contiguous 64 KiB", "contiguous 2048 KiB",
    ]  # fmt: skip
    assert main(CACHE.split()) == 0
    assert "131 kB a token" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        ("rent llama-3-8b --on 1xh100 --rate 1", 2, "give --trace, or both --prompt and --output"),
        (f"{RENT} --slo-tpot 1us", 3, "no template serves requests of 1000 + 200 tokens"),
        (f"{RENT} --stock b200=3", 2, "--stock b200: no --on uses it"),
        (f"{RENT} --seconds nan", 2, "--seconds must be more than 0"),
        (f"{RENT} --price h101=2", 2, "h101"),
        (f"{RENT} --stock h200=x", 2, "--stock h200 must be a whole number"),
        (f"{RENT} --stock h100=1 --rate 500", 3, "20 of h100_sxm instead of 1 would do"),
        ("cache llama-2-70b --on a100 --trace azure_conv", 3, "divide the model, as in --ways 2"),
        ("cache llama-3-8b --on a100 --trace azure_conv --group 1B", 2, "at least one must fit"),
    ],
)
def test_mistakes_about_purchase_and_cache_are_one_line(
    argv: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv.split()) == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
