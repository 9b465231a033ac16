"""The page as text: whole, escaped, written at once; what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sim
from einsum import WeirError
from sim.pages import page as made
from sim.pages.page import page

HOSTILE = "</script><img src=x onerror=alert(1)>"


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns or {"seconds": [1.0, 2.0, np.nan], "usd": [3, 2, 1], "on": ["a", "b", "c"]})


def data(text: str) -> Any:
    """What the page reads."""
    [inner] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(inner)


def test_columns_with_units_and_what_is_missing() -> None:
    frame = table()
    frame.attrs["units"] = {"seconds": "s"}
    found = data(page(frame))
    assert found["columns"] == [
        {"name": "seconds", "unit": "s", "number": True, "values": [1, 2, None]},
        {"name": "usd", "unit": None, "number": True, "values": [3, 2, 1]},
        {"name": "on", "unit": None, "number": False, "values": ["a", "b", "c"]},
    ]
    assert (found["x"], found["y"], found["fixed"]) == ("seconds", "usd", False)


def test_values_of_every_kind() -> None:
    frame = table(
        infinite=[np.inf, -np.inf], large=[2**60, 1], mixed=[1, "x"], truth=[True, False], none=[None, 2.5],
        when=pd.to_datetime(["2026-01-01", None]), complex=[1j, 2], nothing=[None, None], long=["x" * 5000, ""],
    )  # fmt: skip
    frame["category"] = pd.Categorical(["p", "q"])
    values = {c["name"]: (c["number"], c["values"]) for c in data(page(frame))["columns"]}
    assert values["infinite"] == (True, ["Infinity", "-Infinity"])
    assert values["large"] == (False, [str(2**60), "1"])  # a browser would round it
    assert values["mixed"] == (False, ["1", "x"])
    assert values["truth"] == (False, ["True", "False"])
    assert values["none"] == (True, [None, 2.5])
    assert values["when"] == (False, ["2026-01-01 00:00:00", None])
    assert values["complex"][0] is False
    assert values["nothing"] == (False, [None, None])
    assert len(values["long"][1][0]) == 2000
    assert values["category"] == (False, ["p", "q"])


def test_nothing_of_the_table_is_markup() -> None:
    frame = table(**{HOSTILE: [HOSTILE, "&lt;"], "n": [1, 2]})
    frame.attrs["units"] = {HOSTILE: HOSTILE}
    frame.attrs["manifest"] = {HOSTILE: HOSTILE}
    text = page(frame, title=HOSTILE, date=HOSTILE, inputs={"x": [HOSTILE]})
    assert "<img" not in text
    assert len(re.findall(r"</script", text)) == 2
    found = data(text)["columns"][0]
    assert (found["name"], found["unit"], found["values"]) == (HOSTILE, HOSTILE, [HOSTILE, "&lt;"])


def test_placeholders_in_the_table_stay_what_they_are() -> None:
    text = page(table(n=["$script", "${data}"]), title="$style")
    assert data(text)["columns"][0]["values"] == ["$script", "${data}"]
    assert "<title>$style</title>" in text


def test_names_are_text_and_each_there_once() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "a", 7])
    assert [c["name"] for c in data(page(frame))["columns"]] == ["a", "a #2", "7"]


def test_objectives_are_the_axes_unless_others_are_named() -> None:
    found = data(page(table(), maximise="usd", minimise=["seconds"]))
    assert (found["fixed"], found["senses"], found["x"], found["y"]) == (
        True,
        [["seconds", 1], ["usd", -1]],
        "seconds",
        "usd",
    )
    assert data(page(table(tokens_per_second=[1, 2], seconds=[1, 2])))["senses"] == [
        ["tokens_per_second", -1],
        ["seconds", 1],
    ]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"x": "secnds"}, "no column 'secnds'; did you mean 'seconds'"),
        ({"y": "on"}, "column 'on' holds text"),
        ({"minimise": ["usd"], "maximise": ["usd"]}, "'usd' is named twice"),
        ({"maximise": "on"}, "column 'on' holds text"),
    ],
)
def test_columns_that_cannot_be_drawn_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(WeirError, match=message):
        page(table(), **asked)


def test_a_table_without_two_columns_of_numbers_has_no_picture() -> None:
    assert (data(page(table(on=["a"])))["x"], data(page(table(n=[1])))["y"]) == (None, None)
    with pytest.raises(WeirError, match="has no column"):
        page(pd.DataFrame())


def test_a_long_table_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "ROWS", 2)
    text = page(table())
    assert len(data(text)["columns"][0]["values"]) == 2
    assert "3 rows, 3 columns; the first 2 rows are shown" in text


def test_it_says_where_it_comes_from() -> None:
    frame = table()
    frame.attrs["manifest"] = {"seed": 7}
    text = page(frame, date="2026-01-01", inputs={"table": "x.csv"})
    for name, value in {"numpy": np.__version__, "date": "2026-01-01", "seed": "7", "table": "x.csv"}.items():
        assert f"<dt>{name}</dt><dd>{value}</dd>" in text


def test_nothing_but_its_own_script_and_style_may_run_and_nothing_is_loaded() -> None:
    text = page(table())
    assert "default-src 'none'" in text
    assert not re.search(r"""(?:src|href)=["'](?!data:,)""", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_a_page_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.html"
    sim.report(table(), path)
    before = path.read_bytes()
    with pytest.raises(WeirError, match="no column"):
        sim.report(table(), path, x="nothing")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(WeirError, match="No space left on device"):
        sim.report(table(usd=[1, 2]), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.html"]


def test_a_page_needs_a_name_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match=r"ends in \.html"):
        sim.report(table(), tmp_path / "out.csv")
    with pytest.raises(WeirError, match="cannot write"):
        sim.report(table(), tmp_path / "none" / "out.html")


def test_half_a_character_in_a_title_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert sim.report(table(), tmp_path / "o.html", title="a\ud800b").is_file()
