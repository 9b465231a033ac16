"""Repeating schedules: every microbatch does the same, one interval after the one before it (modulo scheduling).

The interval is what the busiest device needs, so that nothing is lost between the first microbatches and the last;
sought are the times within one microbatch with which the fullest device holds least. The building blocks of V-Half
(arXiv 2405.15362) and of vocabulary parallelism (arXiv 2411.05288, section 5) are such patterns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import ceil, floor
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError
from sim.planner.pipeline import Flow, Schedule, timed

if TYPE_CHECKING:
    from sim.planner.milp import Row

EDGE = 1e-9  # intervals; passes that end and begin so close to one another touch


@dataclass(frozen=True)
class Pattern:
    """The start of every node in the first microbatch; each later one is ``interval`` seconds behind the last.

    ``held`` is the mean that the fullest device holds; no pattern of that interval holds less than ``bound``.
    """

    flow: Flow
    start: tuple[float, ...]
    interval: float
    held: float
    bound: float
    proven: bool

    @property
    def means(self) -> tuple[float, ...]:
        """What each device holds on average in the steady state."""
        total = [0.0] * self.flow.devices
        for device, first, last, amount in _holds(self.flow):
            lasts = self.start[last] + self.flow.nodes[last].seconds - self.start[first]
            total[device] += amount * lasts / self.interval
        return tuple(total)

    def unrolled(self, microbatches: int) -> Schedule:
        """The pattern run for so many microbatches, each pass as early as its device's order lets it."""
        orders = []
        for device in range(self.flow.devices):
            own = [n for n, node in enumerate(self.flow.nodes) if node.device == device]
            passes = [(self.start[n] + k * self.interval, k, n) for n in own for k in range(microbatches)]
            orders.append(tuple((n, k) for _, k, n in sorted(passes)))
        return timed(self.flow, tuple(orders), method="repeating")


def _holds(flow: Flow) -> Iterator[tuple[int, int, int, float]]:
    """Device, first node, last node and amount of everything held."""
    for hold in flow.holds:
        first = flow.index[hold.first]
        yield flow.nodes[first].device, first, flow.index[hold.last], hold.amount


def repeating(
    flow: Flow, *, interval: float | None = None, seconds: float = 60.0, solver: str = "highs"
) -> Pattern:  # fmt: skip
    """The pattern of that interval (the busiest device's work unless given) whose fullest device holds least.

    ``seconds`` bounds the programme; with none of them the pattern is the one that it would start from.
    Raises :class:`WeirError` for an interval shorter than the busiest device's work, :class:`Infeasible` where the
    passes of some device cannot be fitted into it.
    """
    every = flow.busiest if interval is None else interval
    if every < flow.busiest * (1 - 1e-12) or every <= 0:
        raise WeirError(f"an interval of {every:g} s; the busiest device works {flow.busiest:g} s for a microbatch")
    length = [node.seconds / every for node in flow.nodes]
    tried = (_packed(flow, length, every), _fitted(flow, length, every))
    known = min(filter(None, tried), key=lambda at: _most(flow, at, every))
    if not seconds:
        return Pattern(flow, tuple(t * every for t in known), every, _most(flow, known, every), 0.0, False)
    from sim.planner import milp

    model = milp.Model("repeating")
    start = [model.number(f"t{n}") for n in range(len(flow.nodes))]  # in intervals
    most = model.number("most")
    turns = {pair: model.integer(f"q{pair[0]}_{pair[1]}", None) for pair in _pairs(flow)}
    model.add("dependences", dependences(flow, start, length, every))
    model.add("one pass at a time", apart(turns, start, length))
    model.add("held", held(flow, start, length, most))
    model.minimise(most + 1e-6 * milp.total(start))  # of patterns that hold as little, the one that ends soonest
    first = {t.name: at for t, at in zip(start, known, strict=True)}
    first |= {turn.name: float(floor(known[b] - known[a] + 1e-9)) for (a, b), turn in turns.items()}
    first["most"] = _most(flow, known, every)
    solved = model.solve(seconds=seconds, start=first, solver=solver)
    made = Pattern(flow, tuple(solved[t] * every for t in start), every, 0.0, 0.0, solved.proven)
    return Pattern(flow, made.start, every, max(made.means), min(max(made.means), solved.bound), solved.proven)


