"""Overhead against memory, for ``weir plan --curve``; and the pictures of schedules."""

from __future__ import annotations

from math import isfinite
from typing import Any

from einsum import WeirError
from sim.cli import ask
from sim.cli.data import Form, emit, save
from sim.cli.patience import patience
from sim.cli.plan_asked import Asked
from sim.cli.text import Sheet, show
from sim.manifest import Made
from sim.units import fmt


def files(asked: Asked) -> None:
    """Refuse files that could not be written."""
    ask.writable(asked.save, (".json",), "--save")
    ask.writable(asked.plot, (".png", ".svg", ".pdf"), "--plot")


def curved(problem: Any, asked: Asked, form: Form, notes: tuple[str, ...] = ()) -> None:
    """Print, save and draw what a graph's budget costs in seconds."""
    from sim.planner.curves import curve

    if asked.objective not in (None, "time"):
        raise WeirError(f"--objective {asked.objective!r:.40}: a curve is of time against memory")
    with patience(f"planning {asked.what}") as told:
        table = curve(problem, seconds=asked.seconds, solver=asked.solver, told=told)
    figures, made = _figures(problem, table), Made(asked.solver)
    if form is Form.TEXT:
        show(*_text(problem, figures, notes))
    else:
        emit(form, figures, figures["rows"], made)
    if asked.save is not None:
        save(asked.save, "save", figures, made)
    if asked.plot is not None:
        _saved(asked.plot, table)


def _figures(problem: Any, table: Any) -> dict[str, Any]:
    """The curve under stable names."""
    from sim.planner.graph import graph

    made = graph(problem)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return {
        "schema": "weir.curve/1", "problem": problem.name, "tasks": len(made.reads), "seconds": made.once,
        "everything_kept": made.full, "capacity": problem.tiers[0].capacity,
        "interrupted": len(rows) < table.attrs["wanted"], "coarse": table.attrs["coarse"], "rows": rows,
    }  # fmt: skip


def _text(problem: Any, figures: dict[str, Any], notes: tuple[str, ...]) -> tuple[Sheet | str, ...]:
    ways = "computed again or copied to the host" if len(problem.tiers) > 1 else "computed again"
    head = (
        f"{figures['problem']}: {figures['tasks']} tasks, {fmt(figures['seconds'], 's')} once\n"
        f"keeping everything takes {fmt(figures['everything_kept'], 'B')}; what is over a budget is {ways}\n"
    )
    cells = tuple(_row(row) for row in figures["rows"])
    columns = ("budget", "of everything", "overhead", "at least", "peak", "found by")
    if isfinite(figures["capacity"]):
        notes = (f"there is room for {fmt(figures['capacity'], 'B')}", *notes)
    if figures["coarse"]:
        notes = ("time was too short to find the least budget: fewer bytes may do; give --seconds more", *notes)
    if figures["interrupted"]:
        notes = ("interrupted: larger budgets were not planned", *notes)
    return head, Sheet("", columns, cells, right=(0, 1, 2, 3, 4), notes=notes)


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    budget, share = fmt(row["budget"], "B"), f"{row['share']:.0%}"
    if row["overhead"] is None:
        return budget, share, "nothing fits", "", "", ""
    least = "proven" if row["proven"] else f"{row['bound']:.2%}"
    return budget, share, f"{row['overhead']:.2%}", least, fmt(row["peak"], "B"), row["method"]


def _saved(path: str, table: Any) -> None:
    pyplot = _pyplot()
    from sim.plot import plans

    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    plans.overhead(table, axes)
    figure.savefig(path)
    pyplot.close(figure)


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot

    return pyplot


def draw(path: str | None, problem: Any, found: Any, seconds: float) -> None:
    """Draw a plan: streams and bytes over time, and overhead against budget where there is no second tier."""
    if path is None:
        return
    pyplot = _pyplot()
    from sim.planner.curves import curve
    from sim.plot import plans

    count = 2 if len(problem.tiers) > 1 else 3
    figure, axes = pyplot.subplots(count, 1, figsize=(9, 3 * count), layout="constrained")
    plans.streams(problem, found, axes[0])
    plans.resident(problem, found, axes[1])
    if count == 3:
        plans.overhead(curve(problem, seconds=seconds), axes[2])
    figure.savefig(path)
    pyplot.close(figure)
