"""``weir calibrate``: the physical tier's constants, fitted to measurements of one device."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from einsum.errors import WeirError
from sim.cli.text import Sheet, show


def calibrate(source: str, device: str, out: str) -> None:
    """Fit to the CSV files of a folder (or one file, named after its operation) and write the constants."""
    from sim.silicon.cases import cases, predict, running
    from sim.silicon.fit import CLASSES, HOLD, Sample, Table, fit, with_constants
    from sim.silicon.measured import FILES, known, load, read
    from sim.silicon.store import facts, save

    path, wanted = Path(source), known(device).name
    if path.is_file() and path.stem not in FILES:
        raise WeirError(f"{path.name}: name the file after its operation: {', '.join(f'{n}.csv' for n in FILES)}")
    found = load(path) if path.is_dir() else (read(path, path.stem),)
    table: Table = {}
    tested: dict[str, dict[str, object]] = {}
    lines = []
    for every in found:
        rows = every.only(np.array([known(name).name == wanted for name in every.text("device")]))
        if not len(rows):
            continue
        data = Sample(rows.operation, cases(rows), rows.seconds, rows.text("device"))
        own = fit(data, HOLD / 20)
        before = predict(data.cases, with_constants({}), len(rows)) / rows.seconds - 1
        after = predict(data.cases, with_constants(own), len(rows)) / rows.seconds - 1
        table |= own
        for name in CLASSES[rows.operation]:
            ran = running(data.cases, name, len(rows))
            if ran.any():
                tested[name] = facts(rows.only(ran), after[ran])
        errors = (f"{np.median(np.abs(e)):.1%}" for e in (before, after))
        lines.append((rows.operation, str(len(rows)), *errors))
    if not table:
        raise WeirError(f"{path.name}: no measurements of {wanted}; its 'device' column names others")
    save(Path(out), f"calibrated to {path.name} on {wanted}; errors are what the fit left over", table, tested)
    title = f"{wanted}: median error before and after; constants written to {out} (use --tier {out})"
    show(Sheet(title, ("operation", "kernels", "physical", "calibrated"), tuple(lines), right=(1, 2, 3)))
