"""Whether a plan is what it claims to be: replayed and added up here, sharing no code with any solver.

What is where: a stay holds its bytes from its start to its stop, also while a run still writes them or a move still
brings them. What it holds: a buffer's content has versions, one more with each task that writes it in the order the
problem lists; a read needs the version of the last writer listed before the reader, so that a stale copy is found out.
A buffer that no task writes and that is not given arrives from outside at the start of each of its live intervals.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from operator import attrgetter

from sim.planner.problem import Buffer, Move, Plan, Problem, Run, Stay, Task, Tier

TOLERANCE = 1e-9  # of the plan's length: moments that are nearer are one moment


class WrongPlan(ValueError):  # noqa: N818  what it is, as a reader would say it
    """A plan that breaks a rule of its problem or claims what is not so: a mistake of whoever made it."""


def check(problem: Problem, plan: Plan) -> None:
    """Raise :class:`WrongPlan`, saying what is wrong first, unless the plan keeps every rule and its claims hold."""
    known = _Known(problem, plan)
    known.names_exist()
    _live_intervals_are_covered(known)
    _addresses(known)
    _capacities(known)
    _one_at_a_time(known)
    _durations(known)
    _replay(known)
    _claims(known)


class _Held:
    """A stay by the numbers of its moments, and what it holds: a version, or nothing whole while that is changed."""

    __slots__ = ("changes", "start", "stay", "stop")

    def __init__(self, stay: Stay, start: int, stop: int) -> None:
        self.stay, self.start, self.stop = stay, start, stop
        self.changes: tuple[tuple[int, int, int], ...] = ()  # from, to, and then it is this version

    def version(self, start: int, stop: int) -> int | None:
        """The version held unchanged from one moment to another, if there is one."""
        before = [c for c in self.changes if c[1] <= start]
        disturbed = any(c[0] < stop and c[1] > start for c in self.changes)
        return None if disturbed or not before else max(before, key=lambda c: c[:2])[2]


@dataclass
class _Known:
    """A problem and a plan with what both are asked for again and again; moments are numbered in their order."""

    problem: Problem
    plan: Plan
    buffers: dict[str, Buffer] = field(init=False)
    tasks: dict[str, Task] = field(init=False)
    first: str = field(init=False)
    stays: dict[tuple[str, str], list[_Held]] = field(init=False)  # by buffer and tier, in order of time
    inside: dict[str, list[_Held]] = field(init=False)  # by tier, as they start; those of no length left out

    def __post_init__(self) -> None:
        self.buffers = {b.name: b for b in self.problem.buffers}
        self.tasks = {t.name: t for t in self.problem.tasks}
        self.first = self.problem.tiers[0].name
        self._number(self._times())
        self.stays, self.inside, moments = defaultdict(list), defaultdict(list), self.moments
        for stay in sorted(self.plan.stays, key=attrgetter("start")):
            held = _Held(stay, moments[stay.start], moments[stay.stop])
            self.stays[stay.buffer, stay.tier].append(held)
            if held.start < held.stop:
                self.inside[stay.tier].append(held)

    def _times(self) -> list[float]:
        plan = self.plan
        events: list[Stay | Run | Move] = [*plan.stays, *plan.runs, *plan.moves]
        spans = [(e.start, e.stop) for e in events]
        for start, stop in spans:
            if not -inf < start <= stop < inf:
                raise WrongPlan(f"a span from {start} to {stop}")
        spans += [span for b in self.problem.buffers for span in b.live]
        return sorted({time for span in spans for time in span})

    def _number(self, times: list[float]) -> None:
        self.slack = TOLERANCE * (times[-1] - times[0]) if times else 0.0
        self.moments: dict[float, int] = {}
        number, last = -1, -inf
        for time in times:
            number += time - last > self.slack
            self.moments[time], last = number, time

    def at(self, time: float) -> int:
        """The number of a moment: what floating point tells apart by its last digits is one."""
        return self.moments[time]

    def events(self, tier: str) -> Iterator[tuple[_Held, bool]]:
        """Beginnings and ends of the stays in a tier in order of time, ends first; a stay of no length is none."""
        starting, ending = self.inside[tier], sorted(self.inside[tier], key=attrgetter("stop"))
        ended = 0
        for held in starting:
            while ending[ended].stop <= held.start:
                yield ending[ended], False
                ended += 1
            yield held, True
        yield from ((held, False) for held in ending[ended:])

    def during(self, event: Run | Move, name: str, tier: str) -> list[_Held]:
        """The stays of a buffer in a tier that last all the time of a run or a move."""
        start, stop = self.at(event.start), self.at(event.stop)
        return [h for h in self.stays.get((name, tier), ()) if h.start <= start and stop <= h.stop]

    def names_exist(self) -> None:
        """Nothing is mentioned that the problem does not have; the plan is for this problem."""
        plan, tiers = self.plan, {t.name for t in self.problem.tiers}
        _must(plan.problem == self.problem.name, f"the plan is for {plan.problem!r}, not {self.problem.name!r}")
        named = {s.buffer for s in plan.stays} | {m.buffer for m in plan.moves}
        used = {s.tier for s in plan.stays} | {t for m in plan.moves for t in (m.source, m.target)}
        for what, names, there in (
            ("buffer", named, self.buffers),
            ("tier", used, tiers),
            ("task", {run.task for run in plan.runs}, self.tasks),
        ):
            _must(names <= set(there), f"no {what} {min(names - set(there), default='')!r}")


def _must(holds: object, otherwise: str) -> None:
    if not holds:
        raise WrongPlan(otherwise)


def _live_intervals_are_covered(known: _Known) -> None:
    """Each live interval lies within one stay, hence at one address, in a tier that the buffer may be in."""
    for buffer in known.problem.buffers:
        stays = [h for tier in buffer.tiers or (known.first,) for h in known.stays.get((buffer.name, tier), ())]
        for start, stop in buffer.live:
            low, high = known.moments[start], known.moments[stop]
            if not any(h.start <= low and high <= h.stop for h in stays):
                raise WrongPlan(f"{buffer.name} is not kept over its live interval [{start}, {stop})")


def _addresses(known: _Known) -> None:
    """In a tier with addresses every stay has one, aligned, below the capacity, and no two share a byte at a time."""
    for tier in known.problem.tiers:
        stays = [s for s in known.plan.stays if s.tier == tier.name]
        if all(s.offset is None for s in stays):
            continue
        for stay in stays:
            buffer, offset = known.buffers[stay.buffer], stay.offset
            if offset is None or offset < 0 or offset % buffer.align or offset + buffer.size > tier.capacity:
                raise WrongPlan(_misplaced(buffer, offset, tier))
        _no_overlap(known, tier.name)
    for (name, tier_name), own in known.stays.items():
        for before, after in pairwise(own):
            _must(before.stop <= after.start, f"{name} is in {tier_name} twice at once, at {after.stay.start}")


def _misplaced(buffer: Buffer, offset: int | None, tier: Tier) -> str:
    """What is wrong with an offset."""
    if offset is None:
        return f"{buffer.name} has no offset in {tier.name}, where others have"
    if offset < 0:
        return f"{buffer.name} is at the negative offset {offset}"
    if offset % buffer.align:
        return f"{buffer.name} at {offset} is not aligned to {buffer.align}"
    return f"{buffer.name} ends beyond the capacity of {tier.name}"


def _no_overlap(known: _Known, tier: str) -> None:
    """Sweep over time; what is resident is disjoint, so only its neighbours in address can be in a newcomer's way."""
    resident: list[int] = []  # offsets, in order
    whose: dict[int, tuple[int, str]] = {}  # by offset: where it ends, and the buffer
    for held, begins in known.events(tier):
        stay, offset = held.stay, held.stay.offset or 0
        end = offset + known.buffers[stay.buffer].size
        if end == offset:
            continue
        place = bisect_left(resident, offset)
        if not begins:
            del resident[place]
            continue
        if place and whose[resident[place - 1]][0] > offset:
            raise WrongPlan(_shared(stay, whose[resident[place - 1]][1]))
        if place < len(resident) and resident[place] < end:
            raise WrongPlan(_shared(stay, whose[resident[place]][1]))
        resident.insert(place, offset)
        whose[offset] = end, stay.buffer


