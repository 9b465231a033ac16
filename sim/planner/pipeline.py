"""Pipelines as scheduling with memory: passes of every microbatch on devices that run one at a time.

A :class:`Flow` is what one microbatch does: nodes on devices, each after some others, and what a device holds from one
node to another. Schedules are orders of passes for each device: written down (1F1B, GPipe), found by a list scheduler
under a limit of what may be held, proven best (:mod:`sim.planner.pipeline_mip`), or repeating
(:mod:`sim.planner.repeating`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from typing import Any

from einsum.errors import Infeasible, WeirError, hint

Pass = tuple[int, int]  # a node of the flow, and a microbatch
Orders = tuple[tuple[Pass, ...], ...]  # by device


@dataclass(frozen=True, slots=True)
class Node:
    """Work of ``seconds`` on a ``device`` for one microbatch, after the nodes named; they reach it ``lag`` s later."""

    name: str
    device: int
    seconds: float
    after: tuple[str, ...] = ()
    lag: float = 0.0


@dataclass(frozen=True, slots=True)
class Hold:
    """What a microbatch occupies on the device of ``first`` from its start to the end of ``last``."""

    first: str
    last: str
    amount: float = 1.0


@dataclass(frozen=True)
class Flow:
    """What one microbatch does, in an order that respects dependences."""

    nodes: tuple[Node, ...]
    holds: tuple[Hold, ...]

    def __post_init__(self) -> None:
        """Refuse names that are not there, or that come later."""
        seen: set[str] = set()
        for node in self.nodes:
            for name in node.after:
                if name not in seen:
                    raise WeirError(f"{node.name} comes after {name!r}, which is not before it{hint(name, seen)}")
            if node.name in seen or node.seconds < 0 or node.device < 0:
                raise WeirError(f"node {node.name!r}: given twice, or negative")
            seen.add(node.name)
        for hold in self.holds:
            if hold.first not in seen or hold.last not in seen:
                raise WeirError(f"held from {hold.first!r} to {hold.last!r}: no such nodes")

    @property
    def devices(self) -> int:
        """Devices used."""
        return max(node.device for node in self.nodes) + 1

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Nodes by name."""
        return {node.name: n for n, node in enumerate(self.nodes)}

    @cached_property
    def before(self) -> tuple[tuple[int, ...], ...]:
        """For each node, those it comes after."""
        return tuple(tuple(self.index[name] for name in node.after) for node in self.nodes)

    @cached_property
    def later(self) -> tuple[tuple[int, ...], ...]:
        """For each node, those that come after it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for n, earlier in enumerate(self.before):
            for b in earlier:
                found[b].append(n)
        return tuple(map(tuple, found))

    @property
    def busiest(self) -> float:
        """Seconds a microbatch keeps its busiest device: none can come more often."""
        busy = [0.0] * self.devices
        for node in self.nodes:
            busy[node.device] += node.seconds
        return max(busy)


@dataclass(frozen=True)
class Schedule:
    """Passes with their times; ``held`` is the most that each device holds at once."""

    flow: Flow
    orders: Orders
    start: Mapping[Pass, float]
    bound: float
    proven: bool
    method: str

    def end(self, one: Pass) -> float:
        """When a pass ends."""
        return self.start[one] + self.flow.nodes[one[0]].seconds

    @property
    def seconds(self) -> float:
        """From the first pass to the end of the last."""
        return max(map(self.end, self.start))

    @property
    def held(self) -> tuple[float, ...]:
        """The most that each device holds at any moment."""
        events: list[list[tuple[float, int, float]]] = [[] for _ in range(self.flow.devices)]
        batches = 1 + max(k for _, k in self.start)
        for hold in self.flow.holds:
            first, last = self.flow.index[hold.first], self.flow.index[hold.last]
            for k in range(batches):
                where = events[self.flow.nodes[first].device]
                where += [(self.start[first, k], 1, hold.amount), (self.end((last, k)), 0, -hold.amount)]
        return tuple(_most(found) for found in events)

    @property
    def idle(self) -> float:
        """The fraction of the devices' time in which they wait (the bubbles)."""
        work = sum(self.flow.nodes[n].seconds for n, _ in self.start)
        return 1 - work / (self.flow.devices * self.seconds)

    def frame(self) -> Any:
        """A pandas DataFrame, one row a pass."""
        import pandas as pd

        rows = [
            (node.device, node.name, k, self.start[n, k], self.end((n, k)))
            for (n, k) in sorted(self.start, key=lambda one: self.start[one])
            for node in [self.flow.nodes[n]]
        ]
        return pd.DataFrame(rows, columns=["device", "node", "microbatch", "start", "stop"])


