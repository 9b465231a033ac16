"""Tables read from files: rows, units, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from einsum import WeirError
from sim.pages.tables import read


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_with_units_known_and_in_brackets(tmp_path: Path) -> None:
    frame = read(file(tmp_path, "t.csv", "seconds,energy [J],ttft_p95,name (s)\n1,2,3,x\n,4,5,y\n"))
    assert list(frame.columns) == ["seconds", "energy", "ttft_p95", "name"]
    assert frame.attrs["units"] == {"seconds": "s", "energy": "J", "ttft_p95": "s", "name": "s"}
    assert frame["seconds"].isna().tolist() == [False, True]


def test_brackets_stay_where_names_would_be_the_same(tmp_path: Path) -> None:
    frame = read(file(tmp_path, "t.csv", "time (s),time (ms)\n1,2\n"))
    assert list(frame.columns) == ["time (s)", "time (ms)"]


@pytest.mark.parametrize(
    "content",
    [
        [{"a": 1, "b": {"c": 2}}],
        {"rows": [{"a": 1, "b_c": 2}]},
        {"schema": {"fields": [{"name": "a", "type": "integer"}]}, "data": [{"a": 1, "b_c": 2}]},
        {"schema": "weir.compare/1", "answers": [{"a": 1, "b": {"c": 2}, "notes": ["left out"]}]},
        {"schema": "weir.estimate/1", "a": 1, "b": {"c": 2}},
    ],
)
def test_json_of_every_kind(tmp_path: Path, content: Any) -> None:
    frame = read(file(tmp_path, "t.json", json.dumps(content)))
    assert frame[["a", "b_c"]].to_dict("records") == [{"a": 1, "b_c": 2}]


def test_json_says_its_units_and_what_made_it(tmp_path: Path) -> None:
    content = {"rows": [{"seconds": 1, "x": 2}], "units": {"x": "m", "seconds": "ms"}, "manifest": {"seed": 7}}
    frame = read(file(tmp_path, "t.json", json.dumps(content)))
    assert frame.attrs["units"] == {"x": "m", "seconds": "ms"}
    assert frame.attrs["manifest"] == {"seed": 7}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.txt", "a\n1\n", r"ends in \.csv or \.json"),
        ("t.csv", "", "not a CSV table"),
        ("t.csv", "a,b\n1,2,3\n", "not a CSV table"),
        ("t.csv", 'a,b\n"1,2\n', "not a CSV table"),
        ("t.csv", b"\xff\xfe\x00", "not UTF-8"),
        ("t.json", "[1, 2]", "no table"),
        ("t.json", "[]", "no table"),
        ("t.json", "3", "no table"),
        ("t.json", '{"rows": 3}', "no table"),
        ("t.json", "{" * 99, "not valid JSON"),
        ("t.json", "[" * 100_000, "not valid JSON"),
        ("t.json", '[{"a": ' + "9" * 9999 + "}]", "not valid JSON"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(WeirError, match=message) as refused:
        read(file(tmp_path, name, content))
    assert len(str(refused.value).splitlines()) == 1


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match="no such table file"):
        read(tmp_path / "none.csv")
