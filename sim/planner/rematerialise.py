"""The least recomputation that fits a budget: a quick schedule, then Checkmate's programme, or its relaxation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from einsum.errors import Infeasible, WeirError
from sim.planner.check import check
from sim.planner.checkmate import Stages, build, order_of, start_of
from sim.planner.evict import Score, best, evict, scores, trim
from sim.planner.graph import Graph, graph, peak, spent, within
from sim.planner.milp import Progress
from sim.planner.problem import Plan, Problem
from sim.planner.timeline import Step, dropping, timed

LARGE = 200  # tasks beyond which the programme is only solved as a relaxation that guides the eviction
HUGE = 400  # and beyond which not even that pays


@dataclass(frozen=True, slots=True)
class Found:
    """An order of runs, how it was found, and seconds that no order can do without."""

    order: tuple[int, ...]
    method: str
    bound: float


def rematerialise(
    problem: Problem, *, seconds: float = 60.0, solver: str = "highs", progress: Progress | None = None,
    start: Sequence[int] | None = None,
) -> Plan:  # fmt: skip
    """The plan of least compute seconds whose bytes fit the first tier, tasks dropped values and computed them anew.

    Tasks first run in the order listed, and between two of them any earlier ones run again at most once, in that order
    too: the programme's bound and proof are over such schedules. A quicker one that leaves them carries the bound that
    holds for all, every task once. Every plan is checked. Raises :class:`Infeasible` with the least budget found when
    nothing fits, :class:`WeirError` for a bad problem.
    """
    began = monotonic()
    made = graph(problem)
    found = improve(made, quick(made, start), seconds, solver, progress)
    beyond = spent(made, found.order) < found.bound * (1 - 1e-9)
    plan = timed(problem, steps(made, found.order), found.method, made.once if beyond else found.bound)
    check(problem, plan)
    return replace(plan, seconds=monotonic() - began)


def curve(problem: Problem, budgets: Iterable[float], *, seconds: float = 60.0, solver: str = "highs") -> Any:
    """Overhead (seconds beyond one plain pass, as a fraction of it) against bytes: a DataFrame, one row a budget.

    ``seconds`` is for all budgets together. A schedule that fits a smaller budget is where the next larger one starts,
    so the overhead never rises with the budget; a budget that nothing fits has ``nan``.
    """
    import pandas as pd

    made, start = graph(problem), None
    rows: list[dict[str, Any]] = []
    wanted = sorted(budgets)
    for budget in wanted:
        tried = within(made, budget)
        try:
            found = improve(tried, quick(tried, start), seconds / len(wanted), solver, None)
        except Infeasible:
            rows.append({"budget": budget, "share": budget / made.full})
            continue
        start = found.order
        over, floor = spent(made, start) / made.once - 1, max(found.bound / made.once - 1, 0.0)
        rows.append({"budget": budget, "share": budget / made.full, "overhead": over, "bound": min(over, floor),
                     "peak": peak(made, start), "method": found.method})  # fmt: skip
    return pd.DataFrame(rows, columns=["budget", "share", "overhead", "bound", "peak", "method"])


def quick(made: Graph, start: Sequence[int] | None = None) -> Found | None:
    """A schedule by eviction, or ``start`` if that is better; None where neither fits."""
    _fits(made)
    options = [(spent(made, start), "given", list(start))] if start and peak(made, start) <= made.budget else []
    heuristic = best(made)
    if heuristic:
        options.append((spent(made, heuristic[1]), *heuristic))
    return Found(tuple(min(options)[2]), min(options)[1], made.once) if options else None


def _fits(made: Graph) -> None:
    if made.least > made.budget:
        raise Infeasible(f"{made.problem.name}: one task alone needs {made.least:,.0f} bytes, "
                         f"{made.budget:,.0f} are given; {smallest(made):,.0f} would do")  # fmt: skip


def smallest(made: Graph) -> int:
    """The least budget for which eviction finds a schedule, to one part in a hundred."""
    low, high = made.least, made.full
    while high - low > max(high // 100, 1):
        middle = (low + high) // 2
        fits = any(attempt(made, middle))
        low, high = (low, middle) if fits else (middle, high)
    return high


def attempt(made: Graph, budget: float) -> Iterator[bool]:
    """Whether each score finds a schedule within ``budget`` bytes."""
    tried = within(made, budget)
    for _, score in scores(tried):
        yield evict(tried, score) is not None


def improve(made: Graph, known: Found | None, seconds: float, solver: str, progress: Progress | None) -> Found:
    """The best that the programme finds in ``seconds``, never worse than what is known.

    Raises :class:`Infeasible` where nothing is known and nothing is found.
    """
    if known and (spent(made, known.order) <= made.once or len(made.reads) > HUGE):
        return known
    large = len(made.reads) > LARGE
    s = build(made, relaxed=large)
    start = start_of(s, known.order) if known and not large else None
    try:
        solved = s.model.solve(seconds=seconds, start=start, solver=solver, progress=progress)
    except WeirError as why:  # no better answer in time (or none at all in stages): what is known stands
        if known is None:
            raise _nothing(made, isinstance(why, Infeasible)) from None
        return replace(known, method=f"{known.method}; {why}")
    options = [(spent(made, known.order), known.method, list(known.order))] if known else []
    if large:
        rounded = best(made, iter([("", kept_by(s, solved.values))]))
        if rounded:
            options.append((spent(made, rounded[1]), "Checkmate's relaxation rounded by eviction", rounded[1]))
    elif peak(made, order := order_of(s, solved.values)) <= made.budget:  # within our tolerance too, which is none
        order = trim(made, order)
        options.append((spent(made, order), f"Checkmate, {solver}", order))
    if not options:
        raise _nothing(made, False)
    _, method, runs = min(options)
    return Found(tuple(runs), method, max(made.once, solved.bound * made.once))


def _nothing(made: Graph, proven: bool) -> Infeasible:
    no = "no schedule fits" if proven else "no schedule found in"
    return Infeasible(f"{made.problem.name}: {no} {made.budget:,.0f} bytes; {smallest(made):,.0f} would do")


def kept_by(s: Stages, values: Any) -> Score:
    """A score that drops what the relaxation keeps least over the stages to its next use."""

    def score(buffer: int, task: int, resident: frozenset[int]) -> float:
        variable = s.keep.get((task + 1, buffer))
        return -values[variable.name] if variable is not None and not isinstance(variable, float) else 0.0

    return score


def steps(made: Graph, order: Sequence[int]) -> Iterable[Step]:
    """An order of runs as steps: each value dropped after its last use."""
    return dropping(made.problem, (Step("run", made.problem.tasks[task].name) for task in order))
