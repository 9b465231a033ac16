"""``weir validate technology``: the anchors of the models as rows of a report."""

from __future__ import annotations

import pytest

from sim.arch.technology import anchors, checks
from sim.published import Report, paper, papers, validate


@pytest.fixture(scope="module")
def report() -> Report:
    return validate("technology")


def test_every_anchor_is_a_row_and_none_fails(report: Report) -> None:
    assert "technology" in papers()
    assert len(report.rows) == len(anchors())
    assert report.ok


def test_a_row_is_the_check_in_units_that_people_read(report: Report) -> None:
    for check, row in zip(checks(), report.rows, strict=True):
        assert row.deviation == pytest.approx(check.error, abs=1e-9)
    [read] = [row for row in report.rows if row.quantity == "FuseMax global buffer read, 45 nm"]
    assert (read.unit, read.verdict) == ("pJ", "holds")
    assert read.theirs == pytest.approx(484.97)
    [ratio] = [row for row in report.rows if row.quantity.startswith("Eyeriss global buffer relative")]
    assert (ratio.unit, ratio.theirs) == ("1", 6)


def test_where_nothing_is_claimed_the_reason_is_given(report: Report) -> None:
    for anchor, row in zip(anchors(), report.rows, strict=True):
        assert (row.verdict == "cannot") == (anchor.within is None), anchor.name
        assert row.verdict != "cannot" or len(row.why) > 20


def test_what_made_a_model_is_an_input(report: Report) -> None:
    verified = [(anchor, row) for anchor, row in zip(anchors(), report.rows, strict=True) if anchor.verified]
    assert all(row.verdict == "input" for anchor, row in verified if anchor.fit and anchor.within is not None)


def test_a_model_outside_its_claim_would_fail() -> None:
    [read] = [f for f in paper("technology").figures if f.quantity == "FuseMax global buffer read, 45 nm"]
    assert read.tolerance == pytest.approx(0.3 * 484.97)
    assert read.expected == "holds"


def test_it_prints_as_any_paper_does(report: Report) -> None:
    text = str(report)
    assert "FuseMax multiply-add, 45 nm [pJ]" in text
    assert "TEC-85: they take 200 fF/mm and state no supply" in text
