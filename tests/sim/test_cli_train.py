"""``weir train``, as it is typed."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from sim.cli import main

GPT = "train gpt2-xl --on 16xa100 --batch 32 --sequence 1K --pp 4 --recompute full"


def test_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GPT.split(), "--price", "a100=2"]) == 0
    out = capsys.readouterr().out
    assert "32 sequences of 1,024 tokens in 8 microbatches of 1" in out
    assert "tensor 1, pipeline 4, replicas 4; recomputed: full; kernels: attention fused" in out
    for term in ("matrix products", "attention", "elementwise", "pipeline", "replicas", "optimiser", "MFU", "HFU"):
        assert term in out
    assert "USD an iteration" in out
    assert "a million tokens" in out


def test_as_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GPT.split(), "--json", "--price", "a100=3.6"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "weir.train/1"
    assert sum(found["terms"].values()) == pytest.approx(found["seconds"])
    assert sum(found["memory"].values()) == pytest.approx(found["bytes"])
    assert found["tokens_per_second"] == pytest.approx(32 * 1024 / found["seconds"])
    assert found["usd_per_million_tokens"] == pytest.approx(16 * 1e-3 * 1e6 / found["tokens_per_second"])
    assert found["usd_per_hour"] == 16 * 3.6
    assert found["usd_per_iteration"] == pytest.approx(16 * 1e-3 * found["seconds"])
    assert found["hfu"] > found["mfu"]
    assert main([*GPT.split(), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sum(float(row["seconds"]) for row in rows) == pytest.approx(found["seconds"])


def test_what_would_help_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*GPT.split(), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    largest, *gains = found["helps"]
    share = found["terms"][found["bound"]] / found["seconds"]
    assert largest == f"{found['bound']}: {share:.0%} of an iteration, the largest term"
    assert gains[0].startswith("+10% model.tensor.device_rate.mac.bf16 -> +")
    assert found["fits"]
    assert main(GPT.split()) == 0
    assert "\n".join(found["helps"]) in capsys.readouterr().out


def test_results_are_made_again_compared_and_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("a.json", "b.json")]
    for path, more in zip(files, ([], ["--interleave", "2", "--set", "network.bandwidth=400Gb/s"]), strict=True):
        assert main([*GPT.split(), "--json", *more]) == 0
        path.write_text(capsys.readouterr().out)
    assert main(["reproduce", str(files[1])]) == 0
    assert "bit for bit" in capsys.readouterr().out
    assert main(["diff", *map(str, files), "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)["differences"]
    assert found["terms"][0]["name"] == "seconds"
    parts = [part["change"] for part in found["terms"][1:8]]
    assert sum(parts) == pytest.approx(found["terms"][0]["change"])
    assert not [one["name"] for one in found["figures"] if one["name"].startswith("terms.")]
    assert main(["explain", str(files[1]), "seconds"]) == 0
    out = capsys.readouterr().out
    assert "= passes of all microbatches + gradients added up over replicas + optimiser\n" in out
    assert main(["explain", str(files[1]), "seconds", "--json"]) == 0
    rests = json.loads(capsys.readouterr().out)["figures"][0]["rests"]
    assert [one["source"] for one in rests if one["name"] == "network.bandwidth"] == ["set by you"]


def test_numbers_of_the_cluster_are_set(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = []
    for rate in ("400Gb/s", "100Gb/s"):
        assert main([*GPT.replace("--pp 4", "--pp 1").split(), "--json", "--set", f"network.bandwidth={rate}"]) == 0
        seconds.append(json.loads(capsys.readouterr().out)["terms"]["replicas"])
    assert seconds[1] > 3 * seconds[0]


def test_what_is_worth_knowing_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    argv = "train llama-2-7b --on 8xa100 --tp 8 --batch 8 --kernels megatron_2022"
    assert main(argv.split()) == 0
    out = capsys.readouterr().out
    [note] = [line for line in out.splitlines() if line.startswith("kernels named for other models' layers: ")]
    assert "AN_M" in note
    assert "PRK" not in note


@pytest.mark.parametrize("ways", ["--tp 8 --pp 2", "--tp 4 --pp 4 --microbatch 16"])
def test_what_does_not_fit_is_refused_with_layouts_that_do(ways: str, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["train", "llama-2-70b", "--on", "64xa100", "--batch", "64", *ways.split()]
    assert main(argv) == 3
    said = capsys.readouterr()
    assert not said.out
    found = re.fullmatch(
        r"weir: llama-2-70b on 64xa100: .* on the fullest device, 80 GB there are; (.*) would do\n", said.err
    )
    assert found
    for one in found[1].split(" or "):
        assert main([*argv, *one.split()]) == 0


def test_where_no_layout_nearby_fits_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "llama-2-70b", "--on", "1xa100", "--batch", "1"]) == 3
    assert capsys.readouterr().err.endswith(
        "; twice the --tp or --pp, or recomputing and dividing all, would not do either\n"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("train gpt2-xl --on 16xa100 --batch 30", "a batch of 30 is no multiple of 16"),
        ("train gpt2-xl --on 16xa100 --batch 16 --tp 5", "16 devices are no multiple of 5"),
        ("train gpt2-xl --on 16xa100 --batch 16 --recompute som", "one of none, selective, full"),
        ("train gpt2-xl --on 16xa100 --batch 16 --kernels fusd", "did you mean 'fused'"),
        ("train gpt2-xl --on 16xa100 --batch 0", "--batch must be a whole number from 1"),
        ("train gpt2-xl --on 1xa100 --batch 1000000", "at most 100,000 together"),
        ("train gpt2-xl --on 16xa100 --batch 16 --set network.bandwith=1Gb/s", "did you mean 'network.bandwidth'"),
        ("train gpt2-xl --on 16xa100 --batch 16 --price h100=1", "h100"),
        ("train gpt2-xl --on 16xa100 --batch 16 --ep 2", "gpt2-xl has no experts to divide 2 ways; 1 would do"),
    ],
)
def test_mistakes_are_one_line(argv: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv.split()) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_kernels_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('title = "one by one"\nsource = "me"\neager = true\n', encoding="utf-8")
    assert main([*GPT.split(), "--kernels", str(mine)]) == 0
    assert "kernels: one by one" in capsys.readouterr().out
