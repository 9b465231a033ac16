"""Stores of processes that end before their time: killed, interrupted, or out of disk."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sim.cli import main
from sim.space.store import opened
from sim.space.sweep import sweep

ROOT = Path(__file__).resolve().parents[3]

KILLING = """
import contextlib, json, os, random, select, signal, sqlite3, sys, time
from contextlib import closing
from sim.space.sweep import sweep

started, starting = os.pipe()

def slow(x: int) -> dict:
    with contextlib.suppress(BlockingIOError):  # a full pipe has said enough
        os.write(starting, b"x")
    time.sleep(0.0002)
    return {"square": x * x}

path, many, draw, kept = sys.argv[1], int(sys.argv[2]), random.Random(7), []
os.set_blocking(starting, False)
sweep(slow, x=[0], store=path + ".warm")  # what a first sweep loads, every child has
os.read(started, 1)
for turn in range(100):
    child = os.fork()
    if not child:
        sweep(slow, x=list(range(many)), store=path)
        os._exit(0)
    ended, wanted = False, draw.randint(2, 8) if turn % 2 else 0  # points made first; else it starts, most often
    while wanted > 0 and not ended:
        if select.select([started], [], [], 0.05)[0]:
            wanted -= len(os.read(started, wanted))
        else:
            ended = os.waitpid(child, os.WNOHANG)[0] == child  # nothing was left to make
    if not ended:
        time.sleep(draw.uniform(0.0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    os.set_blocking(started, False)
    while len(os.read(started, 1 << 16) if select.select([started], [], [], 0)[0] else b""):
        pass
    os.set_blocking(started, True)
    if os.path.exists(path):
        with closing(sqlite3.connect(path)) as base:
            tables = base.execute("SELECT count(*) FROM sqlite_master WHERE name = 'blocks'").fetchone()[0]
            kept.append(base.execute("SELECT count(*) FROM blocks").fetchone()[0] if tables else 0)
frame = sweep(slow, x=list(range(many)), store=path)
print(json.dumps({"kept": kept, "squares": frame["square"].tolist()}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to be killed a hundred times in a few seconds")
def test_killed_at_a_hundred_instants_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    """One sweep, killed again and again and each time started anew, ends with every row once and right."""
    path, many = tmp_path / "s.db", int(os.environ.get("WEIR_KILL_POINTS", "3000"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", KILLING, str(path), str(many)]
    done = subprocess.run(argv, env=environment, capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    said = json.loads(done.stdout)
    assert said["kept"] == sorted(said["kept"])  # nothing that was kept is ever lost
    assert said["kept"][-1] > 0
    assert said["squares"] == [x * x for x in range(many)]
    with closing(sqlite3.connect(path)) as base:
        assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert base.execute("SELECT count(*), count(DISTINCT key), sum(points) FROM blocks").fetchall() == [(many,) * 3]


FULL = """
import resource, sys
from sim.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(sys.argv[1:]))
"""


def test_a_full_disk_loses_nothing_kept(tmp_path: Path) -> None:
    """A file that may not grow stands for a disk that is full: one line, exit 2, and what was kept is still there."""
    pytest.importorskip("resource")
    path = tmp_path / "s.db"
    axes = ["--axis", "batch=1..40", "--axis", "context=1000..1500:1"]
    argv = ["sweep", "llama-3-8b", "--on", "1xh100", "--store", str(path), "--csv", *axes]
    one = ["--axis", "batch=1", "--axis", "context=7"]
    assert main(["sweep", "llama-3-8b", "--on", "1xh100", "--store", str(path), "--csv", *one]) == 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", FULL, *argv], env=environment, capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.decode().splitlines()
    assert "Nothing kept is lost" in line
    with opened(path) as store:
        assert sum(store.versions().values()) >= 1
    assert main(argv) == 0


HEEDING = (
    "import signal as s, sys; s.signal(s.SIGINT, s.default_int_handler); from sim.cli import main; sys.exit(main())"
)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_interrupted_sweep_stops_at_once_and_goes_on_later(processes: str, tmp_path: Path) -> None:
    """Ctrl-C is one line and exit 130, and what was kept is not asked again."""
    path, points = tmp_path / "s.db", ["--axis", "batch=1..200", "--axis", "context=1000..1999:1"]
    argv = ["sweep", "llama-3-8b", "--on", "1xh100", "--store", str(path), "--csv", *points, "--processes", processes]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", HEEDING, *argv], env=environment, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    while _kept(path) < 2 and child.poll() is None:
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    began = time.monotonic()
    out, err = child.communicate(timeout=60)
    assert time.monotonic() - began < 30  # 2 s on a quiet machine
    assert (child.returncode, out, err) == (130, b"", b"weir: interrupted\n")
    kept = _kept(path)
    assert 2 <= kept < 200
    assert main([*argv, "--status"]) == 0
    frame = sweep("llama-3-8b", on="1xh100", batch=range(1, 201), context=range(1000, 2000), store=path)
    assert len(frame) == len(frame.drop_duplicates(["batch", "context"])) == 200_000
    assert _kept(path) > kept


def _kept(path: Path) -> int:
    """Blocks in a store that may not be one yet."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
            return int(base.execute("SELECT count(*) FROM blocks").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
