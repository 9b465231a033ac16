"""Errors of each tier against measured kernels: median, mean, 90th percentile and bias, by operation and device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.arch import Tier, tier
from sim.silicon import powered, served
from sim.silicon.cases import cases, predict
from sim.silicon.fit import Sample, left_out
from sim.silicon.measured import Measured, column, load
from sim.silicon.store import shipped

Array = NDArray[np.float64]
TIERS = ("limit", "physical")
UNSEEN = "physical, unseen"  # constants fitted to all devices but the one they are tried on
ALL = "all devices"


@dataclass(frozen=True, slots=True)
class Row:
    """Errors of one tier on the kernels of one operation and device; relative, ours over theirs less one."""

    operation: str
    device: str
    tier: str
    kernels: int
    median: float  # of the absolute error, like the mean and the 90th percentile
    mean: float
    p90: float
    bias: float  # median of the signed error


@dataclass(frozen=True)
class Report:
    """The rows, operation by operation, and what they were computed from."""

    rows: tuple[Row, ...]
    source: str
    notes: tuple[str, ...] = ()  # what was measured and is not compared, and why

    def of(self, operation: str, tier: str, device: str = ALL) -> Row:
        """One of the rows."""
        return next(r for r in self.rows if (r.operation, r.tier, r.device) == (operation, tier, device))

    def frame(self) -> Any:
        """A pandas DataFrame, one line a row."""
        import pandas as pd

        names = Row.__slots__
        return pd.DataFrame([{name: getattr(row, name) for name in names} for row in self.rows], columns=list(names))

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [{name: getattr(row, name) for name in Row.__slots__} for row in self.rows]
        return {"schema": "weir.silicon/1", "source": self.source, "rows": rows, "notes": list(self.notes)}

    def __str__(self) -> str:
        """A table to read."""
        names = f"{'operation':<26} {'device':<14} {'tier':<18} {'kernels':>7}"
        head = names + "".join(f" {name:>7}" for name in ("median", "mean", "p90", "bias"))
        return "\n".join([f"error against measured kernels: {self.source}", head, *map(_line, self.rows), *self.notes])


def _line(row: Row) -> str:
    figures = f"{row.median:7.1%} {row.mean:7.1%} {row.p90:7.1%} {row.bias:+7.1%}"
    return f"{row.operation:<26} {row.device:<14} {row.tier:<18} {row.kernels:>7} {figures}"


def evaluate(folder: Path | None, progress: Callable[[int, int], None] | None = None) -> Report:
    """Every tier against the measured kernels of a folder of CSV files."""
    found, rows = (load(folder) if folder else shipped()), list[Row]()
    for done, one in enumerate(found, start=1):
        rows += _rows(one)
        if progress is not None:
            progress(done, len(found))
    if folder is not None:
        for operation, device, found_errors in served.errors(folder, {name: tier(name) for name in TIERS}):
            rows += [row(operation, device, name, error) for name, error in found_errors.items()]
        for operation, device, found_errors in powered.errors(folder, tier("physical")):
            rows += [row(operation, device, name, error) for name, error in found_errors.items()]
    where = f"{folder.name}/" if folder else "the sample that comes with weir"
    notes = (*served.cannot(folder), *powered.cannot(folder, tier("physical"))) if folder else ()
    return Report(tuple(rows), f"{sum(map(len, found))} kernels of {where}", notes)


def _rows(one: Measured) -> Iterator[Row]:
    made = cases(one)
    levels: Mapping[str, Tier] = {name: tier(name) for name in TIERS}
    errors = {name: predict(made, level, len(one)) / one.seconds - 1 for name, level in levels.items()}
    errors[UNSEEN] = left_out(Sample(one.operation, made, one.seconds, one.text("device"))) / one.seconds - 1
    kinds = np.array(list(map(_kind, [one.operation] * len(one), *_labels(one))))
    devices = np.array(one.text("device"))
    for kind in sorted(set(kinds)):
        for name in (*sorted(set(devices[kinds == kind])), ALL):
            keep = (kinds == kind) & ((devices == name) | (name == ALL))
            for level, error in errors.items():
                if not np.isnan(error[keep]).any():
                    yield row(kind, name, level, error[keep])


def _labels(one: Measured) -> tuple[tuple[str, ...], ...]:
    """The columns that tell operations of one file apart: a type, a phase, a collective's kind."""
    return column(one, "dtype"), column(one, "phase"), column(one, "op_name"), column(one, "op")


def _kind(operation: str, dtype: str, phase: str, collective: str, op: str) -> str:
    first = {"gemm": f"gemm {dtype}", "mla_attention": f"mla {phase}", "elementwise_vidur": "elementwise"}
    if operation == "collectives":
        return "one-shot all-reduce" if collective.startswith("custom") else "nccl"
    return first.get(operation, operation.replace("_", " "))


def row(operation: str, device: str, tier: str, error: Array) -> Row:
    """The statistics of some relative errors."""
    size = np.abs(error)
    return Row(
        operation, device, tier, len(error), float(np.median(size)), float(size.mean()),
        float(np.quantile(size, 0.9)), float(np.median(error)),
    )  # fmt: skip
