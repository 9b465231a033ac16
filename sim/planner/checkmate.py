"""Optimal rematerialisation as a mixed-integer programme (Checkmate, Jain et al., MLSys 2020, equations 1 to 8).

Stage ``t`` runs task ``t`` for the first time, after any earlier tasks that it runs again. Within a stage a buffer's
residency can only change where a task writes or reads it, so it has one variable for each stretch between two such
places; Checkmate's products FREE are the steps down between stretches. Only the runs need to be integers: given them,
the least residency that serves them is integral.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim.planner.graph import Graph
from sim.planner.milp import Model, Row, Variable, total


@dataclass
class Stages:
    """The variables: ``run[t, i]``, ``keep[t, b]`` (resident as stage t begins), ``hold[t, b]`` (one a stretch, the
    last of them is ``keep[t + 1, b]``) and ``used[t, k]`` (fraction of the budget, while task k has its turn)."""

    graph: Graph
    model: Model
    run: dict[tuple[int, int], Variable] = field(default_factory=dict)
    keep: dict[tuple[int, int], Variable] = field(default_factory=dict)
    hold: dict[tuple[int, int], list[Variable]] = field(default_factory=dict)
    used: dict[tuple[int, int], Variable] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph, model = self.graph, self.model
        for t in range(len(graph.reads)):
            for i in range(t):
                if graph.last[i] >= t:  # nobody needs it any more otherwise
                    self.run[t, i] = model.binary(f"run_{t}_{i}")
            for b, writer in enumerate(graph.writer):
                if writer < t and (writer >= 0 or graph.users[b] or b in graph.kept):
                    self.keep[t, b] = self.kept(f"keep_{t}_{b}") if t else 1.0
            for k in range(t + 1):
                self.used[t, k] = model.number(f"used_{t}_{k}", 0, 1)
        self._stretches(len(graph.reads))

    def kept(self, name: str) -> Variable:
        """A variable of residency; integral by itself here, once the runs are."""
        return self.model.number(name, 0, 1)

    def _stretches(self, stages: int) -> None:
        graph = self.graph
        for b, writer in enumerate(graph.writer):
            for t in range(max(writer, 0), stages):
                if writer < 0 and (0, b) not in self.keep:
                    continue
                inner = [self.model.number(f"hold_{t}_{b}_{k}", 0, 1) for k in self.events(t, b)]
                if (t + 1, b) in self.keep:
                    after = self.keep[t + 1, b]
                else:
                    after = 1.0 if b in graph.kept else self.model.number(f"end_{b}", 0, 1)
                self.hold[t, b] = [*inner, after]

    def events(self, t: int, b: int) -> tuple[int, ...]:
        """The tasks of stage t at whose turn a stretch of a buffer ends: its writer's and its readers'."""
        writer, users = self.graph.writer[b], [u for u in self.graph.users[b] if u <= t]
        return tuple([writer, *users] if writer >= 0 else users)

    def runs(self, t: int, i: int) -> Any:
        """Whether stage t runs task i: a variable, or a number where there is no choice."""
        return 1.0 if i == t else self.run.get((t, i), 0.0)

    @property
    def reserved(self) -> Mapping[tuple[int, int], Any]:
        """Room beside what is resident, by stage and buffer: none where nothing comes from elsewhere."""
        return {}

    def before(self, t: int, b: int) -> Any:
        """Whether a buffer is resident as stage t begins."""
        return self.keep.get((t, b), 0.0)


def written(s: Stages) -> Iterator[Row]:
    """A buffer is resident at its writer's turn only if it was before, or the writer runs: hold[1] <= keep + run."""
    for (t, b), hold in s.hold.items():
        writer = s.graph.writer[b]
        if writer >= 0:
            yield hold[0] <= s.before(t, b) + s.runs(t, writer)


def continued(s: Stages) -> Iterator[Row]:
    """What is dropped is gone until it is written anew: hold[j + 1] <= hold[j]."""
    for (t, b), hold in s.hold.items():
        first = [] if s.graph.writer[b] >= 0 else [s.before(t, b)]
        chain = [*first, *hold]
        for earlier, later in itertools.pairwise(chain):
            yield later <= earlier


def needed(s: Stages) -> Iterator[Row]:
    """A task that runs has its operands and results resident at its turn: hold >= run."""
    for (t, b), hold in s.hold.items():
        for stretch, k in zip(hold, s.events(t, b), strict=False):
            yield stretch >= s.runs(t, k)


def accounted(s: Stages) -> Iterator[Row]:
    """Bytes in use at a turn are those at the turn before, plus the steps up and down between them; at most the budget:
    used[t, k] = used[t, k - 1] + sum of size (hold[j + 1] - hold[j])."""
    budget = s.graph.budget
    for t in range(len(s.graph.reads)):
        start = total(
            size / budget * (s.before(t, b) + s.reserved.get((t, b), 0.0)) for b, size in enumerate(s.graph.sizes)
        )
        changes = _changes(s, t)
        for k in range(t + 1):
            before = start if k == 0 else s.used[t, k - 1]
            yield s.used[t, k] == before + total(changes.get(k, ()))


def _changes(s: Stages, t: int) -> dict[int, list[Any]]:
    """By turn of stage t: the terms by which residency differs from the turn before."""
    found: dict[int, list[Any]] = {}
    for b, size in enumerate(s.graph.sizes):
        if (t, b) not in s.hold:
            continue
        chain = [s.before(t, b), *s.hold[t, b]]
        events = s.events(t, b)
        # A written buffer's first step is at its writer's own turn; all others come one turn after a use.
        turns = [events[0], *(e + 1 for e in events)] if s.graph.writer[b] >= 0 else [0, *(e + 1 for e in events)]
        for turn, earlier, later in zip(turns, chain, chain[1:], strict=False):
            found.setdefault(turn, []).append(size / s.graph.budget * (later - earlier))
    return found


def build(graph: Graph) -> Stages:
    """The programme that minimises seconds of recomputation, in units of one plain pass."""
    model = Model(f"{graph.problem.name}: recomputation".replace(" ", "_"))
    s = Stages(graph, model)
    for family in (written, continued, needed, accounted):
        model.add(family.__name__, family(s))
    model.minimise(total(graph.seconds[i] / graph.once * run for (_, i), run in s.run.items()) + 1.0)
    return s


def order_of(s: Stages, values: Mapping[str, float]) -> list[int]:
    """The runs of a solution, stage by stage."""
    found = []
    for t in range(len(s.graph.reads)):
        found += [i for i in range(t) if (t, i) in s.run and values[s.run[t, i].name] > 0.5]
        found.append(t)
    return found


def start_of(s: Stages, order: Sequence[int]) -> dict[str, float]:
    """An order of runs as values of the run variables; runs within a stage fall into the listed order."""
    values = {v.name: 0.0 for v in s.run.values()}
    stage, waiting = 0, list[int]()
    for task in order:
        if task == stage:
            for i in waiting:
                if (stage, i) in s.run:
                    values[s.run[stage, i].name] = 1.0
            stage, waiting = stage + 1, []
        else:
            waiting.append(task)
    return values
