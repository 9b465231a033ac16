"""The benchmark runs, and the study stays well under the seconds it is meant to take."""

from __future__ import annotations

from time import process_time

import pytest

from benchmarks import fusemax


def test_all_points_in_under_two_seconds() -> None:
    given = fusemax.inputs()
    start = process_time()
    assert fusemax.study(given) == 120
    assert process_time() - start < 2  # about 0.3 on an idle core


def test_it_reports_four_times(capsys: pytest.CaptureFixture[str]) -> None:
    fusemax.main(count=1000)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "120 attention points",
        "their projections",
        "one mapping of FuseMax, checked",
        "1,000 mappings of FuseMax",
    ]
