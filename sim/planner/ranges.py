"""Layers over unlike devices: each holds a range of them, tokens flow from the first layer to the last (Helix).

A node may hand a token on to any node that holds the next layer and reaches further; what flows is limited by how fast
nodes compute their ranges and by links. Helix (arXiv 2406.01566), section 4: the ranges with the largest flow.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, inf
from time import monotonic
from typing import Any

import numpy as np

from einsum.errors import Infeasible, WeirError
from sim.planner.milp import Progress

Ranges = tuple[tuple[int, int], ...]  # by node: the first layer, and the one after the last; an empty range is unused
ROUNDED = 1e-6  # of a capacity, by being made a whole number
SCALE = 1 << 30  # the largest capacity as an integer, for scipy's maximum flow


@dataclass(frozen=True, slots=True)
class Holder:
    """A node: tokens a second through ranges of one, two, .. layers, as many as its memory holds."""

    name: str
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse nodes that hold nothing."""
        if not self.rates or min(self.rates) < 0:
            raise WeirError(f"{self.name}: needs its tokens a second for one layer and more, none negative")


@dataclass(frozen=True)
class Network:
    """Nodes and the tokens a second between them, by (node, node); node -1 is where tokens enter and leave.

    A link that is not among ``links`` is boundless.
    """

    layers: int
    nodes: tuple[Holder, ...]
    links: Mapping[tuple[int, int], float]

    def __post_init__(self) -> None:
        """Refuse fewer layers than one, and nodes that together cannot hold them."""
        if self.layers < 1 or not self.nodes:
            raise WeirError("a network needs layers and nodes")
        if sum(len(node.rates) for node in self.nodes) < self.layers:
            held = sum(len(node.rates) for node in self.nodes)
            more = ceil((self.layers - held) / max(len(node.rates) for node in self.nodes))
            raise Infeasible(f"all nodes together hold {held} of {self.layers} layers; "
                             f"{more} more like the largest would do", self.layers / held)  # fmt: skip

    def link(self, source: int, target: int) -> float:
        """Tokens a second from one node to another."""
        return self.links.get((source, target), inf)

    @property
    def most(self) -> float:
        """Tokens a second that no placement beats: all nodes' layers a second over the layers, and what enters."""
        work = sum(max(rate * (j + 1) for j, rate in enumerate(node.rates)) for node in self.nodes) / self.layers
        return min(work, sum(self.link(-1, n) for n in range(len(self.nodes))))


@dataclass(frozen=True)
class Placed:
    """The ranges found and their flow (tokens a second); no placement's is larger than ``bound``."""

    network: Network
    ranges: Ranges
    flow: float
    bound: float
    proven: bool
    method: str
    seconds: float

    @property
    def gap(self) -> float:
        """How far the flow may be below the best, as a fraction of it."""
        return 0.0 if self.proven or not self.flow else self.bound / self.flow - 1

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of the whole under stable names."""
        return {
            "tokens_per_second": self.flow, "bound": self.bound, "proven": self.proven, "gap": self.gap,
            "method": self.method, "seconds": self.seconds,
        }  # fmt: skip

    def frame(self) -> Any:
        """A pandas DataFrame, one row a node."""
        import pandas as pd

        passing = [0.0] * len(self.network.nodes)
        for (_, n), rate in routed(self.network, self.ranges).items():
            passing[n] += rate if n >= 0 else 0.0
        rows = [
            (n.name, s, e, rate, rate / n.rates[e - s - 1] if e > s else 0.0)
            for n, (s, e), rate in zip(self.network.nodes, self.ranges, passing, strict=True)
        ]
        return pd.DataFrame(rows, columns=["node", "first", "stop", "tokens_per_second", "busy"])


def follows(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether the second range continues the first: it holds its next layer and reaches further."""
    return one[0] < one[1] and other[0] <= one[1] < other[1]


def flow(network: Network, ranges: Ranges) -> float:
    """The largest flow through given ranges, by scipy's maximum flow over integers; shares nothing with the MIP."""
    return sum(rate for (a, _), rate in routed(network, ranges).items() if a < 0)


Edge = tuple[int, int, float]  # of a node's way in to its way out, or of a node's to another's, and tokens a second


