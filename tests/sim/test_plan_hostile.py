"""``weir plan`` in a process of its own: tables nobody should send, an interrupt, a terminal, a solver that dies."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.traces import tight
from sim.cli import INFEASIBLE, WRONG
from sim.planner.tables import written

ROOT = Path(__file__).parents[2]
PLAN = "from sim.cli import main; raise SystemExit(main())"
WEIR = (sys.executable, "-c", PLAN, "plan")
# As from a terminal, even where the tests run in a shell's background and so ignore interrupts.
HEEDING = (sys.executable, "-c", f"import signal as s; s.signal(s.SIGINT, s.default_int_handler); {PLAN}", "plan")
# The solver's turn comes at once, however busy the machine.
SOLVING = (
    sys.executable,
    "-c",
    f"from sim.planner import milp, offsets as o; o.SHARE = o.MOST = 0.0; milp.LATE = 0.5; {PLAN}",
    "plan",
)
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
raise SystemExit(code)
"""
HEADER = "id,lower,upper,size\n"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **more}


def asked(*words: object, weir: tuple[str, ...] = WEIR, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*weir, *map(str, words)], capture_output=True, text=True, timeout=300, env=environment(**more), check=False
    )


def hard(path: Path, count: int = 250) -> Path:
    """Buffers cut from a rectangle of 1 MiB, few left out: these were not packed as densely again in ten seconds."""
    path.write_text(written(tight(count, seed=8, moments=400, loss=0.05)))
    return path


def test_ten_million_rows_are_refused_in_one_line_and_bounded_memory(tmp_path: Path) -> None:
    table = tmp_path / "long.csv"
    with table.open("w") as file:
        file.write(HEADER)
        piece = "1,0,1,1\n" * 100_000
        for _ in range(100):
            file.write(piece)
    measured = (sys.executable, "-c", MEASURED, *WEIR, str(table))  # a child starts with the peak of what forks it
    child = subprocess.run(measured, capture_output=True, text=True, timeout=300, env=environment(), check=False)
    assert child.returncode == WRONG
    assert child.stderr == "weir: long.csv row 1000002: more than 1,000,000 buffers, the most that are read\n"
    assert int(child.stdout) < 600 * 1024  # KiB


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{HEADER}a,0,1,1\na,1,2,1\n", "row 3 column id: 'a' is the id of row 2 already"),
        (f"{HEADER}a,0,1,-5\n", "row 2 column size: -5 is negative"),
        (f"{HEADER}a,7,3,5\n", "row 2 column upper: the range [7, 3) is empty or reversed"),
        (f"{HEADER}a,0,1,5\nb,0,", "row 3: 3 fields, where the first row names 4 columns"),
        (f'{HEADER}a,0,1,5\n"b,0,1', "row 3: unexpected end of data"),
        (f"{HEADER}a,0,1,{'9' * 400}\n", "row 2 column size: '9999"),
        (f"{HEADER}a,0,1e9,5\n", "row 2 column upper: '1e9' is not a whole number"),
        (f"{HEADER}a,0,nan,5\n", "row 2 column upper: 'nan' is not a whole number"),
        ("", "row 1: no column 'id'"),
    ],
)
def test_bad_tables_are_one_line_with_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    from sim.cli import main

    table = tmp_path / "t.csv"
    table.write_text(text)
    assert main(["plan", str(table)]) == WRONG
    said = capsys.readouterr().err
    assert why in said
    assert said.startswith("weir: t.csv row ")
    assert said.count("\n") == 1


def test_sizes_that_add_up_beyond_64_bits_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sim.cli import main

    table = tmp_path / "t.csv"
    table.write_text(HEADER + "".join(f"{i},0,1,{10**18 - 1}\n" for i in range(20)))
    assert main(["plan", str(table)]) == WRONG
    assert capsys.readouterr().err.count("\n") == 1


def drain(terminal: int) -> None:
    """Read until nobody writes any more, which Linux says by an error."""
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_an_interrupt_prints_what_was_found_and_how_good_it_is(tmp_path: Path) -> None:
    """On a terminal the best height and the bound are shown on stderr meanwhile; Ctrl-C makes them the answer."""
    ours, theirs = pty.openpty()
    words = (hard(tmp_path / "hard.csv"), "--seconds", "200")
    child = subprocess.Popen([*HEEDING, *map(str, words)], stdout=subprocess.PIPE, stderr=theirs, env=environment())
    os.close(theirs)
    shown = b""
    while b"gap" not in shown:
        shown += os.read(ours, 4096)
    reader = threading.Thread(target=drain, args=(ours,))  # a full terminal would stop the child
    reader.start()
    time.sleep(1.0)  # into the search
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=100)
    reader.join()
    os.close(ours)
    text = out.decode()
    assert child.returncode == 0, text
    assert "above the best possible" in text
    assert ", interrupted in" in text
    assert b"height" in shown
    assert b"bound" in shown


def test_nothing_is_shown_where_nobody_watches(tmp_path: Path) -> None:
    done = asked(hard(tmp_path / "hard.csv", 60), "--seconds", "1", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["bound"] <= found["height"]


def test_a_capacity_that_is_not_reached_in_time_is_exit_3_with_what_would_do(tmp_path: Path) -> None:
    table = hard(tmp_path / "hard.csv")
    done = asked(table, "--capacity", "1048576", "--seconds", "1")
    assert done.returncode == INFEASIBLE
    assert "no placement within 1048576 bytes was found" in done.stderr
    assert done.stderr.endswith(" would do\n")
    assert done.stderr.count("\n") == 1


LAST = "for last; do :; done"
ENDS = {
    "exit 7": "exit status 7",
    "kill -9 $$": "killed by signal 9",
    "exit 0": "without an answer",
    "exec sleep 99": "did not end within",
    f'{LAST}; echo rubbish > "$last"': "cannot be read",
    f'{LAST}; echo "Optimal - objective value 0" > "$last"': "its last answer breaks",
    f'{LAST}; echo "Infeasible - objective value 0" > "$last"': "no solution satisfies all constraints",
}


@pytest.mark.parametrize(("end", "why"), ENDS.items())
def test_a_solver_that_fails_leaves_the_placement_and_says_so(tmp_path: Path, end: str, why: str) -> None:
    """A CBC that fails, is killed, does not end or lies: a note tells, and the plan is the search's."""
    command = tmp_path / "cbc"
    command.write_text(f"#!/bin/sh\n{end}\n")
    command.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    note = left_with_its_placement(hard(tmp_path / "hard.csv"), "--solver", "cbc", PATH=path)
    assert "cbc" in note
    assert why in note


@pytest.mark.parametrize(
    ("solver", "hidden"),
    [("highs", "sys.modules['highspy'] = None"), ("cbc", "import pulp; pulp.apis.coin_api.pulp_cbc_path = None")],
)
def test_a_solver_that_is_not_there_leaves_the_placement_and_says_so(tmp_path: Path, solver: str, hidden: str) -> None:
    weir = (sys.executable, "-c", f"import sys; {hidden}; {SOLVING[2]}", "plan")
    note = left_with_its_placement(hard(tmp_path / "hard.csv"), "--solver", solver, weir=weir, PATH="")
    assert "on this machine: install" in note


def left_with_its_placement(table: Path, *words: str, weir: tuple[str, ...] = SOLVING, **more: str) -> str:
    """The note of a plan whose solver failed: one, in one line."""
    done = asked(table, *words, "--seconds", "5", "--json", weir=weir, **more)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["bound"] < found["height"]
    assert not found["proven"]
    [note] = found["notes"]
    assert "\n" not in note
    return str(note)
