"""``weir sweep`` and ``weir show-run`` as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sim.cli import main
from sim.cli.sweeps import sheet
from sim.space.sweep import sweep

ASKED = ["sweep", "llama-3-8b", "--on", "1xh100", "--axis", "batch=1..64:x4", "--axis", "context=1000,2000"]


def test_the_table_is_the_functions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, "--out", str(tmp_path / "t.csv")]) == 0
    assert "8 rows in" in capsys.readouterr().out
    ours = sweep("llama-3-8b", on="1xh100", batch=[1, 4, 16, 64], context=[1000, 2000])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv"), ours, check_dtype=False)


def test_what_never_changes_stands_below(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ASKED) == 0
    out = capsys.readouterr().out
    assert "on: 1xh100" in out
    assert "context (tokens)" in out
    assert len(out.splitlines()) > 8


def test_a_window_shows_what_it_has_room_for() -> None:
    frame = sweep("llama-3-8b", on=["1xh100", "1xh200"], batch=[1, 4096], context=[65_536])
    whole, narrow = sheet(frame), sheet(frame, 60)
    assert max(map(len, [*str(narrow).splitlines()[:5]])) <= 60
    assert narrow.columns == whole.columns[: len(narrow.columns)]
    assert "no room for" in narrow.notes[-1]
    assert all(name.partition(" ")[0] in narrow.notes[-1] for name in whole.columns[len(narrow.columns) :])
    assert any("points cannot be run; the first: " in note for note in narrow.notes)
    assert "context: 65,536 tokens" in whole.notes
    assert sheet(frame, 1).columns == whole.columns[:1]


def test_a_condition_and_a_front(capsys: pytest.CaptureFixture[str]) -> None:
    terms = ["--where", "batch >= 4", "--minimise", "seconds", "--maximise", "tokens_per_second", "--csv"]
    assert main([*ASKED, *terms]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("model,on,batch,context")
    assert len(lines) == 1 + 3  # of each batch the shorter context


def test_a_store_resumes_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_path / "s.db")]
    assert main([*ASKED, *store, "--csv"]) == 0
    first = capsys.readouterr().out
    assert main([*ASKED, *store, "--csv"]) == 0
    assert capsys.readouterr().out == first
    assert main([*ASKED, *store, "--status"]) == 0
    assert capsys.readouterr().out.startswith("8 of 8 points are in")
    assert main(["show-run", str(tmp_path / "s.db"), "--json"]) == 0
    [run] = json.loads(capsys.readouterr().out)["runs"]
    assert run["total"] == 8
    assert main(["show-run", str(tmp_path / "s.db")]) == 0
    assert "batch x4, context x2" in capsys.readouterr().out


def test_a_store_knows_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_path / "s.db")]
    assert main([*ASKED, "--where", "batch >= 4", *store, "--csv"]) == 0
    first = capsys.readouterr().out
    assert main(["sweep", *store, "--resume", "--csv"]) == 0
    assert capsys.readouterr().out == first
    assert main(["sweep", *store, "--resume", "--out", str(tmp_path / "t.csv")]) == 0
    assert (tmp_path / "t.csv").read_text() == first
    assert main(["reproduce", str(tmp_path / "t.csv")]) == 0
    capsys.readouterr()
    assert main(["sweep", *store, "--status"]) == 0
    assert "0 are to be done" in capsys.readouterr().out


def test_a_sweep_from_python_is_gone_on_with_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep("llama-3-8b", on="1xh100", batch=[1], context=[1000], store=tmp_path / "s.db")
    assert main(["sweep", "--store", str(tmp_path / "s.db"), "--resume"]) == 2
    assert "was not made by weir sweep; go on from Python" in capsys.readouterr().err


def test_a_cascade_on_an_array_is_swept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nest, table = tmp_path / "nest.txt", tmp_path / "table.json"
    sizes = ["query=256", "context=1024", "head_dim=64"]
    assert main(["map", "attention.one_pass", *sizes, "--on", "fusemax_cloud", "--save", str(nest), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    axes = [f"--axis={size}" for size in sizes]
    asked = ["sweep", "attention.one_pass", "--on", "fusemax_cloud", "--mapping", str(nest), *axes]
    assert main([*asked, "--axis", "dram.bandwidth=40GB/s,400GiB/s", "--out", str(table)]) == 0
    found = pd.read_json(table, orient="table")
    slow, own = found["seconds"].tolist()
    assert own == pytest.approx(alone["seconds"], rel=1e-12)  # pandas reads JSON's numbers to 15 digits
    assert slow > 2 * own
    assert found["dram_bytes"].tolist() == [alone["bytes"]["dram"]] * 2
    assert main(["reproduce", str(table)]) == 0
    assert "bit for bit" in capsys.readouterr().out


def test_a_whole_service_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sweep", "llama-3-8b", "--on", "1xh100", "--serve", "--axis", "prompt=500", "--zip", "output=8,16"]
    assert main([*argv, "--zip", "batch=4,8", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["data"]
    assert [row["batch"] for row in rows] == [4, 8]
    assert all(row["tokens_per_dollar"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--axis", "batch"], "write NAME=VALUES"),
        (["--axis", "bach=1"], "no axis 'bach'; did you mean 'batch'?"),
        (["--where", "batch >"], "condition 'batch >' is not understood"),
        (["--where", "bath > 1"], "no column 'bath'; did you mean 'batch'?"),
        (["--axis", "model.hbm.bandwidth=1..1e12:1"], "no unit"),
        (["--axis", "host=0..1:1e-12"], "at most 100,000,000 points are swept at once"),
        (["--out", "table.xlsx"], "a table is written as .csv, .json, .parquet"),
        (["--json", "--csv"], "give --json or --csv, not both"),
        (["--status"], "--resume and --status ask a store; name it with --store FILE"),
        (["--resume", "--store", "none.db"], "no store none.db; a sweep with --store makes it"),
        (["--zip", "batch=1,2"], "axis 'batch' is given with --axis and with --zip"),
        (["--processes", "0"], "0 processes; give 1 to 256"),
        (["--minimise", "secnds"], "secnds"),
    ],
)
def test_mistakes_are_one_line(more: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ASKED, *more]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_table_that_cannot_be_written_is_said_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ASKED, "--out", str(tmp_path / "no" / "t.csv")]) == 2
    assert "no folder that a table can be written to" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
