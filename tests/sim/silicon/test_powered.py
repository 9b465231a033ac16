"""Board power of measured kernels: idle, active, computing and moving, never above the limit; what is not compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from einsum.errors import WeirError
from sim.arch import Power, device, tier
from sim.silicon.powered import cannot, dispersion, errors, load, told, watts

HEAD = "device,op,dtype,m,n,k,latency_us,power_w,power_limit_w"
ATTENTION = "device,op,batch,seq,heads,kv_heads,head_dim,kv_cache_dtype,latency_us,power_w,power_limit_w"
LEVEL = tier("physical")


def written(folder: Path, *lines: str, name: str = "power_gemm", head: str = HEAD) -> Path:
    (folder / f"{name}.csv").write_text("\n".join((head, *lines)), encoding="utf-8")
    return folder


def drawn(folder: Path, *lines: str) -> np.ndarray:
    [rows] = load(written(folder, *lines))
    return watts(rows, LEVEL)


def board() -> Power:
    power = device("h200").power
    assert power is not None
    return power


def test_a_kernel_that_waits_for_its_host_leaves_the_board_idle(tmp_path: Path) -> None:
    busy, waiting = drawn(tmp_path, "h200,gemm,bf16,1,64,64,1,400,700", "h200,gemm,bf16,1,64,64,10000,120,700")
    assert waiting == pytest.approx(board().idle, rel=0.01)
    assert busy == pytest.approx(board().idle + board().active, rel=0.01)


def test_computing_at_full_rate_reaches_the_limit_and_moving_does_not(tmp_path: Path) -> None:
    flops, stream = 2 * 8192.0**3 / 989e12 * 1e6, 2 * 8192.0**2 / 4.8e12 * 1e6  # microseconds at the peaks
    full, moved = drawn(
        tmp_path, f"h200,gemm,bf16,8192,8192,8192,{flops},700,700", f"h200,gemm,bf16,1,8192,8192,{stream},450,700"
    )
    assert full == 700
    assert moved == pytest.approx(board().idle + board().active + board().memory, rel=0.02)


@pytest.mark.parametrize(("query_heads", "instructions"), [(1, 1), (8, 1), (64, 1), (65, 2), (128, 2)])
def test_queries_of_one_key_head_draw_as_whole_instructions_of_them(
    tmp_path: Path, query_heads: int, instructions: int
) -> None:
    """By hand: 2 products of 64 rows at a time, 128 deep or wide, over 65536 keys; keys and values of 2 B."""
    line = f"h200,decode,1,65536,{query_heads},1,128,bfloat16,1000,300,700"
    [rows] = load(written(tmp_path, line, name="power_attention", head=ATTENTION))
    macs = 2 * 2.0 * 64 * instructions * 128 * 65536
    busy = np.minimum(1.0, _seconds(rows) / 1e-3)
    power = board()
    moved = 2 * 2 * 65536 * 128 / 4.8e12 / 1e-3
    expected = power.idle + busy * power.active + macs / 989e12 / 1e-3 * power.compute + moved * power.memory
    assert watts(rows, LEVEL)[0] == pytest.approx(expected, rel=1e-3)


def _seconds(rows: object) -> float:
    from sim.silicon.cases import cases
    from sim.silicon.measured import Measured

    assert isinstance(rows, Measured)
    [case] = cases(rows)
    return float(case.seconds(LEVEL)[0])


def test_errors_of_power_and_of_energy_stand_beside_those_of_the_limit(tmp_path: Path) -> None:
    """A kernel that takes half as long as predicted has half the energy at the same power."""
    folder = written(tmp_path, "h200,gemm,bf16,1,64,64,10000,133,700")
    (power, _, of_power), (energy, on, of_energy) = errors(folder, LEVEL)
    assert (power, energy, on) == ("power of gemm", "energy of gemm", "h200")
    assert of_power["limit"] == pytest.approx(700 / 133 - 1)
    assert abs(of_power["physical"][0]) < 0.01
    [rows] = load(folder)
    ours = _seconds(rows)
    assert of_energy["limit"] == pytest.approx(700 * ours / (133 * 10e-3) - 1)
    assert of_energy["physical"] == pytest.approx(watts(rows, LEVEL, np.array([ours])) * ours / (133 * 10e-3) - 1)


def test_a_run_that_is_short_beside_the_meters_second_is_not_compared(tmp_path: Path) -> None:
    short, long = "h200,gemm,bf16,1,64,64,5,140,700", "h200,gemm,bf16,8192,8192,8192,1500,690,700"
    folder = written(tmp_path, short, long)
    [rows] = load(folder)
    assert told(rows).tolist() == [False, True]
    assert all(len(error) == 1 for _, _, by in errors(folder, LEVEL) for error in by.values())
    [note] = cannot(folder, LEVEL)
    assert note.startswith("power of gemm: 1 of 2 rows cannot be compared")
    assert "there is no second one" in note


def test_nothing_is_said_where_every_row_is_compared_and_nothing_compared_where_none_can_be(tmp_path: Path) -> None:
    assert cannot(written(tmp_path, "h200,gemm,bf16,8192,8192,8192,1500,690,700"), LEVEL) == ()
    folder = written(tmp_path, "h200,gemm,bf16,1,64,64,5,140,700", "h200,gemm,bf16,1,64,64,6,280,700")
    assert list(errors(folder, LEVEL)) == []
    assert "readings of the two most alike differ by 75% in the median" in cannot(folder, LEVEL)[0]  # 50 and 100 %


def test_kernels_are_held_against_the_one_most_like_them(tmp_path: Path) -> None:
    like = [f"h200,gemm,bf16,8192,8192,8192,{us},{watts},700" for us, watts in ((1500, 600), (1501, 660), (9000, 300))]
    [rows] = load(written(tmp_path, *like))
    assert dispersion(rows, LEVEL) == pytest.approx([0.1, 1 - 600 / 660, 1.2])


def test_attention_says_whether_it_is_prefill_or_decode(tmp_path: Path) -> None:
    line = "h200,{}1,4096,8,1,128,bfloat16,9000,300,700"
    folder = written(tmp_path, line.format("prefil,"), name="power_attention", head=ATTENTION)
    with pytest.raises(WeirError, match=r"power_attention.csv: op: must be prefill or decode, not 'prefil'"):
        list(load(folder))
    written(tmp_path, line.format(""), name="power_attention", head=ATTENTION.replace("op,", ""))
    with pytest.raises(WeirError, match=r"power_attention.csv: needs columns op"):
        list(load(folder))


def test_watts_are_numbers(tmp_path: Path) -> None:
    folder = written(tmp_path, "h200,gemm,bf16,8192,8192,8192,3000,N/A,700")
    with pytest.raises(WeirError, match=r"power_gemm.csv: power_w: line 2: must be positive, not 'N/A'"):
        list(load(folder))


def test_a_board_whose_power_is_not_stated_is_not_compared_and_named(tmp_path: Path) -> None:
    assert device("tpu_v5e").power is None
    known, silent = (f"{name},gemm,bf16,8192,8192,8192,3000,600,700" for name in ("h200", "tpu_v5e"))
    assert {on for _, on, _ in errors(written(tmp_path, known, silent), LEVEL)} == {"h200"}
    said = ("power of gemm: 1 of 2 rows cannot be compared: tpu_v5e: no power is stated",)
    assert cannot(tmp_path, LEVEL) == said
    assert list(errors(written(tmp_path, silent), LEVEL)) == []


def test_a_file_without_watts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "power_gemm.csv").write_text(
        "device,op,dtype,m,n,k,latency_us\nh200,gemm,bf16,1,1,1,1", encoding="utf-8"
    )
    with pytest.raises(WeirError, match=r"power_gemm.csv: needs columns power_w, power_limit_w"):
        list(load(tmp_path))
