"""The band that a report holds errors against is the one that an answer prints."""

from __future__ import annotations

from pathlib import Path

import pytest

import sim
from einsum.parse import parse
from sim.arch import tier
from sim.model.tested import UNTESTED, band
from sim.silicon.cases import cases
from sim.silicon.measured import load
from sim.silicon.report import evaluate, printed

LEVEL = tier("physical")


def rows(folder: Path, *devices: str) -> Path:
    lines = (f"{name},bf16,4096,4096,4096,{us}" for name in devices for us in (200, 900))
    (folder / "gemm.csv").write_text("\n".join(("device,dtype,m,n,k,latency_us", *lines)), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["h100", "h200", "mi300x", "tpu_v5e"])
def test_the_band_of_a_product_is_that_of_its_estimate(tmp_path: Path, name: str) -> None:
    """Of devices that nobody measured it is what is assumed of them."""
    [found] = load(rows(tmp_path, name))
    product = parse("Z[m, n] = A[m, k] * B[k, n]", m=4096, n=4096, k=4096)
    expected = band(sim.estimate(product, name, tier="physical").step, LEVEL).p90
    assert printed(cases(found), LEVEL, len(found)) == pytest.approx([expected] * 2)
    assert (expected == 2 * UNTESTED) == (name in ("mi300x", "tpu_v5e"))


def test_errors_of_a_vendor_that_was_not_measured_are_held_against_what_is_assumed_of_it(tmp_path: Path) -> None:
    """Near 200 us both; a kernel that took 900 us is 78 % off, within 100 % but not within a tested band."""
    report = evaluate(rows(tmp_path, "h100", "mi300x"))
    assert {name: report.of("gemm bf16", "physical", name).covered for name in ("h100", "mi300x")} == {
        "h100": 0.5,
        "mi300x": 1.0,
    }
