"""Fills that nothing hides: the time a nest waits for operands that are to stay with the units.

What is counted is written in ``docs/mapping.md`` under *Waiting*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from einsum.ops import bits
from mappings.tree import Spatial
from sim.arch import Device
from sim.model.actions import Counts
from sim.model.fit import tile_bytes
from sim.model.nests import Held, Leaf, Loop, Mapped
from sim.model.sized import Sized


@dataclass(frozen=True, slots=True)
class Filling:
    """Seconds spent on bringing in what stays."""

    exposed: Mapping[int, Any]  # s for which units wait, by the place of the keep in the nest
    hidden: Any  # s, of operands handed on while the units still use the last ones: a pace of its own

    @property
    def total(self) -> Any:
        """Seconds of waiting in all places together."""
        return sum(self.exposed.values(), start=0.0)


@dataclass(frozen=True)
class _Link:
    """A keep of a tensor, its parent, and the Einsums below it."""

    tensor: str
    parent: Held
    held: Held
    leaves: tuple[Leaf, ...]

    @property
    def written(self) -> bool:
        """Whether an Einsum below makes the tensor."""
        return any(leaf.einsum.output.tensor == self.tensor for leaf in self.leaves)

    @property
    def between(self) -> tuple[Loop, ...]:
        """Loops in space between the two keeps."""
        return tuple(loop for loop in self.held.loops[len(self.parent.loops) :] if loop.space)


@dataclass(frozen=True)
class _Run:
    """One nest on one device at some sizes."""

    at: Sized
    device: Device
    counts: Counts

    def rate(self, link: _Link) -> float:
        """Bytes per second out of the parent, all instances together."""
        return self._rates[link.parent.node.level]

    @cached_property
    def _rates(self) -> dict[str, float]:
        return {m.name: m.rate * self.device.instances(m.name) for m in self.device.memories}

    def shift(self, link: _Link) -> float:
        """Seconds to hand a new tile on through the fan-outs between the two keeps."""
        over = dict.fromkeys(loop.node.over for loop in link.between if isinstance(loop.node, Spatial))
        return sum(self._shifts[name] for name in over)

    @cached_property
    def _shifts(self) -> dict[str, float]:
        return {f.name: f.shift for f in self.device.fanouts}

    def waits(self, link: _Link) -> bool:
        """Whether units stand still while the keep of something that is only read is filled."""
        finite = self.rate(link) < np.inf or self.shift(link) > 0
        return not link.held.node.double and not link.written and finite

    def fetch(self, link: _Link) -> Any:
        """Seconds in which the parent hands over all that enters the keep, to instances that share it at once."""
        if self.rate(link) == np.inf:
            return 0.0
        each = bits(self.at.mapped.cascade.tensor(link.tensor).dtype) / 8
        if link.written:
            return each * self.counts.get(link.held.node.level, link.tensor, "fills") / self.rate(link)
        return each * self.handed[link.tensor, link.held.at] / self.rate(link)

    @cached_property
    def handed(self) -> dict[tuple[str, int], Any]:
        """Elements that its parent reads for a keep of what is only read."""
        return {(a.tensor, a.at): a.count for a in self.counts.actions if a.kind == "reads"}

    def first(self, link: _Link) -> Any:
        """Seconds in which the parent hands over one whole tile, to all instances."""
        if self.rate(link) == np.inf:
            return 0.0
        size = tile_bytes(self.at, link.held, link.tensor) / 2  # one of the two pieces
        own = self.at.tile(link.held, link.tensor).ranks
        cuts = self.at.cuts(link.held.loops)
        for rank in own & cuts.keys():
            size = size * self.at.instances(rank, cuts[rank], [loop.at for loop in link.between])
        return size / self.rate(link)

    def refills(self, link: _Link) -> Any:
        """How often the tile of a keep changes, at the busiest instance."""
        key = link.tensor, link.held.at
        if key not in self._refills:
            self._refills[key] = self._refilled(link)
        return self._refills[key]

    @cached_property
    def _refills(self) -> dict[tuple[str, int], Any]:
        return {}

    def _refilled(self, link: _Link) -> Any:
        own = self.at.tile(link.held, link.tensor).ranks
        done: dict[str, Any] = {}
        refills: Any = 1
        for place, loop in enumerate(link.held.loops):
            rank = loop.node.rank
            before = done.get(rank, 1)
            done[rank] = self.at.visits(rank, self.at.cuts(link.held.loops[: place + 1])[rank])
            if rank in own and not loop.space:
                refills = _where(done[rank] > before, _product(done.values()), refills)
        return refills


def _where(condition: Any, one: Any, other: Any) -> Any:
    """One or the other, point by point over arrays (plain truths take a quicker way)."""
    if isinstance(condition, bool):
        return one if condition else other
    return np.where(condition, one, other)


def _product(factors: Any) -> Any:
    total: Any = 1
    for factor in factors:
        total = total * factor
    return total


def filling(at: Sized, device: Device, counts: Counts) -> Filling:
    """What is waited for: fills of keeps without a second piece, and, after each of them, the first piece of the
    others."""
    run = _Run(at, device, counts)
    links = _links(at.mapped)
    exposed: dict[int, Any] = {}
    hidden: Any = 0.0
    for link in links:
        travel = run.refills(link) * run.shift(link) if run.shift(link) and not link.written else 0.0
        if not link.held.node.double:
            waited = run.fetch(link) + travel
        elif link.written:
            continue
        else:
            hidden = np.maximum(hidden, travel)
            waited = _restarts(run, link, links) * (run.first(link) + run.shift(link))
        exposed[link.held.at] = exposed.get(link.held.at, 0.0) + waited
    return Filling(exposed, hidden)


def _restarts(run: _Run, link: _Link, links: tuple[_Link, ...]) -> Any:
    """How often the units that a keep serves have stood still, and begin again with its first piece."""
    stops: Any = 0
    for other in links:
        if run.waits(other) and {leaf.einsum.name for leaf in other.leaves} & {
            leaf.einsum.name for leaf in link.leaves
        }:
            stops = np.maximum(stops, run.refills(other))
    return stops


def _links(mapped: Mapped) -> tuple[_Link, ...]:
    """Every keep of a tensor that has a parent, once."""
    found: dict[tuple[str, int], _Link] = {}
    for leaf in mapped.leaves:
        for tensor in (*leaf.einsum.inputs, leaf.einsum.output.tensor):
            for parent, held in pairwise(leaf.chain(tensor)):
                found[tensor, held.at] = _Link(tensor, parent, held, mapped.holders[held.at, tensor])
    return tuple(found.values())
