"""Tables as files: pandas reads them without being told how; units and manifest come along."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from einsum import WeirError
from sim.pages.tables import read
from sim.space.tables import beside, figures, text, written

MADE = {"key": "k", "arguments": {"a": 1}}


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = {"on": ["a", "b,c"], "batch": [1, 2], "seconds": [0.1 + 0.2, float("nan")], "fits": [True, False]}
    found = pd.DataFrame(rows)
    found.attrs["units"] = {"batch": "requests", "seconds": "s"}
    return found


def test_csv_is_plain_and_its_metadata_stand_beside(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    written(frame, path, MADE)
    pd.testing.assert_frame_equal(pd.read_csv(path), frame)
    about = beside(path)
    assert about is not None
    assert about["tableSchema"]["columns"][2] == {
        "name": "seconds", "titles": "seconds", "datatype": "double", "schema:unitText": "s",
    }  # fmt: skip
    assert about["manifest"] == MADE
    assert read(path).attrs == {"units": {"batch": "requests", "seconds": "s"}, "manifest": MADE}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t.csv-metadata.json"]


def test_json_has_both_inside(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    written(frame, path, MADE)
    pd.testing.assert_frame_equal(pd.read_json(path, orient="table", precise_float=True), frame)
    found = json.loads(path.read_text())
    assert {f["name"]: f.get("unit") for f in found["schema"]["fields"]}["seconds"] == "s"
    assert found["data"][0]["seconds"] == 0.1 + 0.2  # to the last bit
    assert found["manifest"] == MADE
    assert json.loads(text(frame, MADE)) == found
    assert read(path).attrs["manifest"] == MADE


def test_parquet_keeps_them_where_pandas_looks(frame: pd.DataFrame, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "t.parquet"
    written(frame, path, MADE)
    found = pd.read_parquet(path)
    pd.testing.assert_frame_equal(found, frame)
    assert found.attrs == {"units": {"batch": "requests", "seconds": "s"}, "manifest": MADE}
    assert parquet.read_schema(path).field("seconds").metadata == {b"unit": b"s"}


@pytest.mark.parametrize("ending", [".csv", ".json", ".parquet"])
def test_figures_come_back_with_their_manifest(ending: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"t{ending}"
    written(frame, path, MADE)
    found, told = figures(path)
    assert told == MADE
    assert str(found["data"][0]["seconds"]) == str(0.1 + 0.2)


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(WeirError, match="not a Parquet table"):
        figures(path)
