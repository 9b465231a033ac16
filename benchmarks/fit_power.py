"""Fit the default shares of a board's power limit to a folder of measured board power, and print the errors.

python benchmarks/fit_power.py FOLDER       the folder holds power_gemm.csv and power_attention.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sim.arch import tier
from sim.silicon.cases import cases
from sim.silicon.measured import Measured
from sim.silicon.powered import load

NAMES = ("idle", "active", "compute", "memory", "seen")  # the last in seconds, the others of the limit
START = (0.17, 0.22, 0.75, 0.3, 7e-6)
Array = NDArray[np.float64]


def shares(rows: Measured) -> Array:
    """Parts of the measured time for which each part of the power is drawn, one line a part."""
    found = np.ones((len(NAMES) - 1, len(rows)))
    for case in cases(rows):
        times = rows.seconds[case.rows]
        timed = case.timed(tier("physical"))
        found[1, case.rows] = sum(np.minimum(one.seconds, times) for one in timed) / times
        found[2, case.rows] = sum(one.switched for one in timed) / times
        found[3, case.rows] = sum(one.memory for one in timed) / times
    return found


def main(folder: str) -> None:
    """Print the shares with the least median error over all kernels, each operation weighing the same."""
    data = [
        (rows, shares(rows), rows.numbers("power_w") / rows.numbers("power_limit_w")) for rows in load(Path(folder))
    ]

    def off(logs: Array) -> list[Array]:
        *parts, seen = np.exp(logs)
        read = [parts[0] + (np.minimum(parts @ drawn, 1) - parts[0]) * (1 - np.exp(-rows.seconds / seen))
                for rows, drawn, _ in data]  # fmt: skip
        return [ours / power - 1 for ours, (_, _, power) in zip(read, data, strict=True)]

    def loss(parts: Array) -> float:
        return float(sum(np.median(abs(e)) + 0.3 * np.minimum(abs(np.log1p(e)), 1).mean() for e in off(parts)))

    rng = np.random.default_rng(0)
    tries = [np.log(START) + spread * rng.normal(size=len(NAMES)) for spread in (0, *[0.3] * 8)]
    best = min(
        (minimize(loss, one, method="Nelder-Mead", options={"maxiter": 3000}) for one in tries), key=lambda r: r.fun
    )
    print({name: float(f"{share:.3g}") for name, share in zip(NAMES, np.exp(best.x), strict=True)})
    for (rows, *_), error in zip(data, off(best.x), strict=True):
        print(f"{rows.operation:20} median {np.median(abs(error)):6.1%}  bias {np.median(error):+6.1%}")


if __name__ == "__main__":
    main(sys.argv[1])
