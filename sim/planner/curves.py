"""Overhead against bytes: a graph scheduled within one budget after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from einsum.errors import Infeasible
from sim.planner.graph import graph, within
from sim.planner.paging import page
from sim.planner.problem import Plan, Problem
from sim.planner.rematerialise import Heard, Least, rematerialise, smallest
from sim.units import fmt

POINTS = 7
SEEKING = 0.25  # of the time, at most, for the least budget
MET = 1 + 1e-9  # seconds that are nearer are the same
Told = Callable[[int, int, str], None]  # budgets done, of how many, and what is being done


def budgets(least: float, full: float, points: int = POINTS) -> list[float]:
    """So many budgets from the least for which a schedule is found to what keeping everything takes, bytes."""
    return [float(round(b)) for b in np.linspace(least, full, points)]


def curve(
    problem: Problem, tried: Iterable[float] | None = None, *, seconds: float = 60.0, solver: str = "highs",
    told: Told | None = None,
) -> Any:  # fmt: skip
    """Overhead (seconds beyond one plain pass, as a fraction of it) against bytes: a DataFrame, one row a budget.

    Values are computed again, or paged where there is a second tier. ``seconds`` is for all budgets together, and for
    the least of them where none are ``tried`` (``attrs["coarse"]``: it could not be found to one part in a hundred).
    What fits a smaller budget fits the next larger one, so the overhead never rises with the budget; what a larger
    budget needs a smaller one needs too, and so with the bound; a budget that nothing fits has ``nan``. An interrupt
    ends it with the rows there are (``attrs["wanted"]`` counts all), and is raised only where there are none.
    """
    made, least = graph(problem), None
    if tried is None:
        least = smallest(made, seconds * SEEKING, _seeking(told))
        tried, seconds = budgets(least.fits, made.full), max(seconds - least.seconds, seconds * (1 - SEEKING))
    wanted = sorted(tried)
    rows: list[dict[str, Any]] = []
    try:
        for row in _rows(problem, wanted, seconds / max(len(wanted), 1), solver, told):
            rows.append(row)  # noqa: PERF402  an interrupt leaves those there are
    except KeyboardInterrupt:
        if not rows:
            raise
    table = _table(rows)
    table.attrs.update(wanted=len(wanted), coarse=least is not None and not least.near)
    return table


def _table(rows: list[dict[str, Any]]) -> Any:
    """The rows, what one says of another's bound put to use."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=["budget", "share", "overhead", "bound", "proven", "peak", "method"])
    table["bound"] = table.bound[::-1].cummax()[::-1].clip(upper=table.overhead)
    # A bound of more bytes may meet what fewer take, which is proven then.
    met = table.proven.eq(True) | (table.overhead + 1 <= (table.bound + 1) * MET)
    table["proven"] = met.where(table.overhead.notna(), None)
    return table


def _seeking(told: Told | None) -> Callable[[Least], None] | None:
    """What tells of the search for the least budget."""
    if told is None:
        return None
    told(0, POINTS, "seeking the least budget")
    return lambda least: told(0, POINTS, f"seeking the least budget: {fmt(float(least.fits), 'B')} will do")


def _rows(
    problem: Problem, wanted: list[float], seconds: float, solver: str, told: Told | None
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One budget after another, from the smallest."""
    made, make = graph(problem), page if len(problem.tiers) > 1 else rematerialise
    known: Plan | None = None
    for place, budget in enumerate(wanted):
        heard = _heard(told, place, len(wanted))
        try:
            found = make(within(made, budget).problem, seconds=seconds, solver=solver, heard=heard)
        except Infeasible:
            yield {"budget": budget, "share": budget / made.full}
            continue
        known = found if known is None or found.value <= known.value else _under(known, found.bound, made.once)
        over, floor = known.value / made.once - 1, max(known.bound / made.once - 1, 0.0)
        yield {"budget": budget, "share": budget / made.full, "overhead": over, "bound": min(over, floor),
               "proven": known.proven, "peak": used(problem, known), "method": known.method}  # fmt: skip


def _heard(told: Told | None, place: int, count: int) -> Heard | None:
    """What tells of the work on one budget of so many."""
    if told is None:
        return None
    told(place, count, f"budget {place + 1} of {count}")
    return lambda doing, best, least: told(place, count, f"budget {place + 1} of {count}: {said(doing, best, least)}")


def said(doing: str, best: float, least: float) -> str:
    """The method at work, the best so far and what is certain (in plain passes) in words."""
    over = f"{best - 1:.1%} over one pass" if isfinite(best) else "nothing fits yet"
    return f"{doing}; {over}, at least {max(least - 1, 0.0):.1%}"


def _under(known: Plan, bound: float, once: float) -> Plan:
    """A plan with the bound of a larger budget; of one plain pass where it is quicker than that allows, which is over
    schedules of another form then."""
    least = bound if bound <= known.value * MET else once
    return replace(known, bound=least, proven=known.value <= least * MET)


def used(problem: Problem, plan: Plan) -> int:
    """The most bytes of the first tier that a plan uses at once."""
    sizes, tier = {b.name: b.size for b in problem.buffers}, problem.tiers[0].name
    stays = [s for s in plan.stays if s.tier == tier]
    changes = sorted([(s.stop, -sizes[s.buffer]) for s in stays] + [(s.start, sizes[s.buffer]) for s in stays])
    return max(np.cumsum([size for _, size in changes]).tolist(), default=0)
