"""The least recomputation that fits a budget: a quick schedule, then Checkmate's programme, or its relaxation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from einsum.errors import Infeasible, WeirError
from sim.planner.checkmate import Stages, build, order_of, start_of
from sim.planner.evict import Score, best, scores, trim
from sim.planner.graph import Graph, graph, lives, peak, spent
from sim.planner.milp import Progress
from sim.planner.problem import Plan, Problem
from sim.planner.timeline import Step, timed

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
    too; the bound and the proof are over such schedules, and a plan may be quicker than the bound by leaving them.
    Raises :class:`Infeasible` with the least budget found when nothing fits, :class:`WeirError` for a bad problem.
    """
    began = monotonic()
    made = graph(problem)
    found = improve(made, quick(made, start), seconds, solver, progress)
    plan = timed(problem, steps(made, found.order), found.method, found.bound)
    return replace(plan, seconds=monotonic() - began)


def quick(made: Graph, start: Sequence[int] | None = None) -> Found:
    """A schedule by eviction, or ``start`` if that is better."""
    _fits(made)
    options = [(spent(made, start), "given", list(start))] if start and peak(made, start) <= made.budget else []
    heuristic = best(made)
    if heuristic:
        options.append((spent(made, heuristic[1]), *heuristic))
    if not options:
        raise Infeasible(f"{made.problem.name}: no schedule found in {made.budget:,.0f} bytes; "
                         f"{smallest(made):,.0f} would do")  # fmt: skip
    _, method, order = min(options)
    return Found(tuple(order), method, made.once)


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
    from sim.planner.evict import evict

    tried = within(made, budget)
    for _, score in scores(tried):
        yield evict(tried, score) is not None


def within(made: Graph, budget: float) -> Graph:
    """The same graph with another capacity of its first tier."""
    first, *rest = made.problem.tiers
    return replace(made, problem=replace(made.problem, tiers=(replace(first, capacity=budget), *rest)))


def improve(made: Graph, known: Found, seconds: float, solver: str, progress: Progress | None) -> Found:
    """The best that the programme finds in ``seconds``, never worse than what is known."""
    if spent(made, known.order) <= made.once or len(made.reads) > HUGE:
        return known
    if len(made.reads) > LARGE:
        return _guided(made, known, seconds, solver)
    s = build(made)
    try:
        solved = s.model.solve(seconds=seconds, start=start_of(s, known.order), solver=solver, progress=progress)
    except Infeasible:
        raise
    except WeirError as why:  # no better answer in time: what is known stands, and says so
        return replace(known, method=f"{known.method}; {why}")
    order = order_of(s, solved.values)
    bound = solved.bound * made.once
    if peak(made, order) > made.budget:  # within the solver's tolerance, not within ours
        order = list(known.order)
    options = [(spent(made, o), m, o) for m, o in (
        (f"Checkmate, {solver}", trim(made, order)), (f"{known.method}, Checkmate's bound", list(known.order))
    )]  # fmt: skip
    _, method, order = min(options)
    return Found(tuple(order), method, bound)


def _guided(made: Graph, known: Found, seconds: float, solver: str) -> Found:
    """Two-phase rounding: the relaxation says what is worth keeping, eviction follows it and stays within the budget."""
    s = build(made, relaxed=True)
    try:
        solved = s.model.solve(seconds=seconds, solver=solver)
    except Infeasible:
        raise
    except WeirError as why:
        return replace(known, method=f"{known.method}; {why}")
    order = best(made, iter([("relaxation", kept_by(s, solved.values))]))
    bound = max(made.once, solved.bound * made.once)
    options = [(spent(made, known.order), known.method, list(known.order))]
    if order:
        options.append((spent(made, order[1]), "Checkmate's relaxation rounded by eviction", order[1]))
    _, method, runs = min(options)
    return Found(tuple(runs), method, bound)


def kept_by(s: Stages, values: Any) -> Score:
    """A score that drops what the relaxation keeps least over the stages to its next use."""

    def score(buffer: int, task: int, resident: frozenset[int]) -> float:
        variable = s.keep.get((task + 1, buffer))
        return -values[variable.name] if variable is not None and not isinstance(variable, float) else 0.0

    return score


def steps(made: Graph, order: Sequence[int]) -> Iterable[Step]:
    """An order of runs as steps: each value dropped after its last use."""
    problem, end = made.problem, len(order) - 1
    gone: dict[int, list[int]] = {}
    for buffer, _, last in lives(made, order):
        if last < end:
            gone.setdefault(last, []).append(buffer)
    for place, task in enumerate(order):
        yield Step("run", problem.tasks[task].name)
        for buffer in gone.get(place, ()):
            yield Step("drop", problem.buffers[buffer].name)