def _shared(stay: Stay, other: str) -> str:
    return f"{stay.buffer} and {other} share addresses of {stay.tier} at {stay.start}"


def _most(known: _Known, tier: str) -> tuple[int, float]:
    """The most bytes that a tier holds at once, and when it first does."""
    held, most, when = 0, 0, 0.0
    for one, begins in known.events(tier):
        size = known.buffers[one.stay.buffer].size
        held += size if begins else -size
        if held > most:
            most, when = held, one.stay.start
    return most, when


def _capacities(known: _Known) -> None:
    """At no moment does a tier hold more bytes than its capacity."""
    for tier in known.problem.tiers:
        most, when = _most(known, tier.name)
        _must(most <= tier.capacity, f"{tier.name} holds {most} bytes at {when}, {tier.capacity} is its capacity")


def _one_at_a_time(known: _Known) -> None:
    """A unit runs one task at a time; a link carries one copy at a time in each direction."""
    queues: dict[str, list[Run | Move]] = defaultdict(list)
    for run in known.plan.runs:
        queues[f"unit {known.tasks[run.task].unit}"].append(run)
    for move in known.plan.moves:
        queues[f"link {move.source} to {move.target}"].append(move)
    for name, queue in queues.items():
        queue.sort(key=lambda e: (known.at(e.start), known.at(e.stop)))
        for before, after in pairwise(queue):
            _must(known.at(before.stop) <= known.at(after.start), f"{name} does two things at once at {after.start}")


