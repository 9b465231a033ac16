"""The benchmark runs as its docstring says, and notices when the two ways of computing a point differ."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.model_speed import compare

ROOT = Path(__file__).parents[2]


def test_it_runs_and_reports_both_phases() -> None:
    command = [sys.executable, "-m", "benchmarks.model_speed", "--batches", "3", "--lengths", "3", "--samples", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert re.findall(r"^(decode|prefill) +144 points: +[\d,]+/s vectorised", done.stdout, re.M) == [
        "decode",
        "prefill",
    ]
    assert done.stderr == ""


def test_differences_are_noticed() -> None:
    alone = [(np.float64(1.0), np.float64(2.0), np.array("model memory"))]
    assert compare(alone, [(1.0, 2.0, "model memory")]) == 0
    assert compare(alone, [(1.0, 2.2, "model memory")]) == pytest.approx(0.1)
    with pytest.raises(AssertionError, match="bounds differ"):
        compare(alone, [(1.0, 2.0, "model compute")])
