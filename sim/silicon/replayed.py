"""What a benchmark's meter reads, all of it predicted: the kernel's run and what its sweep ran on the board before.

The cases before are those of the published loops (``sweep``), their times and powers the model's, and the board is
idle between two of them. For how long is not published of this engine: a reading is predicted for no time at all, for
that of its maintainers' log of another engine, and for a second, which leaves nothing of the case before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.arch import Power, Tier
from sim.silicon.cases import cases, predict
from sim.silicon.measured import Array, Measured, known
from sim.silicon.meter import WARM, WINDOW, kernels, readings, run
from sim.silicon.powered import load, stated, watts
from sim.silicon.sweep import BOARDS, before, places

LOGGED = 1 / 28.84  # s a case without power, its timing included: products of TensorRT-LLM (pull request 523)
PAUSES = {"nothing between": 0.0, "35 ms between": LOGGED, "1 s between": WINDOW}
DEEP = 40  # cases: of kernels of 8 us, repeated 3000 times, they fill the second before


def replays(rows: Measured) -> NDArray[np.bool_]:
    """Rows that the sweep has, on boards whose file states what they draw."""
    return np.asarray((places(rows) >= 0) & stated(rows))


def predicted(rows: Measured, level: Tier, pauses: tuple[float, ...], boards: int = BOARDS) -> tuple[Array, ...]:
    """Watts that the meter reads of every row, for each time between two cases in seconds."""
    earlier = before(rows, boards, DEEP)
    earlier = replace(earlier, seconds=_lasting(earlier, rows, level))
    calls = earlier.seconds * kernels(earlier)
    past = (run(calls) + WARM * calls).reshape(-1, DEEP), watts(earlier, level).reshape(-1, DEEP)
    own = rows.seconds * kernels(rows)
    now = np.stack([run(own), WARM * own], axis=1), np.repeat(watts(rows, level)[:, None], 2, axis=1)
    idle = _idle(rows)[:, None]
    return tuple(readings(*_timeline(now, past, idle, pause)) for pause in pauses)


def _timeline(now: tuple[Array, Array], past: tuple[Array, Array], idle: Array, pause: float) -> tuple[Array, Array]:
    """Seconds and watts backwards: the run, its warm-up, then pauses and cases in turn; before them the board idles."""
    count = len(idle)
    lasting = np.stack([np.full_like(past[0], pause), past[0]], axis=2).reshape(count, -1)
    drawn = np.stack([np.broadcast_to(idle, past[1].shape), past[1]], axis=2).reshape(count, -1)
    end = np.full((count, 1), WINDOW)
    return np.hstack([now[0], lasting, end]), np.hstack([now[1], drawn, idle])


def _lasting(earlier: Measured, rows: Measured, level: Tier) -> Array:
    """Seconds of a kernel in the cases before: predicted, but no less than the shortest measured of its type."""
    seconds = predict(cases(earlier), level, len(earlier))
    dtype = "dtype" if rows.operation == "gemm" else "kv_dtype"
    types, theirs = np.array(rows.dtypes(dtype)), np.array(earlier.dtypes(dtype))
    for name in set(types):
        seconds[theirs == name] = np.maximum(seconds[theirs == name], rows.seconds[types == name].min())
    return seconds


def _idle(rows: Measured) -> Array:
    powers = [known(name).power for name in rows.text("device")]
    return np.array([power.idle if isinstance(power, Power) else np.nan for power in powers])


def errors(folder: Path, level: Tier) -> Iterator[tuple[str, str, dict[str, Array]]]:
    """Relative errors of all readings by operation and device, for each time between cases."""
    for every in load(folder):
        rows = every.only(replays(every))
        if len(rows):
            theirs, devices = rows.numbers("power_w"), np.array(rows.text("device"))
            found = predicted(rows, level, tuple(PAUSES.values()))
            for name in sorted(set(devices)):
                here = {pause: (ours / theirs - 1)[devices == name] for pause, ours in zip(PAUSES, found, strict=True)}
                yield f"meter on {rows.operation.replace('_', ' ')}", name, here


def told(folder: Path, level: Tier) -> tuple[str, ...]:
    """A sentence for each operation: how far its readings hang on the time between cases, and how many lie within."""
    return tuple(_told(every, level) for every in load(folder) if stated(every).any())


def _told(every: Measured, level: Tier) -> str:
    named, rows = every.operation.replace("_", " "), every.only(replays(every))
    start = f"meter on {named}: {len(rows)} of {len(every)} readings are replayed"
    if not len(rows):
        return f"{start}: they are of no case of a published sweep"
    theirs = rows.numbers("power_w")
    found = np.stack(predicted(rows, level, tuple(PAUSES.values())))
    low, high = found.min(axis=0), found.max(axis=0)
    return (
        f"{start}, with what the benchmark's published loops ran before on the same board, one of {BOARDS}; for how"
        f" long a board is idle between two cases is not published (compiling takes seconds), and from none to a second"
        f" the prediction falls by {np.median(1 - low / high):.0%} in the median;"
        f" readings that lie between: {np.sum((low <= theirs) & (theirs <= high))}"
    )
