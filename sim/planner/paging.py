"""Paging and recomputation together, as a mixed-integer programme (POET, Patil et al., ICML 2022, with Checkmate's
stages): a value that is dropped comes back by running its task again or by a copy from a second tier.

Transfers are fluid within the programme: a stage lasts as long as its runs, and as what the link moves each way in it.
Each buffer goes out once and comes back once. The schedule that is made of an answer moves whole buffers one after
another beside the work; its own length is what counts, so the programme's optimum is no proof for it. The bound
comes from another programme (:mod:`sim.planner.transfers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from time import monotonic

from einsum.errors import Infeasible, WeirError
from sim.planner.check import check
from sim.planner.checkmate import Stages, accounted, continued, needed, written
from sim.planner.evict import next_use
from sim.planner.graph import Graph, graph
from sim.planner.milp import Model, Progress, Row, Variable, total
from sim.planner.problem import Plan, Problem
from sim.planner.rematerialise import LARGE, Heard, progress, rematerialise
from sim.planner.timeline import Step, dropping, timed
from sim.planner.transfers import bound

SOME = 1e-6  # of a buffer: less than that was not moved
TRIALS = 200_000  # steps laid out in search of earlier fetches: some seconds


@dataclass
class Paged(Stages):
    """Stages with transfers: ``out[t, b]`` and ``fetch[t, b]`` (fractions moved in stage t), ``room[t, b]`` (held for
    what is coming), ``arrive[t, b]`` (whole at the end of stage t), ``span[t]`` (a stage's length in plain passes)."""

    out: dict[tuple[int, int], Variable] = field(default_factory=dict)
    fetch: dict[tuple[int, int], Variable] = field(default_factory=dict)
    room: dict[tuple[int, int], Variable] = field(default_factory=dict)
    arrive: dict[tuple[int, int], Variable] = field(default_factory=dict)
    span: list[Variable] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        graph, model = self.graph, self.model
        for t, b in self.hold:
            if (t + 1, b) not in self.keep:
                continue
            # What stays to a stage's end is no longer all that the next one starts with.
            self.hold[t, b][-1] = model.number(f"tail_{t}_{b}", 0, 1)
            self.out[t, b] = model.number(f"out_{t}_{b}", 0, 1)
            self.fetch[t, b] = model.number(f"fetch_{t}_{b}", 0, 1)
            self.room[t, b] = model.number(f"room_{t}_{b}", 0, 1)
            if t + 1 in graph.users[b]:
                self.arrive[t, b] = model.binary(f"arrive_{t}_{b}")
        self.span = [model.number(f"span_{t}") for t in range(len(graph.reads))]

    def kept(self, name: str) -> Variable:
        """What goes out piece by piece is resident as a whole meanwhile: a binary."""
        return self.model.binary(name)

    def sofar(self, what: Mapping[tuple[int, int], Variable], t: int, b: int) -> Variable:
        """What has been moved of a buffer up to and in a stage."""
        return total(what[u, b] for u in range(t + 1) if (u, b) in what)

    @property
    def reserved(self) -> Mapping[tuple[int, int], Variable]:
        """Room beside what is resident, by stage and buffer."""
        return self.room


def joined(s: Paged) -> Iterator[Row]:
    """A stage starts with what stayed and what arrived: keep[t + 1] <= tail + arrive."""
    for t, b in s.out:
        yield s.keep[t + 1, b] <= s.hold[t, b][-1] + s.arrive.get((t, b), 0.0)


def sent(s: Paged) -> Iterator[Row]:
    """Only what is there from a stage's start to its end goes out in it, once: out <= keep[t], out <= keep[t + 1]."""
    for (t, b), out in s.out.items():
        yield out <= s.before(t, b)
        yield out <= s.keep[t + 1, b]
        yield s.sofar(s.out, t, b) <= 1


def brought(s: Paged) -> Iterator[Row]:
    """What comes back has gone out before, and has room from its first byte until it is whole: fetch <= room <= out so
    far, room[t + 1] >= room[t] - arrive[t]; it arrives once, whole: sum of arrive <= sum of fetch."""
    for (t, b), fetch in s.fetch.items():
        yield fetch <= s.room[t, b]
        yield s.room[t, b] <= s.sofar(s.out, t - 1, b)
        yield s.sofar(s.arrive, t, b) <= s.sofar(s.fetch, t, b)
        yield s.sofar(s.arrive, t, b) <= 1
        if (t, b) in s.arrive:
            yield s.arrive[t, b] <= s.room[t, b]
        if (t + 1, b) in s.room:
            yield s.room[t + 1, b] >= s.room[t, b] - s.arrive.get((t, b), 0.0)


def housed(s: Paged) -> Iterator[Row]:
    """The second tier holds what went out and has not come back: sum of size (out - arrived before) <= its capacity."""
    capacity = s.graph.problem.tiers[1].capacity
    if not isfinite(capacity):
        return
    for t in range(len(s.graph.reads)):
        yield total(
            size / capacity * (s.sofar(s.out, t, b) - s.sofar(s.arrive, t - 1, b))
            for b, size in enumerate(s.graph.sizes)
        ) <= 1  # fmt: skip


def lasting(s: Paged) -> Iterator[Row]:
    """A stage lasts as long as its runs, and as each direction of the link: span >= seconds, span >= bytes / rate."""
    graph, tier = s.graph, s.graph.problem.tiers[1]
    for t, span in enumerate(s.span):
        yield span >= total(graph.seconds[i] / graph.once * s.runs(t, i) for i in range(t + 1))
        for what, rate in ((s.out, tier.write), (s.fetch, tier.read)):
            moved = [(size, what[t, b]) for b, size in enumerate(graph.sizes) if (t, b) in what]
            yield span >= total(size / rate / graph.once * part for size, part in moved)


def build(graph: Graph) -> Paged:
    """The programme that minimises the stages' lengths together."""
    s = Paged(graph, Model(f"{graph.problem.name}: paging".replace(" ", "_")))
    for family in (written, continued, needed, accounted):
        s.model.add(family.__name__, family(s))
    for more in (joined, sent, brought, housed, lasting):
        s.model.add(more.__name__, more(s))
    s.model.minimise(total(s.span))
    return s


def steps_of(s: Paged, values: Mapping[str, float]) -> list[Step]:
    """An answer as steps: a copy goes out from the first stage of its last stretch of residency that moves some of it,
    and is fetched from the first stage that does."""
    tasks, buffers = s.graph.problem.tasks, s.graph.problem.buffers
    tier = s.graph.problem.tiers[1].name
    back = {b for (t, b), v in s.arrive.items() if values[v.name] > 0.5}
    begins = {b: min(t for (t, c), v in s.fetch.items() if c == b and values[v.name] > SOME) for b in back}
    leaves = {b: _leaves(s, values, b) for b in back}
    found: list[Step] = []
    for t in range(len(s.graph.reads)):
        found += [Step("out", buffers[b].name, tier) for b in sorted(back) if leaves[b] == t]
        found += [Step("in", buffers[b].name, tier) for b in sorted(back) if begins[b] == t]
        found += [Step("run", tasks[i].name) for i in range(t) if (t, i) in s.run and values[s.run[t, i].name] > 0.5]
        found.append(Step("run", tasks[t].name))
    return list(dropping(s.graph.problem, found))


def _leaves(s: Paged, values: Mapping[str, float], b: int) -> int:
    """The stage in which a buffer's copy begins."""
    stages = [t for (t, c), v in s.out.items() if c == b and values[v.name] > SOME]
    first = last = max(stages)
    while first > 0 and (first - 1, b) in s.out and _there(s, values, first - 1, b):
        first -= 1
    return min(t for t in stages if first <= t <= last)


def _there(s: Paged, values: Mapping[str, float], t: int, b: int) -> bool:
    keep = s.before(t, b)
    return bool((keep if isinstance(keep, float) else values[keep.name]) > 0.5)


@dataclass
class _Swapping:
    """A schedule that pages alone, while it is made: what is resident, and where a copy of it may go out."""

    made: Graph
    used: dict[int, int]  # resident buffers: the place in the steps after their last use
    away: set[int] = field(default_factory=set)  # have a copy in the second tier
    steps: list[Step] = field(default_factory=list)

    def add(self, kind: str, b: int, place: int) -> None:
        """Put a copy of a buffer among the steps."""
        self.steps.insert(place, Step(kind, self.made.problem.buffers[b].name, self.made.problem.tiers[1].name))

    def evict(self, task: int, wanted: set[int]) -> bool:
        """Whether there is room for what a task wants, once what is used again last has gone out."""
        made = self.made
        short = sum(made.sizes[b] for b in self.used.keys() | wanted) - made.budget
        for b in sorted(self.used.keys() - wanted, key=lambda b: (-next_use(made, b, task), b)):
            if short <= 0:
                break
            place = self.used.pop(b)
            short -= made.sizes[b]
            if next_use(made, b, task) < inf and b not in self.away:
                self.add("out", b, place)
                self.used = {c: p + (p >= place) for c, p in self.used.items()}
                self.away.add(b)
        return short <= 0

    def run(self, task: int, coming: list[int], wanted: set[int]) -> None:
        """Fetch what is missing, run, and forget what is not used again."""
        for b in coming:
            self.add("in", b, len(self.steps))
        self.steps.append(Step("run", self.made.problem.tasks[task].name))
        self.used |= dict.fromkeys(wanted, len(self.steps))
        for b in wanted:
            if next_use(self.made, b, task + 1) == inf:
                del self.used[b]


def swap(made: Graph) -> list[Step] | None:
    """A schedule that pages alone: what is used again last goes out when bytes run short, and comes back when it is
    wanted, as much earlier as there is room. None where that does not fit one of the tiers."""
    given = [b for b, w in enumerate(made.writer) if w < 0 and (made.users[b] or b in made.kept)]
    s = _Swapping(made, dict.fromkeys(given, 0))
    for task, (reads, writes) in enumerate(zip(made.reads, made.writes, strict=True)):
        wanted, coming = {*reads, *writes}, [b for b in reads if b not in s.used]
        if not s.evict(task, wanted) or any(b not in s.away for b in coming):
            return None
        s.run(task, coming, wanted)
    for b in (b for b in made.kept if b not in s.used):
        s.add("in", b, len(s.steps))
    return None if _length(made.problem, s.steps) == inf else _earlier(made.problem, s.steps)


def _earlier(problem: Problem, steps: list[Step]) -> list[Step]:
    """The steps with each fetch moved ahead of runs, as long as the schedule becomes no longer."""
    best, value = steps, _length(problem, steps)
    left = TRIALS // len(steps)
    for name in [step.name for step in steps if step.kind == "in"]:
        while left > 0:
            left -= 1
            place = max(i for i, step in enumerate(best) if step.kind == "in" and step.name == name)
            ahead = next((i for i in range(place - 1, -1, -1) if best[i].kind != "in"), -1)
            if ahead < 0 or (best[ahead].kind == "out" and best[ahead].name == name):
                break
            moved = [*best[:ahead], best[place], *best[ahead:place], *best[place + 1 :]]
            tried = _length(problem, moved)
            if tried > value:
                break
            best, value = moved, tried
    return list(dropping(problem, best))


def _length(problem: Problem, steps: list[Step]) -> float:
    try:
        return timed(problem, dropping(problem, steps)).value
    except Infeasible:
        return inf


def page(
    problem: Problem, *, seconds: float = 60.0, solver: str = "highs", heard: Heard | None = None
) -> Plan:  # fmt: skip
    """The shortest schedule found that recomputes, pages to the second tier, or both; never longer than recomputing
    alone or paging alone. The bound is over schedules whose tasks first run in the order listed
    (:mod:`sim.planner.transfers`).

    Raises :class:`Infeasible` when nothing fits the first tier, :class:`WeirError` without a second tier.
    """
    if len(problem.tiers) < 2:
        raise WeirError(f"{problem.name}: paging needs a second tier with its bandwidths")
    began, made = monotonic(), graph(problem)
    plans, refusals = list[Plan](), list[Infeasible]()
    try:
        plans.append(rematerialise(problem, seconds=seconds / 3, solver=solver, heard=heard))
    except Infeasible as why:
        refusals.append(why)
    swapped = swap(made) if made.least <= made.budget else None
    if swapped:
        plans.append(timed(problem, swapped, "paging what is used last", made.once))
    notes = tuple[str, ...]()
    if made.least <= made.budget and len(made.reads) <= LARGE and not any(p.value <= made.once for p in plans):
        found, notes = _programmed(made, seconds / 2, solver, progress(heard, "paging and recomputation"))
        plans += found
    if not plans:
        raise refusals[0]
    best = min(plans, key=lambda p: p.value)
    best = replace(best, notes=best.notes + notes)
    floor = min(bound(made, seconds / 6, solver) if best.value > made.once else made.once, best.value)
    best = replace(best, bound=floor, proven=best.value <= floor * (1 + 1e-12), seconds=monotonic() - began)
    check(problem, best)
    return best


def _programmed(
    made: Graph, seconds: float, solver: str, told: Progress | None
) -> tuple[list[Plan], tuple[str, ...]]:  # fmt: skip
    """The programme's schedule, or why there is none: not in time, or whole buffers do not fit where parts would."""
    s = build(made)
    try:
        solved = s.model.solve(seconds=seconds, solver=solver, progress=told)
    except WeirError as why:
        return [], (str(why),)
    method = f"paging and recomputation, {solver} ({solved.objective * made.once:.6g} s if transfers were fluid)"
    try:
        return [timed(made.problem, steps_of(s, solved.values), method, made.once)], ()
    except Infeasible as why:
        return [], (f"{solver} pages parts of buffers, and whole ones do not fit: {why}",)
