"""A problem's tasks and buffers by number, and what an order of runs needs: which values live when, and their peak."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError, hint
from sim.planner.problem import Problem


@dataclass(frozen=True)
class Graph:
    """Tasks and buffers as numbers in the problem's own order; ``writer`` is -1 for what is given."""

    problem: Problem
    reads: tuple[tuple[int, ...], ...]
    writes: tuple[tuple[int, ...], ...]
    writer: tuple[int, ...]
    users: tuple[tuple[int, ...], ...]
    kept: frozenset[int]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each buffer."""
        return tuple(b.size for b in self.problem.buffers)

    @cached_property
    def seconds(self) -> tuple[float, ...]:
        """Seconds of each task."""
        return tuple(t.seconds for t in self.problem.tasks)

    @property
    def once(self) -> float:
        """Seconds of every task run once."""
        return sum(self.seconds)

    @property
    def budget(self) -> float:
        """Bytes of the first tier."""
        return self.problem.tiers[0].capacity

    @cached_property
    def last(self) -> tuple[int, ...]:
        """The last task that needs each task's results, directly or by recomputing; itself if none does."""
        found = list(range(len(self.reads)))
        for task in reversed(range(len(found))):
            for buffer in self.writes[task]:
                found[task] = max([found[task], *(found[u] for u in self.users[buffer])])
                if buffer in self.kept:
                    found[task] = len(found)
        return tuple(found)

    @property
    def full(self) -> int:
        """Peak bytes of the plain order, every value kept from its task to its last use."""
        return peak(self, range(len(self.reads)))

    @property
    def least(self) -> int:
        """Bytes that no schedule can do without: the operands and results of the largest task."""
        tasks = (sum(self.sizes[b] for b in {*r, *w}) for r, w in zip(self.reads, self.writes, strict=True))
        return max(tasks, default=0)


def graph(problem: Problem) -> Graph:
    """The problem's graph; every buffer comes from one task or is given, and tasks follow what they read.

    Raises :class:`WeirError` naming the task and the buffer where that is not so.
    """
    number = {b.name: i for i, b in enumerate(problem.buffers)}
    if not problem.tasks or not problem.tiers:
        raise WeirError(f"{problem.name}: nothing to schedule: give tasks, and a tier to run them in")
    writer = [-1 if b.name in problem.given else len(problem.tasks) for b in problem.buffers]
    users: list[list[int]] = [[] for _ in problem.buffers]
    reads, writes = [], []
    for place, task in enumerate(problem.tasks):
        reads.append(_numbers(problem, task.name, task.reads, number))
        writes.append(_numbers(problem, task.name, task.writes, number))
        for buffer in reads[-1]:
            if writer[buffer] >= place:
                raise WeirError(f"{problem.name}: task {task.name!r} reads {problem.buffers[buffer].name!r} "
                                "before any task has written it")  # fmt: skip
            users[buffer].append(place)
        for buffer in writes[-1]:
            if writer[buffer] < place:
                raise WeirError(f"{problem.name}: task {task.name!r} writes {problem.buffers[buffer].name!r} again; "
                                "a value that can be recomputed is written by one task")  # fmt: skip
            writer[buffer] = place
    kept = frozenset(_numbers(problem, "kept", problem.kept, number))
    return Graph(problem, tuple(reads), tuple(writes), tuple(writer), tuple(map(tuple, users)), kept)


def _numbers(problem: Problem, who: str, names: Iterable[str], number: dict[str, int]) -> tuple[int, ...]:
    for name in names:
        if name not in number:
            raise WeirError(f"{problem.name}: {who!r} names no buffer {name!r}{hint(name, number)}")
    return tuple(dict.fromkeys(number[name] for name in names))


def lives(graph: Graph, order: Sequence[int]) -> list[tuple[int, int, int]]:
    """``(buffer, first, last)`` for every value of an order of runs: from the run that writes it to its last use before
    it is written anew (places in the order, both included); to the end for what is kept."""
    found: list[tuple[int, int, int]] = []
    open_ = {b: (0, 0) for b, w in enumerate(graph.writer) if w < 0 and (graph.users[b] or b in graph.kept)}
    for place, task in enumerate(order):
        for buffer in graph.reads[task]:
            if buffer not in open_:
                raise WeirError(f"{graph.problem.name}: an order runs a task before what it reads is there")
            open_[buffer] = (open_[buffer][0], place)
        for buffer in graph.writes[task]:
            if buffer in open_:
                found.append((buffer, *open_[buffer]))
            open_[buffer] = (place, place)
    end = len(order) - 1
    return found + [(b, first, end if b in graph.kept else last) for b, (first, last) in open_.items()]


def profile(graph: Graph, order: Sequence[int]) -> NDArray[np.int64]:
    """Bytes alive during each run of an order."""
    change = np.zeros(len(order) + 1, np.int64)
    for buffer, first, last in lives(graph, order):
        change[first] += graph.sizes[buffer]
        change[last + 1] -= graph.sizes[buffer]
    return change.cumsum()[:-1]


def peak(graph: Graph, order: Sequence[int]) -> int:
    """Most bytes alive during any run of an order."""
    return int(profile(graph, order).max())


def spent(graph: Graph, order: Iterable[int]) -> float:
    """Seconds of an order of runs."""
    return sum(graph.seconds[task] for task in order)


def within(made: Graph, budget: float) -> Graph:
    """The same graph with another capacity of its first tier."""
    first, *rest = made.problem.tiers
    return replace(made, problem=replace(made.problem, tiers=(replace(first, capacity=budget), *rest)))
