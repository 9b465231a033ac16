from __future__ import annotations

import tomllib
from typing import Any

import pytest

from einsum.errors import WeirError
from sim.published import validate
from sim.published.kinds import fusion
from sim.published.report import Report
from sim.published.shelf import FOLDER

INPUTS: dict[str, Any] = tomllib.loads((FOLDER / "fusemax.toml").read_text(encoding="utf-8"))["inputs"]


@pytest.fixture(scope="module")
def report() -> Report:
    return validate("fusemax")


def test_every_point_is_compared(report: Report) -> None:
    assert len(report.rows) == 4 + 5 * 24 * 7 + 6  # and what other readings of the energies give
    assert report.ok


def test_traffic_is_equal_to_the_byte(report: Report) -> None:
    rows = [row for row in report.rows if "traffic" in row.quantity]
    assert len(rows) == 120
    assert all(abs(row.deviation) < 1e-9 for row in rows)


def test_what_other_readings_of_the_energies_give_is_said(report: Report) -> None:
    ours = {row.id: row.ours for row in report.rows}
    assert ours["FM-2"] == pytest.approx(0.794, abs=0.001)
    assert ours["FM-40"] == pytest.approx(0.949, abs=0.001)  # listed energies for whole rows
    assert ours["FM-42"] == pytest.approx(0.796, abs=0.001)  # for every 64 bits
    assert ours["FM-44"] == pytest.approx(0.819, abs=0.001)  # registers counted


@pytest.mark.parametrize(("what", "count", "most"), [("latency", 240, 0.01), ("in use", 240, None)])
def test_times_and_utilisation_hold(report: Report, what: str, count: int, most: float | None) -> None:
    rows = [row for row in report.rows if what in row.quantity]
    assert len(rows) == count
    assert all(row.verdict == "holds" for row in rows)
    assert all(abs(row.ours - row.theirs) <= 0.01 for row in rows) if most is None else True
    assert max(abs(row.deviation) for row in rows) < 0.01


def test_energy_holds_but_for_the_design_that_is_said_not_to(report: Report) -> None:
    other = {f"FM-{n}" for n in range(40, 46)}
    off = [row for row in report.rows if row.verdict != "holds" and row.id not in other]
    assert all(row.verdict == "cannot" and "+Cascade" in row.quantity and row.why for row in off)
    assert 0 < len(off) < 32
    assert max(abs(row.deviation) for row in off) < 0.04


def test_headlines_follow() -> None:
    speed = {"quantity": "seconds", "over": "flat", "under": "binding"}
    energy = {"quantity": "joules", "over": "binding", "under": "flat"}
    assert fusion.average(INPUTS, **speed, whole=0) == pytest.approx(6.7, rel=0.01)
    assert fusion.average(INPUTS, **energy, whole=0) == pytest.approx(0.79, abs=0.01)
    assert fusion.average(INPUTS, **speed, whole=1) == pytest.approx(5.3, rel=0.01)
    assert fusion.average(INPUTS, **energy, whole=1) == pytest.approx(0.83, abs=0.011)


def test_one_query_alone_agrees_with_all_at_once() -> None:
    few = {**INPUTS, "models": {"XLM": INPUTS["models"]["XLM"]}, "lengths": {"16K": 16384}}
    for design in INPUTS["designs"]:
        for quantity in ("traffic", "seconds", "joules"):
            asked = {"design": design, "quantity": quantity, "model": "XLM", "length": "16K"}
            assert fusion.figure(few, **asked) == pytest.approx(fusion.figure(INPUTS, **asked), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"design": "bindng"}, "unknown design 'bindng'; did you mean 'binding'"),
        ({"quantity": "second"}, "unknown quantity 'second'; did you mean 'seconds'"),
        ({"model": "BART"}, "no 'models.BART'; did you mean 'BERT'"),
        ({"length": "2K"}, "no 'lengths.2K'"),
    ],
)
def test_mistakes_are_named(change: dict[str, str], message: str) -> None:
    asked = {"design": "binding", "quantity": "seconds", "model": "BERT", "length": "1K"}
    with pytest.raises(WeirError, match=message):
        fusion.figure(INPUTS, **{**asked, **change})


def test_an_unknown_mapping_is_named() -> None:
    wrong = {**INPUTS, "designs": {"binding": {**INPUTS["designs"]["binding"], "mapping": "interleave"}}}
    with pytest.raises(WeirError, match="unknown mapping 'interleave'; did you mean 'interleaved'"):
        fusion.figure(wrong, design="binding", quantity="seconds", model="BERT", length="1K")
