"""Ranges of layers with the largest flow, as a mixed-integer programme (Helix, arXiv 2406.01566, section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from sim.planner.milp import Row
from sim.planner.ranges import Network, Ranges, follows


class Helix:
    """The programme: ranges as integers, which nodes follow which as binaries, and the flow through them."""

    def __init__(self, network: Network, model: Any) -> None:
        self.network, self.model = network, model
        nodes, layers = range(len(network.nodes)), network.layers
        self.first = [model.integer(f"s{n}", 0, layers) for n in nodes]
        self.length = [[model.binary(f"y{n}_{j}") for j in range(len(network.nodes[n].rates))] for n in nodes]
        self.edges = [(-1, n) for n in nodes] + [(n, -1) for n in nodes]
        self.edges += [(a, b) for a, b in product(nodes, repeat=2) if a != b]
        self.open = {edge: model.binary(f"d{edge[0] + 1}_{edge[1] + 1}") for edge in self.edges}
        self.flows = {edge: model.number(f"f{edge[0] + 1}_{edge[1] + 1}") for edge in self.edges}

    def stop(self, n: int) -> Any:
        """The layer after a node's last."""
        return self.first[n] + sum((j + 1) * y for j, y in enumerate(self.length[n]))

    def build(self, most: float) -> None:
        """All rows; flows are in parts of the largest there can be."""
        self.most = most
        self.model.add("ranges", self.within())
        self.model.add("who follows whom", self.order())
        self.model.add("links", self.carried())
        self.model.add("what enters leaves", self.kept())
        self.model.add("what nodes compute", self.computed())
        self.model.add("all layers", self.passed())
        self.model.minimise(-most * sum(self.flows[-1, n] for n in range(len(self.network.nodes))))

    def within(self) -> Iterator[Row]:
        """A node holds one range at most, inside the model: sum of y <= 1, s + length <= L."""
        for n in range(len(self.network.nodes)):
            yield sum(self.length[n]) <= 1
            yield self.stop(n) <= self.network.layers

    def order(self) -> Iterator[Row]:
        """An open edge joins ranges in order: s_b <= e_a, e_a + 1 <= e_b; it enters at layer 0 and leaves after L:
        s_b <= L (1 - d) and e_a >= L d."""
        layers = self.network.layers
        for (a, b), is_open in self.open.items():
            if a < 0:
                yield self.first[b] <= layers * (1 - is_open)
            elif b < 0:
                yield self.stop(a) >= layers * is_open
            else:
                yield self.first[b] <= self.stop(a) + layers * (1 - is_open)
                yield self.stop(a) + 1 <= self.stop(b) + (layers + 1) * (1 - is_open)

    def carried(self) -> Iterator[Row]:
        """An edge carries nothing unless open, and no more than its link: f <= link x d."""
        for (a, b), is_open in self.open.items():
            ends = [self.network.nodes[n].rates for n in (a, b) if n >= 0]
            room = min(self.network.link(a, b), *(max(rates) for rates in ends))
            yield self.flows[a, b] <= min(1.0, room / self.most) * is_open

    def kept(self) -> Iterator[Row]:
        """What enters a node leaves it: sum of f in = sum of f out."""
        for n in range(len(self.network.nodes)):
            yield self._into(n) == sum(f for (a, _), f in self.flows.items() if a == n)

    def computed(self) -> Iterator[Row]:
        """What enters a node is no more than it computes of its range: sum of f <= sum of rate x y."""
        for n, node in enumerate(self.network.nodes):
            yield self._into(n) <= sum(r / self.most * y for r, y in zip(node.rates, self.length[n], strict=True))

    def passed(self) -> Iterator[Row]:
        """Every token passes all layers: L x (what enters) <= sum over nodes of layers a second."""
        entered = sum(self.flows[-1, n] for n in range(len(self.network.nodes)))
        layers = [
            (j + 1) * rate / self.most * y
            for node, ys in zip(self.network.nodes, self.length, strict=True)
            for j, (rate, y) in enumerate(zip(node.rates, ys, strict=True))
        ]
        yield self.network.layers * entered <= sum(layers)

    def _into(self, n: int) -> Any:
        return sum(f for (_, b), f in self.flows.items() if b == n)

    def ranges(self, solved: Any) -> Ranges:
        """The ranges of a solution."""
        lengths = [sum((j + 1) * round(solved[y]) for j, y in enumerate(ys)) for ys in self.length]
        firsts = [round(solved[s]) for s in self.first]
        return tuple((s, s + size) if size else (0, 0) for s, size in zip(firsts, lengths, strict=True))

    def start(self, ranges: Ranges) -> dict[str, float]:
        """Values of the integers for known ranges; the solver finds their flow itself."""
        values: dict[str, float] = {}
        for n, (s, e) in enumerate(ranges):
            values[self.first[n].name] = float(s)
            values |= {y.name: float(j + 1 == e - s) for j, y in enumerate(self.length[n])}
        for (a, b), is_open in self.open.items():
            held = ranges[max(a, b) if min(a, b) < 0 else a]
            if a < 0:
                joined = held[0] == 0 and held[1] > 0
            elif b < 0:
                joined = held[1] == self.network.layers and held[1] > held[0]
            else:
                joined = follows(ranges[a], ranges[b])
            values[is_open.name] = float(joined)
        return values
