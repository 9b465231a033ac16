"""Schedules under a budget by eviction: run tasks in order, drop what scores highest when bytes run short, and compute
anew what is missed (dynamic tensor rematerialisation, Kirisame et al., ICLR 2021, with the future known).

Every order that comes out keeps to the budget, whatever the score: a bad score only costs seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import exp, inf, isqrt
from random import Random

import numpy as np
from numpy.typing import NDArray

from sim.planner.graph import Graph, lives, peak, profile, spent

Score = Callable[[int, int, frozenset[int]], float]  # (buffer, task about to run, resident) -> drop the highest first

RESTARTS, SMALL = 150, 70  # shaken schedules of a graph of up to so many tasks
THRASHING = 8  # runs a task beyond which a schedule is given up
TRIALS = 1_000_000  # runs gone through in search of needless ones: some seconds


def evict(graph: Graph, score: Score) -> list[int] | None:
    """An order of runs within the first tier's capacity, or None where this score finds none."""
    state = _State(graph, score)
    for task in range(len(graph.reads)):
        if not state.advance(task, task):
            return None
    while missing := sorted(graph.kept - state.resident):
        state.held = graph.kept
        if not state.advance(graph.writer[missing[0]], len(graph.reads)):
            return None
    return state.order


@dataclass
class _State:
    """A schedule in progress: what has run, and what is resident."""

    graph: Graph
    score: Score
    order: list[int] = field(default_factory=list)
    held: frozenset[int] = frozenset()  # what must not be dropped any more
    resident: set[int] = field(init=False)
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        graph = self.graph
        self.resident = {b for b, w in enumerate(graph.writer) if w < 0 and (graph.users[b] or b in graph.kept)}
        self.bytes = sum(graph.sizes[b] for b in self.resident)

    def advance(self, wanted: int, task: int) -> bool:
        """Run a task while the plain order is at ``task``, and before it whatever recomputes its missing operands."""
        waiting = [wanted]
        while waiting:
            if len(self.order) > THRASHING * len(self.graph.reads):
                return False
            now = waiting[-1]
            missing = [b for b in self.graph.reads[now] if b not in self.resident]
            if missing:
                if self.graph.writer[missing[0]] < 0:
                    return False
                waiting.append(self.graph.writer[missing[0]])
            elif self._room(now, task, waiting):
                self._run(waiting.pop(), task, waiting)
            else:
                return False
        return True

    def _room(self, now: int, task: int, waiting: Sequence[int]) -> bool:
        """Make room for a task's results; operands of all that waits stay."""
        graph = self.graph
        new = [b for b in graph.writes[now] if b not in self.resident]
        short = self.bytes + sum(graph.sizes[b] for b in new) - graph.budget
        if short <= 0:
            return True
        pinned = {b for w in waiting for b in (*graph.reads[w], *graph.writes[w])}
        given = {b for b in self.resident if graph.writer[b] < 0}
        spare = self.resident - pinned - given - self.held
        while spare and short > 0:  # one at a time: what is dearer now that another is gone may stay
            seen = frozenset(self.resident)
            buffer = max(sorted(spare), key=lambda b: self.score(b, task, seen))
            spare.discard(buffer)
            short -= graph.sizes[buffer]
            self._drop(buffer)
        return short <= 0

    def _run(self, now: int, task: int, waiting: Sequence[int]) -> None:
        graph = self.graph
        pinned = {b for w in waiting for b in graph.reads[w]}
        self.order.append(now)
        for buffer in graph.writes[now]:
            if buffer not in self.resident:
                self.resident.add(buffer)
                self.bytes += graph.sizes[buffer]
        done = task if now == task else task - 1
        for buffer in (*graph.reads[now], *graph.writes[now]):
            if buffer in self.resident and buffer not in pinned and next_use(graph, buffer, done + 1) == inf:
                self._drop(buffer)

    def _drop(self, buffer: int) -> None:
        self.resident.discard(buffer)
        self.bytes -= self.graph.sizes[buffer]


def next_use(graph: Graph, buffer: int, task: int) -> float:
    """The first task from ``task`` on that reads a buffer in the plain order; past the end for what is kept."""
    users = graph.users[buffer]
    place = bisect_left(users, task)
    if place < len(users):
        return users[place]
    return len(graph.reads) if buffer in graph.kept else inf


