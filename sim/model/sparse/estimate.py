"""Seconds and joules of a mapped sparse product: counts, then every component's own time, combined as the nest says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from mappings.sparse import SparseMapping
from sim.arch import Device, Memory
from sim.model.actions import IN
from sim.model.elapsed import elapsed
from sim.model.sparse.count import Counter, SparseCounts
from sim.model.sparse.figures import Figures, gathered
from sim.model.sparse.hashing import Probed
from sim.model.sparse.stages import axes, left
from sim.model.sparse.structure import Floats, Product
from sim.model.sparse.units import Unit, crowded, engine_of, fans_above, shared, unit_of


@dataclass(frozen=True)
class SparseEstimate(Figures):
    """A cascade over matrices in hand, run once under a mapping on a device."""

    mapping: SparseMapping
    products: tuple[Product, ...]
    device: Device
    counted: SparseCounts
    units: tuple[Unit, ...]
    engines: dict[str, float] = field(default_factory=dict)  # seconds of units that only move tensors
    probes: dict[str, Probed] = field(default_factory=dict)  # by the tensor whose products are hashed
    thread_loads: Floats | None = None

    @property
    def probed(self) -> Probed | None:  # type: ignore[override]
        """Probes of the first hash table."""
        return next(iter(self.probes.values()), None)

    @cached_property
    def level_seconds(self) -> dict[str, float]:
        """Seconds that each level's bandwidth, its network and its atomic updates need."""
        found = {}
        for memory in self.device.memories:
            read = self._bytes(memory.name, False)
            found[memory.name] = self._busy(memory, read, self._bytes(memory.name, True))
        return found

    def _bytes(self, level: str, into: bool) -> float:
        return sum(m.size for m in self.counted.moves if m.level == level and (m.kind in IN) == into)

    def _busy(self, memory: Memory, read: float, written: float) -> float:
        copies = self.device.instances(memory.name)
        seconds = [float(memory.busy(read, written)) / copies]
        if memory.interleaved:
            for fan in fans_above(self.device, memory.name):
                ports = fan.count * self.device.instances(fan.name)
                seconds.append((read + written) * fan.crossing / (ports * fan.port))
        for tensor, probed in self.probes.items():
            updates = self.counted.counts.get(memory.name, tensor, "updates") / copies
            seconds.append(memory.atomics(updates, probed.collisions))
        return max(seconds)

    @cached_property
    def seconds(self) -> float:
        """Wall seconds: the slowest of unit, engines and levels in each stage, as the nest puts stages together."""
        busy = {u.einsum: (u.name, u.seconds, 0.0) for u in self.units}
        return float(elapsed(self.mapping.nest, busy, {}, self._traffic))

    @cached_property
    def _traffic(self) -> dict[int, dict[str, float]]:
        """Seconds of each level and engine by place in the nest."""
        moved: dict[tuple[int, str], list[float]] = {}
        for move in self.counted.moves:
            moved.setdefault((move.at, move.level), [0.0, 0.0])[move.kind in IN] += move.size
        memories = {m.name: m for m in self.device.memories}
        found: dict[int, dict[str, float]] = {}
        for (at, level), (read, written) in moved.items():
            found.setdefault(at, {})[level] = self._busy(memories[level], read, written)
        if self.engines:
            found.setdefault(1, {}).update(self.engines)
        return found

    @cached_property
    def joules_by(self) -> dict[str, float]:
        """Joules of each level and unit, and ``idle`` for the time it takes."""
        found = {}
        for memory in self.device.memories:
            spent = sum(
                float(memory.joules(m.size, written=m.kind in IN)) for m in self.counted.moves if m.level == memory.name
            )
            found[memory.name] = spent + memory.leakage * self.device.instances(memory.name) * self.seconds
        for unit in self.units:
            found[unit.name] = found.get(unit.name, 0.0) + unit.joules
        if self.device.power is not None:
            found["idle"] = self.device.power.idle * self.seconds
        return found

    @property
    def pace(self) -> dict[str, float]:
        """Seconds that each component alone would take."""
        each: dict[str, float] = {}
        for unit in self.units:
            each[unit.name] = each.get(unit.name, 0.0) + unit.seconds
        return {**each, **self.engines, **self.level_seconds}

    @property
    def compulsory(self) -> float:
        """Bytes if whatever is needed of each input were read once and each output written once."""
        return sum(sum(self._least(one)) for one in self.products)

    def _least(self, one: Product) -> Iterator[float]:
        sizes = {f.tensor: f.parts[0].size for f in self.mapping.formats}
        cascade = self.mapping.cascade
        names = one.einsums or tuple(einsum.name for einsum in cascade.einsums)
        first, last = cascade.einsum(names[0]), cascade.einsum(names[-1])
        rows, columns, _ = axes(first, last)
        for access in first.reads:
            if access.tensor in cascade.inputs:
                yield sizes[access.tensor] * one.met[not left(access, rows, columns)]
        if last.output.tensor in cascade.outputs:
            yield sizes[last.output.tensor] * one.entries.total

    @property
    def balance(self) -> float:
        """Share of their time that workers have rows to work on."""
        return min((u.balance for u in self.units), default=1.0)

    @property
    def operations(self) -> float:
        """Operations of all units."""
        return sum(sum(u.operations.values()) for u in self.units)


def estimate(mapping: SparseMapping, products: Product | Iterable[Product], device: Device) -> SparseEstimate:
    """Counts, seconds and joules of one product, or of all that a cascade is made of (:mod:`sim.model.sparse.stages`).

    Raises :class:`WeirError` for levels and units that the device lacks.
    """
    given = (products,) if isinstance(products, Product) else tuple(products)
    counters = [Counter(mapping, one, device) for one in given]
    found = [_stage(counter) for counter in counters]
    engines: dict[str, float] = {}
    for _, _, its, _ in found:
        engines = {name: engines.get(name, 0.0) + seconds for name, seconds in its.items()}
    probes = {c.leaves[-1].einsum.output.tensor: c.probed for c in counters if c.probed is not None}
    worked = next((loads for _, _, _, loads in found if loads is not None), None)
    counted = gathered([counts for counts, _, _, _ in found])
    units = tuple(unit for _, those, _, _ in found for unit in those)
    return SparseEstimate(mapping, given, device, counted, units, engines, probes, worked)


def _stage(counter: Counter) -> tuple[SparseCounts, tuple[Unit, ...], dict[str, float], Floats | None]:
    """Counts, units, engines' seconds and workers' loads of one product."""
    counted = counter.count()
    outs = {leaf.at: shared(counter, leaf) for leaf in counter.leaves}
    units = tuple(unit_of(counter, leaf, counted, outs[leaf.at]) for leaf in counter.leaves)
    engines = {name: engine_of(counter, counted, name, tensors) for name, tensors in counter.mapping.via.items()}
    units = tuple(crowded(counter, counted, unit) for unit in units)
    first = next((out for out in outs.values() if out is not None), None)
    return counted, units, engines, None if first is None else first.loads.sum(axis=0)
