"""``weir validate``: published figures recomputed. ``weir check``: kernels against the interpreter."""

from __future__ import annotations

from collections.abc import Sequence

from sim.cli.data import Form, emit
from sim.cli.patience import patience
from sim.cli.text import show
from sim.manifest import Made


def validate(paper: str | None, as_json: bool, data: str | None = None) -> int:
    """Print the report on one paper or all of them; the exit code says whether every row that should hold does."""
    if paper == "silicon":
        return _silicon(as_json, data)
    from sim.published import validate as recompute

    with patience(f"recomputing {paper or 'every paper'}") as advance:
        report = recompute(paper, data=data, progress=advance)
    if as_json:
        emit(Form.JSON, report.summary(), [])
    else:
        show(str(report))
    return 0 if report.ok else 1


def _silicon(as_json: bool, folder: str | None) -> int:
    """Errors of every tier against measured kernels."""
    from pathlib import Path

    from sim.silicon.report import evaluate

    with patience("timing measured kernels") as advance:
        report = evaluate(Path(folder) if folder else None, advance)
    if as_json:
        emit(Form.JSON, report.summary(), [])
    else:
        show(str(report))
    return 0


def check(kernels: Sequence[str], threads: int, seed: int, as_json: bool) -> int:
    """Print how kernels compare with the interpreter; the exit code says whether all are within tolerance."""
    from sim.numerics.check import check as compare

    with patience("compiling and running kernels") as advance:
        report = compare(kernels, threads=threads, seed=seed, progress=advance)
    if as_json:
        times = ("results.seconds", "results.interpreter_seconds", "results.ratio")
        emit(Form.JSON, report.summary(), [], Made(times=times))
    else:
        show(str(report))
    return 0 if report.ok else 1
