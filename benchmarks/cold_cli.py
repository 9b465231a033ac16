"""CPU seconds of the command line from a cold start, beside what Python and numpy alone take.

Run with ``python benchmarks/cold_cli.py``. Bytecode is kept between runs, as pip leaves it when it installs a package;
each figure is the least of several runs.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEIR = "import sys; from sim.cli import main; sys.exit(main())"
RUNS = 7
WRONG = 2  # the exit code of a mistake on the command line
COMMANDS = {
    "python alone": ["pass"],
    "import numpy": ["import numpy"],
    "weir --help": [WEIR, "--help"],
    "no such option": [WEIR, "plan", "--budgett", "1GB"],
    "not for a model": [WEIR, "plan", "gpt2-xl", "--layers", "2"],
    "weir list devices": [WEIR, "list", "devices"],
    "weir estimate": [WEIR, "estimate", "llama-3-70b", "--on", "2xh100_4xh20", "--trace", "azure_conv"],
    "weir compare": [
        WEIR, "compare", "llama-3-70b", "--on", "4xh100", "--on", "2xh100_4xh20", "--trace", "azure_conv",
    ],
}  # fmt: skip


def cpu(argv: list[str], bytecode: str) -> float:
    """User and system seconds of one process that keeps its bytecode in a folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**inherited, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": bytecode}
    done = subprocess.run([sys.executable, "-c", *argv], capture_output=True, env=environment, check=False)
    if done.returncode not in (0, WRONG):
        raise SystemExit(f"{argv[1:]} exits {done.returncode}: {done.stderr.decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the least CPU seconds of each command, and their ratio to importing numpy."""
    with tempfile.TemporaryDirectory() as bytecode:
        least = {name: min(cpu(argv, bytecode) for _ in range(RUNS)) for name, argv in COMMANDS.items()}
    print(f"{'command':18} {'CPU, s':>7} {'x numpy':>8}")
    for name, seconds in least.items():
        print(f"{name:18} {seconds:7.3f} {seconds / least['import numpy']:8.1f}")


if __name__ == "__main__":
    main()
