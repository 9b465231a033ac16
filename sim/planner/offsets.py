"""Offsets for buffers with given live intervals: heuristics, then searches, then a mixed-integer programme.

Each stage starts from the best placement so far and can only improve it. A placement as low as the most that is live at
once is optimal; else what the search or the solver exhausts proves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import isfinite

import numpy as np

from einsum import Infeasible, WeirError
from sim.planner import anneal, attempts, fit, orders, search, stacking, valleys
from sim.planner.attempts import Work
from sim.planner.check import check
from sim.planner.halting import until
from sim.planner.kernel import overlaps
from sim.planner.milp import SOLVERS, Progress, Unfinished
from sim.planner.packing import Ints, Laid, Packing, pack
from sim.planner.problem import Plan, Problem, validate

MOST_BYTES = 1 << 62  # of all buffers together, so that ends fit 64 bits
LARGEST = 3000  # buffers that are searched; the search's memory grows with their square
ADVICE = 5.0  # seconds at most to find what would do when nothing fits
PATIENCE = 50  # passes in other orders without a lower placement
PROMOTING = 0.1  # of the time for first fit in other orders, before a search
SHARE, MOST = 0.7, 0.85  # of the time for the search, where a solver goes on with few pairs, or many


def plan(
    problem: Problem, *, seconds: float = 60.0, minimise: bool | None = None, solver: str = "highs",
    progress: Progress | None = None,
) -> Plan:  # fmt: skip
    """Where each buffer of the first tier is, over the live intervals it comes with.

    With a capacity the first placement that fits is the answer, unless ``minimise``; without one the lowest is sought.
    ``progress`` is told seconds, height and bound whenever one of the two is better. An interrupt ends the work; what
    was found is the answer. Raises :class:`Infeasible`, naming what would do, when nothing fits or none was found.
    """
    return lay(problem, seconds=seconds, minimise=minimise, solver=solver, progress=progress).plan


def lay(
    problem: Problem, *, seconds: float = 60.0, minimise: bool | None = None, solver: str = "highs",
    progress: Progress | None = None,
) -> Laid:  # fmt: skip
    """The same with the buffers as arrays, from which more can be read."""
    _checked(problem, seconds, solver)
    _compile_greedy(packing := pack(problem))
    capacity = problem.tiers[0].capacity
    lowest = not isfinite(capacity) if minimise is None else minimise
    work = Work(packing, seconds, lowest, solver, progress)
    if work.bound * packing.unit <= capacity:
        _until_interrupted(work)
    if work.bound * packing.unit > capacity:  # seen at once, or proven by the search: say what would do
        work.lowest, work.seconds = True, min(work.elapsed + ADVICE, seconds)
        _until_interrupted(work)
    if work.height * packing.unit > capacity:
        raise Infeasible(_too_small(work), work.height * packing.unit / max(capacity, 1))
    found = packing.plan(work.best, work.bound, work.method, work.elapsed, proven=work.bound == work.height)
    check(problem, found)
    return Laid(packing, replace(found, notes=work.notes))


def _until_interrupted(work: Work) -> None:
    try:
        _place(work)
    except KeyboardInterrupt:
        if not work.best.size:
            raise
        work.method += ", interrupted"


def _checked(problem: Problem, seconds: float, solver: str) -> None:
    validate(problem)
    if not (isfinite(seconds) and seconds > 0):
        raise WeirError(f"seconds must be more than 0, not {seconds}")
    if solver not in SOLVERS:
        raise WeirError(f"no solver {solver!r}; there are {', '.join(SOLVERS)}")
    if (whole := sum(b.size + b.align for b in problem.buffers)) >= MOST_BYTES:
        raise WeirError(f"{problem.name}: sizes add up to {whole} bytes, beyond the {MOST_BYTES} that can be placed")
    for buffer in problem.buffers:
        if not buffer.live:
            raise WeirError(f"buffer {buffer.name!r} has no live interval: its place follows from a schedule first")
        if buffer.tiers and problem.tiers[0].name not in buffer.tiers:
            raise WeirError(f"buffer {buffer.name!r} may not be in {problem.tiers[0].name!r}, where offsets are sought")


def _compile_greedy(packing: Packing) -> None:
    """Have the kernels that place without looking back compiled (or loaded) before the clock starts."""
    for attempt in _tries(_first(packing)):
        attempt(np.zeros(1, np.int64))


def _first(packing: Packing) -> Packing:
    return pack(replace(packing.problem, buffers=packing.problem.buffers[:1]))


def _compile_searches(packing: Packing) -> None:
    """Have the kernels of the searches compiled, or loaded: a minute of work where that is the first time."""
    one, go = _first(packing), np.zeros(1, np.int64)
    if one.buffers:
        shape, table, rank = one.shape, overlaps(one.shape), np.zeros(1, np.int64)
        blame = np.zeros(shape.moments, np.int64)
        stacking.stacked(shape.size, shape.align)
        search.place(shape, table, rank, one.bound, 10, np.zeros(2, np.int64), 0, True, blame, go)
        valleys.place(shape, table, rank, one.bound, 10, blame, False, go)
        anneal.place(shape, table, rank, one.bound, 1, np.random.default_rng(0), go)


def _place(work: Work) -> None:
    """Every stage in turn, as long as a better placement is wanted and there is time."""
    small = len(work.packing.buffers) <= LARGEST
    _greedy(work)
    if not work.done:
        with work.aside():
            _compile_searches(work.packing)
        stacks = partial(stacking.lowest, work.packing.shape, work.packing.live)
        until(stacks, work.seconds - work.elapsed, work.raise_bound)
    if work.done:
        return
    if not small or work.lowest:
        _promote(work, work.seconds * (PROMOTING if small else 1.0))
    if not small or work.done:
        return
    table = overlaps(work.packing.shape)
    pairs = int(np.triu(table, 1).sum())
    share = 1.0 if not work.lowest or pairs > orders.LARGEST else SHARE if pairs <= orders.SMALL else MOST
    attempts.seek(work, table, work.seconds * share)
    if not work.done and share < 1 and work.elapsed < work.seconds:
        _solve(work, table, "ordering" if pairs <= orders.SMALL else "big-m")


def _solve(work: Work, table: np.ndarray, formulation: str) -> None:
    """Hand the best placement to the solver; where it has nothing to say, a note says why."""
    try:
        better, bound = orders.improve(
            work.packing, table, work.best, least=work.bound, seconds=work.seconds - work.elapsed, solver=work.solver,
            formulation=formulation, progress=_scaled(work),
        )  # fmt: skip
    except (Unfinished, Infeasible) as error:  # there is a placement, whatever a solver says
        work.notes += (f"{work.solver}: {error}" if isinstance(error, Infeasible) else str(error),)
        return
    work.take(better, f"{work.solver} from {work.method}")
    work.raise_bound(bound)


def _scaled(work: Work) -> Progress | None:
    """The solver's progress in bytes and the whole work's seconds."""
    if work.progress is None:
        return None
    tell, unit = work.progress, work.packing.unit
    return lambda _, height, bound: tell(work.elapsed, min(height, work.height) * unit, max(bound, work.bound) * unit)


def _greedy(work: Work) -> None:
    """The lowest of a few placements without looking back, while there is time."""
    for attempt in _tries(work.packing):
        until(attempt, work.seconds - work.elapsed, lambda found: work.take(found, "greedy"))
        if work.done:
            return


def _tries(packing: Packing) -> Iterator[Callable[[Ints], Ints]]:
    """First fit, skyline and best fit in a few orders; of many buffers only the first."""
    shape, large = packing.shape, len(packing.buffers) > LARGEST
    for by in ("Z",) if large else ("Z", "A", "W", "TWA"):
        yield partial(fit.fit, shape, packing.order(by), False)
    if not large:
        for by in ("W", "A", "Z"):
            yield partial(fit.skyline, shape, packing.order(by))
        yield partial(fit.fit, shape, packing.order("Z"), True)


def _promote(work: Work, seconds: float) -> None:
    """First fit again and again, what ended too high coming earlier each time, until time or patience is over."""
    shape, size = work.packing.shape, work.packing.shape.size
    weight, best, vain = np.ones(size.size), work.height, 0
    while not work.done and work.elapsed < seconds and vain < PATIENCE:
        order = np.argsort(-weight * size, kind="stable").astype(np.int64)
        found = until(partial(fit.fit, shape, order, False), seconds - work.elapsed)
        work.take(found, "first fit, reordered")
        high = found + size > work.bound
        weight[high] *= 1.5
        weight /= weight.max()
        best, vain = work.height, 0 if work.height < best else vain + 1


def _too_small(work: Work) -> str:
    """What to say when nothing fits, and what would."""
    packing, problem = work.packing, work.packing.problem
    capacity, height, least = problem.tiers[0].capacity, work.height * packing.unit, work.bound * packing.unit
    if least > capacity:
        moment = "at once" if work.bound == packing.live.max(initial=0) else "in any placement"
        why = f"nothing fits in {capacity:.0f} bytes: at least {least} are needed {moment}"
    else:
        why = f"no placement within {capacity:.0f} bytes was found in {work.elapsed:.1f} s, nor that there is none"
        why += f" (at least {least} are needed)"
    smallest = " is the smallest that" if work.bound == work.height else ""
    return f"{problem.name}: {why}; {height}{smallest} would do"
