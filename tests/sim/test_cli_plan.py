"""``weir plan`` of a table of buffers."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from sim.cli import INFEASIBLE, WRONG, main

TABLE = (
    "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"  # the example of MiniMalloc's README
)


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "input.csv"
    path.write_text(TABLE)
    return str(path)


def test_json_has_the_placement_and_its_proof(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", table, "--capacity", "12", "--seconds", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["height", "bound", "proven", "method", "seconds", "offsets", "notes", "helps", "manifest"]
    assert (found["height"], found["bound"], found["proven"]) == (12, 12, True)
    rows = list(csv.DictReader(TABLE.splitlines()))
    for one in rows:
        for other in rows:
            apart = int(one["upper"]) <= int(other["lower"]) or int(other["upper"]) <= int(one["lower"])
            a, b = found["offsets"][one["id"]], found["offsets"][other["id"]]
            assert one is other or apart or a + 4 <= b or b + 4 <= a


def test_what_does_not_fit_is_exit_3_with_what_would(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", table, "--capacity", "11"]) == INFEASIBLE
    said = capsys.readouterr().err
    assert said.startswith("weir: input.csv: nothing fits in 11 bytes: at least 12 are needed at once; ")
    assert said.endswith("; 12 is the smallest that would do\n")


def test_text_says_how_good_it_is(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", table]) == 0
    out = capsys.readouterr().out
    assert "5 buffers in 12 bytes (12 B), optimal" in out
    assert "b5" in out


def test_it_is_saved_and_drawn(table: str, tmp_path: Path) -> None:
    placed, kept, drawn = tmp_path / "placed.csv", tmp_path / "plan.json", tmp_path / "map.svg"
    assert main(["plan", table, "--save", str(placed), "--plot", str(drawn)]) == 0
    assert main(["plan", table, "--save", str(kept), "--capacity", "1KiB"]) == 0
    assert placed.read_text().startswith("id,lower,upper,size,offset\nb1,0,3,4,")
    assert len(json.loads(kept.read_text())["stays"]) == 5
    assert "<svg" in drawn.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["input.csv", "map.svg", "placed.csv", "plan.json"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--capacity", "big"], "big"),
        (["--capacity", "0"], "--capacity must be more than 0"),
        (["--seconds", "-1"], "seconds must be more than 0"),
        (["--solver", "gurobi"], "no solver 'gurobi'"),
        (["--objective", "time"], "only peak"),
        (["--save", "plan.txt"], ".json or .csv"),
        (["--save", "/nowhere/plan.json"], "no folder"),
        (["--on", "h100"], "--on is for a JSON of tasks or a model's step"),
    ],
)
def test_mistakes_are_one_line(table: str, options: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", table, *options]) == WRONG
    said = capsys.readouterr().err
    assert why in said
    assert said.count("\n") == 1


def test_no_such_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "nothing.csv"]) == WRONG
    assert "no such buffers file: nothing.csv" in capsys.readouterr().err
