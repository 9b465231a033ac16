"""Recomputation seen at a few moments only: a bound in a second, and what is best kept there.

A *cut* is the first run of a task. What is resident then fits the budget, and whatever is read between a cut and the
next was kept at the cut, is new, or is made again. Bytes between cuts are left out, so that every schedule whose tasks
first run in the order listed is a solution, and none is shorter than the optimum. Where memory is short once, as when a
network turns from its forward to its backward pass, one cut says nearly all there is to say (Checkmate's programme has
a cut at every task, and the bytes of every turn).

Relaxed, a task that runs half in each of two stretches between cuts would be served twice by an operand that is half
kept. So what is read is asked for over every *window* of stretches, with one variable for whether a task runs again
anywhere in it; no choice of fewer cuts then bounds better.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from sim.planner.evict import Score, next_use
from sim.planner.graph import Graph, lives, profile
from sim.planner.milp import Model, Row, Variable, total


@dataclass
class Cuts:
    """The variables: ``keep[s, b]`` (resident during the first run of task ``at[s]``), and ``again[s, e][i]`` (task i
    runs again after cut s, before the cut after e)."""

    graph: Graph
    at: tuple[int, ...]
    model: Model
    relaxed: bool = False
    keep: dict[tuple[int, int], Any] = field(default_factory=dict)
    again: dict[tuple[int, int], dict[int, Variable]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.graph
        for s, cut in enumerate(self.at):
            for b, writer in enumerate(graph.writer):
                if writer <= cut and (wanted := self._wanted(b, cut)):
                    self.keep[s, b] = 1.0 if wanted > 1 else self._choice(f"keep_{s}_{b}")
            # Nobody needs a task any more after its last one.
            later = [i for i in range(cut + 1) if graph.last[i] > cut]
            self.again[s, s] = {i: self._choice(f"run_{s}_{i}") for i in later}
        for s, e in combinations(range(len(self.at)), 2):
            self.again[s, e] = {i: self._anywhere(s, e, i) for i in self.again[s, s]}

    def _wanted(self, b: int, cut: int) -> int:
        """2 for what a cut's own task works on, 1 for what may be of use later, 0 for what is not."""
        graph, users = self.graph, self.graph.users[b]
        if b in graph.reads[cut] or b in graph.writes[cut]:
            return 2
        return int(b in graph.kept or any(max(u, graph.last[u]) > cut for u in users))

    def _choice(self, name: str) -> Variable:
        return self.model.number(name, 0, 1) if self.relaxed else self.model.binary(name)

    @property
    def staying(self) -> list[int]:
        """What must be in the first tier at the end."""
        return sorted(self.graph.kept)

    def _anywhere(self, s: int, e: int, i: int) -> Variable:
        """A variable of a window; that of its only stretch where there is one."""
        runs = self.runs(s, e, i)
        return runs[0] if len(runs) == 1 else self.model.number(f"again_{s}_{e}_{i}", 0, 1)

    def runs(self, s: int, e: int, i: int) -> list[Variable]:
        """Whether a task runs again in each stretch of a window."""
        return [self.again[u, u][i] for u in range(s, e + 1) if i in self.again[u, u]]

    def new(self, s: int, e: int) -> range:
        """The tasks that run for the first time in a window: after cut s, up to the own task of the cut after e."""
        return range(self.at[s] + 1, self.at[e + 1] + 1 if e + 1 < len(self.at) else len(self.graph.reads))

    def there(self, s: int, e: int, b: int) -> Any:
        """What a reader in a window finds: kept at its first cut, or made again since; a number or an expression."""
        return self.keep.get((s, b), 0.0) + self.again[s, e].get(self.graph.writer[b], 0.0)


def gathered(c: Cuts) -> Iterator[Row]:
    """A task runs in a window if it does in one of its stretches: run <= again <= sum of runs."""
    for (s, e), again in c.again.items():
        for i, whole in again.items():
            runs = c.runs(s, e, i)
            if len(runs) > 1:
                yield whole <= total(runs)
                yield from (whole >= run for run in runs)


def supplied(c: Cuts) -> Iterator[Row]:
    """What a run reads was kept at the cut before it, or its writer runs again: keep + again >= the reader's run (1 for
    a first one)."""
    for (s, e), again in c.again.items():
        for task, run in [*((j, 1.0) for j in c.new(s, e)), *again.items()]:
            for b in c.graph.reads[task]:
                if c.graph.writer[b] <= c.at[s]:
                    yield c.there(s, e, b) >= run


