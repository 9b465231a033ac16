"""The least recomputation that fits a budget: quick schedules, annealing, programmes of a few cuts, and Checkmate's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from time import monotonic

from einsum.errors import Infeasible, WeirError
from sim.planner import checkmate, cuts
from sim.planner.check import check
from sim.planner.cuts import Cuts
from sim.planner.evict import best, evict, scores, trim
from sim.planner.graph import Graph, graph, peak, spent, within
from sim.planner.milp import TOLERANCE, Progress, Solved, Unfinished
from sim.planner.problem import Plan, Problem
from sim.planner.reordering import anneal
from sim.planner.timeline import Step, dropping, timed

Heard = Callable[[str, float, float], None]  # the method at work; the best so far and the bound, in plain passes
LARGE = 200  # tasks beyond which Checkmate's programme is too large
CUTS = (1, 4, 8)  # of the programmes, one after another
SQUEEZED = 20_000_000  # runs and operands gone through where eviction finds nothing: a quarter of a second
ANNEALED = 150_000_000  # and from what is known: two seconds, each time
ROUNDS = 3
ADVICE = 5.0  # seconds at most to find what would do when nothing fits


@dataclass(frozen=True, slots=True)
class Found:
    """An order of runs, how it was found, and seconds that no other can do without."""

    order: tuple[int, ...]
    method: str
    bound: float  # over schedules in Checkmate's stages
    floor: float = 0.0  # over all whose tasks first run in the order listed
    notes: tuple[str, ...] = ()  # what came to nothing, and why

    def noted(self, why: object) -> Found:
        """With one more note."""
        return replace(self, notes=(*self.notes, str(why)))


def rematerialise(
    problem: Problem, *, seconds: float = 60.0, solver: str = "highs", heard: Heard | None = None
) -> Plan:  # fmt: skip
    """The plan of least compute seconds whose bytes fit the first tier, tasks dropped values and computed them anew.

    Tasks first run in the order listed, and so bound and proof are over such schedules; where Checkmate's programme is
    what bounds, earlier tasks run again between two of them at most once, in that order too. A quicker schedule that
    leaves these stages carries the bound that holds without them. Every plan is checked. ``heard`` is told which method
    begins, or goes on, and the least seconds so far and certain, in plain passes. Raises :class:`Infeasible`
    with the least budget found when nothing fits, :class:`WeirError` for a bad problem.
    """
    began = monotonic()
    made = graph(problem)
    if heard is not None:
        heard("eviction", inf, 1.0)
    found = improve(made, quick(made), seconds, solver, heard)
    beyond = spent(made, found.order) < found.bound * (1 - 1e-9)
    plan = timed(problem, steps(made, found.order), found.method, found.floor if beyond else found.bound)
    check(problem, plan)
    return replace(plan, seconds=monotonic() - began, notes=found.notes)


def quick(made: Graph) -> Found | None:
    """A schedule by eviction, else by annealing; None where neither finds one that fits."""
    _fits(made)
    heuristic = best(made) or squeezed(made)
    return heuristic and Found(tuple(heuristic[1]), heuristic[0], made.once, made.once)


def squeezed(made: Graph) -> tuple[str, list[int]] | None:
    """A schedule by annealing from the plain order, however much too large that is; None where none fits."""
    order = anneal(made, range(len(made.reads)), SQUEEZED)
    return ("annealing", trim(made, order)) if order else None


def _fits(made: Graph) -> None:
    if made.least > made.budget:
        raise Infeasible(f"{made.problem.name}: one task alone needs {made.least:,.0f} bytes, "
                         f"{made.budget:,.0f} are given; {smallest(made).fits:,.0f} would do")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Least:
    """Bytes for which a schedule is found, those below which none can be or was found, and the seconds it took."""

    fits: int
    below: int
    seconds: float = 0.0

    @property
    def near(self) -> bool:
        """Whether the two are apart by no more than one part in a hundred."""
        return self.fits - self.below <= max(self.fits // 100, 1)


def smallest(made: Graph, seconds: float = ADVICE, told: Callable[[Least], None] | None = None) -> Least:
    """The least budget for which eviction or annealing finds a schedule, by bisection to one part in a hundred.

    What is known after ``seconds``, at the latest; ``told`` hears of every step.
    """
    anneal(made, range(len(made.reads)), 0)  # compiled, or loaded, before the clock starts
    found, began = Least(made.full, made.least), monotonic()
    while not found.near:
        middle = (found.below + found.fits) // 2
        fits = next((one for one in attempt(made, middle) if one or monotonic() > began + seconds), False)
        if not fits and monotonic() > began + seconds:
            break
        found = replace(found, fits=middle) if fits else replace(found, below=middle)
        if told is not None:
            told(found)
    return replace(found, seconds=monotonic() - began)


def attempt(made: Graph, budget: float) -> Iterator[bool]:
    """Whether each score, and then annealing, finds a schedule within ``budget`` bytes."""
    tried = within(made, budget)
    for _, score in scores(tried):
        yield evict(tried, score) is not None
    yield squeezed(tried) is not None


def improve(made: Graph, known: Found | None, seconds: float, solver: str, heard: Heard | None) -> Found:
    """The best that the programmes find in ``seconds``, never worse than what is known.

    Raises :class:`Infeasible` where nothing is known and nothing is found.
    """
    if known and spent(made, known.order) <= made.once:
        return known
    ends = monotonic() + seconds
    found, floor = known, made.once
    for count in CUTS:
        if found and monotonic() > ends:
            break
        _tell(heard, f"{count} cuts" if count > 1 else "one cut", made, found, floor)
        found, bound = _cut(made, found, count, _left(ends) / 3, solver)
        floor = max(floor, bound)
        if found and (least := spent(made, found.order)) <= floor * (1 + TOLERANCE):  # all that a solver proves
            return replace(found, bound=least, floor=least)
        if found and count == CUTS[0]:
            _tell(heard, "annealing", made, found, floor)
            found = _annealed(made, found, _left(ends) / 3)
    if len(made.reads) <= LARGE and not (found and monotonic() > ends):
        found = _staged(made, found, _left(ends), solver, progress(heard, "Checkmate", floor / (made.once or 1.0)))
    if not found:
        raise _nothing(made, False)
    return replace(found, bound=max(found.bound, floor), floor=floor)


def _tell(heard: Heard | None, doing: str, made: Graph, found: Found | None, floor: float) -> None:
    """Tell what begins, and what is known."""
    if heard is not None:
        once = made.once or 1.0
        heard(doing, spent(made, found.order) / once if found else inf, floor / once)


def progress(heard: Heard | None, doing: str, floor: float = 1.0) -> Progress | None:
    """What a solver of plain passes is to tell, for one who hears which method is at work."""
    if heard is None:
        return None
    return lambda _, best, bound: heard(doing, best, max(bound, floor))


def _left(ends: float) -> float:
    """Seconds until then; a little more than none, which a solver takes for no limit."""
    return max(ends - monotonic(), 0.01)


def _annealed(made: Graph, known: Found, seconds: float) -> Found:
    """The best that annealing finds, round after round from the best so far."""
    for seed in range(ROUNDS):
        order = anneal(made, known.order, ANNEALED, seconds / ROUNDS, seed)
        if order:
            other = Found(tuple(trim(made, order)), "annealing", known.bound)
            known = _better(made, known, other) or known
    return known


def _cut(made: Graph, known: Found | None, count: int, seconds: float, solver: str) -> tuple[Found | None, float]:
    """The programme of so many cuts: a schedule by evicting what it does not keep, where that is better than what is
    known, and seconds that no schedule can do without."""
    at = cuts.moments(made, count)
    try:
        c, solved = _solved(made, at, known, seconds, solver)
    except Infeasible:
        raise _nothing(made, True) from None
    except Unfinished as why:
        return known and known.noted(why), made.once
    rounded = best(made, iter([("", cuts.kept_by(c, solved.values))]))
    what = f"eviction of what {len(c.at)} cuts do not keep, {solver}"
    return _better(made, known, rounded and Found(tuple(rounded[1]), what, made.once)), solved.bound * made.once


def _solved(made: Graph, at: Sequence[int], known: Found | None, seconds: float, solver: str) -> tuple[Cuts, Solved]:
    """The programme of cuts solved, or only its relaxation where time is too short for more."""
    c = cuts.build(made, at)
    try:
        start = cuts.start_of(c, known.order) if known else None
        return c, c.model.solve(seconds=seconds, start=start, solver=solver)
    except Unfinished:
        c = cuts.build(made, at, relaxed=True)
        return c, c.model.solve(seconds=seconds, solver=solver)


def _better(made: Graph, known: Found | None, other: Found | None) -> Found | None:
    """The quicker of two schedules; the known one of two alike. What was noted of either stands."""
    both = [found for found in (known, other) if found]
    best = min(both, key=lambda found: spent(made, found.order), default=None)
    return best and replace(best, notes=tuple(dict.fromkeys(note for found in both for note in found.notes)))


def _staged(made: Graph, known: Found | None, seconds: float, solver: str, told: Progress | None) -> Found | None:
    """Checkmate's programme from what is known."""
    s = checkmate.build(made)
    start = checkmate.start_of(s, known.order) if known else None
    try:
        solved = s.model.solve(seconds=seconds, start=start, solver=solver, progress=told)
    except WeirError as why:  # no better answer in time (or none at all in stages): what is known stands
        if known is None:
            raise _nothing(made, isinstance(why, Infeasible)) from None
        return known.noted(why)
    order, bound = checkmate.order_of(s, solved.values), solved.bound * made.once
    if peak(made, order) > made.budget:  # within our tolerance too, which is none
        return known and replace(known, bound=bound)
    found = _better(made, known, Found(tuple(trim(made, order)), f"Checkmate, {solver}", bound))
    return found and replace(found, bound=bound)


def _nothing(made: Graph, proven: bool) -> Infeasible:
    no = "no schedule fits" if proven else "no schedule found in"
    return Infeasible(f"{made.problem.name}: {no} {made.budget:,.0f} bytes; {smallest(made).fits:,.0f} would do")


def steps(made: Graph, order: Sequence[int]) -> Iterable[Step]:
    """An order of runs as steps: each value dropped after its last use."""
    return dropping(made.problem, (Step("run", made.problem.tasks[task].name) for task in order))
