"""What a memory plan is asked and what it answers: pure data, shared by every solver and by the checker.

Time is a number: steps where only their order matters (offsets of a given trace), seconds where work has a length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from math import inf, isfinite

from einsum import hint
from einsum.errors import raise_all


@dataclass(frozen=True, slots=True)
class Buffer:
    """``size`` bytes that must be resident over each half-open interval of ``live``; elsewhere it need not be.

    A buffer with no ``live`` is needed where tasks read or write it. ``tiers`` are where it may be while needed (empty:
    the first tier).
    """

    name: str
    size: int
    live: tuple[tuple[float, float], ...] = ()
    align: int = 1
    tiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tier:
    """A memory: bytes it holds, and bytes a second into it from the first tier and out of it to the first tier."""

    name: str
    capacity: float = inf
    write: float = inf
    read: float = inf


@dataclass(frozen=True, slots=True)
class Task:
    """Work of ``seconds`` that reads and writes whole buffers in the first tier; it may be run again."""

    name: str
    seconds: float = 1.0
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    unit: str = "compute"  # tasks of one unit run one at a time


@dataclass(frozen=True, slots=True)
class Problem:
    """Buffers, tiers (the first is where tasks work) and tasks, listed in an order that respects their dependences.

    ``given`` are resident in the first tier from the start, with no task that writes them; ``kept`` must be at the end.
    """

    name: str
    buffers: tuple[Buffer, ...]
    tiers: tuple[Tier, ...]
    tasks: tuple[Task, ...] = ()
    given: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stay:
    """A buffer resident in one tier over ``[start, stop)``, at a byte offset if the plan gives addresses."""

    buffer: str
    tier: str
    start: float
    stop: float
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a task; the same task may appear again, which is recomputation."""

    task: str
    start: float
    stop: float


@dataclass(frozen=True, slots=True)
class Move:
    """One copy of a whole buffer between two tiers, each link and direction carrying one copy at a time."""

    buffer: str
    source: str
    target: str
    start: float
    stop: float


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer: who stays where, what runs and what moves when, its value, and how good it is known to be.

    ``objective`` is ``peak`` (bytes of the first tier), ``time`` (seconds to the end of the last run or move) or
    ``dollars``. No plan of the kind that ``method`` names is below ``bound``; ``proven`` says that this one is optimal,
    by a finished search or because it meets the bound, never because a solver said so at its time limit. ``notes`` say
    what else was tried and why it came to nothing.
    """

    problem: str
    objective: str
    value: float
    bound: float
    proven: bool
    method: str
    seconds: float
    stays: tuple[Stay, ...] = ()
    runs: tuple[Run, ...] = ()
    moves: tuple[Move, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """How far the value may be above the best possible, as a fraction of the value."""
        return 0.0 if self.proven or self.value == self.bound else (self.value - self.bound) / abs(self.value)


def validate(problem: Problem) -> None:
    """Raise :class:`WeirError` with everything in a problem that makes no sense, a line each."""
    buffers, tiers = ({x.name for x in group} for group in (problem.buffers, problem.tiers))
    problems = [] if tiers else [f"{problem.name}: no tier; say where buffers may be"]
    for what, names in (
        ("buffer", [b.name for b in problem.buffers]),
        ("tier", [t.name for t in problem.tiers]),
        ("task", [t.name for t in problem.tasks]),
    ):
        problems += [f"{problem.name}: {what} {name!r} is there twice" for name, n in Counter(names).items() if n > 1]
    used = chain(problem.given, problem.kept, *((*t.reads, *t.writes) for t in problem.tasks))
    unknown = dict.fromkeys(name for name in used if name not in buffers)
    problems += [f"{problem.name}: no buffer {name!r}{hint(name, buffers)}" for name in unknown]
    problems += [f"{problem.name}: {wrong}" for b in problem.buffers for wrong in _senseless(b, tiers)]
    problems += [
        f"{problem.name}: tier {t.name!r} has a capacity of {t.capacity}, a rate of {t.write} in and {t.read} out"
        for t in problem.tiers
        if not (t.capacity >= 0 and t.write > 0 and t.read > 0)
    ]
    problems += [
        f"{problem.name}: task {t.name!r} takes {t.seconds} s"
        for t in problem.tasks
        if not (isfinite(t.seconds) and t.seconds >= 0)
    ]
    raise_all(problems)


def _senseless(buffer: Buffer, tiers: set[str]) -> Iterator[str]:
    """What is wrong with one buffer."""
    if buffer.size < 0:
        yield f"buffer {buffer.name!r} has {buffer.size} bytes"
    if buffer.align < 1:
        yield f"buffer {buffer.name!r} is to be aligned to {buffer.align}"
    for start, stop in buffer.live:
        if not (isfinite(start) and isfinite(stop) and start < stop):
            yield f"buffer {buffer.name!r} is live from {start} to {stop}"
    for before, after in pairwise(sorted(buffer.live)):
        if after[0] < before[1]:
            yield f"buffer {buffer.name!r} is live over {before} and over {after}, which overlap"
    for tier in buffer.tiers:
        if tier not in tiers:
            yield f"buffer {buffer.name!r} may be in {tier!r}, which is no tier{hint(tier, tiers)}"
