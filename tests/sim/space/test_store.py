"""Stores: what is kept comes back, whatever happens to the process or the file."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest

from einsum import WeirError
from einsum.errors import Infeasible
from sim.arch import device
from sim.space import sweep as sweep_module
from sim.space.store import opened
from sim.space.sweep import state, sweep

ROOT = Path(__file__).resolve().parents[3]
asked: list[tuple[Any, ...]] = []


def area(x: float, y: float = 1.0) -> dict[str, float]:
    """A function that says when it is asked."""
    asked.append((x, y))
    if x * y > 20:
        raise Infeasible("too large")
    return {"area": x * y}


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    asked.clear()


def test_a_sweep_with_a_store_is_the_sweep(tmp_path: Path) -> None:
    bare = sweep(area, x=[1, 2, 30], y=[3, 4])
    kept = sweep(area, x=[1, 2, 30], y=[3, 4], store=tmp_path / "s.db")
    again = sweep(area, x=[1, 2, 30], y=[3, 4], store=tmp_path / "s.db")
    pd.testing.assert_frame_equal(kept, bare)
    pd.testing.assert_frame_equal(again, bare)
    assert len(asked) == 2 * 6  # the third time nothing was asked


def test_only_new_points_are_asked(tmp_path: Path) -> None:
    sweep(area, x=[1, 2], store=tmp_path / "s.db")
    asked.clear()
    frame = sweep(area, x=[0, 1, 2, 3.0], store=tmp_path / "s.db")
    assert frame["area"].tolist() == [0, 1, 2, 3]
    assert asked == [(0, 1.0), (3.0, 1.0)]
    assert state(area, x=[1, 2, 7, 8], store=tmp_path / "s.db") == (2, 4, 0)


STEPS: dict[str, Any] = {"on": ["4xh100", "2xh20"], "batch": [1, 8, 64], "context": [100, 100_000]}


def test_steps_are_kept_by_what_their_hardware_is(tmp_path: Path) -> None:
    bare = sweep("llama-3-8b", **STEPS)
    kept = sweep("llama-3-8b", **STEPS, store=tmp_path / "s.db")
    pd.testing.assert_frame_equal(kept, bare)
    assert state("llama-3-8b", **STEPS, store=tmp_path / "s.db") == (12, 12, 0)
    assert state("llama-3-70b", **STEPS, store=tmp_path / "s.db") == (0, 12, 0)
    faster = {**STEPS, "model.hbm.bandwidth": "9 TB/s"}
    assert state("llama-3-8b", **faster, store=tmp_path / "s.db") == (0, 12, 0)


def test_a_changed_device_file_is_asked_anew(tmp_path: Path) -> None:
    from sim.arch.devices import FOLDER

    (tmp_path / "mine.toml").write_text((FOLDER / "h100_sxm.toml").read_text(encoding="utf-8"))
    where = tmp_path / "pair.toml"
    where.write_text(
        f'title = "t"\nsource = "s"\n[[pool]]\nname = "model"\ndevice = "{tmp_path}/mine.toml"\ncount = 2\n'
    )
    terms: dict[str, Any] = {"on": str(where), "batch": 1, "context": 10, "price.mine": 2}
    sweep("llama-3-8b", **terms, store=tmp_path / "s.db")
    assert state("llama-3-8b", **terms, store=tmp_path / "s.db")[0] == 1
    text = (tmp_path / "mine.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace(f'"{_bandwidth(text)}"', '"1 TB/s"'))
    assert device(tmp_path / "mine.toml").get("hbm.bandwidth") == 1e12
    assert state("llama-3-8b", **terms, store=tmp_path / "s.db")[0] == 0


def _bandwidth(text: str) -> str:
    import tomllib

    return str(next(m["bandwidth"] for m in tomllib.loads(text)["memory"] if m["name"] == "hbm"))


def test_other_sources_find_nothing_and_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(area, x=[1, 2], store=tmp_path / "s.db")
    monkeypatch.setattr(sweep_module, "version", lambda data: "another weir")
    assert state(area, x=[1, 2], store=tmp_path / "s.db") == (0, 2, 2)
    sweep(area, x=[1], store=tmp_path / "s.db")
    with opened(tmp_path / "s.db") as store:
        assert sorted(store.versions().values()) == [1, 2]
        assert [run.total for run in store.runs()] == [2, 1]


def test_zipped_axes_move_together(tmp_path: Path) -> None:
    frame = sweep(area, zips={"x": [1, 2], "y": [3, 4]}, store=tmp_path / "s.db")
    assert frame["area"].tolist() == [3, 8]
    with pytest.raises(WeirError, match="equally long, not x 2, y 1"):
        sweep(area, zips={"x": [1, 2], "y": [3]})


def test_a_condition_keeps_rows() -> None:
    assert sweep(area, x=[1, 2, 3], y=[1, 2], where="area > 3 and x != 3")["area"].tolist() == [4]


def test_where_axes_alone_decide_nothing_is_asked_in_vain(tmp_path: Path) -> None:
    where = "x * y <= 6 and area > 2 and x != 1"
    frame = sweep(area, x=[1, 2, 3], y=[1, 2, 3, 50], where=where)
    assert asked == [(2, 1), (2, 2), (2, 3), (3, 1), (3, 2)]
    assert frame["area"].tolist() == [4, 6, 3, 6]
    for more in ({}, {"store": tmp_path / "s.db"}):
        pd.testing.assert_frame_equal(sweep(area, x=[1, 2, 3], y=[1, 2, 3, 50], where=where, **more), frame)
    assert state(area, x=[1, 2, 3], y=[1, 2, 3, 50], where=where, store=tmp_path / "s.db") == (5, 5, 0)
    assert state(area, x=[1, 2], y=[1], store=tmp_path / "s.db")[0] == 1  # points are known whatever picked them


@pytest.mark.parametrize("kept", [False, True])
def test_conditions_on_axes_give_the_rows_of_conditions_on_figures(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "BLOCK", 5)
    terms: dict[str, Any] = {**STEPS, "batch": list(range(1, 9)), "price.h20": [1, 2], "price.h100_sxm": 2}
    store = {"store": tmp_path / "s.db"} if kept else {}
    where = "batch * context <= 600 and (on == '2xh20' or batch > 3) and price.h20 < 2"
    whole = sweep("llama-3-8b", **terms)
    wanted = whole[(whole["batch"] * whole["context"] <= 600) & ((whole["on"] == "2xh20") | (whole["batch"] > 3))]
    wanted = wanted[wanted["price.h20"] < 2].reset_index(drop=True)
    wanted.attrs = whole.attrs
    assert 0 < len(wanted) < len(whole)
    pd.testing.assert_frame_equal(sweep("llama-3-8b", **terms, where=where, **store), wanted, check_exact=True)
    none = sweep("llama-3-8b", **terms, where="batch > 100", **store)
    assert (len(none), "batch" in none.columns) == (0, True)


def test_mistakes_are_rows_unless_all_are() -> None:
    terms = {"on": "4xh100", "batch": 1, "context": 10}
    frame = sweep("llama-3-8b", **terms, layout=["tp=4", "tp=8"])
    assert frame["fits"].tolist() == [True, False]
    assert "layout needs 8" in frame["reason"][1]
    with pytest.raises(WeirError, match="layout needs 8"):
        sweep("llama-3-8b", **terms, layout=["tp=8"])


@pytest.mark.parametrize("store", [False, True])
def test_an_executor_gives_the_same_rows_in_the_same_order(store: bool, tmp_path: Path) -> None:
    kept = {"store": tmp_path / "s.db"} if store else {}
    with ThreadPoolExecutor(3) as pool:
        frame = sweep(area, x=list(range(40)), executor=pool, **kept)
        steps = sweep("llama-3-8b", **STEPS, executor=pool, **kept)
    pd.testing.assert_frame_equal(frame, sweep(area, x=list(range(40))))
    pd.testing.assert_frame_equal(steps, sweep("llama-3-8b", **STEPS))


def test_processes_started_afresh_answer_too(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        frame = sweep("llama-3-8b", **STEPS, executor=pool, store=tmp_path / "s.db")
    pd.testing.assert_frame_equal(frame, sweep("llama-3-8b", **STEPS))


def test_two_sweeps_share_one_store(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(sweep, area, x=list(range(60)), store=tmp_path / "s.db") for _ in range(2)]
        first, second = (one.result() for one in both)
    pd.testing.assert_frame_equal(first, second)
    with opened(tmp_path / "s.db") as store:
        assert sum(store.versions().values()) == 60


def test_many_may_make_one_store(tmp_path: Path) -> None:
    def versions(place: Path) -> dict[str, int]:
        with opened(place) as store:
            return store.versions()

    with ThreadPoolExecutor(4) as pool:
        for n in range(50):
            made = [pool.submit(versions, tmp_path / f"{n}.db") for _ in range(4)]
            assert [one.result() for one in made] == [{}] * 4


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_a_damaged_journal_leaves_whole_answers(how: str, tmp_path: Path) -> None:
    """What a power cut, or a bit that fell over, leaves of the journal: every answer that is there is right."""
    whole = tmp_path / "s.db"
    sweep(area, x=[0], store=whole)
    base = sqlite3.connect(whole)
    base.execute("BEGIN")  # a reader keeps the journal from being folded into the file
    base.execute("SELECT count(*) FROM blocks").fetchone()
    sweep(area, x=list(range(20)), store=whole)
    file, journal = whole.read_bytes(), Path(f"{whole}-wal").read_bytes()
    base.close()
    assert len(journal) > 1000
    draw = Random(3)  # noqa: S311
    for _ in range(int(os.environ.get("WEIR_TORN", "12"))):
        cut, at = tmp_path / "cut.db", draw.randrange(len(journal))
        cut.write_bytes(file)
        flipped = bytes([journal[at] ^ 1 << draw.randrange(8)])
        Path(f"{cut}-wal").write_bytes(journal[:at] + (b"" if how == "cut" else flipped + journal[at + 1 :]))
        frame = sweep(area, x=list(range(20)), store=cut)
        assert frame["area"].tolist() == [float(x) for x in range(20)]
        for path in tmp_path.glob("cut.db*"):
            path.unlink()


def test_no_store_to_ask(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match=r"no store .*gone\.db; a sweep with --store makes it"):
        state(area, x=[1], store=tmp_path / "gone.db")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"this is no database, but it is long enough to be looked at as if it were one" * 20,
            "is not a store of sweeps",
        ),
        (b"", None),
    ],
)
def test_a_file_of_something_else(content: bytes, message: str | None, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(content)
    if message is None:
        assert len(sweep(area, x=[1], store=path)) == 1  # an empty file becomes a store
        return
    with pytest.raises(WeirError, match=message):
        sweep(area, x=[1], store=path)
    assert path.read_bytes() == content


def test_somebody_elses_database(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as base:
        base.execute("CREATE TABLE theirs (x)")
    with pytest.raises(WeirError, match="a database of something else"):
        sweep(area, x=[1], store=tmp_path / "s.db")


def test_a_store_of_a_later_weir(tmp_path: Path) -> None:
    sweep(area, x=[1], store=tmp_path / "s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as base, base:
        base.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    with pytest.raises(WeirError, match="a store of schema 99, written by another weir; this one reads schema 1"):
        sweep(area, x=[1], store=tmp_path / "s.db")


def test_a_folder_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match="is not a file; a store is one"):
        sweep(area, x=[1], store=tmp_path)
    with pytest.raises(WeirError, match="cannot be opened: is its folder there"):
        sweep(area, x=[1], store=tmp_path / "no" / "s.db")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("attempt to write a readonly database", "is read-only"),
        ("database or disk is full", "the disk is full. Nothing kept is lost"),
        ("disk I/O error", "the disk refuses"),
        ("database is locked", "is held by another sweep"),
        ("database disk image is malformed", "is damaged"),
        ("something new", "s.db: something new"),
    ],
)
def test_what_the_disk_refuses_is_said_in_words(error: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(WeirError) as caught, opened(tmp_path / "s.db"):
        raise sqlite3.OperationalError(error)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
