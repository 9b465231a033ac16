from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from einsum import WeirError
from sim.published import Report, validate
from sim.published.kinds import arrays, convolutions, nests, sparse
from sim.published.shelf import FOLDER


def inputs(paper: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((FOLDER / f"{paper}.toml").read_text())["inputs"]
    return found


def cycles(dataflow: str, side: int, m: int, n: int, k: int) -> float:
    return arrays.cycles({}, dataflow=dataflow, side=side, m=m, n=n, k=k)


def test_a_product_of_one_tile_by_hand() -> None:
    """2 x 2 units, k = 3: one step each way in, three products, one cycle less as counted from zero."""
    assert cycles("output", 2, 2, 2, 3) == 1 + 1 + 3 - 1
    assert cycles("weight", 2, 3, 2, 2) == 2 + 1 + 1 + 3 - 1  # two rows of weights first


def test_a_dataflow_that_is_not_there() -> None:
    with pytest.raises(WeirError, match="unknown dataflow 'wieght'; did you mean 'weight'"):
        cycles("wieght", 2, 2, 2, 2)


def test_throughput_follows_the_batch_until_the_array_is_the_limit() -> None:
    given = inputs("tpu_v1")
    one = arrays.achieved(given, application="LSTM0")
    given["applications"]["LSTM0"] |= {"batch": 128}
    assert arrays.achieved(given, application="LSTM0") == pytest.approx(2 * one)
    given["applications"]["LSTM0"] |= {"batch": 8192}
    assert arrays.achieved(given, application="LSTM0") == pytest.approx(91.75, rel=0.01)  # 65536 units at 1.4 GOP/s


def test_lstm1_by_the_papers_own_sentence() -> None:
    """600 x 600 weights at a batch of 96 in the 18 us of section 7."""
    said = 2 * 96 * 600**2 / 18e-6 / 1e12
    assert said == pytest.approx(3.84)
    assert arrays.achieved(inputs("tpu_v1"), application="LSTM1") == pytest.approx(said, rel=0.02)


def test_conv3_in_the_passes_of_conv4_has_the_published_traffic() -> None:
    given = inputs("eyeriss")
    assert convolutions.buffered(given, layer="CONV3") == pytest.approx(69.2, abs=0.05)
    given["mapping"]["CONV3"] = given["mapping"]["CONV4"]
    assert convolutions.buffered(given, layer="CONV3") == pytest.approx(50.2, abs=0.05)


def test_latencies_of_eyeriss_within_six_per_cent_on_average(everything: Report) -> None:
    rows = [row for row in everything.rows if row.paper == "eyeriss" and row.id.startswith("EYE-1.")]
    assert len(rows) == 5
    assert sum(abs(row.deviation) for row in rows) / 5 < 0.04


def test_sparse_layers_within_two_per_cent_on_average(everything: Report) -> None:
    """Of those whose densities are known."""
    rows = [row for row in everything.rows if row.paper == "sparseloop" and row.verdict == "holds"]
    assert len(rows) == 16
    assert sum(abs(row.deviation) for row in rows) / len(rows) < 0.02


def test_zeros_are_skipped_in_proportion() -> None:
    """Sparseloop's own estimates for two layers, in whole cycles."""
    given = inputs("sparseloop")
    assert sparse.cycles(given, layer="L07") == pytest.approx(1_592_158, abs=1)
    assert sparse.cycles(given, layer="L27") == pytest.approx(729_810, abs=2)


def test_a_case_of_the_exercises_by_hand() -> None:
    """Three weights for each of 16 outputs out of a buffer that memory fills."""
    given = inputs("timeloop")
    assert nests.count(given, case="01 os", level="buffer", tensor="W", action="reads") == 48
    assert nests.energy(given, case="01 os", level="main", tensor="W") == pytest.approx(43.35, abs=0.01)  # one line
    assert nests.cycles(given, case="01 os") == 48


@pytest.mark.parametrize(
    ("paper", "before", "after"),
    [
        ("scalesim", '["weight", 32, 100, 70, 50, 1163]', '["weight", 32, 100, 70, 50, 1164]'),
        ("timeloop", '"buffer", "W", "fills", 3]', '"buffer", "W", "fills", 4]'),
        ("timeloop", '["04", 14664.63]', '["04", 14664.65]'),
        ("timeloop", "for k tile 1\n  for p tile 1\n    keep", "for p tile 1\n  for k tile 1\n    keep"),
        ("eyeriss", '["CONV2", 39.2]', '["CONV2", 40.2]'),
        ("eyeriss", "p = 16, q = 3, r = 2, t = 2", "p = 12, q = 3, r = 2, t = 2"),
        ("tpu_v1", '["MLP1", 9.7]', '["MLP1", 8.2]'),
        ("sparseloop", '["L12", 73728]', '["L12", 73729]'),
    ],
)
def test_a_wrong_cell_or_nest_does_not_pass(tmp_path: Path, paper: str, before: str, after: str) -> None:
    text = (FOLDER / f"{paper}.toml").read_text()
    assert before in text
    copy = tmp_path / f"{paper}.toml"
    copy.write_text(text.replace(before, after))
    assert not validate(copy).ok


@pytest.mark.parametrize(
    ("paper", "before", "after", "message"),
    [
        ("timeloop", "for p tile 1\n  for r", "for p tile 0\n  for r", "timeloop TL-1.1: mapping of 00: line 2:"),
        ("timeloop", '"timeloop_exercise_1level"', '"timeloop_exercise_1leve"', "did you mean"),
        ("eyeriss", "e = 27, p = 16", "e = 27, p = 24", "'filter' must hold 480 bytes at once"),
        (
            "eyeriss",
            "e = 27, p = 16, q = 2, r = 1, t = 1",
            "e = 27, p = 16, q = 2, r = 2, t = 1",
            "270 instances of 'pes'",
        ),
        ("tpu_v1", 'tile = "2 us"', 'tile = "2 MB"', "wrong unit"),
    ],
)
def test_a_mistake_names_the_row(tmp_path: Path, paper: str, before: str, after: str, message: str) -> None:
    text = (FOLDER / f"{paper}.toml").read_text()
    assert before in text
    copy = tmp_path / f"{paper}.toml"
    copy.write_text(text.replace(before, after))
    with pytest.raises(WeirError) as error:
        validate(copy)
    assert message in str(error.value)