def _edges(network: Network, ranges: Ranges) -> list[Edge]:
    """What tokens go through: node ``n`` is 2n (in) and 2n + 1 (out); they come from 2 count and go to one more."""
    count = len(network.nodes)
    rates = [n.rates[e - s - 1] if e > s else 0.0 for n, (s, e) in zip(network.nodes, ranges, strict=True)]
    edges = [(2 * n, 2 * n + 1, rate) for n, rate in enumerate(rates) if rate]
    for n, (s, e) in enumerate(ranges):
        edges += [(2 * count, 2 * n, network.link(-1, n))] if s == 0 and e else []
        edges += [(2 * n + 1, 2 * count + 1, network.link(n, -1))] if e == network.layers and e > s else []
    for a, b in product(range(count), repeat=2):
        if a != b and follows(ranges[a], ranges[b]):
            edges.append((2 * a + 1, 2 * b, network.link(a, b)))
    return edges


def _largest(edges: list[Edge], count: int) -> tuple[Any, Any, float]:
    """Capacities and a largest flow as matrices of whole numbers, and the tokens a second of one of them."""
    from scipy import sparse
    from scipy.sparse.csgraph import maximum_flow

    top = max((*(room for a, b, room in edges if a // 2 == b // 2 and a < 2 * count), 1e-300))
    sources, targets, rooms = zip(*edges, strict=True)
    whole = np.array([int(min(room / top, 1.0) * SCALE / count) for room in rooms], np.int32)
    made: Any = sparse.csr_array  # its stubs know no shape of two
    graph = made((whole, (sources, targets)), shape=(2 * count + 2, 2 * count + 2), dtype=np.int32)
    return graph, maximum_flow(graph, 2 * count, 2 * count + 1).flow, top * count / SCALE


def routed(network: Network, ranges: Ranges) -> dict[tuple[int, int], float]:
    """Tokens a second from node to node in a largest flow through given ranges; node -1 is outside."""
    count, edges = len(network.nodes), _edges(network, ranges)
    if not edges:
        return {}
    _, flows, scale = _largest(edges, count)
    found = flows.tocoo()
    rows = zip(found.row.tolist(), found.col.tolist(), found.data.tolist(), strict=True)
    outside = {2 * count: -1, 2 * count + 1: -1}
    return {
        (outside.get(a, a // 2), outside.get(b, b // 2)): tokens * scale
        for a, b, tokens in rows
        if tokens > 0 and a // 2 != b // 2
    }


def limiting(network: Network, ranges: Ranges) -> dict[str, float]:
    """What limits the largest flow: nodes and links that are full and lie on every way (a smallest cut), with their
    tokens a second. Ford and Fulkerson (1956): together these are the flow."""
    from scipy.sparse.csgraph import breadth_first_order

    count, edges = len(network.nodes), _edges(network, ranges)
    if not edges:
        return {}
    graph, flows, scale = _largest(edges, count)
    left: Any = (graph - flows).tolil()
    for a, b, room in edges:
        if room > graph[a, b] * scale * (1 + ROUNDED):  # wider than any node, and counted as wide as the widest
            left[a, b] += 1
    left = left.tocsr()
    left.eliminate_zeros()
    near = set(breadth_first_order(left, 2 * count, return_predecessors=False).tolist())
    return {_called(network, a, b): room for a, b, room in edges if a in near and b not in near}


def _called(network: Network, a: int, b: int) -> str:
    """A node, or a link between two, in words."""
    names = [*(n.name for n in network.nodes), "outside"]
    return names[a // 2] if a // 2 == b // 2 else f"link from {names[a // 2]} to {names[b // 2]}"


def templates(network: Network) -> tuple[Ranges, Ranges]:
    """The best template of each kind: equal stages that nodes share, and chains of nodes side by side."""
    counts = range(1, min(network.layers, len(network.nodes)) + 1)
    cuts = ([round(i * network.layers / count) for i in range(count + 1)] for count in counts)
    shared = max((_shared(network, cut) for cut in cuts), key=lambda ranges: flow(network, ranges))
    return shared, max((_chains(network, count) for count in counts), key=lambda ranges: flow(network, ranges))


def _chains(network: Network, count: int) -> Ranges:
    """Nodes dealt to so many chains of like speed, each chain's layers given one by one to its fastest node so far.

    A node's rate falls with its layers, so that this makes the slowest node of a chain as fast as can be.
    """
    chains: list[list[int]] = [[] for _ in range(count)]
    work = [max(rate * (j + 1) for j, rate in enumerate(node.rates)) for node in network.nodes]
    for n in sorted(range(len(work)), key=lambda n: -work[n]):
        min(chains, key=lambda chain: sum(work[m] for m in chain)).append(n)
    ranges = [(0, 0)] * len(work)
    for chain in chains:
        if sum(len(network.nodes[n].rates) for n in chain) < network.layers:
            continue
        held = dict.fromkeys(chain, 0)
        for _ in range(network.layers):
            free = [n for n in chain if held[n] < len(network.nodes[n].rates)]
            held[max(free, key=lambda n: network.nodes[n].rates[held[n]])] += 1
        first = 0
        for n in sorted(chain):
            ranges[n] = (first, first + held[n]) if held[n] else (0, 0)
            first += held[n]
    return tuple(ranges)


def _shared(network: Network, cuts: list[int]) -> Ranges:
    """Nodes dealt to stages, the fastest first, each to the slowest stage whose layers it holds."""
    speed = [0.0] * (len(cuts) - 1)
    ranges = [(0, 0)] * len(network.nodes)
    for n in sorted(range(len(network.nodes)), key=lambda n: (len(network.nodes[n].rates), -network.nodes[n].rates[0])):
        rates = network.nodes[n].rates
        fits = [i for i in range(len(speed)) if cuts[i + 1] - cuts[i] <= len(rates)]
        if fits:
            at = min(fits, key=lambda i: speed[i])
            ranges[n] = (cuts[at], cuts[at + 1])
            speed[at] += rates[cuts[at + 1] - cuts[at] - 1]
    return tuple(ranges)


def improved(
    network: Network, ranges: Ranges, *, tries: int = 2000, seed: int = 0, until: float = inf
) -> Ranges:  # fmt: skip
    """The ranges after random changes of one node at a time, each kept where the flow is no less; no more of them once
    the clock (``time.monotonic``) shows ``until``."""
    draw = random.Random(seed)  # noqa: S311  not for secrets
    now, best = flow(network, ranges), ranges
    for _ in range(tries):
        if monotonic() > until:
            break
        n = draw.randrange(len(best))
        length = draw.randint(0, min(len(network.nodes[n].rates), network.layers))
        first = draw.randint(0, network.layers - length) if length else 0
        changed = (*best[:n], (first, first + length), *best[n + 1 :])
        value = flow(network, changed)
        if value >= now:
            now, best = value, changed
    return best


def place(
    network: Network, *, seconds: float = 30.0, tries: int = 1000, seed: int = 0, solver: str = "highs",
    progress: Progress | None = None,
) -> Placed:  # fmt: skip
    """The ranges with the largest flow: templates, improved, then Helix's programme started from the better.

    Never worse than where it starts; :class:`Infeasible` where the nodes cannot hold all layers.
    """
    from sim.planner import milp
    from sim.planner.ranges_mip import Helix

    began = monotonic()
    parts = zip((0.25, 0.5), templates(network), strict=True)
    begun = (improved(network, one, tries=tries, seed=seed, until=began + seconds * part) for part, one in parts)
    known = max(begun, key=lambda ranges: flow(network, ranges))
    value, most = flow(network, known), network.most
    if value >= most * (1 - 1e-6):
        return Placed(network, known, value, max(value, most), True, "template", monotonic() - began)
    rows = Helix(network, milp.Model("ranges"))
    rows.build(most)
    start, left = rows.start(known) if value else None, max(began + seconds - monotonic(), seconds / 4)
    try:
        solved = rows.model.solve(seconds=left, start=start, solver=solver, progress=progress)
    except Infeasible:
        raise _too_few(network) from None
    found = rows.ranges(solved)
    reached, bound = flow(network, found), min(most, -solved.bound)
    if reached <= value * (1 + 1e-9):
        found, reached = known, value
    if not reached:
        raise _too_few(network)
    proven = solved.proven or reached >= bound * (1 - 1e-6)
    return Placed(network, found, reached, max(bound, reached), proven, "mip", monotonic() - began)


def _too_few(network: Network) -> Infeasible:
    return Infeasible(f"no ranges of {len(network.nodes)} nodes hold {network.layers} layers in a row")


def network(
    layers: int, nodes: Sequence[Holder], *, token: float, bandwidth: Mapping[tuple[int, int], float]
) -> Network:  # fmt: skip
    """A network of nodes whose links carry ``token`` bytes a token, at bytes a second by (node, node)."""
    if token <= 0:
        raise WeirError(f"{token:g} bytes a token; something must be sent")
    return Network(layers, tuple(nodes), {edge: rate / token for edge, rate in bandwidth.items()})
