"""Fit the default shares of a board's power limit to a folder of measured board power, and print the errors.

python benchmarks/fit_power.py FOLDER       the folder holds power_gemm.csv and power_attention.csv

Idle power is the least reading there is: a board whose kernels hardly run. What memory draws is stated in device files.
Two shares are fitted: of what any running kernel draws, and of computing at full rate.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sim.arch import tier
from sim.silicon.cases import cases
from sim.silicon.measured import Measured
from sim.silicon.powered import load, told, uses

START = (0.25, 0.8)  # active, compute
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Kernels:
    """Readings of one operation, and what is drawn for, all as parts of the limit or of the time."""

    operation: str
    read: Array
    memory: Array  # drawn by memory
    running: Array
    switched: Array

    def errors(self, idle: float, shares: Array) -> Array:
        """Relative error of every reading."""
        drawn = idle + self.memory + shares[0] * self.running + shares[1] * self.switched
        return np.minimum(drawn, 1) / self.read - 1


def kernels(every: Measured) -> Kernels:
    """The rows of an operation that can be compared."""
    rows = every.only(told(every))
    parts = np.zeros((3, len(rows)))
    for case in cases(rows):
        running, switched, moving = uses(case, tier("physical"), rows.seconds[case.rows])
        power = case.where.pools[0].device.power
        assert power is not None
        parts[:, case.rows] = power.memory / power.tdp * moving, running, switched
    return Kernels(rows.operation, rows.numbers("power_w") / rows.numbers("power_limit_w"), *parts)


def fitted(data: list[Kernels], idle: float, keep: Callable[[Kernels], Mask]) -> Array:
    """The shares with the least median error over the kernels that are kept, each operation weighing the same."""

    def loss(logs: Array) -> float:
        found = [one.errors(idle, np.exp(logs))[keep(one)] for one in data]
        return float(sum(np.median(abs(e)) + 0.3 * np.minimum(abs(np.log1p(e)), 1).mean() for e in found if len(e)))

    rng = np.random.default_rng(0)
    tries = [np.log(START) + spread * rng.normal(size=2) for spread in (0, *[0.3] * 6)]
    return np.exp(min((minimize(loss, one, method="Nelder-Mead") for one in tries), key=lambda r: r.fun).x)


def left_out(data: list[Kernels], idle: float) -> Iterator[tuple[str, list[Array]]]:
    """Errors by shares fitted to all kernels, to other quarters of the kernels, and to the other operations."""
    shares = fitted(data, idle, lambda one: np.ones(len(one.read), bool))
    yield f"active {shares[0]:.3g}, compute {shares[1]:.3g}", [one.errors(idle, shares) for one in data]
    quarters = [np.full(len(one.read), np.nan) for one in data]
    for part in range(4):
        shares = fitted(data, idle, lambda one, part=part: np.arange(len(one.read)) % 4 != part)
        for held, one in zip(quarters, data, strict=True):
            held[part::4] = one.errors(idle, shares)[part::4]
    yield "a quarter left out", quarters
    kinds = [fitted(data, idle, lambda one, out=out: np.full(len(one.read), one is not out)) for out in data]
    yield "the operation left out", [one.errors(idle, shares) for one, shares in zip(data, kinds, strict=True)]


def shown(error: Array) -> str:
    """Number, median, 90th percentile and bias of some errors."""
    size = abs(error)
    spread = f"median {np.median(size):6.1%}  p90 {np.quantile(size, 0.9):6.1%}"
    return f"{len(error):3} kernels  {spread}  bias {np.median(error):+6.1%}"


def main(folder: str) -> None:
    """Print idle power, the shares, and errors: in the sample, quarters left out and operations left out."""
    every = list(load(Path(folder)))
    idle = min(float((rows.numbers("power_w") / rows.numbers("power_limit_w")).min()) for rows in every)
    data = [kernels(rows) for rows in every]
    print(f"idle {idle:.3g}")
    for how, errors in left_out(data, idle):
        print(how)
        for one, error in zip(data, errors, strict=True):
            print(f"  {one.operation:20} {shown(error)}")
        print(f"  {'all':20} {shown(np.concatenate(errors))}")


if __name__ == "__main__":
    main(sys.argv[1])