def _durations(known: _Known) -> None:
    """No run is shorter than its task's work, no move faster than its link."""
    tiers = {t.name: t for t in known.problem.tiers}
    for run in known.plan.runs:
        needs = known.tasks[run.task].seconds
        _must(run.stop - run.start >= needs - known.slack, f"{run.task} at {run.start} is shorter than its {needs} s")
    for move in known.plan.moves:
        ends = (move.source, move.target)
        linked = ends.count(known.first) == 1
        _must(linked, f"{move.buffer}: no link from {move.source} to {move.target}, only to and from {known.first}")
        rate = tiers[move.target].write if move.source == known.first else tiers[move.source].read
        needs = known.buffers[move.buffer].size / rate
        late = move.stop - move.start >= needs - known.slack
        _must(late, f"{move.buffer} moves from {move.source} to {move.target} at {move.start} faster than the link")


def _replay(known: _Known) -> None:
    """Every task runs, reading what it should; every stay has its content from somewhere; what is kept is there."""
    ran = {run.task for run in known.plan.runs}
    for task in known.problem.tasks:
        _must(task.name in ran, f"{task.name} never runs")
    writers: dict[str, list[str]] = defaultdict(list)
    for task in known.problem.tasks:
        for name in task.writes:
            writers[name].append(task.name)
    _from_outside(known, writers)
    places = {task.name: place for place, task in enumerate(known.problem.tasks)}
    _write(known, writers)
    for move in sorted(known.plan.moves, key=lambda m: (known.at(m.stop), known.at(m.start))):
        _moved(known, move)
    for run in known.plan.runs:
        for name in known.tasks[run.task].reads:
            wanted = sum(places[w] < places[run.task] for w in writers.get(name, ()))
            _read(known, run, name, wanted)
    _every_stay_holds_something(known)
    _kept(known, writers)


def _from_outside(known: _Known, writers: dict[str, list[str]]) -> None:
    """What is given is there at the start; what nobody writes arrives with its live interval, at the same address."""
    begin = min(known.moments.values(), default=0)
    given = set(known.problem.given)
    for name in given:
        for held in known.stays.get((name, known.first), ())[:1]:
            _must(held.start == begin, f"{name} is given, but not in {known.first} from the start")
            held.changes += ((begin, begin, 0),)
    for buffer in known.problem.buffers:
        if buffer.name in given or buffer.name in writers:
            continue
        for tier in buffer.tiers or (known.first,):
            _arrives(known, buffer, known.stays.get((buffer.name, tier), ()))


def _arrives(known: _Known, buffer: Buffer, own: Sequence[_Held]) -> None:
    offsets = set()
    for held in own:
        for start, _ in buffer.live:
            moment = known.moments[start]
            if held.start <= moment < held.stop:
                held.changes += ((moment, moment, 0),)
                offsets.add(held.stay.offset)
    _must(len(offsets) <= 1, f"{buffer.name} has several addresses in one tier, and nothing moves it")