def _packed(flow: Flow, length: list[float], every: float) -> list[float]:
    """Some pattern, in intervals: a device's nodes side by side, each begun when its place next comes round."""
    place, filled = [0.0] * len(length), [0.0] * flow.devices
    for n, node in enumerate(flow.nodes):
        place[n] = filled[node.device]
        filled[node.device] += length[n]
    start: list[float] = []
    for n, earlier in enumerate(flow.before):
        ready = max((start[b] + length[b] + flow.nodes[n].lag / every for b in earlier), default=0.0)
        start.append(place[n] + ceil(ready - place[n] - 1e-12))
    return start


def _fitted(flow: Flow, length: list[float], every: float) -> list[float]:
    """Some pattern, in intervals: each node as soon as its device has a gap that leaves room for those to come; empty
    where that leads nowhere."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(flow.devices)]  # places in the interval, and lengths
    left = [[length[n] for n, node in enumerate(flow.nodes) if node.device == d] for d in range(flow.devices)]
    start: list[float] = []
    for n, earlier in enumerate(flow.before):
        device = flow.nodes[n].device
        ready = max((start[b] + length[b] + flow.nodes[n].lag / every for b in earlier), default=0.0)
        left[device].remove(length[n])
        for at in _chances(taken[device], ready, length[n]):
            holding = [*taken[device], (at % 1.0, length[n])]
            if _room(holding, left[device]):
                taken[device] = holding
                start.append(at)
                break
        else:
            return []
    return start


def _chances(taken: list[tuple[float, float]], ready: float, length: float) -> list[float]:
    """Times at which a node may begin in a gap: at once, right after what is there, right before it; earliest first."""
    edges = [ready, *(edge for place, size in taken for edge in (place + size, place - length))]
    times = sorted(place + ceil(ready - place - EDGE) for place in edges)
    return [t for t in times if all(size - EDGE <= _since(t, place) <= 1 - length + EDGE for place, size in taken)]


def _since(time: float, place: float) -> float:
    """How long ago a place in the interval last came round."""
    since = (time - place) % 1.0
    return since if since < 1 - EDGE else 0.0


def _room(taken: list[tuple[float, float]], left: list[float]) -> bool:
    """Whether nodes still to come find gaps, the longest first."""
    order = sorted(taken)
    ends = [*(place for place, _ in order[1:]), order[0][0] + 1]
    gaps = [end - place - size for (place, size), end in zip(order, ends, strict=True)]
    for size in sorted(left, reverse=True):
        fits = [i for i, gap in enumerate(gaps) if gap >= size - EDGE]
        if not fits:
            return False
        gaps[min(fits, key=lambda i: gaps[i])] -= size
    return True


def _most(flow: Flow, start: list[float], every: float) -> float:
    """What the fullest device holds on average in a pattern given in intervals."""
    return max(Pattern(flow, tuple(t * every for t in start), every, 0.0, 0.0, False).means, default=0.0)


def _pairs(flow: Flow) -> Iterator[tuple[int, int]]:
    """Nodes that share a device."""
    for a, b in combinations(range(len(flow.nodes)), 2):
        if flow.nodes[a].device == flow.nodes[b].device:
            yield a, b


def dependences(flow: Flow, start: list[Any], length: list[float], every: float) -> Iterator[Row]:
    """A node begins once those it comes after have ended and reached it: t_b >= t_a + s_a + lag."""
    for n, earlier in enumerate(flow.before):
        for b in earlier:
            yield start[n] >= start[b] + length[b] + flow.nodes[n].lag / every


def apart(turns: Mapping[tuple[int, int], Any], start: list[Any], length: list[float]) -> Iterator[Row]:
    """Two nodes of a device are apart in every interval: s_a <= t_b - t_a - q <= 1 - s_b with q a whole number."""
    for (a, b), turn in turns.items():
        yield start[b] - start[a] - turn >= length[a]
        yield start[b] - start[a] - turn <= 1 - length[b]


def held(flow: Flow, start: list[Any], length: list[float], most: Any) -> Iterator[Row]:
    """What a device holds on average is no more than the fullest holds: sum of amount
    (t_last + s_last - t_first) <= most."""
    for device in range(flow.devices):
        own = [(f, n, amount) for d, f, n, amount in _holds(flow) if d == device]
        if own:
            yield sum(amount * (start[n] + length[n] - start[f]) for f, n, amount in own) <= most