def carried(c: Cuts) -> Iterator[Row]:
    """What is kept at a cut was kept at one before, or made since: keep[e + 1] <= keep[s] + again[s, e]."""
    for s, e in c.again:
        for b, writer in enumerate(c.graph.writer):
            if writer <= c.at[s] and (e + 1, b) in c.keep:
                yield c.keep[e + 1, b] <= c.there(s, e, b)


def finished(c: Cuts) -> Iterator[Row]:
    """What must be in the first tier at the end was kept at a cut, or is made after it: keep + again >= 1."""
    last = len(c.at) - 1
    for s, cut in enumerate(c.at):
        for b in c.staying:
            if c.graph.writer[b] <= cut:
                yield c.there(s, last, b) >= 1


def fitting(c: Cuts) -> Iterator[Row]:
    """What is resident at a cut fits the budget: sum of size keep <= budget, in parts of it."""
    sizes, budget = c.graph.sizes, c.graph.budget
    for s in range(len(c.at)):
        yield total(sizes[b] / budget * keep for (u, b), keep in c.keep.items() if u == s) <= 1


def build(graph: Graph, at: Sequence[int], *, relaxed: bool = False) -> Cuts:
    """The programme that minimises seconds of recomputation after cuts, in units of one plain pass."""
    c = Cuts(graph, tuple(at), Model(f"{graph.problem.name}: cuts".replace(" ", "_")), relaxed)
    for family in (gathered, supplied, carried, finished, fitting):
        c.model.add(family.__name__, family(c))
    c.model.minimise(total(graph.seconds[i] / graph.once * run for i, run in _single(c)) + 1.0)
    return c


def _single(c: Cuts) -> Iterator[tuple[int, Variable]]:
    """Tasks that run again and their variables, stretch by stretch."""
    for s in range(len(c.at)):
        yield from c.again[s, s].items()


def moments(graph: Graph, count: int) -> list[int]:
    """So many tasks, and one more at most, at which keeping everything takes more than the budget: the one where it
    takes most, and others, well apart, that need most for themselves and so leave least room to keep anything."""
    usage = profile(graph, range(len(graph.reads)))
    own = [sum(graph.sizes[b] for b in {*r, *w}) for r, w in zip(graph.reads, graph.writes, strict=True)]
    over = [t for t, used in enumerate(usage) if used > graph.budget]
    apart, found = max(len(over) // (2 * count), 1), list[int]()
    for task in sorted(over, key=lambda t: (-own[t], -usage[t])):
        if len(found) < count > 1 and all(abs(task - other) >= apart for other in found):
            found.append(task)
    return sorted({int(usage.argmax()), *found})


def start_of(c: Cuts, order: Sequence[int]) -> dict[str, float]:
    """An order of runs, first ones as listed, as values of the variables."""
    first = [order.index(cut) for cut in c.at]
    choices = [*c.keep.values(), *(v for again in c.again.values() for v in again.values())]
    values = {v.name: 0.0 for v in choices if not isinstance(v, float)}
    for b, begin, end in lives(c.graph, order):
        for s, place in enumerate(first):
            keep = c.keep.get((s, b), 1.0)
            if begin <= place <= end and not isinstance(keep, float):
                values[keep.name] = 1.0
    for (s, e), again in c.again.items():
        stop = first[e + 1] if e + 1 < len(first) else len(order)
        for task in order[first[s] + 1 : stop]:
            if task in again:
                values[again[task].name] = 1.0
    return values


def kept_by(c: Cuts, values: Mapping[str, float]) -> Score:
    """A score that drops first what is least kept at some cut before its next use; of the same, what is used last."""

    def score(buffer: int, task: int, resident: frozenset[int]) -> float:
        use = next_use(c.graph, buffer, task)
        cuts = range(bisect_left(c.at, task), bisect_left(c.at, use))
        kept = min((_value(c.keep.get((s, buffer), 0.0), values) for s in cuts), default=1.0)
        return use + 2 * len(c.graph.reads) * (1 - kept)

    return score


def _value(variable: Any, values: Mapping[str, float]) -> float:
    return variable if isinstance(variable, float) else values[variable.name]
