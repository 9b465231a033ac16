"""From a sequence of steps to a timed plan: runs and moves in parallel streams, each starting when it may.

A stream is a unit of compute, or one direction of the link to another tier. Steps of one stream keep their order;
across streams a step waits for what it reads and for room. What is dropped gives its room back once its last use and
any copy of it have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from einsum.errors import Infeasible
from sim.planner.problem import Move, Plan, Problem, Run, Stay, Task


@dataclass(frozen=True, slots=True)
class Step:
    """``run`` a task; ``out``, ``in`` or ``forget`` a buffer to, from or in another ``tier``; ``drop`` a buffer from
    the first tier."""

    kind: str
    name: str
    tier: str = ""


def timed(problem: Problem, steps: Iterable[Step], method: str = "", bound: float = 0.0) -> Plan:
    """The plan that the steps make when each starts as early as it may; its value is the end of the last of them.

    Raises :class:`Infeasible` where a step would wait for ever for room, naming the tier and the bytes short.
    """
    line = _Line(problem)
    for step in steps:
        getattr(line, f"_{step.kind}")(step)
    return line.plan(method, bound)


@dataclass
class _Space:
    """One tier's bytes in time; room is taken in order of time, and given back at any known time."""

    name: str
    capacity: float
    used: float = 0.0
    now: float = 0.0
    returns: list[tuple[float, float]] = field(default_factory=list)

    def take(self, size: float, at: float) -> float:
        """The earliest time from ``at`` on with room for ``size`` bytes, which are taken then."""
        self.now = max(self.now, at)
        while self.returns and (self.returns[0][0] <= self.now or self.used + size > self.capacity):
            when, back = heappop(self.returns)
            self.now = max(self.now, when)
            self.used -= back
        if self.used + size > self.capacity:
            raise Infeasible(f"{self.name}: {self.used + size - self.capacity:,.0f} bytes short of what the steps need "
                             f"(capacity {self.capacity:,.0f} bytes)")  # fmt: skip
        self.used += size
        return self.now

    def give(self, size: float, when: float) -> None:
        """Give ``size`` bytes back at a time."""
        heappush(self.returns, (when, size))


@dataclass
class _Held:
    """A copy of a buffer in a tier: since when room is taken, from when it can be read, until when it is in use."""

    start: float
    ready: float
    busy: float


class _Line:
    """The streams and tiers while steps are laid out."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.sizes = {b.name: b.size for b in problem.buffers}
        self.tasks = {t.name: t for t in problem.tasks}
        self.tiers = {t.name: t for t in problem.tiers}
        self.first = problem.tiers[0].name
        self.spaces = {t.name: _Space(t.name, t.capacity) for t in problem.tiers}
        self.held: dict[tuple[str, str], _Held] = {}
        self.left: dict[tuple[str, str], float] = {}  # until when a tier held the copy of a buffer that it gave up last
        self.free: dict[tuple[str, str], float] = {}  # when each stream is next free
        self.stays: list[Stay] = []
        self.runs: list[Run] = []
        self.moves: list[Move] = []
        wanted = {name for task in problem.tasks for name in task.reads} | set(problem.kept)
        for name in (n for n in problem.given if n in wanted):
            self._claim(name, self.first, 0.0, 0.0)

    def _claim(self, name: str, tier: str, at: float, seconds: float) -> float:
        """Take room for a copy that is ready ``seconds`` later; the time when it is taken."""
        start = self.spaces[tier].take(self.sizes[name], max(at, self.left.get((name, tier), 0.0)))
        self.held[name, tier] = _Held(start, start + seconds, start + seconds)
        return start

    def _release(self, name: str, tier: str, end: float | None = None) -> None:
        held = self.held.pop((name, tier))
        stop = held.busy if end is None else end
        self.spaces[tier].give(self.sizes[name], stop)
        self.left[name, tier] = stop
        if stop > held.start:
            self.stays.append(Stay(name, tier, held.start, stop))

    def _run(self, step: Step) -> None:
        task = self.tasks[step.name]
        stream = ("unit", task.unit)
        start = max([self.free.get(stream, 0.0), *(self.held[b, self.first].ready for b in task.reads)])
        start = self._results(task, start)
        stop = start + task.seconds
        for name in (*task.reads, *task.writes):
            self.held[name, self.first].busy = max(self.held[name, self.first].busy, stop)
        for name in task.writes:
            self.held[name, self.first].ready = stop
        self.free[stream] = stop
        self.runs.append(Run(task.name, start, stop))

    def _results(self, task: Task, start: float) -> float:
        """Take room for a task's results, one after the other; when all have it."""
        new = [n for n in task.writes if (n, self.first) not in self.held]
        for name in new:
            start = self._claim(name, self.first, start, 0.0)
        for name in new:
            self.held[name, self.first].start = start
        for name in task.writes:  # written over only when nobody reads it any more
            start = max(start, self.held[name, self.first].busy if name not in new else start)
        return start

    def _out(self, step: Step) -> None:
        self._copy(step, self.first, step.tier, self.tiers[step.tier].write)

    def _in(self, step: Step) -> None:
        self._copy(step, step.tier, self.first, self.tiers[step.tier].read)

    def _copy(self, step: Step, source: str, target: str, rate: float) -> None:
        """Copy a buffer from tier to tier at so many bytes a second, once its stream and it are free and there is
        room."""
        here, stream = self.held[step.name, source], (step.tier, step.kind)
        seconds = self.sizes[step.name] / rate
        start = self._claim(step.name, target, max(self.free.get(stream, 0.0), here.ready), seconds)
        here.busy = max(here.busy, start + seconds)
        self.free[stream] = start + seconds
        self.moves.append(Move(step.name, source, target, start, start + seconds))

    def _drop(self, step: Step) -> None:
        self._release(step.name, self.first)

    def _forget(self, step: Step) -> None:
        self._release(step.name, step.tier)

    def plan(self, method: str, bound: float) -> Plan:
        """Everything laid out so far; what is still held stays to the end."""
        end = max([0.0, *(r.stop for r in self.runs), *(m.stop for m in self.moves)])
        for name, tier in list(self.held):
            self._release(name, tier, max(end, self.held[name, tier].busy))
        stays = tuple(sorted(self.stays, key=lambda s: (s.start, s.buffer, s.tier)))
        floor = min(bound, end)
        return Plan(self.problem.name, "time", end, floor, end <= floor * (1 + 1e-9), method, 0.0,
                    stays, tuple(self.runs), tuple(self.moves))  # fmt: skip


def dropping(problem: Problem, steps: Iterable[Step]) -> Iterator[Step]:
    """Runs and copies with each value dropped from the first tier after its last use, and forgotten elsewhere after
    its last way back."""
    tasks = {t.name: t for t in problem.tasks}
    wanted, back = set(problem.kept), set[str]()
    reverse: list[Step] = []
    for step in reversed(list(steps)):
        task = tasks[step.name] if step.kind == "run" else None
        here = (*task.reads, *task.writes) if task else (step.name,)
        ends = [name for name in dict.fromkeys(here) if name not in wanted]
        reverse += [Step("drop", name) for name in reversed(ends)]
        if step.kind == "in" and step.name not in back:
            reverse.append(Step("forget", step.name, step.tier))
            back.add(step.name)
        reverse.append(step)
        wanted -= set(task.writes) if task else {step.name} if step.kind == "in" else set()
        wanted |= set(task.reads) if task else {step.name} if step.kind == "out" else set()
    yield from reversed(reverse)
