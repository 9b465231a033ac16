"""Errors of replayed power readings by boards and by the time between two cases, and with that time fitted elsewhere.

python benchmarks/replay_power.py FOLDER       the folder holds power_gemm.csv and power_attention.csv

Neither is published of the readings' own run; ``weir validate silicon`` fits nothing. What is printed here says how far
the readings hang on them: median errors at each, and of every operation at the time that is best for the others.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.arch import tier
from sim.silicon.powered import load
from sim.silicon.replayed import LOGGED, predicted, replays

Array = NDArray[np.float64]
BOARDS = (1, 2, 4, 8)
PAUSES = (0, 0.01, 0.02, 0.03, LOGGED, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1)  # s
SHOWN = (0, LOGGED, 0.05, 0.1, 0.2, 0.5, 1)


def medians(folder: Path, boards: int) -> dict[str, Array]:
    """Median size of the error of all replayed readings by operation, at each time between cases."""
    found = {}
    for every in load(folder):
        rows = every.only(replays(every))
        ours = np.stack(predicted(rows, tier("physical"), PAUSES, boards))
        found[rows.operation] = np.median(np.abs(ours / rows.numbers("power_w") - 1), axis=1)
    return found


def elsewhere(found: dict[str, Array], operation: str) -> tuple[float, float]:
    """The time between cases that is best for the other operations, and the error of this one with it."""
    best = int(sum((error for name, error in found.items() if name != operation), np.zeros(len(PAUSES))).argmin())
    return PAUSES[best], float(found[operation][best])


def main(folder: str) -> None:
    """Print a line for every operation and number of boards."""
    print(f"{'boards':6} {'operation':18}" + "".join(f" {pause:5.3f} s" for pause in SHOWN) + "  fitted to the others")
    for boards in BOARDS:
        found = medians(Path(folder), boards)
        for operation, error in found.items():
            pause, left = elsewhere(found, operation)
            shown = "".join(f" {error[PAUSES.index(at)]:7.1%}" for at in SHOWN)
            print(f"{boards:6} {operation:18}{shown}  {left:.1%} at {pause:5.3f} s")


if __name__ == "__main__":
    main(sys.argv[1])