def _most(events: list[tuple[float, int, float]]) -> float:
    """The highest running sum; what is released at a moment is gone before anything begins at it."""
    level = most = 0.0
    for _, _, change in sorted(events):
        level += change
        most = max(most, level)
    return most


def timed(flow: Flow, orders: Orders, *, method: str = "given") -> Schedule:
    """Every pass as early as its device's order and its dependences allow; :class:`WeirError` if they never do."""
    start: dict[Pass, float] = {}
    free, place = [0.0] * len(orders), [0] * len(orders)
    waiting = list(range(len(orders)))
    while waiting:
        device = waiting.pop()
        order = orders[device]
        while place[device] < len(order):
            one = order[place[device]]
            ready = _ready(flow, start, one)
            if ready is None:
                break
            start[one] = max(free[device], ready)
            free[device] = start[one] + flow.nodes[one[0]].seconds
            place[device] += 1
            waiting += [d for d in {flow.nodes[n].device for n in flow.later[one[0]]} if d != device]
    if len(start) < sum(map(len, orders)):
        stuck = next(orders[d][place[d]] for d in range(len(orders)) if place[d] < len(orders[d]))
        raise WeirError(f"the orders wait for one another: {flow.nodes[stuck[0]].name} of microbatch {stuck[1]}")
    return Schedule(flow, orders, start, lower_bound(flow, 1 + max(k for _, k in start)), False, method)


def _ready(flow: Flow, start: Mapping[Pass, float], one: Pass) -> float | None:
    """When what a pass comes after has reached it; None if that is not known yet."""
    n, k = one
    node, latest = flow.nodes[n], 0.0
    for b in flow.before[n]:
        began = start.get((b, k))
        if began is None:
            return None
        latest = max(latest, began + flow.nodes[b].seconds + node.lag)
    return latest


def lower_bound(flow: Flow, batches: int) -> float:
    """Seconds that no schedule beats: some device's work, after its earliest first pass and before what must follow."""
    head, tail = _heads(flow), _tails(flow)
    best = 0.0
    for device in range(flow.devices):
        own = [n for n, node in enumerate(flow.nodes) if node.device == device]
        work = batches * sum(flow.nodes[n].seconds for n in own)
        best = max(best, min(head[n] for n in own) + work + min(tail[n] for n in own))
    return best


def _heads(flow: Flow) -> list[float]:
    """The earliest start of each node."""
    head: list[float] = []
    for n, node in enumerate(flow.nodes):
        head.append(max((head[b] + flow.nodes[b].seconds + node.lag for b in flow.before[n]), default=0.0))
    return head


def _tails(flow: Flow) -> list[float]:
    """Seconds that must pass after each node's end."""
    tail = [0.0] * len(flow.nodes)
    for n in reversed(range(len(flow.nodes))):
        for after in flow.later[n]:
            tail[n] = max(tail[n], flow.nodes[after].lag + flow.nodes[after].seconds + tail[after])
    return tail


Priority = Callable[[Node, int], Any]  # of ready passes the least runs first


def listed(
    flow: Flow, batches: int, limits: Sequence[float] | None = None, *, urgent: Priority | None = None
) -> Schedule:
    """A list schedule: whenever a device is free it runs the most urgent pass that is ready and fits its limit.

    Without ``urgent`` later nodes of the flow go first, then older microbatches. A pass that begins to hold something
    leaves room for all that older microbatches have yet to hold on the device, so that none waits for ever.
    """
    state = _List(flow, batches, limits, urgent)
    state.run()
    return timed(flow, tuple(tuple(order) for order in state.orders), method="list")


