"""What a board's power meter says of a kernel that a benchmark runs over and over.

The meter gives the mean of the last second (NVML reference, ``nvmlDeviceGetPowerUsage``: Ampere and later but GA100).
AIConfigurator (``collector/helper.py``, ``benchmark_with_power``) times a few calls, repeats the call for a second by
that time (0.3 s where a call takes less than 0.1 ms; 3000 times at most), and writes down the mean of readings at the
start and every 0.1 s after. So only a share of what is written down is of the kernel: the rest is of the second before.
Three calls more come right before the first reading.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.silicon.measured import Measured

Array = NDArray[np.float64]
WINDOW = 1.0  # s, of which the meter gives the mean
EVERY = 0.1  # s, from one reading to the next
LONG, BRIEF = 1.0, 0.3  # s, for which a call is repeated, and where it takes less than QUICK
QUICK = 1e-4  # s
LEAST, MOST = 6, 3000  # calls
WARM = 3  # calls before the first reading
LAYERS = 6  # products in a call, one after another (``collector/vllm/collect_gemm.py``); one of block-scaled values
SCALED = ("bfp8", "fp4")


def kernels(rows: Measured) -> Array:
    """Kernels in one call of the benchmark, by row."""
    if rows.operation != "gemm":
        return np.ones(len(rows))
    return np.array([1.0 if dtype in SCALED else LAYERS for dtype in rows.dtypes("dtype")])


def run(call: Array) -> Array:
    """Seconds of the run of calls that take so long each; less where the first calls, which are timed, took longer."""
    wanted = np.where(call < QUICK, BRIEF, LONG)
    return np.asarray(np.clip(np.floor(wanted / call) + 1, LEAST, MOST) * call)


def share(lasting: Array) -> Array:
    """Part of the mean reading that is of a run itself which lasts so many seconds."""
    after = np.floor(lasting / EVERY + 1e-9)  # readings after the first
    full = round(WINDOW / EVERY)
    partly = np.minimum(after, full)
    return np.asarray((EVERY / WINDOW * partly * (partly + 1) / 2 + after - partly) / (after + 1))


def shares(rows: Measured) -> Array:
    """That part of every row, at the most."""
    return share(run(rows.seconds * kernels(rows)))


def readings(lasting: Array, drawn: Array) -> Array:
    """Mean reading of every run, in W: seconds and watts of what ran, (rows, parts), the run first and then backwards.

    The last part goes on for ever before.
    """
    return np.array([_reading(seconds, watts) for seconds, watts in zip(lasting, drawn, strict=True)])


def _reading(lasting: Array, drawn: Array) -> float:
    ago = np.concatenate(([0.0], np.cumsum(lasting)))  # s before the run's end, where parts begin
    joules = np.concatenate(([0.0], np.cumsum(lasting * drawn)))
    count = np.floor(lasting[0] / EVERY + 1e-9) + 1
    mixed = min(count, round(WINDOW / EVERY))  # the others see the run alone
    taken = lasting[0] - EVERY * np.arange(mixed)  # s before the run's end

    def since(when: Array) -> Array:
        return np.asarray(np.interp(when, ago, joules) + np.maximum(when - ago[-1], 0) * drawn[-1])

    seen = np.sum(since(taken + WINDOW) - since(taken)) / WINDOW
    return float((seen + (count - mixed) * drawn[0]) / count)
