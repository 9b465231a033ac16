"""Readings predicted with what ran before: against the same timeline played step by step, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sim.arch import Power, device, tier
from sim.silicon.cases import cases, predict
from sim.silicon.meter import kernels, run, shares
from sim.silicon.powered import load, watts
from sim.silicon.replayed import DEEP, PAUSES, errors, predicted, replays, told
from sim.silicon.sweep import before

HEAD = "device,op,dtype,m,n,k,latency_us,power_w,power_limit_w,source"
LINE = "h200,gemm,{},{},{},{},{},{},700,aiconfigurator:vllm/0.22.0"
LEVEL = tier("physical")
SMALL, LARGE = LINE.format("bf16", 64, 512, 512, 5, 300), LINE.format("bf16", 4096, 4096, 4096, 200, 690)


def written(folder: Path, *lines: str) -> Path:
    (folder / "power_gemm.csv").write_text("\n".join((HEAD, *lines)), encoding="utf-8")
    return folder


def board() -> Power:
    power = device("h200").power
    assert power is not None
    return power


@pytest.mark.parametrize("pause", [0.0, 0.04, 0.25])
def test_a_reading_is_that_of_the_whole_timeline_played_step_by_step(tmp_path: Path, pause: float) -> None:
    """Steps of 0.1 ms; the run is of 3000 calls of six products of 5 us, 0.09 s, so it is read once, when it starts."""
    [rows] = load(written(tmp_path, SMALL))
    past = before(rows, 8, DEEP)
    shortest = np.where(np.array(past.dtypes("dtype")) == "bf16", 5e-6, 0)
    past = replace(past, seconds=np.maximum(predict(cases(past), LEVEL, DEEP), shortest))
    calls = past.seconds * kernels(past)
    parts = [(3 * 30e-6, watts(rows, LEVEL)[0])]
    for lasting, watt in zip(run(calls) + 3 * calls, watts(past, LEVEL), strict=True):
        parts += [(pause, board().idle), (lasting, watt)]
    backwards = np.concatenate([np.full(round(lasting * 1e4), watt) for lasting, watt in parts])
    assert predicted(rows, LEVEL, (pause,))[0] == pytest.approx([backwards[:10000].mean()], rel=5e-3)


def test_after_a_second_of_rest_a_reading_is_the_runs_share_above_idling(tmp_path: Path) -> None:
    """And no more than the three calls of its warm-up above that, in the second before each reading."""
    [rows] = load(written(tmp_path, SMALL, LARGE))
    above = watts(rows, LEVEL) - board().idle
    least = board().idle + shares(rows) * above
    ours = predicted(rows, LEVEL, (1.0,))[0]
    assert (ours > least).all()
    assert (ours <= least + 3 * rows.seconds * kernels(rows) * above).all()


def test_the_longer_a_board_rests_between_cases_the_less_it_reads(tmp_path: Path) -> None:
    [rows] = load(written(tmp_path, SMALL, LARGE))
    found = np.stack(predicted(rows, LEVEL, (0.0, 0.05, 0.2, 0.6, 1.0)))
    assert (np.diff(found, axis=0) < 0).all()
    assert (found >= board().idle).all()
    assert (found <= 700 * (1 + 1e-9)).all()


def test_a_kernel_before_lasts_no_less_than_the_shortest_measured_of_its_type(tmp_path: Path) -> None:
    """Block-scaled products that the host launches every 10 ms keep the board idle nearly all of the second before."""
    quick, slow = (LINE.format("fp8_block", 64, 512, 512, micro, 140) for micro in (5, 10000))
    [shorter], [longer] = (list(load(written(tmp_path, SMALL, line))) for line in (quick, slow))
    first, second = (predicted(rows, LEVEL, (0.0,), boards=3)[0][1] for rows in (shorter, longer))
    assert second < first
    assert second == pytest.approx(board().idle, rel=0.1)


def test_errors_are_those_of_all_readings_for_every_pause(tmp_path: Path) -> None:
    folder = written(tmp_path, SMALL, LARGE)
    [(operation, on, found)] = errors(folder, LEVEL)
    assert (operation, on, tuple(found)) == ("meter on gemm", "h200", tuple(PAUSES))
    [rows] = load(folder)
    [resting] = predicted(rows, LEVEL, (1.0,))
    assert found["1 s between"] == pytest.approx(resting / np.array([300, 690]) - 1)


def test_rows_of_no_published_case_are_counted_and_not_replayed(tmp_path: Path) -> None:
    odd, foreign = SMALL.replace(",512,512", ",500,512"), SMALL.replace("vllm", "trtllm")
    [one] = load(written(tmp_path, SMALL))
    between = float(np.mean(predicted(one, LEVEL, (0.0, 1.0))))
    [rows] = load(written(tmp_path, LINE.format("bf16", 64, 512, 512, 5, between), odd, foreign))
    assert replays(rows).tolist() == [True, False, False]
    [note] = told(tmp_path, LEVEL)
    assert note.startswith("meter on gemm: 1 of 3 readings are replayed")
    assert note.endswith("readings that lie between: 1")
    written(tmp_path, odd, foreign)
    assert list(errors(tmp_path, LEVEL)) == []
    assert told(tmp_path, LEVEL) == (
        "meter on gemm: 0 of 2 readings are replayed: they are of no case of a published sweep",
    )


def test_boards_that_state_no_power_are_left_to_the_strict_comparison(tmp_path: Path) -> None:
    written(tmp_path, SMALL.replace("h200", "tpu_v5e"))
    assert told(tmp_path, LEVEL) == ()
    assert list(errors(tmp_path, LEVEL)) == []