def _write(known: _Known, writers: dict[str, list[str]]) -> None:
    """What runs write is whole when they stop, in a stay that lasts all that time."""
    for run in known.plan.runs:
        for name in known.tasks[run.task].writes:
            there = known.during(run, name, known.first)
            _must(there, f"{run.task} at {run.start} writes {name}, which has no room in {known.first} all that time")
            version = writers[name].index(run.task) + 1
            there[0].changes += ((known.at(run.start), known.at(run.stop), version),)


def _moved(known: _Known, move: Move) -> None:
    """A copy starts from whole content that stays until it ends, and goes to a stay that lasts as long."""
    start, stop = known.at(move.start), known.at(move.stop)
    sources = known.during(move, move.buffer, move.source)
    versions = [v for h in sources if (v := h.version(start, stop)) is not None]
    _must(versions, f"{move.buffer} at {move.start} moves from {move.source}, which does not hold it all that time")
    targets = known.during(move, move.buffer, move.target)
    _must(targets, f"{move.buffer} at {move.start} moves to {move.target}, which has no room for it all that time")
    targets[0].changes += ((start, stop, versions[0]),)


def _read(known: _Known, run: Run, name: str, wanted: int) -> None:
    """What a run reads is whole, and the right version, until it stops (its own writing apart)."""
    start, stop = known.at(run.start), known.at(run.stop)
    if name in known.tasks[run.task].writes:
        stop = start
    found = [h.version(start, stop) for h in known.during(run, name, known.first)]
    whole = any(v is not None for v in found)
    _must(whole, f"{run.task} at {run.start} reads {name}, which is not whole in {known.first} all that time")
    _must(wanted in found, f"{run.task} at {run.start} reads a version of {name} that is not the one it needs")


def _every_stay_holds_something(known: _Known) -> None:
    for (name, tier), own in known.stays.items():
        for held in own:
            if not held.changes:
                raise WrongPlan(f"{name} in {tier} from {held.stay.start}: nothing brings its content")


def _kept(known: _Known, writers: dict[str, list[str]]) -> None:
    """What must be there at the end is, in a tier it may be in, as last written."""
    ends = _ends(known.plan)
    end = known.at(max(ends)) if ends else max(known.moments.values(), default=0)
    for name in known.problem.kept:
        tiers = known.buffers[name].tiers or (known.first,)
        there = [h for tier in tiers for h in known.stays.get((name, tier), ()) if h.stop >= end]
        whole = any(h.version(end, end) == len(writers.get(name, ())) for h in there)
        _must(whole, f"{name} must be kept, and is not there at the end as last written")


def _claims(known: _Known) -> None:
    """The value is what the plan comes to, no bound is above it, and what is proven meets its bound."""
    plan = known.plan
    value = _value(known)
    near = 1e-9 * max(1.0, abs(value)) if plan.objective == "peak" else max(known.slack, 1e-9 * abs(value))
    _must(abs(plan.value - value) <= near, f"the plan claims a {plan.objective} of {plan.value}; it is {value}")
    _must(plan.bound <= plan.value + near, f"the bound {plan.bound} is above the value {plan.value}")
    met = not plan.proven or plan.value <= plan.bound + near
    _must(met, f"called proven, but its value {plan.value} is above the bound {plan.bound}")


def _value(known: _Known) -> float:
    """Bytes of the first tier (the highest address where there are any), or seconds to the end of all work."""
    plan = known.plan
    if plan.objective == "peak":
        stays = [s for s in plan.stays if s.tier == known.first]
        tops = [s.offset + known.buffers[s.buffer].size for s in stays if s.offset is not None]
        return float(max(tops)) if tops else float(_most(known, known.first)[0])
    if plan.objective == "time":
        return max(_ends(plan), default=0.0)
    raise WrongPlan(f"cannot check an objective {plan.objective!r}; peak and time can be")


def _ends(plan: Plan) -> list[float]:
    return [run.stop for run in plan.runs] + [move.stop for move in plan.moves]
