from __future__ import annotations

import json
import math

import pytest

from sim.published import Figure, Paper, Report, Row
from sim.published.calls import Call
from sim.published.report import WIDTH, agree, judge, row


def figure(theirs: float, *, tolerance: float = 0.0, relation: str = "equal", expected: str = "holds") -> Figure:
    asked = Call("loads.requests", lambda inputs: 10.0, {}, ())
    return Figure("T-1", "a count", asked, theirs, "B", tolerance, relation, expected, "a reason")


def paper(*figures: Figure, known: str = "read") -> Paper:
    return Paper("toy", "A toy", "nowhere", known, "A note.", figures)


@pytest.mark.parametrize(
    ("theirs", "ours", "tolerance", "relation", "verdict"),
    [
        (10, 10, 0, "equal", True),
        (10, 10.4, 0.5, "equal", True),
        (10, 10.6, 0.5, "equal", False),
        (10, 9.4, 0.5, "equal", False),
        (10, 2, 0, "at most", True),
        (10, 10.6, 0.5, "at most", False),
        (10, 30, 0, "at least", True),
        (10, 9.4, 0.5, "at least", False),
        (0, 0, 0, "equal", True),
        (10, math.nan, 5, "equal", False),
        (10, math.nan, 5, "at most", False),
        (10, math.inf, 5, "equal", False),
    ],
)
def test_agreement(theirs: float, ours: float, tolerance: float, relation: str, verdict: bool) -> None:
    assert agree(theirs, ours, tolerance, relation) is verdict


@pytest.mark.parametrize(
    ("expected", "known", "agreeing", "off"),
    [
        ("holds", "read", "holds", "fails"),
        ("input", "read", "input", "fails"),  # an input that our files do not hold is a mistake of ours
        ("cannot", "read", "holds", "cannot"),  # agreement is reported, whatever was expected
        ("unverified", "read", "unverified", "unverified"),
        ("holds", "memory", "unverified", "unverified"),
    ],
)
def test_verdicts(expected: str, known: str, agreeing: str, off: str) -> None:
    asked = figure(10, expected=expected)
    assert judge(asked, 10, known) == agreeing
    assert judge(asked, 11, known) == off


def test_a_row_and_its_deviation() -> None:
    made = row(paper(), figure(8))
    assert (made.theirs, made.ours, made.verdict) == (8, 10, "fails")
    assert made.deviation == pytest.approx(0.25)
    assert row(paper(), figure(0)).deviation == math.inf


def test_ok_means_that_no_row_fails() -> None:
    good, hopeless = row(paper(), figure(10)), row(paper(), figure(3, expected="cannot"))
    assert Report((paper(),), (good, hopeless)).ok
    assert not Report((paper(),), (good, row(paper(), figure(3)))).ok
    assert Report((paper(),), (good, good, hopeless)).counts == {"holds": 2, "cannot": 1}


def report(**changes: object) -> Report:
    base = {
        "paper": "toy", "id": "T-1", "quantity": "a quantity whose name is far too long for the column it stands in",
        "theirs": 1.5e9, "ours": 1.6e9, "unit": "B", "tolerance": 0.0, "relation": "at most", "verdict": "cannot",
        "why": "because " * 30,
    }  # fmt: skip
    return Report((paper(),), (Row(**{**base, **changes}),))  # type: ignore[arg-type]


def test_the_table_fits_a_terminal_and_gives_the_reasons() -> None:
    text = str(report())
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert "T-1: because because" in text
    assert "Note: A note." in text
    assert "<=1.5e+09" in text
    assert "+6.67% cannot" in text
    assert text.endswith("1 rows: 1 cannot")


def test_the_unit_gives_way_before_the_quantity() -> None:
    assert "USD for a million tokens [USD]" in str(report(quantity="USD for a million tokens", unit="USD"))
    longer = "USD for a million tokens at 8,192 of context"
    assert f"{longer}  " in str(report(quantity=longer, unit="USD"))


def test_frame_and_summary_hold_the_same_rows() -> None:
    made = report(theirs=0.0)
    frame = made.frame()
    assert list(frame.id) == ["T-1"]
    assert frame.deviation[0] == math.inf
    summary = json.loads(json.dumps(made.summary()))
    assert (summary["schema"], summary["ok"]) == ("weir.validate/1", True)
    assert summary["rows"][0]["deviation"] is None  # JSON has no infinity
    assert summary["counts"] == {"cannot": 1}
