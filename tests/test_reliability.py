"""Promises that no one module keeps alone (docs/reliability.md)."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sim
from sim.arch import cluster
from sim.cli import main
from sim.space import sweep as module
from sim.space.sweep import sweep

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = int(os.environ.get("WEIR_EXAMPLES", "15"))  # of each property of the model
POINTS = int(os.environ.get("WEIR_POINTS", "18"))  # that are asked one by one as well
STEPS: dict[str, Any] = {"on": ["2xh100", "1xh100_2xh20"], "batch": range(1, 40), "context": [100, 3000, 50_000]}


@pytest.mark.parametrize("block", [1, 7, 64])
def test_neither_blocks_nor_workers_change_a_bit(block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    terms = {**STEPS, "batch": range(1, POINTS // 6 + 1)} if block == 1 else STEPS
    whole = sweep("llama-3-8b", **terms)
    monkeypatch.setattr(module, "BLOCK", block)
    with ThreadPoolExecutor(3) as pool:
        parts = sweep("llama-3-8b", **terms, executor=pool, store=tmp_path / "s.db")
    pd.testing.assert_frame_equal(parts, whole, check_exact=True)


BETTER = ("model.hbm.bandwidth", "model.hbm.capacity", "model.tensor.device_rate.mac.bf16", "network.bandwidth")


def seconds(tier: str, batch: int, context: int, **changed: float) -> float:
    table = sweep("llama-3-8b", on="2xh100", batch=batch, context=context, layout="tp=2", tier=tier, **changed)
    return float(table["seconds"].iloc[0])


@given(path=st.sampled_from(BETTER), factor=st.floats(1, 16), batch=st.integers(1, 64), context=st.integers(1, 8000))
@settings(max_examples=EXAMPLES)
@pytest.mark.parametrize("tier", ["limit", "physical"])
def test_better_hardware_is_never_slower(tier: str, path: str, factor: float, batch: int, context: int) -> None:
    better = {path: cluster("2xh100").get(path) * factor}
    assert seconds(tier, batch, context, **better) <= seconds(tier, batch, context) * (1 + 1e-12)


@given(batch=st.integers(1, 64), context=st.integers(1, 8000), more=st.integers(1, 200))
@settings(max_examples=EXAMPLES)
def test_more_work_is_never_faster_at_the_limit(batch: int, context: int, more: int) -> None:
    one = seconds("limit", batch, context)
    assert seconds("limit", batch + more % 20, context) >= one * (1 - 1e-12)
    assert seconds("limit", batch, context + more) >= one * (1 - 1e-12)
    assert seconds("physical", batch, context) >= one


def test_an_estimate_asks_nobody_over_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refused)
    assert sim.serve("gpt2-xl", "1xh100", prompt=64, output=8, batch=2).tokens_per_second > 0


def test_nothing_starts_a_shell_or_loads_code_from_data() -> None:
    wrong = []
    for path in (p for top in ("sim", "einsum", "mappings", "workloads") for p in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                risky = [k.value for k in node.keywords if k.arg in ("shell", "allow_pickle")]
                wrong += [path.name for value in risky if getattr(value, "value", True) is not False]
                wrong += [path.name] * (ast.unparse(node.func) in ("os.system", "yaml.load", "os.popen"))
    assert wrong == []


@pytest.mark.parametrize(
    "argv",
    [
        ["estimate", "gpt2-xl", "--on", "1xh100", "--prompt", "64", "--output", "8"],
        ["sweep", "gpt2-xl", "--on", "1xh100", "--axis", "batch=1,2", "--axis", "context=10", "--csv"],
        ["show", "h20"],
    ],
)
def test_a_bare_environment_is_enough(argv: list[str]) -> None:
    """No home, no locale, no terminal, a folder that cannot be written to."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C", "TERM": "dumb", "NO_COLOR": "1"}
    code = "import sys; from sim.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", code, *argv], env=environment, cwd="/proc", capture_output=True,
                          check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("ascii")


def test_a_picture_that_fails_loses_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sim.cli import plans_offsets

    def broken(*_: object) -> None:
        raise RuntimeError("no picture")

    monkeypatch.setattr(plans_offsets, "_plot", broken)
    (tmp_path / "b.csv").write_text("id,lower,upper,size\na,0,4,5\n")
    kept = tmp_path / "kept.json"
    assert main(["plan", str(tmp_path / "b.csv"), "--save", str(kept), "--plot", str(tmp_path / "p.png")]) == 1
    assert '"stays"' in kept.read_text()
