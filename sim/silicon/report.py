"""Errors of each tier against measured kernels: median, mean, 90th percentile and bias, by operation and device.

Beside them stands how many stay within the band that is printed with an answer; for constants fitted without a device,
within the band that the other devices give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.arch import Tier, tier
from sim.model.tested import band_of
from sim.silicon import powered, replayed, served
from sim.silicon.cases import Case, cases, predict
from sim.silicon.fit import Sample, left_out
from sim.silicon.measured import Measured, column, load
from sim.silicon.store import shipped, within

Array = NDArray[np.float64]
TIERS = ("limit", "physical")
UNSEEN = "physical, unseen"  # constants fitted to all devices but the one they are tried on
ALL = "all devices"
FORMS = "forms of kernels, and how strongly priors hold constants, were chosen while looking at these devices"


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
    covered: float | None = None  # share of the errors within the printed band of 90 %; None where none is printed


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
        names = f"{'operation':<27} {'device':<14} {'tier':<18} {'kernels':>7}"
        head = names + "".join(f" {name:>7}" for name in ("median", "mean", "p90", "bias", "in band"))
        return "\n".join([f"error against measured kernels: {self.source}", head, *map(_line, self.rows), *self.notes])


def _line(row: Row) -> str:
    covered = "" if row.covered is None else f"{row.covered:7.0%}"
    figures = f"{row.median:7.1%} {row.mean:7.1%} {row.p90:7.1%} {row.bias:+7.1%} {covered:>7}"
    return f"{row.operation:<27} {row.device:<14} {row.tier:<18} {row.kernels:>7} {figures}"


def evaluate(folder: Path | None, progress: Callable[[int, int], None] | None = None) -> Report:
    """Every tier against the measured kernels of a folder of CSV files."""
    found, rows = (load(folder) if folder else shipped()), list[Row]()
    for done, one in enumerate(found, start=1):
        rows += _rows(one)
        if progress is not None:
            progress(done, len(found))
    rows += _beside(folder) if folder else ()
    where = f"{folder.name}/" if folder else "the sample that comes with weir"
    notes = (FORMS, *(_said(folder) if folder else ()))
    return Report(tuple(rows), f"{sum(map(len, found))} kernels of {where}", notes)


def _said(folder: Path) -> tuple[str, ...]:
    level = tier("physical")
    return (*served.cannot(folder), *powered.cannot(folder, level), *replayed.told(folder, level))


def _beside(folder: Path) -> Iterator[Row]:
    """What else was measured: runs of whole models, power, and how long the kernels took whose power it was."""
    levels = {name: tier(name) for name in TIERS}
    for operation, device, errors in served.errors(folder, levels):
        yield from (row(operation, device, name, error) for name, error in errors.items())
    for one in (powered, replayed):
        for operation, device, errors in one.errors(folder, levels["physical"]):
            yield from (row(operation, device, name, error) for name, error in errors.items())
    for measured in powered.load(folder):
        yield from (replace(r, operation=f"{r.operation}, of power") for r in _rows(measured, fitted=False))


def _rows(one: Measured, fitted: bool = True) -> Iterator[Row]:
    """The rows of one file; with ``fitted`` also of constants fitted without the device."""
    made, levels = cases(one), {name: tier(name) for name in TIERS}
    errors = {name: predict(made, level, len(one)) / one.seconds - 1 for name, level in levels.items()}
    bands = {"physical": printed(made, levels["physical"], len(one))}
    kinds = np.array(list(map(_kind, [one.operation] * len(one), *_labels(one))))
    devices = np.array(one.text("device"))
    if fitted:
        errors[UNSEEN] = left_out(Sample(one.operation, made, one.seconds, one.text("device"))) / one.seconds - 1
        bands[UNSEEN] = elsewhere(errors[UNSEEN], kinds, devices)
    for kind in sorted(set(kinds)):
        for name in (*sorted(set(devices[kinds == kind])), ALL):
            keep = (kinds == kind) & ((devices == name) | (name == ALL))
            for level, error in errors.items():
                if not np.isnan(error[keep]).any():
                    band = bands[level][keep] if level in bands else None
                    yield row(kind, name, level, error[keep], band)


def printed(made: tuple[Case, ...], level: Tier, count: int) -> Array:
    """The error of every row that an answer says nine in ten stay within: that of its kernels, by share of its time."""
    band, known = np.full(count, np.nan), dict(level.tested)
    for case in made:
        device, timed = case.where.pools[0].device, case.timed(level)
        if case.eager:
            band[case.rows] = known["host"].p90
            continue
        spent = [np.broadcast_to(one.seconds, case.rows.shape) for one in timed]
        wide = sum(s * band_of(device, one, known) for s, one in zip(spent, timed, strict=True))
        band[case.rows] = wide / sum(spent)
    return band


def elsewhere(errors: Array, kinds: NDArray[np.str_], devices: NDArray[np.str_]) -> Array:
    """The band of every row as the other devices give it: what nine in ten stay within on the worst of them."""
    band = np.full(len(errors), np.nan)
    for kind, name in sorted(set(zip(kinds, devices, strict=True))):
        others = [devices == other for other in set(devices[kinds == kind]) - {name}]
        if others:
            band[(kinds == kind) & (devices == name)] = max(within(errors[(kinds == kind) & o]) for o in others)
    return band


def _labels(one: Measured) -> tuple[tuple[str, ...], ...]:
    """The columns that tell operations of one file apart: a type, a phase, a collective's kind."""
    types = one.dtypes("dtype") if "dtype" in one.columns else column(one, "dtype")
    return types, column(one, "phase"), column(one, "op_name"), column(one, "op")


def _kind(operation: str, dtype: str, phase: str, collective: str, op: str) -> str:
    first = {"gemm": f"gemm {dtype}", "mla_attention": f"mla {phase}", "elementwise_vidur": "elementwise"}
    if operation == "collectives":
        return "one-shot all-reduce" if collective.startswith("custom") else "nccl"
    return first.get(operation, operation.replace("_", " "))


def row(operation: str, device: str, tier: str, error: Array, band: Array | None = None) -> Row:
    """The statistics of some relative errors, and how many stay within their band."""
    size = np.abs(error)
    covered = None if band is None or np.isnan(band).any() else float((size <= band).mean())
    return Row(
        operation, device, tier, len(error), float(np.median(size)), float(size.mean()),
        within(error), float(np.median(error)), covered,
    )  # fmt: skip
