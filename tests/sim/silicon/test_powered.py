"""Board power of measured kernels: idle, active, computing and moving, never above the limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from einsum.errors import WeirError
from sim.arch import device, tier
from sim.silicon.powered import SEEN, errors, load, watts

HEAD = "device,op,dtype,m,n,k,latency_us,power_w,power_limit_w"


def written(folder: Path, *lines: str) -> Path:
    (folder / "power_gemm.csv").write_text("\n".join((HEAD, *lines)), encoding="utf-8")
    return folder


def drawn(folder: Path, *lines: str) -> np.ndarray:
    [rows] = load(written(folder, *lines))
    return watts(rows, tier("physical"))


def test_a_kernel_that_waits_for_its_host_leaves_the_board_idle(tmp_path: Path) -> None:
    busy, waiting = drawn(tmp_path, "h200,gemm,bf16,1,64,64,1,400,700", "h200,gemm,bf16,1,64,64,10000,120,700")
    power = device("h200").power
    assert power is not None
    assert waiting == pytest.approx(power.idle, rel=0.01)
    seen = 1 - np.exp(-1e-6 / SEEN)  # of a run of such kernels, by its meter
    assert busy == pytest.approx(power.idle + seen * power.active, rel=0.1)


def test_a_meter_sees_the_more_of_the_power_the_longer_a_kernel_is(tmp_path: Path) -> None:
    """Twice the columns take twice the time and draw as much, but are read higher, until all is seen."""
    sizes = [(n, 2.0 * 4096 * n / 4.8e12 * 1e6) for n in (1024, 2048, 4096, 65536, 131072)]
    read = drawn(tmp_path, *(f"h200,gemm,bf16,1,{n},4096,{us},300,700" for n, us in sizes))
    assert (np.diff(read[:4]) > 40).all()
    assert read[4] == pytest.approx(read[3], rel=0.01)


def test_computing_and_moving_at_full_rate_reach_the_limit_and_no_more(tmp_path: Path) -> None:
    flops, stream = 2 * 8192.0**3 / 989e12 * 1e6, 2 * 8192.0**2 / 4.8e12 * 1e6  # microseconds at the peaks
    full, moved = drawn(
        tmp_path, f"h200,gemm,bf16,8192,8192,8192,{flops},700,700", f"h200,gemm,bf16,1,8192,8192,{stream},450,700"
    )
    assert full <= 700
    assert full > 0.95 * 700
    assert 0.6 * 700 < moved < 0.8 * 700


def test_errors_stand_beside_those_of_the_limit(tmp_path: Path) -> None:
    folder = written(tmp_path, "h200,gemm,bf16,1,64,64,10000,91,700")
    [(name, on, found)] = errors(folder, tier("physical"))
    assert (name, on) == ("power of gemm", "h200")
    assert found["limit"] == pytest.approx(700 / 91 - 1)
    assert abs(found["physical"][0]) < 0.05


def test_a_file_without_watts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "power_gemm.csv").write_text(
        "device,op,dtype,m,n,k,latency_us\nh200,gemm,bf16,1,1,1,1", encoding="utf-8"
    )
    with pytest.raises(WeirError, match=r"power_gemm.csv: needs columns power_w, power_limit_w"):
        list(load(tmp_path))
