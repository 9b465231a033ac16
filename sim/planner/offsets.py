"""Offsets for buffers with given live intervals: heuristics, then search, then a mixed-integer programme.

Each stage starts from the best placement so far and can only improve it. A placement as low as the most that is live at
once is optimal; else what the search or the solver exhausts proves it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import count
from math import isfinite

import numpy as np

from einsum import Infeasible, WeirError
from sim.planner import fit, orders, search, stacking, valleys
from sim.planner.check import check
from sim.planner.halting import until
from sim.planner.milp import SOLVERS, Progress, Unfinished
from sim.planner.packing import Ints, Packing, pack
from sim.planner.problem import Plan, Problem, validate

ORDERINGS = ("TWA", "AWT", "WTA", "TAW", "WAT", "ATW")
MOST_BYTES = 1 << 62  # of all buffers together, so that ends fit 64 bits
LARGEST = 3000  # buffers that are searched; the search's memory grows with their square
SHALLOW = 1.5  # choices that a short search may make, for each buffer: what succeeds hardly ever turns back
SHORTEST = 100  # choices of the shortest
DEEPEST = 100_000  # choices of one search at most: a second or two
LATE = 300_000  # choices after which a search for what fits a capacity begins to look for a proof that nothing does
ADVICE = 5.0  # seconds at most to find what would do when nothing fits
PATIENCE = 50  # passes in other orders without a lower placement
PROMOTING = 0.1  # of the time for first fit in other orders, before a search
FADING = 0.98  # of blame from one attempt to the next
NOISE = 0.1  # by which blame is scattered, as the deviation of its logarithm: attempts must not run in circles
VALLEYS = 3  # choices in valleys for one of the other search; each takes half its time or less
LONGER = 3  # times the length of a short search, for one of valleys: what it learns of a moment it uses at once
SCATTER = 0.1  # of all places, by which buffers leave theirs in an ordering for valleys
SHARE, MOST = 0.5, 0.85  # of the time for the search, where a solver goes on with few pairs, or many


def plan(
    problem: Problem, *, seconds: float = 60.0, minimise: bool | None = None, solver: str = "highs",
    progress: Progress | None = None,
) -> Plan:  # fmt: skip
    """Where each buffer of the first tier is, over the live intervals it comes with.

    With a capacity the first placement that fits is the answer, unless ``minimise``; without one the lowest is sought.
    ``progress`` is told seconds, height and bound whenever one of the two is better. An interrupt ends the work; what
    was found is the answer. Raises :class:`Infeasible`, naming what would do, when nothing fits or none was found.
    """
    _checked(problem, seconds, solver)
    packing = pack(problem)
    _compile(packing)
    capacity = problem.tiers[0].capacity
    lowest = not isfinite(capacity) if minimise is None else minimise
    work = _Work(packing, seconds, lowest, solver, progress)
    if work.bound * packing.unit <= capacity:
        _until_interrupted(work)
    if work.bound * packing.unit > capacity:  # seen at once, or proven by the search: say what would do
        work.lowest, work.seconds = True, min(work.elapsed + ADVICE, seconds)
        _until_interrupted(work)
    if work.height * packing.unit > capacity:
        raise Infeasible(_too_small(work), work.height * packing.unit / max(capacity, 1))
    found = packing.plan(work.best, work.bound, work.method, work.elapsed, proven=work.bound == work.height)
    check(problem, found)
    return found


def _until_interrupted(work: _Work) -> None:
    try:
        _place(work)
    except KeyboardInterrupt:
        if not work.best.size:
            raise
        work.method += ", interrupted"


@dataclass
class _Work:
    """The best placement so far and what is known of better ones, in units."""

    packing: Packing
    seconds: float
    lowest: bool
    solver: str
    progress: Progress | None
    best: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    height: int = 1 << 62
    bound: int = field(init=False)
    method: str = ""
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.bound = self.packing.bound

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @property
    def room(self) -> int:
        """The capacity."""
        capacity = self.packing.problem.tiers[0].capacity
        return int(capacity // self.packing.unit) if isfinite(capacity) else 1 << 62

    @property
    def done(self) -> bool:
        """Whether nothing better is wanted, or can be."""
        decided = self.height <= self.room or self.bound > self.room
        return self.height <= self.bound or (not self.lowest and decided)

    def take(self, found: Ints, method: str) -> None:
        """Keep a placement if it is whole (not broken off) and the lowest so far."""
        if found.size < self.packing.shape.size.size:
            return
        height = self.packing.height(found)
        if height < self.height:
            self.best, self.height, self.method = found, height, method
            self.tell()

    def raise_bound(self, bound: int) -> None:
        """No placement is below ``bound``."""
        if bound > self.bound:
            self.bound = min(bound, self.height)
            self.tell()

    def tell(self) -> None:
        if self.progress is not None:
            self.progress(self.elapsed, self.height * self.packing.unit, self.bound * self.packing.unit)


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


def _compile(packing: Packing) -> None:
    """Have the kernels compiled (or loaded) before the clock starts."""
    one, go = pack(replace(packing.problem, buffers=packing.problem.buffers[:1])), np.zeros(1, np.int64)
    for attempt in _tries(one):
        attempt(go)
    if one.buffers:
        shape, table, rank = one.shape, search.overlaps(one.shape), np.zeros(1, np.int64)
        blame = np.zeros(shape.moments, np.int64)
        stacking.height(shape.size, shape.align)
        search.place(shape, table, rank, one.bound, 10, np.zeros(2, np.int64), 0, True, blame, go)
        valleys.place(shape, table, rank, one.bound, 10, blame, False, go)


def _place(work: _Work) -> None:
    """Every stage in turn, as long as a better placement is wanted and there is time."""
    small = len(work.packing.buffers) <= LARGEST
    _greedy(work)
    if work.done:
        return
    if not small or work.lowest:
        _promote(work, work.seconds * (PROMOTING if small else 1.0))
    if not small or work.done:
        return
    table = search.overlaps(work.packing.shape)
    pairs = int(np.triu(table, 1).sum())
    share = 1.0 if not work.lowest or pairs > orders.LARGEST else SHARE if pairs <= orders.SMALL else MOST
    _search(work, table, work.seconds * share)
    if not work.done and share < 1 and work.elapsed < work.seconds:
        _solve(work, table, "ordering" if pairs <= orders.SMALL else "big-m")


def _solve(work: _Work, table: np.ndarray, formulation: str) -> None:
    """Hand the best placement to the solver; where it has nothing to say, the method says why."""
    try:
        better, bound = orders.improve(
            work.packing, table, work.best, seconds=work.seconds - work.elapsed, solver=work.solver,
            formulation=formulation, progress=_scaled(work),
        )  # fmt: skip
    except Unfinished as error:
        work.method += f"; {error}"
        return
    work.take(better, f"{work.solver} from {work.method}")
    work.raise_bound(bound)


def _scaled(work: _Work) -> Progress | None:
    """The solver's progress in bytes and the whole work's seconds."""
    if work.progress is None:
        return None
    tell, unit = work.progress, work.packing.unit
    return lambda _, height, bound: tell(work.elapsed, min(height, work.height) * unit, max(bound, work.bound) * unit)


def _greedy(work: _Work) -> None:
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


def _promote(work: _Work, seconds: float) -> None:
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


def _search(work: _Work, table: np.ndarray, seconds: float) -> None:
    """Search a little under one ordering after the other, forward and backward in time, most searches short.

    From the second round on, what was live where things did not fit comes first: the blame of earlier attempts under
    the same ordering (others' would mislead), which slowly fades. Lengths follow Luby, Sinclair and Zuckerman (1993),
    within a factor of the best for any distribution of what is needed. Now and then one search goes as far as all
    before together, so that small problems are exhausted.
    """
    if not work.packing.buffers:
        return
    short = _short(work.packing)
    effort = _Effort(work.packing, table, seconds, short=short, deep=0 if work.lowest else LATE)
    for attempt in count():
        target = _target(work, attempt)
        if work.done or work.elapsed > seconds:
            return
        turn, by = divmod(attempt, len(ORDERINGS))
        _try(work, effort, ORDERINGS[by], target, min(short * luby(turn + 1), DEEPEST), backward=turn % 2 == 1)
        _look_into_valleys(work, effort, target)
        if effort.is_due():
            _try(work, effort, ORDERINGS[by], _deep_target(work), min(effort.spent, DEEPEST), backward=False)
            _try_valleys(work, effort, _deep_target(work), VALLEYS * min(effort.spent, DEEPEST))


def _short(packing: Packing) -> int:
    """The choices of a short search."""
    return max(SHORTEST, int(SHALLOW * len(packing.buffers)))


def _look_into_valleys(work: _Work, effort: _Effort, target: int) -> None:
    """Searches of the other kind, until they have had their share."""
    while not work.done and work.elapsed < effort.seconds and effort.valleys < VALLEYS * effort.spent:
        length = LONGER * effort.short * luby(effort.turns // (2 * len(ORDERINGS)) + 1)
        _try_valleys(work, effort, target, min(length, VALLEYS * DEEPEST))


def _try_valleys(work: _Work, effort: _Effort, target: int, limit: int) -> None:
    """One search of valleys under a scattered ordering, its find or proof kept; every other round weighs blame."""
    turn, by = divmod(effort.turns, len(ORDERINGS))
    rank, shape = effort.scattered(ORDERINGS[by]), effort.packing.shape
    kernel = partial(valleys.place, shape, effort.table, rank, target, limit, effort.crowded, turn % 2 == 1)
    status, choices, found = until(kernel, effort.seconds - work.elapsed)
    effort.turns += 1
    effort.valleys += int(choices) + 1
    _keep(work, status, found, target)


def luby(turn: int) -> int:
    """1, 1, 2, 1, 1, 2, 4, ...: the lengths of restarts by Luby, Sinclair and Zuckerman, from the first turn (1)."""
    while turn & (turn + 1):
        turn -= (1 << (turn.bit_length() - 1)) - 1
    return (turn + 1) // 2


@dataclass
class _Effort:
    """What earlier searches leave to later ones: choices made, blame by ordering, and room to work in."""

    packing: Packing
    table: np.ndarray
    seconds: float  # when to end, by the clock of the work
    short: int
    deep: int  # choices from which on a deep search is due
    spent: int = 0
    blame: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict)
    memory: Ints = field(default_factory=lambda: np.zeros(1 << 14, np.int64))
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    scatter: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    turns: int = 0  # searches of valleys
    valleys: int = 0  # choices they made
    crowded: Ints = field(init=False)  # how often nothing fitted in one, by moment

    def __post_init__(self) -> None:
        self.crowded = np.zeros(self.packing.shape.moments, np.int64)

    @cached_property
    def shapes(self) -> tuple[search.Shape, search.Shape]:
        """Forward and backward in time."""
        return self.packing.shape, self.packing.backward

    def rank(self, by: str, blame: np.ndarray) -> Ints:
        """Each buffer's place in the ordering."""
        scattered = blame * np.exp(NOISE * self.draw.standard_normal(blame.size)) if blame.any() else None
        order = self.packing.order(by, scattered)
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        return rank

    def scattered(self, by: str) -> Ints:
        """Each buffer's place in an ordering; from the second round on about where it was."""
        count = len(self.packing.buffers)
        place = np.argsort(self.packing.order(by)).astype(float)
        if self.turns >= len(ORDERINGS):
            place += self.scatter.normal(0, SCATTER * count, count)
        return np.argsort(np.argsort(place)).astype(np.int64)

    def is_due(self) -> bool:
        """Whether as much was spent again as when the last deep search began."""
        if self.spent < self.deep or self.spent < self.short:
            return False
        self.deep = 4 * self.spent
        return True


def _target(work: _Work, attempt: int) -> int:
    """The height to try: the capacity, or in turn the bound and half way from it to the best."""
    if not work.lowest:
        return work.room
    return work.bound if attempt // len(ORDERINGS) % 4 < 2 else (work.bound + work.height) // 2


def _deep_target(work: _Work) -> int:
    return work.height - 1 if work.lowest else work.room


def _try(work: _Work, effort: _Effort, by: str, target: int, limit: int, *, backward: bool) -> None:
    """One search, its find or proof kept, and where it did not fit."""
    moments = effort.packing.shape.moments
    blame = effort.blame.setdefault((by, target <= work.bound), np.zeros(moments))
    rank, seen = effort.rank(by, blame), np.zeros(moments, np.int64)
    effort.memory[:] = 0
    shape = effort.shapes[backward]
    kernel = partial(search.place, shape, effort.table, rank, target, limit, effort.memory, 0, True, seen)
    status, choices, found = until(kernel, effort.seconds - work.elapsed)
    effort.spent += int(choices)
    blame *= FADING
    blame += seen[::-1] if backward else seen
    _keep(work, status, found, target)


def _keep(work: _Work, status: int, found: Ints, target: int) -> None:
    if status == search.FOUND:
        work.take(found, "search")
    elif status == search.IMPOSSIBLE:
        work.raise_bound(target + 1)


def _too_small(work: _Work) -> str:
    """What to say when nothing fits, and what would."""
    packing, problem = work.packing, work.packing.problem
    capacity, height, least = problem.tiers[0].capacity, work.height * packing.unit, work.bound * packing.unit
    if least > capacity:
        moment = "at once" if work.bound == packing.bound else "in any placement"
        why = f"nothing fits in {capacity:.0f} bytes: at least {least} are needed {moment}"
    else:
        why = f"no placement within {capacity:.0f} bytes was found in {work.elapsed:.1f} s, nor that there is none"
        why += f" (at least {least} are needed)"
    smallest = " is the smallest that" if work.bound == work.height else ""
    return f"{problem.name}: {why}; {height}{smallest} would do"
