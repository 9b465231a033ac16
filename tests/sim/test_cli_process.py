"""The command in a process of its own: what it imports, and how it gets on with pipes and terminals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ["train", "gpt2-xl", "--on", "8xa100", "--batch", "8", "--json"]
COMMAND = "import sys; from sim.cli import main; sys.exit(main())"
IMPORTED = "import sys; from sim.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
HEAVY = {"pandas", "scipy", "numba", "matplotlib", "pulp", "highspy"}
ESTIMATE = ["estimate", "llama-3-70b", "--on", "2xh100_4xh20", "--trace", "azure_conv"]


def python(code: str, *argv: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **extra}
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, env=environment, check=False)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def modules(*argv: str) -> set[str]:
    done = python(IMPORTED, *argv)
    return set(done.stderr.splitlines()[-1].split())


def test_help_imports_nothing_of_the_model() -> None:
    found = modules("--help")
    assert "typer" in found
    assert found.isdisjoint(HEAVY | {"numpy", "einsum", "rich"})


@pytest.mark.parametrize(
    "argv",
    [["plann"], ["estimate"], ["plan", "--budgett", "1GB"], ["plan", "gpt2-xl", "--layers", "2"],
     ["plan", "gpt2-xl", "--solver", "scip"]],
    ids=" ".join,
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_said_without_the_model(argv: list[str]) -> None:
    found = modules(*argv)
    assert "einsum.errors" in found
    assert found.isdisjoint(HEAVY | {"numpy", "einsum.parse", "sim.arch", "rich"})


@pytest.mark.parametrize("argv", [ESTIMATE, TRAIN, ["list"], ["show", "h20"]], ids=lambda argv: argv[0])
def test_a_piped_command_imports_nothing_heavy(argv: list[str]) -> None:
    found = modules(*argv)
    assert "numpy" in found
    assert found.isdisjoint(HEAVY | {"rich"})


def test_a_placement_and_its_advice_import_no_model(tmp_path: Path) -> None:
    buffers = tmp_path / "buffers.csv"
    buffers.write_text("id,lower,upper,size\na,0,2,8\nb,1,3,8\n")
    found = modules("plan", str(buffers))
    assert "sim.planner.memory_advice" in found
    assert found.isdisjoint({"sim.serving", "sim.model", "sim.planner.iteration", "sim.planner.advice", "pandas"})


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_who_leaves_is_not_an_error(unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-c", COMMAND, "list", "devices"]
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "list", "tiers"], stdout=full, stderr=subprocess.PIPE, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode() == "weir: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("extra", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"COLUMNS": "20"}, {"FORCE_COLOR": "1"}])
def test_a_pipe_gets_plain_text_whatever_the_terminal(extra: dict[str, str]) -> None:
    done = python(COMMAND, "list", "devices", **extra)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert any(line.startswith("h100_sxm ") and line.endswith("h100") for line in done.stdout.splitlines())


def test_a_mistake_exits_2_without_a_traceback() -> None:
    done = python(COMMAND, "estimate", "gpt2-xl", "--on", "4xh10")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "weir: cluster '4xh10': unknown device 'h10'; did you mean 'h100'?\n"


@pytest.mark.parametrize(
    ("closed", "code", "said"),
    [((1,), 1, b"weir: cannot write the output: standard output is closed\n"), ((2,), 0, b""), ((1, 2), 1, b"")],
)
def test_streams_that_are_closed_from_the_start(closed: tuple[int, ...], code: int, said: bytes) -> None:
    def close() -> None:
        for stream in closed:
            os.close(stream)

    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "list", "tiers"], capture_output=True, check=False, preexec_fn=close,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, said)
