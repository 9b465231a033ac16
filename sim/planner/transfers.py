"""A bound for paging with recomputation, from a few moments of a schedule (:mod:`sim.planner.cuts`).

What has no room at a cut and is read later is made again, or fetched; what is fetched without being made again had gone
out before the cut. Copies out before a cut, copies back after it and the work on either side take their time: any
schedule lasts as long as both copies one after the other, and as either with the work on the other side of the cut.
Every schedule whose tasks first run in the order listed is a solution, and none is shorter than the optimum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from einsum.errors import Infeasible
from sim.planner.cuts import Cuts, carried, finished, fitting, gathered, moments, supplied
from sim.planner.graph import Graph
from sim.planner.milp import Model, Row, Unfinished, Variable, total

COUNTS = (1, 4)  # cuts of the programmes, one after another


@dataclass
class Transfers(Cuts):
    """Cuts with ``fetch[s, b]`` (a copy back begins after cut s, before the next), ``away[s, b]`` (a copy out had ended
    before cut s) and the whole ``span`` in plain passes."""

    fetch: dict[tuple[int, int], Variable] = field(default_factory=dict)
    away: dict[tuple[int, int], Variable] = field(default_factory=dict)
    span: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        # A value that nobody wants after a cut has no variable there; one in use at it may still go out and come back.
        for s, b in self.keep:
            self.fetch[s, b] = self._choice(f"fetch_{s}_{b}")
            self.away[s, b] = self._choice(f"away_{s}_{b}")
        self.span = self.model.number("span")

    def there(self, s: int, e: int, b: int) -> Any:
        """As with cuts, or fetched in the window."""
        return super().there(s, e, b) + total(self.fetch[u, b] for u in range(s, e + 1) if (u, b) in self.fetch)

    @property
    def staying(self) -> list[int]:
        """As with cuts, without what may end in another tier, of which nothing is asked."""
        first, buffers = self.graph.problem.tiers[0].name, self.graph.problem.buffers
        return [b for b in super().staying if not set(buffers[b].tiers) - {first}]

    def work(self, s: int) -> tuple[Any, Any]:
        """Seconds of runs before a cut, and from it on, as parts of a plain pass."""
        graph, cut = self.graph, self.at[s]
        again = [
            total(graph.seconds[i] / graph.once * run for u in stretches for i, run in self.again[u, u].items())
            for stretches in (range(s), range(s, len(self.at)))
        ]
        before = sum(graph.seconds[:cut]) / graph.once
        return before + again[0], 1.0 - before + again[1]


def left(c: Transfers) -> Iterator[Row]:
    """What is fetched, was not there at a cut and is not made again since had gone out before that cut:
    away[s] >= fetch[e] - keep[s] - again[s, e]."""
    for s, e in c.again:
        for b, writer in enumerate(c.graph.writer):
            if writer <= c.at[s] and (s, b) in c.keep and (e, b) in c.fetch:
                made = c.again[s, e].get(writer, 0.0)
                yield c.away[s, b] >= c.fetch[e, b] - c.keep[s, b] - made


def lasting(c: Transfers) -> Iterator[Row]:
    """span >= work; out before a cut + back after it; work before it + back; out + work after it."""
    graph, tier = c.graph, c.graph.problem.tiers[1]
    for s in range(len(c.at)):
        before, after = c.work(s)
        out = total(
            graph.sizes[b] / tier.write / graph.once * away for (u, b), away in c.away.items() if u == s
        )  # fmt: skip
        back = total(
            graph.sizes[b] / tier.read / graph.once * fetch for (u, b), fetch in c.fetch.items() if u >= s
        )  # fmt: skip
        for one, other in ((before, after), (out, back), (before, back), (out, after)):
            yield c.span >= one + other


def build(graph: Graph, at: list[int], *, relaxed: bool = False) -> Transfers:
    """The programme that minimises the whole span, in units of one plain pass."""
    name = f"{graph.problem.name}: copies at cuts".replace(" ", "_")
    c = Transfers(graph, tuple(at), Model(name), relaxed)
    for family in (gathered, supplied, carried, finished, fitting):
        c.model.add(family.__name__, family(c))
    for more in (left, lasting):
        c.model.add(more.__name__, more(c))
    c.model.minimise(c.span)
    return c


def bound(graph: Graph, seconds: float, solver: str) -> float:
    """Seconds that no schedule can do without; one plain pass where the programmes say nothing in their time."""
    best = graph.once
    if graph.full <= graph.budget or not graph.once:
        return best
    for count in COUNTS:
        for relaxed in (True, False):
            c = build(graph, moments(graph, count), relaxed=relaxed)
            try:
                solved = c.model.solve(seconds=seconds / len(COUNTS) / 2, solver=solver)
            except (Unfinished, Infeasible):  # not in time, or nothing fits in this order: no more is known then
                continue
            best = max(best, solved.bound * graph.once)
    return best
