"""The fitted constants and their tested errors as one data file, and the few measured kernels that come with weir."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from einsum.errors import WeirError
from einsum.files import quoted, write
from sim.arch.files import read
from sim.silicon.fit import CLASSES, Table
from sim.silicon.measured import Array, Measured, known

SHIPPED = Path(__file__).with_name("data") / "kernels.toml"
_TITLE = """\
# Constants of the physical tier, one set for every device: what each means, and where it was thought to be before the
# fit, is in sim/silicon/data/priors.toml.  Written by benchmarks/fit_physical.py; [tested.*] are the errors on kernels
# of a device that was left out of the fit, each in turn.
"""


def shipped() -> tuple[Measured, ...]:
    """The measured kernels that come with weir: a sample of each operation, by device."""
    raw = read(SHIPPED, "kernels")
    found = []
    for operation, table in raw.items():
        if not isinstance(table, dict):
            continue
        columns = dict(zip(table["columns"], zip(*table["rows"], strict=True), strict=True))
        seconds = np.array(columns.pop("latency_us"), float) * 1e-6
        text = {name: tuple(map(str, cells)) for name, cells in columns.items()}
        found.append(Measured(operation, text, seconds))
    return tuple(found)


def sample(rows: Measured, columns: tuple[str, ...], each: int) -> str:
    """A file's sample as the text of a table: so many kernels of every device, evenly through their latencies."""
    devices = np.array(rows.text("device"))
    chosen: list[int] = []
    for name in sorted(set(devices)):
        at = np.flatnonzero(devices == name)
        ranked = at[np.argsort(rows.seconds[at], kind="stable")]
        chosen += [int(i) for i in ranked[np.linspace(0, len(ranked) - 1, min(each, len(ranked))).astype(int)]]
    names = ("device", *columns, "latency_us")
    lines = [
        "[" + ", ".join(_cell(rows.text(n)[i]) for n in names[:-1]) + f", {rows.seconds[i] * 1e6:.6g}]" for i in chosen
    ]
    listed = ", ".join(map(quoted, names))
    return f"[{rows.operation}]\ncolumns = [{listed}]\nrows = [\n    " + ",\n    ".join(lines) + ",\n]\n"


def _cell(text: str) -> str:
    try:
        return f"{float(text):g}"
    except ValueError:
        return quoted(text)


def facts(rows: Measured, errors: Array) -> dict[str, object]:
    """What was tested: how many kernels, of which devices and types, how long; and how far off they were."""
    names = ("dtype", "attn_dtype", "moe_dtype")
    types = sorted({t for name in names if name in rows.columns for t in rows.dtypes(name)})
    names_of = np.array(rows.text("device"))
    devices = sorted(set(names_of))
    return {
        "kernels": len(rows), "median": float(np.median(np.abs(errors))),
        "p90": max(within(errors[names_of == name]) for name in devices),
        "bias": float(np.median(errors)), "shortest": float(rows.seconds.min()), "longest": float(rows.seconds.max()),
        "devices": devices, "dtypes": types or ["bf16"], "vendors": sorted({known(name).vendor for name in devices}),
    }  # fmt: skip


def within(errors: Array) -> float:
    """The size that nine in ten errors stay within."""
    return float(np.quantile(np.abs(errors), 0.9))


def save(path: Path, source: str, table: Table, tested: Mapping[str, Mapping[str, object]]) -> None:
    """Write constants and tested errors; the file is whole or not there."""
    unknown = set(table) - {name for classes in CLASSES.values() for name in classes}
    if unknown:
        raise WeirError(f"no such classes of kernels: {', '.join(sorted(unknown))}")
    lines = [_TITLE, f"source = {quoted(source)}", ""]
    for name, numbers in table.items():
        lines += [f"[{name}]", *(f"{key} = {value:.4g}" for key, value in numbers.items()), ""]
    for name, facts in tested.items():
        lines += [f"[tested.{name}]", *(f"{key} = {_value(value)}" for key, value in facts.items()), ""]
    write(path, "\n".join(lines).encode(), "calibration")


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, int) else "[" + ", ".join(quoted(x) for x in value) + "]"  # type: ignore[attr-defined]
