"""Recomputation seen at a few moments only: a bound in a second, and what is best kept there.

A *cut* is the first run of a task. What is resident then fits the budget, and whatever is read between a cut and the
next was kept at the cut, is new, or is made again. Bytes between cuts are left out, so that every schedule whose tasks
first run in the order listed is a solution, and none is shorter than the optimum. Where memory is short once, as when a
network turns from its forward to its backward pass, one cut says nearly all there is to say (Checkmate's programme has
a cut at every task, and the bytes of every turn).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim.planner.evict import Score, next_use
from sim.planner.graph import Graph, lives, profile
from sim.planner.milp import Model, Row, Variable, total


@dataclass
class Cuts:
    """The variables: ``keep[s, b]`` (resident during the first run of task ``at[s]``), and ``run[s, i]`` (task i runs
    again after that, before the next cut)."""

    graph: Graph
    at: tuple[int, ...]
    model: Model
    relaxed: bool = False
    keep: dict[tuple[int, int], Any] = field(default_factory=dict)
    run: dict[tuple[int, int], Variable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.graph
        for s, cut in enumerate(self.at):
            for b, writer in enumerate(graph.writer):
                if writer <= cut and (wanted := self._wanted(b, cut)):
                    self.keep[s, b] = 1.0 if wanted > 1 else self._choice(f"keep_{s}_{b}")
            for i in range(cut + 1):
                if graph.last[i] > cut:  # nobody needs it any more otherwise
                    self.run[s, i] = self._choice(f"run_{s}_{i}")

    def _wanted(self, b: int, cut: int) -> int:
        """2 for what a cut's own task works on, 1 for what may be of use later, 0 for what is not."""
        graph, users = self.graph, self.graph.users[b]
        if b in graph.reads[cut] or b in graph.writes[cut]:
            return 2
        return int(b in graph.kept or any(max(u, graph.last[u]) > cut for u in users))

    def _choice(self, name: str) -> Variable:
        return self.model.number(name, 0, 1) if self.relaxed else self.model.binary(name)

    def new(self, s: int) -> range:
        """The tasks that run for the first time after a cut, up to the next one's own."""
        return range(self.at[s] + 1, self.at[s + 1] + 1 if s + 1 < len(self.at) else len(self.graph.reads))

    def there(self, s: int, b: int) -> Any:
        """What a reader between two cuts finds: kept at the first, or made again since; a number or an expression."""
        return self.keep.get((s, b), 0.0) + self.run.get((s, self.graph.writer[b]), 0.0)


def supplied(c: Cuts) -> Iterator[Row]:
    """What a run reads was kept at the cut before it, or its writer runs again: keep + run >= the reader's run (1 for a
    first one)."""
    for s, cut in enumerate(c.at):
        readers = [*((j, 1.0) for j in c.new(s)), *((i, run) for (u, i), run in c.run.items() if u == s)]
        for task, run in readers:
            for b in c.graph.reads[task]:
                if c.graph.writer[b] <= cut:
                    yield c.there(s, b) >= run


def carried(c: Cuts) -> Iterator[Row]:
    """What is kept at a cut was kept at the one before, or made since: keep[s + 1] <= keep[s] + run[s]."""
    for (s, b), keep in c.keep.items():
        if s and c.graph.writer[b] <= c.at[s - 1]:
            yield keep <= c.there(s - 1, b)


def finished(c: Cuts) -> Iterator[Row]:
    """What must be there at the end was kept at the last cut, or is made after it: keep + run >= 1."""
    last = len(c.at) - 1
    for b in sorted(c.graph.kept):
        if c.graph.writer[b] <= c.at[last]:
            yield c.there(last, b) >= 1


def fitting(c: Cuts) -> Iterator[Row]:
    """What is resident at a cut fits the budget: sum of size keep <= budget, in parts of it."""
    sizes, budget = c.graph.sizes, c.graph.budget
    for s in range(len(c.at)):
        yield total(sizes[b] / budget * keep for (u, b), keep in c.keep.items() if u == s) <= 1


def build(graph: Graph, at: Sequence[int], *, relaxed: bool = False) -> Cuts:
    """The programme that minimises seconds of recomputation after cuts, in units of one plain pass."""
    c = Cuts(graph, tuple(at), Model(f"{graph.problem.name}: cuts".replace(" ", "_")), relaxed)
    for family in (supplied, carried, finished, fitting):
        c.model.add(family.__name__, family(c))
    c.model.minimise(total(graph.seconds[i] / graph.once * run for (_, i), run in c.run.items()) + 1.0)
    return c


def moments(graph: Graph, count: int) -> list[int]:
    """So many tasks, at most, at which keeping everything takes more than the budget: the one where it takes most, and
    others evenly among them."""
    usage = profile(graph, range(len(graph.reads)))
    over = [t for t, used in enumerate(usage) if used > graph.budget]
    spread = [over[i * (len(over) - 1) // (count - 1)] for i in range(count)] if count > 1 else []
    return sorted({int(usage.argmax()), *spread})


def start_of(c: Cuts, order: Sequence[int]) -> dict[str, float]:
    """An order of runs, first ones as listed, as values of the variables."""
    first = [order.index(cut) for cut in c.at]
    values = {v.name: 0.0 for v in [*c.keep.values(), *c.run.values()] if not isinstance(v, float)}
    for b, begin, end in lives(c.graph, order):
        for s, place in enumerate(first):
            keep = c.keep.get((s, b), 1.0)
            if begin <= place <= end and not isinstance(keep, float):
                values[keep.name] = 1.0
    for s, (place, end) in enumerate(zip(first, [*first[1:], len(order)], strict=True)):
        for task in order[place + 1 : end]:
            if (s, task) in c.run:
                values[c.run[s, task].name] = 1.0
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
