"""Pipeline schedules proven fastest, by a mixed-integer programme over the starts and orders of passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError
from sim.planner.pipeline import Flow, Orders, Pass, Schedule, listed, lower_bound, timed

if TYPE_CHECKING:
    from sim.planner.milp import Row


def exact(flow: Flow, batches: int, limits: Sequence[float] | None = None, *, seconds: float = 60.0) -> Schedule:
    """The fastest schedule under limits, by a mixed-integer programme started from a list schedule.

    Microbatches pass each node in turn, which loses nothing: they are alike. Each device may hold one thing for each
    microbatch; flows with more holds on a device are refused.
    """
    from sim.planner import milp

    known, model = listed(flow, batches, limits), milp.Model("pipeline")
    program = Program(flow, batches, limits, known.seconds)
    begins = {one: model.number(f"s{one[0]}_{one[1]}") for one in known.start}
    first = {pair: model.binary("o" + "_".join(map(str, (*pair[0], *pair[1])))) for pair in program.pairs}
    last = model.number("last", lower_bound(flow, batches))
    model.add("dependences", program.dependences(begins))
    model.add("microbatches in turn", program.turns(begins))
    model.add("one pass at a time", program.apart(begins, first))
    model.add("limits", program.limits(begins))
    model.add("until the last", program.ended(begins, last))
    model.minimise(last)
    start = {begins[one].name: at for one, at in known.start.items()} | {"last": known.seconds}
    start |= {var.name: float(known.start[a] < known.start[b]) for (a, b), var in first.items()}
    solved = model.solve(seconds=seconds, start=start)
    made = timed(flow, _ordered(flow, {one: solved[variable] for one, variable in begins.items()}), method="mip")
    if made.seconds > known.seconds:
        made = known
    bound = max(made.bound, solved.bound)
    return Schedule(flow, made.orders, made.start, bound, made.seconds <= bound * (1 + 1e-6), "mip")


def _ordered(flow: Flow, begins: Mapping[Pass, float]) -> Orders:
    """The passes of each device as they begin."""
    return tuple(
        tuple(sorted((o for o in begins if flow.nodes[o[0]].device == d), key=lambda o: (begins[o], o[0])))
        for d in range(flow.devices)
    )


@dataclass(frozen=True)
class Program:
    """The rows of the programme for a flow; ``big`` is a time by which a schedule is known to end."""

    flow: Flow
    batches: int
    most: Sequence[float] | None
    big: float

    @cached_property
    def pairs(self) -> tuple[tuple[Pass, Pass], ...]:
        """Passes of different nodes that share a device, but for those whose order their dependences settle."""
        return tuple(
            ((a, i), (b, j))
            for a, one in enumerate(self.flow.nodes)
            for b, two in enumerate(self.flow.nodes)
            if a < b and one.device == two.device
            for i in range(self.batches)
            for j in range(self.batches)
        )

    def dependences(self, begins: Mapping[Pass, Any]) -> Iterator[Row]:
        """A pass begins once those it comes after have ended and reached it: s_b >= s_a + t_a + lag."""
        for n, earlier in enumerate(self.flow.before):
            for b in earlier:
                wait = self.flow.nodes[b].seconds + self.flow.nodes[n].lag
                yield from (begins[n, k] >= begins[b, k] + wait for k in range(self.batches))

    def ended(self, begins: Mapping[Pass, Any], last: Any) -> Iterator[Row]:
        """No pass ends after the last: s + t <= last."""
        for (n, _), begin in begins.items():
            yield begin + self.flow.nodes[n].seconds <= last

    def turns(self, begins: Mapping[Pass, Any]) -> Iterator[Row]:
        """Microbatches pass a node in turn: s_{n,k+1} >= s_{n,k} + t_n."""
        for n, node in enumerate(self.flow.nodes):
            yield from (begins[n, k + 1] >= begins[n, k] + node.seconds for k in range(self.batches - 1))

    def apart(self, begins: Mapping[Pass, Any], first: Mapping[tuple[Pass, Pass], Any]) -> Iterator[Row]:
        """Of two passes on a device one ends before the other begins: s_a + t_a <= s_b + T (1 - o), and the reverse."""
        for (a, b), order in first.items():
            yield begins[a] + self.flow.nodes[a[0]].seconds <= begins[b] + self.big * (1 - order)
            yield begins[b] + self.flow.nodes[b[0]].seconds <= begins[a] + self.big * order

    def limits(self, begins: Mapping[Pass, Any]) -> Iterator[Row]:
        """Of a limit of L microbatches, number k + L begins to hold once number k has ended: s >= s' + t'."""
        if self.most is None:
            return
        seen: set[int] = set()
        for hold in self.flow.holds:
            n, last = self.flow.index[hold.first], self.flow.index[hold.last]
            device = self.flow.nodes[n].device
            if device in seen:
                raise WeirError(f"device {device} holds several things for each microbatch; use the list scheduler")
            seen.add(device)
            room = int(self.most[device] / hold.amount) if self.most[device] < float("inf") else self.batches
            for k in range(self.batches - room):
                yield begins[n, k + room] >= begins[last, k] + self.flow.nodes[last].seconds
