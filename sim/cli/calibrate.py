"""``weir calibrate``: the physical tier's constants, fitted to measurements of one device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from einsum.errors import WeirError
from sim.cli.ask import writable
from sim.cli.text import Sheet, show

if TYPE_CHECKING:
    from sim.silicon.fit import Sample, Table
    from sim.silicon.measured import Array, Measured

MOST = 5000  # rows of one operation that are fitted; of more, so many evenly through their latencies
LOOSER = 20  # times as weakly as ours do the priors, which are of all devices, hold the constants of one
FASTER = 20  # times as fast as memory and matrix units can be: more than any cache brings


def calibrate(source: str, device: str, out: str) -> None:
    """Fit to the CSV files of a folder (or one file, named after its operation) and write the constants."""
    from sim.silicon.measured import known
    from sim.silicon.store import save

    writable(out, (".toml",), "--out")
    path, wanted = Path(source), known(device).name
    table: Table = {}
    tested: dict[str, dict[str, object]] = {}
    lines, notes = [], list[str]()
    for rows in _measured(path, wanted):
        some = _some(rows)
        data, own, before, after = _fitted(some)
        table |= own
        tested |= _tested(some, data, after) if own else {}
        errors = (f"{np.median(np.abs(e)):.1%}" for e in (before, after))
        lines.append((rows.operation, str(len(rows)), *errors))
        notes += _noted(rows, len(some), bool(own))
    if not lines:
        raise WeirError(f"{path.name}: no measurements of {wanted}; its 'device' column names others")
    save(Path(out), f"calibrated to {path.name} on {wanted}; errors are what the fit left over", table, tested)
    title = f"{wanted}: median error before and after; constants written to {out} (use --tier {out})"
    head = ("operation", "kernels", "physical", "calibrated")
    show(Sheet(title, head, tuple(lines), right=(1, 2, 3), notes=tuple(notes)))


def _measured(path: Path, wanted: str) -> Iterator[Measured]:
    """The rows of one device, file by file."""
    from sim.silicon.measured import FILES, known, load, read

    if not path.exists():
        raise WeirError(f"{str(path)!r:.80}: no such folder or file of measurements")
    if path.is_file() and path.stem not in FILES:
        raise WeirError(f"{path.name}: name the file after its operation: {', '.join(f'{n}.csv' for n in FILES)}")
    for every in load(path) if path.is_dir() else (read(path, path.stem),):
        names = every.text("device")
        own = {name: known(name).name == wanted for name in dict.fromkeys(names)}
        if any(own.values()):
            yield every.only(np.array([own[name] for name in names]))


def _some(rows: Measured) -> Measured:
    """All rows, or of very many some, evenly through their latencies."""
    if len(rows) <= MOST:
        return rows
    keep = np.zeros(len(rows), bool)
    keep[np.argsort(rows.seconds, kind="stable")[np.linspace(0, len(rows) - 1, MOST).astype(int)]] = True
    return rows.only(keep)


def _fitted(rows: Measured) -> tuple[Sample, Table, Array, Array]:
    """The fit to some rows, and relative errors before and after it; no constants where they make errors larger."""
    from sim.arch import tier
    from sim.silicon.cases import cases, predict
    from sim.silicon.fit import HOLD, Sample, fit, with_constants

    data = Sample(rows.operation, cases(rows), rows.seconds, rows.text("device"))
    least = predict(data.cases, tier("limit"), len(rows))
    wrong = np.flatnonzero(rows.seconds * FASTER < least)
    if len(wrong):
        took, bound = rows.seconds[wrong[0]] * 1e6, least[wrong[0]] * 1e6
        raise WeirError(
            f"{rows.operation}.csv: a kernel of {took:.4g} us would take {bound:.4g} us at the device's peaks: "
            "is latency_us in microseconds?"
        )
    own = fit(data, HOLD / LOOSER)
    levels = with_constants({}), with_constants(own)
    before, after = (predict(data.cases, level, len(rows)) / rows.seconds - 1 for level in levels)
    if np.median(np.abs(after)) > np.median(np.abs(before)):
        return data, {}, before, before
    return data, own, before, after


def _tested(rows: Measured, data: Sample, errors: Array) -> dict[str, dict[str, object]]:
    """What is left over of each class of kernels that ran."""
    from sim.silicon.cases import running
    from sim.silicon.fit import CLASSES
    from sim.silicon.store import facts

    ran = {name: running(data.cases, name, len(rows)) for name in CLASSES[rows.operation]}
    return {name: facts(rows.only(own), errors[own]) for name, own in ran.items() if own.any()}


def _noted(rows: Measured, fitted: int, better: bool) -> Iterator[str]:
    """What a reader of the errors should know of the rows."""
    if not better:
        yield f"{rows.operation}: nothing fits these rows better than the constants that come with weir; kept"
    sizes = zip(*(cells for name, cells in rows.columns.items() if name != "latency_us"), strict=True)
    if again := len(rows) - len(set(sizes)):
        yield f"{rows.operation}: {again} rows measure again what another did; each counts"
    if fitted < len(rows):
        yield f"{rows.operation}: {fitted} of {len(rows)} rows are fitted, evenly through their latencies"