def scores(graph: Graph) -> Iterator[tuple[str, Score]]:
    """Scores worth trying, by name."""
    yield "farthest", lambda b, t, _: next_use(graph, b, t)
    yield "cheapest", lambda b, t, _: graph.sizes[b] / _cost(graph, b, frozenset())
    yield "projected", lambda b, t, seen: (
        graph.sizes[b] * (next_use(graph, b, t) - t + 1) / _cost(graph, b, seen)
        if next_use(graph, b, t) < inf else inf
    )  # fmt: skip
    yield "dearest kept", lambda b, t, seen: (
        graph.sizes[b] / _cost(graph, b, seen) if next_use(graph, b, t) < inf else inf
    )  # fmt: skip
    root = max(isqrt(len(graph.reads) // 2), 2)
    for every in sorted({max(root // 2, 2), root, 2 * root}):
        yield f"checkpoints every {every}", _spaced(graph, every)


def _spaced(graph: Graph, every: int) -> Score:
    """Keep the results of every n-th task (Chen et al., arXiv 1604.06174: n near the square root of their number)."""

    def score(buffer: int, task: int, resident: frozenset[int]) -> float:
        checkpoint = graph.writer[buffer] % every == 0
        return next_use(graph, buffer, task) - (len(graph.reads) + 1 if checkpoint else 0)

    return score


def _cost(graph: Graph, buffer: int, resident: frozenset[int]) -> float:
    """Seconds to compute a buffer anew from what is resident (from its operands, where nothing is said)."""
    total, seen, waiting = 1e-30, set[int](), [buffer]
    while waiting:
        task = graph.writer[waiting.pop()]
        if task < 0 or task in seen:
            continue
        seen.add(task)
        total += graph.seconds[task]
        if resident:
            waiting += [b for b in graph.reads[task] if b not in resident]
    return total


def trim(graph: Graph, order: Sequence[int], rounds: int = 3) -> list[int]:
    """The order without the recomputations that the budget has room to avoid, dearest first."""
    now = list(order)
    left = TRIALS // max(len(now), 1)
    for _ in range(rounds):
        before = len(now)
        seen: set[int] = set()
        again = [p for p, task in enumerate(now) if task in seen or seen.add(task)]  # type: ignore[func-returns-value]
        for place in sorted(again, key=lambda p: -graph.seconds[now[p]])[:left]:
            # Places shift as runs go; a run that went is marked and taken out at the end.
            task, now[place] = now[place], -1
            if peak(graph, [t for t in now if t >= 0]) > graph.budget:
                now[place] = task
        now = [task for task in now if task >= 0]
        left -= len(again)
        if len(now) == before or left <= 0:
            break
    return now


def best(graph: Graph, tried: Iterable[tuple[str, Score]] | None = None) -> tuple[str, list[int]] | None:
    """The quickest order that any score leads to, and the score's name; None where all fail."""
    if graph.full <= graph.budget:
        return "everything kept", list(range(len(graph.reads)))
    found: list[tuple[float, str, list[int]]] = []
    for name, score in (*scores(graph), *shaken(graph)) if tried is None else tried:
        order = evict(graph, score)
        if order is not None:
            found.append((spent(graph, order), name, order))
    if tried is None and (order := gaps(graph)):
        found.append((spent(graph, order), "gaps", order))
    trimmed = [(name, trim(graph, order)) for _, name, order in sorted(found)[: 3 + restarts(graph)]]
    return min(trimmed, key=lambda one: (spent(graph, one[1]), one)) if trimmed else None


def gaps(graph: Graph) -> list[int] | None:
    """The plain order with values given up over the gap to their next use, where most bytes are alive, and computed
    anew right before it; their operands live on until then. The gap that lowers the overflow most a second comes first.
    None where no gap lowers it any more before everything fits."""
    order = list(range(len(graph.reads)))
    usage = profile(graph, order)
    left = TRIALS // len(order)
    while (over := _overflow(usage, graph.budget)) > 0 and left > 0:
        top, tried = int(usage.argmax()), []
        for buffer, place in _waiting(graph, order, top):
            writer = graph.writer[buffer]
            more = [*order[:place], writer, *order[place:]]
            lower = over - _overflow(profile(graph, more), graph.budget)
            tried.append((lower / (graph.seconds[writer] + 1e-30), more))
            left -= 1
        gain, order = max(tried, default=(0.0, order))
        if gain <= 0:
            return None
        usage = profile(graph, order)
    return order if _overflow(usage, graph.budget) <= 0 else None


def _overflow(usage: NDArray[np.int64], budget: float) -> float:
    """Bytes beyond the budget, summed over runs, those at the highest counted most."""
    return float((np.maximum(usage - budget, 0.0) ** 2).sum())


def _waiting(graph: Graph, order: Sequence[int], top: int) -> Iterator[tuple[int, int]]:
    """Values alive but not in use at a place, and where each is used next."""
    busy = {*graph.reads[order[top]], *graph.writes[order[top]]}
    for buffer, first, last in lives(graph, order):
        if first < top < last and buffer not in busy and graph.writer[buffer] >= 0:
            after = [p for p in range(top + 1, last + 1) if buffer in graph.reads[order[p]]]
            if after:
                yield buffer, after[0]


def restarts(graph: Graph) -> int:
    """How many shaken schedules are worth their time: the work on each grows with the cube of the tasks."""
    return min(RESTARTS, RESTARTS * SMALL**3 // len(graph.reads) ** 3)


def shaken(graph: Graph, seed: int = 0) -> Iterator[tuple[str, Score]]:
    """Scores times a random factor for each buffer: so little apart, such schedules differ by several per cent."""
    rng = Random(seed)  # noqa: S311  it varies schedules and guards nothing
    base = list(scores(graph))[:4]
    for i in range(restarts(graph)):
        name, score = base[i % len(base)]
        width = rng.choice((0.1, 0.3, 1.0))
        factors = [exp(rng.gauss(0.0, width)) for _ in graph.sizes]
        yield f"{name}, shaken", _weighed(score, factors)


def _weighed(score: Score, factors: Sequence[float]) -> Score:
    return lambda buffer, task, resident: score(buffer, task, resident) * factors[buffer]