class _List:
    """Passes that wait, those that are ready at each device, and what each device holds."""

    def __init__(self, flow: Flow, batches: int, limits: Sequence[float] | None, urgent: Priority | None) -> None:
        self.flow, self.batches, self.urgent = flow, batches, urgent
        self.limits = list(limits) if limits is not None else [float("inf")] * flow.devices
        self.first: dict[int, list[Hold]] = {}
        self.last: dict[int, list[Hold]] = {}
        for hold in flow.holds:
            self.first.setdefault(flow.index[hold.first], []).append(hold)
            self.last.setdefault(flow.index[hold.last], []).append(hold)
        self._check()
        self.missing = {(n, k): len(b) for n, b in enumerate(flow.before) for k in range(batches)}
        self.ready: list[list[tuple[Any, Pass]]] = [[] for _ in range(flow.devices)]
        self.orders: list[list[Pass]] = [[] for _ in range(flow.devices)]
        self.held = [0.0] * flow.devices
        self.begun: dict[int, int] = {}  # microbatches that have begun a holding node, which they do in turn
        self.events: list[tuple[float, int, int, int]] = []  # time, 0 arrives and 1 ends, node, microbatch
        self.busy = [False] * flow.devices

    def _check(self) -> None:
        need = [0.0] * self.flow.devices
        for hold in self.flow.holds:
            need[self.flow.nodes[self.flow.index[hold.first]].device] += hold.amount
        for device, (least, limit) in enumerate(zip(need, self.limits, strict=True)):
            if least > limit:
                raise Infeasible(f"device {device} holds {least:g} for one microbatch; its limit is {limit:g}")

    def run(self) -> None:
        """Until every pass has run."""
        for (n, k), count in self.missing.items():
            if not count:
                self._arrive((n, k))
        now = 0.0
        self._fill(now)
        while self.events:
            now = self.events[0][0]
            while self.events and self.events[0][0] <= now:
                _, kind, n, k = heappop(self.events)
                self._end((n, k), now) if kind else self._arrive((n, k))
            self._fill(now)

    def _arrive(self, one: Pass) -> None:
        node = self.flow.nodes[one[0]]
        rank = (self.urgent(node, one[1]),) if self.urgent else (-one[0], one[1])
        heappush(self.ready[node.device], (rank, one))

    def _end(self, one: Pass, now: float) -> None:
        n, k = one
        self.busy[self.flow.nodes[n].device] = False
        for hold in self.last.get(n, ()):
            self.held[self.flow.nodes[self.flow.index[hold.first]].device] -= hold.amount
        for after in self.flow.later[n]:
            self.missing[after, k] -= 1
            if not self.missing[after, k]:
                heappush(self.events, (now + self.flow.nodes[after].lag, 0, after, k))

    def _fill(self, now: float) -> None:
        """Start a pass on every free device that has one."""
        for device in range(self.flow.devices):
            if not self.busy[device]:
                self._start(device, now)

    def _start(self, device: int, now: float) -> None:
        kept = []
        while self.ready[device]:
            rank, one = heappop(self.ready[device])
            if self._fits(device, one):
                self._begin(device, one, now)
                break
            kept.append((rank, one))
        for entry in kept:
            heappush(self.ready[device], entry)

    def _fits(self, device: int, one: Pass) -> bool:
        n, k = one
        if n not in self.first:
            return True
        if k != self.begun.get(n, 0):
            return False  # microbatches hold in turn
        amount = sum(hold.amount for hold in self.first[n])
        owed = 0.0
        for other, holds in self.first.items():
            if other != n and self.flow.nodes[other].device == device:
                owed += max(0, k - self.begun.get(other, 0)) * sum(h.amount for h in holds)
        return self.held[device] + amount + owed <= self.limits[device]

    def _begin(self, device: int, one: Pass, now: float) -> None:
        n, k = one
        for hold in self.first.get(n, ()):
            self.held[device] += hold.amount
        if n in self.first:
            self.begun[n] = k + 1
        self.busy[device] = True
        self.orders[device].append(one)
        heappush(self.events, (now + self.flow.nodes[n].seconds, 1, n, k))
