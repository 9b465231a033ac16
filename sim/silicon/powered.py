"""Board power of measured kernels beside the model's, and joules at the durations that it predicts.

A row's kernel is counted like any other work; what it draws is its energy over the measured time, idle power included.
Where the host launches more slowly than the kernel runs, the board idles in between. Rows of which the meter says too
little (``meter``) are not compared, and what they say instead is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError
from sim.arch import Power, Tier
from sim.silicon.cases import Case, cases, predict
from sim.silicon.measured import Array, Measured, column, known, positive, read
from sim.silicon.meter import shares

FILES = {"power_gemm": ("gemm",), "power_attention": ("attention_prefill", "attention_decode")}  # file: its operations
ADAPTED = {"attn_dtype": "bfloat16", "kv_dtype": "kv_cache_dtype"}
TOLD = 0.25  # of a reading that must be of the kernel, at the least: its run then lasts half a second or more


def load(folder: Path) -> Iterator[Measured]:
    """Rows of measured power in a folder, by operation; of attention, ``op`` says whether it is prefill or decode."""
    for name, operations in FILES.items():
        if (path := folder / f"{name}.csv").is_file():
            rows = read(path, operations[0], ADAPTED)
            words = {operation.rpartition("_")[2]: operation for operation in operations}
            ops = _ops(rows, path.name, tuple(words))
            for word, operation in words.items():
                kept = np.array([op == word for op in ops])
                if kept.any():
                    yield replace(rows.only(kept), operation=operation)


def _ops(rows: Measured, name: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """What each row measures, once its columns are checked; a file of one operation need not say it."""
    need = ("power_w", "power_limit_w", *(("op",) if len(words) > 1 else ()))
    if missing := [one for one in need if one not in rows.columns]:
        raise WeirError(f"{name}: needs columns {', '.join(missing)}")
    for watt in need[:2]:
        positive(rows.text(watt), f"{name}: {watt}")
    ops = column(rows, "op", words[0])
    if strange := [op for op in ops if op not in words]:
        raise WeirError(f"{name}: op: must be {' or '.join(words)}, not {strange[0]!r:.80}")
    return ops


def stated(rows: Measured) -> NDArray[np.bool_]:
    """Rows on devices whose file states what their board draws."""
    return np.array([known(name).power is not None for name in rows.text("device")], bool)


def told(rows: Measured) -> NDArray[np.bool_]:
    """Rows whose reading is of the kernel to a large enough part."""
    return np.asarray(shares(rows) >= TOLD)


def uses(case: Case, level: Tier, seconds: Array) -> tuple[Array, Array, Array]:
    """Parts of some seconds for which kernels run, matrix units work at full rate, and memory moves at full rate."""
    timed = case.timed(level)
    running: Array = sum((np.minimum(one.seconds, seconds) for one in timed), np.zeros_like(seconds))
    switched: Array = sum((one.switched for one in timed), np.zeros_like(seconds))
    moving: Array = sum((one.memory for one in timed), np.zeros_like(seconds))
    return running / seconds, switched / seconds, moving / seconds


def watts(rows: Measured, level: Tier, seconds: Array | None = None) -> Array:
    """Watts of every row over the seconds measured, or over others; NaN where the device states no power."""
    found = np.full(len(rows), np.nan)
    for case in cases(rows):
        power = case.where.pools[0].device.power
        if isinstance(power, Power):
            lasting = (rows.seconds if seconds is None else seconds)[case.rows]
            running, switched, moving = uses(case, level, lasting)
            found[case.rows] = power.watts(switched, moving, np.zeros_like(lasting), running)
    return found


def errors(folder: Path, level: Tier) -> Iterator[tuple[str, str, dict[str, Array]]]:
    """Relative errors by operation and device: of power at the measured duration, then of energy at the predicted one.

    Beside the model's stand those of the board's limit taken for its power.
    """
    for every in load(folder):
        if not (kept := told(every) & stated(every)).any():
            continue
        rows = every.only(kept)
        theirs, limit, devices = rows.numbers("power_w"), rows.numbers("power_limit_w"), np.array(rows.text("device"))
        lasting = predict(cases(rows), level, len(rows))
        longer = lasting / rows.seconds / theirs
        found = {
            "power": {"limit": limit / theirs - 1, level.name: watts(rows, level) / theirs - 1},
            "energy": {"limit": limit * longer - 1, level.name: watts(rows, level, lasting) * longer - 1},
        }
        for what, by in found.items():
            for name in sorted(set(devices)):
                here = {tier: error[devices == name] for tier, error in by.items()}
                yield f"{what} of {rows.operation.replace('_', ' ')}", name, here


def cannot(folder: Path, level: Tier) -> tuple[str, ...]:
    """A sentence for each operation and each reason why some of its rows are not compared: how many, and why."""
    notes: list[str] = []
    for every in load(folder):
        named, known_board = every.operation.replace("_", " "), stated(every)
        if not known_board.all():
            silent = every.only(~known_board).text("device")
            which = ", ".join(sorted(set(silent)))
            notes.append(
                f"power of {named}: {len(silent)} of {len(every)} rows cannot be compared: {which}: no power is stated"
            )
        notes += _untold(named, every.only(known_board), level)
    return tuple(notes)


def _untold(named: str, rows: Measured, level: Tier) -> Iterator[str]:
    """How many readings say too little of their kernels, how like kernels differ, and the error with all of them."""
    if (left := ~told(rows)).any():
        untold = rows.only(left)
        whole = np.median(np.abs(watts(rows, level) / rows.numbers("power_w") - 1))
        yield (
            f"power of {named}: {len(untold)} of {len(rows)} rows cannot be compared: of their readings less than"
            f" {TOLD:.0%} is of the kernel (median {np.median(shares(untold)):.0%}), whose run is short beside the"
            f" second that the meter averages, the rest of what ran before;{_unlike(untold, level)};"
            f" all {len(rows)} taken as they stand, the model is {whole:.0%} off in the median"
        )


def _unlike(rows: Measured, level: Tier) -> str:
    if len(rows) < 2:
        return " there is no second one to hold against it"
    return f" readings of the two most alike differ by {np.median(dispersion(rows, level)):.0%} in the median"


def dispersion(rows: Measured, level: Tier) -> Array:
    """How much each row's reading differs from that of the kernel most like it in duration (doublings) and uses."""
    from scipy.spatial import KDTree

    state = np.zeros((4, len(rows)))
    state[0] = np.log2(rows.seconds)
    for case in cases(rows):
        state[1:, case.rows] = uses(case, level, rows.seconds[case.rows])
    near = np.asarray(KDTree(state.T).query(state.T, k=2)[1])
    other = np.where(near[:, 0] == np.arange(len(rows)), near[:, 1], near[:, 0])
    read = rows.numbers("power_w")
    return np.asarray(np.abs(read[other] / read - 1))
