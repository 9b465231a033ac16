"""Board power of measured kernels beside the model's: watts at the durations that were measured.

A row's kernel is counted like any other work; what it draws is its energy over the measured time, idle power included.
Where the host launches more slowly than the kernel runs, the board idles in between. A benchmark repeats a kernel some
number of times, so that runs of the shortest end before a meter, which averages, has seen all of their power.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from einsum.errors import WeirError
from sim.arch import Tier
from sim.silicon.cases import cases
from sim.silicon.measured import Array, Measured, read

FILES = {"power_gemm": ("gemm",), "power_attention": ("attention_prefill", "attention_decode")}  # file: its operations
SEEN = 7.7e-6  # s, of one of a run's kernels, by which its meter has 1 - 1/e of it; fitted with the shares of the limit
ADAPTED = {"attn_dtype": "bfloat16", "kv_dtype": "kv_cache_dtype", "op": "gemm"}


def load(folder: Path) -> Iterator[Measured]:
    """Rows of measured power in a folder, by operation; of attention, ``op`` says whether it is prefill or decode."""
    for name, operations in FILES.items():
        if (path := folder / f"{name}.csv").is_file():
            rows = read(path, operations[0], ADAPTED)
            if missing := [column for column in ("power_w", "power_limit_w") if column not in rows.columns]:
                raise WeirError(f"{path.name}: needs columns {', '.join(missing)}")
            for operation in operations:
                kept = np.array([operation.endswith(op) for op in rows.text("op")])
                if kept.any():
                    yield replace(rows.only(kept), operation=operation)


def watts(rows: Measured, level: Tier) -> Array:
    """Watts of every row as a meter reads them, the board's never above its limit."""
    found = np.full(len(rows), np.nan)
    for case in cases(rows):
        power = case.where.pools[0].device.power
        if power is None:
            continue
        measured = rows.seconds[case.rows]
        drawn = sum(replace(one, seconds=np.minimum(one.seconds, measured)).joules(power) for one in case.timed(level))
        busy = np.minimum(drawn / measured, power.tdp - power.idle)
        found[case.rows] = power.idle + busy * (1 - np.exp(-measured / SEEN))
    return found


def errors(folder: Path, level: Tier) -> Iterator[tuple[str, str, dict[str, Array]]]:
    """Relative errors by operation and device: of the board's limit taken for its power, and of the model's."""
    for rows in load(folder):
        theirs, devices = rows.numbers("power_w"), np.array(rows.text("device"))
        found = {"limit": rows.numbers("power_limit_w") / theirs - 1, level.name: watts(rows, level) / theirs - 1}
        for name in sorted(set(devices)):
            yield (
                f"power of {rows.operation.replace('_', ' ')}",
                name,
                {n: e[devices == name] for n, e in found.items()},
            )
