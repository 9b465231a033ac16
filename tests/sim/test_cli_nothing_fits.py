"""Where nothing fits, every command that plans says in one line what is short, and the least that would do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sim.cli import main

CSV = "id,lower,upper,size\na,0,3,64\nb,1,4,64\n"
GRAPH = {
    "buffers": [{"name": n, "bytes": 10} for n in "xyz"],
    "tasks": [
        {"name": "f", "seconds": 1, "reads": ["x"], "writes": ["y"]},
        {"name": "g", "seconds": 1, "reads": ["x", "y"], "writes": ["z"]},
    ],
    "given": ["x"],
    "kept": ["z"],
}
LOAD = ["--prompt", "1000", "--output", "100", "--prices", "market_2026"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["plan", "buffers.csv", "--capacity", "100"], "128 is the smallest that would do"),
        (["plan", "net.json", "--budget", "20"], "one task alone needs 30 bytes, 20 are given; 30 would do"),
        (["plan", "net.json", "--on", "a100", "--budget", "20", "--host", "1GB"], "20 are given; 30 would do"),
        (
            ["plan", "llama-2-7b", "--on", "8xa800", "--sequence", "2M", "--strategy", "keep"],
            "80,000,000,000 there are; 65,536 tokens would do",
        ),
        (
            ["plan", "llama-2-7b", "--on", "8xa800", "--sequence", "64K", "--strategy", "memo", "--host", "1GB"],
            "which has 1,000,000,000; 32,212,254,720 would do",
        ),
        (["offload", "opt-30b", "--on", "t4", "--set", "host_memory=1GB"], "of host memory instead of 900 MB would do"),
        (
            ["rent", "llama-3-8b", "--on", "1xh100", *LOAD, "--rate", "500", "--stock", "h100=1"],
            "of h100_sxm instead of 1 would do",
        ),
        (
            ["pipeline", "llama-2-7b", "--on", "2xa100", "--microbatches", "4", "--schedule", "gpipe"],
            "88,435,851,264 bytes on the fullest device, 80,000,000,000 there are; 88,435,851,264 would do",
        ),
        (
            ["pipeline", "llama-2-7b", "--on", "2xl4", "--microbatches", "4", "--seconds", "0"],
            "71,171,571,712 would do",
        ),
        (["ranges", "llama-2-70b", "--on", "2xl4"], "hold 24 of 80 layers; 5 more like the largest would do"),
    ],
)
def test_one_line_says_what_would_do(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("buffers.csv").write_text(CSV, encoding="utf-8")
    Path("net.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    assert main(argv) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
