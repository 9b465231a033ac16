"""Time and energy of a mapped cascade on a component tree: counts, then seconds and joules of every component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from einsum import Cascade
from einsum.counts import operations, volume
from einsum.ops import bits
from mappings.tree import Nest, Run, Spatial
from sim.arch import Device
from sim.model.actions import Counts
from sim.model.counts import counts
from sim.model.legal import check
from sim.model.nests import Leaf, Mapped
from sim.model.pieces import covered, repeated
from sim.units import fmt


@dataclass(frozen=True, slots=True)
class Busy:
    """One Einsum on its unit: seconds of the busiest instance, fill and drain of the array, operations and joules."""

    einsum: str
    unit: str
    seconds: Any
    skew: Any
    operations: Any  # points times operations each, over all instances
    capacity: Any  # seconds times instances of the unit that this work would keep fully busy
    joules: Any


@dataclass(frozen=True)
class MappedEstimate:
    """A cascade run once under a nest on a device; every figure may be an array over tile sizes or problem sizes."""

    mapped: Mapped
    device: Device
    counts: Counts
    leaves: tuple[Busy, ...]

    @cached_property
    def compute_seconds(self) -> Any:
        """Seconds of the units alone, combined as the nest says."""
        return _walk(self.mapped.nest, {b.einsum: b for b in self.leaves})[0]

    @cached_property
    def level_seconds(self) -> dict[str, Any]:
        """Seconds that each level's own bandwidth needs for all that it reads and writes."""
        return {m.name: self._bytes(m.name) / (m.rate * self.device.instances(m.name)) for m in self.device.memories}

    @cached_property
    def exposed_seconds(self) -> Any:
        """Seconds of fills that nothing hides: those of keeps without a second piece to fill meanwhile."""
        total: Any = 0.0
        for tensor, parent, held in self._links():
            if not held.node.double:
                level = next(m for m in self.device.memories if m.name == parent.node.level)
                size = self._each(tensor) * self.counts.get(held.node.level, tensor, "fills")
                total = total + size / (level.rate * self.device.instances(level.name))
        return total

    def _links(self) -> list[tuple[str, Any, Any]]:
        """Every (tensor, parent keep, keep), once."""
        found: dict[tuple[str, int], tuple[str, Any, Any]] = {}
        for leaf in self.mapped.leaves:
            for tensor in (*leaf.einsum.inputs, leaf.einsum.output.tensor):
                chain = leaf.chain(tensor)
                for parent, held in pairwise(chain):
                    found[tensor, held.at] = (tensor, parent, held)
        return list(found.values())

    @cached_property
    def seconds(self) -> Any:
        """Wall seconds: units and levels overlap, the slowest sets the pace; unhidden fills come on top."""
        slowest = self.compute_seconds
        for seconds in self.level_seconds.values():
            slowest = np.maximum(slowest, seconds)
        return slowest + self.exposed_seconds

    def _each(self, tensor: str) -> float:
        return bits(self.mapped.cascade.tensor(tensor).dtype) / 8

    def _bytes(self, level: str) -> Any:
        return sum((self._each(a.tensor) * a.count for a in self.counts.actions if a.level == level), start=0.0)

    def traffic(self, level: str, *kinds: str) -> Any:
        """Bytes of all tensors handled at a level in these ways (in all, if none is named)."""
        wanted = kinds or ("reads", "fills", "updates", "drains")
        rows = (a for a in self.counts.actions if a.level == level and a.kind in wanted)
        return sum((self._each(a.tensor) * a.count for a in rows), start=0.0)

    @cached_property
    def joules_by(self) -> dict[str, Any]:
        """Joules of each level and unit, and ``idle`` for the time it takes."""
        found: dict[str, Any] = {}
        for memory in self.device.memories:
            read = self.traffic(memory.name, "reads", "drains")
            written = self.traffic(memory.name, "fills", "updates")
            found[memory.name] = memory.joules(read) + memory.joules(written, written=True)
        for busy in self.leaves:
            found[busy.unit] = found.get(busy.unit, 0.0) + busy.joules
        if self.device.power is not None:
            found["idle"] = self.device.power.idle * self.seconds
        return found

    @property
    def joules(self) -> Any:
        """Joules of all components together."""
        return sum(self.joules_by.values())

    def utilisation(self, unit: str) -> Any:
        """Fraction of a unit's instances and time that does work."""
        work = sum((b.capacity for b in self.leaves if b.unit == unit), start=0.0)
        return work / (self.seconds * self.device.instances(unit))

    @property
    def bound(self) -> str:
        """The level, or ``compute``, that sets the pace (at the last design point)."""
        parts = {"compute": self.compute_seconds, **self.level_seconds}
        return max(parts, key=lambda k: float(np.ravel(parts[k])[-1]))

    def frame(self) -> Any:
        """A pandas DataFrame of the counts, with bytes."""
        frame = self.counts.frame()
        frame["bytes"] = frame["count"] * frame["tensor"].map(self._each)
        return frame

    def __str__(self) -> str:
        """A table to read, figures of the last design point."""

        cost = f"{fmt(_last(self.seconds), 's')}, {fmt(_last(self.joules), 'J')}"
        lines = [f"{self.mapped.cascade.name} on {self.device.name}: {cost}, bound by {self.bound}"]
        units = dict.fromkeys(b.unit for b in self.leaves)
        lines += [f"  {unit:12} utilisation {_last(self.utilisation(unit)):6.1%}" for unit in units]
        for level, seconds in self.level_seconds.items():
            size, joules = self.traffic(level), self.joules_by[level]
            cells = (fmt(_last(size), "B"), fmt(_last(seconds), "s"), fmt(_last(joules), "J"))
            lines.append(f"  {level:12} " + " ".join(f"{cell:>10}" for cell in cells))
        return "\n".join(lines)


