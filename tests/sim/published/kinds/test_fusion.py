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
    assert (
        len(report.rows) == 4 + 5 * 24 * 7 + 6 + 168
    )  # what other readings of the energies give; the array's use, Einsum by Einsum
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


@pytest.mark.parametrize(("what", "count", "most"), [("latency", 240, 0.01), ("in use", 240 + 168, None)])
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


def by_hand(length: int, width: int, rows: int) -> tuple[float, float]:
    """Seconds and bytes of FuseMax as the study's own model has them, written out here from its code: what the array
    and the lanes do in turn, and keys and values read for each block of queries that fits in 16 MiB."""
    side, tiles = 256, length // 256
    array, lanes = rows * length**2 / side**2, rows * tiles * length / side
    one, other = max(array * (width + 1), lanes * (1 + width) + rows * length * width / side), lanes
    turns = one + other + max(array * 8, lanes * 8) + max(array * width, lanes * width)
    fits = max(d for d in range(1, tiles + 1) if tiles % d == 0 and d * (2 * width + 2) * 512 <= 2**24 - 1024 * width)
    traffic = 2 * rows * (2 * length * width + -(-tiles // fits) * 2 * length * width)
    return max(turns / 940e6, traffic / (400 * 2**30)), traffic


@pytest.mark.parametrize("length", [512, 768, 2048, 5120, 12288, 131072, 524288])
@pytest.mark.parametrize(("heads", "width"), [(7, 32), (12, 64), (16, 128)])
def test_other_models_and_lengths_than_the_study_s(length: int, heads: int, width: int) -> None:
    """Where the largest block is a power of two, it is the same; the study leaves no room for the next block's queries,
    so that of other lengths and widths it may fit more.
    """
    model = {"heads": heads, "width": width, "model": 1, "hidden": 1}
    other = {**INPUTS, "models": {"other": model}, "lengths": {"other": length}}
    asked = {"design": "binding", "model": "other", "length": "other"}
    seconds, traffic = by_hand(length, width, 64 * heads)
    assert fusion.figure(other, **asked, quantity="traffic") == pytest.approx(traffic, rel=1e-12)
    assert fusion.figure(other, **asked, quantity="seconds") == pytest.approx(seconds, rel=0.01)


def test_a_length_that_is_not_whole_steps_lies_between_its_neighbours() -> None:
    lengths = {str(n): n for n in (768, 1000, 1024)}
    other = {**INPUTS, "lengths": lengths}
    for quantity in ("seconds", "traffic", "joules"):
        low, between, high = (
            fusion.figure(other, design="binding", quantity=quantity, model="BERT", length=n) for n in lengths
        )
        assert low < between <= high  # the last tile takes as long with fewer queries


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
