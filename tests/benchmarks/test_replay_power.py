"""The time between cases that is fitted to all operations but one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.replay_power import BOARDS, PAUSES, SHOWN, elsewhere, main

HEAD = "device,op,dtype,m,n,k,latency_us,power_w,power_limit_w,source"


def test_an_operation_is_tried_at_the_time_that_is_best_for_the_others() -> None:
    rising = np.linspace(0.1, 0.9, len(PAUSES))
    found = {"gemm": rising, "attention_prefill": rising * 0.1, "attention_decode": rising[::-1]}
    assert elsewhere(found, "gemm") == (PAUSES[-1], pytest.approx(0.9))
    assert elsewhere(found, "attention_decode") == (PAUSES[0], pytest.approx(0.9))


def test_every_operation_is_printed_for_every_number_of_boards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "h200,gemm,bf16,64,512,512,5,300,700,aiconfigurator:vllm/0.22.0"
    (tmp_path / "power_gemm.csv").write_text(f"{HEAD}\n{line}", encoding="utf-8")
    main(str(tmp_path))
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("boards operation")
    assert [tuple(line.split()[:2]) for line in lines] == [(str(count), "gemm") for count in BOARDS]
    assert all(line.count("%") == len(SHOWN) + 1 for line in lines)