def _last(value: Any) -> float:
    return float(np.ravel(value)[-1])


def evaluate(
    cascade: Cascade, nest: Nest, device: Device, sizes: Mapping[str, Any] | None = None,
    tiles: Mapping[str, Any] | None = None, checked: bool = True,
) -> MappedEstimate:  # fmt: skip
    """Counts, seconds and joules of a cascade under a nest on a device; refuses an illegal nest unless ``checked`` is
    false (for bulk evaluation of nests checked before)."""
    at = dict(cascade.bind() if sizes is None else sizes)
    mapped = check(cascade, nest, device, at) if checked else Mapped(cascade, nest)
    found = counts(cascade, mapped, at, tiles)
    points = {c.einsum: c.points for c in found.computes}
    leaves = tuple(_busy(mapped, leaf, device, at, tiles or {}, points[leaf.einsum.name]) for leaf in mapped.leaves)
    return MappedEstimate(mapped, device, found, leaves)


def _busy(
    mapped: Mapped, leaf: Leaf, device: Device, sizes: Mapping[str, Any], tiles: Mapping[str, Any], points: Any
) -> Busy:
    """Seconds of the busiest instance: its points, each for as long as its operations take on the unit."""
    each, energy = _per_point(mapped.cascade, leaf, device, sizes)
    cuts = mapped.cuts(leaf.loops, tiles)
    space = frozenset(loop.at for loop in leaf.loops if loop.space)
    busiest: Any = 1
    for rank in dict.fromkeys((*leaf.einsum.ranks, *cuts)):
        count = covered if rank in leaf.einsum.ranks else repeated
        busiest = busiest * count(sizes[rank], cuts.get(rank, ()), space)
    skew = _skew(mapped, leaf, device, sizes, tiles)
    name = leaf.einsum.name
    return Busy(name, leaf.unit, busiest * each, skew, points, points * each, points * energy)


def _per_point(cascade: Cascade, leaf: Leaf, device: Device, sizes: Mapping[str, Any]) -> tuple[Any, Any]:
    """Seconds and joules of one point of an Einsum on one instance of its unit."""
    unit = next(c for c in device.computes if c.name == leaf.unit)
    alone = replace(device, computes=(unit,))
    dtype = max((cascade.tensor(n).dtype for n in (*leaf.einsum.inputs, leaf.einsum.output.tensor)), key=bits)
    whole = volume(leaf.einsum.ranks, sizes)
    seconds: Any = 0.0
    joules: Any = 0.0
    for op, count in operations(cascade, leaf.einsum, sizes).items():
        as_dtype, _ = alone.runs_as(op, dtype)
        seconds = seconds + count / whole / (alone.rate(op, dtype) / alone.instances(unit.name))
        joules = joules + unit.joules(op, as_dtype, count / whole)
    return seconds, joules


def _skew(mapped: Mapped, leaf: Leaf, device: Device, sizes: Mapping[str, Any], tiles: Mapping[str, Any]) -> Any:
    """Seconds of wavefronts running in and out: once for every piece of work that the array is given anew."""
    space = [loop for loop in leaf.loops if loop.space]
    if not space:
        return 0.0
    outside = tuple(loop for loop in leaf.loops if loop.at < space[0].at)
    visits: Any = 1
    for rank, cuts in mapped.cuts(outside, tiles).items():
        visits = visits * repeated(sizes[rank], cuts)
    fans = {f.name: f.skew for f in device.fanouts}
    used = dict.fromkeys(loop.node.over for loop in space if isinstance(loop.node, Spatial))
    return visits * sum(fans[name] for name in used)


def _walk(nest: Nest, busy: Mapping[str, Busy]) -> tuple[Any, dict[str, Any]]:
    """Seconds of a nest, and of each unit in it: sums in sequence; stages of a pipeline, and Einsums that interleave,
    take as long as the slowest of them or the busiest unit (interleaving hides the skew of arrays as well)."""
    end = nest.end
    if isinstance(end, Run):
        one = busy[end.einsum]
        return one.seconds + one.skew, {one.unit: one.seconds}
    parts = [_walk(child, busy) for child in end.children]
    units: dict[str, Any] = {}
    for _, own in parts:
        for unit, seconds in own.items():
            units[unit] = units.get(unit, 0.0) + seconds
    if end.how == "sequence":
        return sum(seconds for seconds, _ in parts), units
    stages = [seconds for seconds, _ in parts] if end.how == "pipeline" else []
    slowest: Any = 0.0
    for seconds in (*stages, *units.values()):
        slowest = np.maximum(slowest, seconds)
    return slowest, units
