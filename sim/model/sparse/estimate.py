"""Seconds and joules of a mapped sparse product: counts, then every component's own time, combined as the nest says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mappings.sparse import SparseMapping
from sim.arch import Device, Memory
from sim.model.actions import IN
from sim.model.elapsed import elapsed
from sim.model.sparse.count import Counter, SparseCounts
from sim.model.sparse.figures import Figures, gathered
from sim.model.sparse.hashing import Probed
from sim.model.sparse.stages import axes, left
from sim.model.sparse.structure import Floats, Product
from sim.model.sparse.units import Shared, Unit, crowded, engine_of, fans_above, shared, unit_of


@dataclass(frozen=True)
class Stage:
    """One product of a run: its counting, its actions, and what a loop in space shares out, by place of its Einsum."""

    counter: Counter
    counted: SparseCounts
    dealt: Mapping[int, Shared | None]

    @property
    def loads(self) -> Floats | None:
        """Work of each worker of the first loop in space."""
        first = next((out for out in self.dealt.values() if out is not None), None)
        return None if first is None else first.loads.sum(axis=0)

    def on(self, device: Device) -> Stage:
        """The same actions, dealt out alike, on a device of other rates."""
        return replace(self, counter=self.counter.on(device))


@dataclass(frozen=True)
class SparseEstimate(Figures):
    """A cascade over matrices in hand, run once under a mapping on a device."""

    mapping: SparseMapping
    products: tuple[Product, ...]
    device: Device
    counted: SparseCounts
    units: tuple[Unit, ...]
    stages: tuple[Stage, ...]
    engines: dict[str, Any] = field(default_factory=dict)  # seconds of units that only move tensors
    probes: dict[str, Probed] = field(default_factory=dict)  # by the tensor whose products are hashed
    thread_loads: Floats | None = None

    def on(self, device: Device) -> SparseEstimate:
        """The same run on a device of other rates, latencies and energies: nothing is counted again."""
        return timed([one.on(device) for one in self.stages])

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
        seconds = [memory.busy(read, written) / copies]
        if memory.interleaved:
            for fan in fans_above(self.device, memory.name):
                ports = fan.count * self.device.instances(fan.name)
                seconds.append((read + written) * fan.crossing / (ports * fan.port))
        for tensor, probed in self.probes.items():
            updates = self.counted.counts.get(memory.name, tensor, "updates") / copies
            seconds.append(memory.atomics(updates, probed.collisions))
        return max(seconds)

    @cached_property
    def seconds(self) -> Any:
        """Wall seconds: the slowest of unit, engines and levels in each stage, as the nest puts stages together."""
        busy = {u.einsum: (u.name, u.seconds, 0.0) for u in self.units}
        return elapsed(self.mapping.nest, busy, {}, self._traffic)

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
                memory.joules(m.size, written=m.kind in IN) for m in self.counted.moves if m.level == memory.name
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
    return timed([Stage(one, one.count(), {leaf.at: shared(one, leaf) for leaf in one.leaves}) for one in counters])


def timed(stages: Sequence[Stage]) -> SparseEstimate:
    """Seconds and joules of products whose actions are counted and whose work is dealt out."""
    counters = [one.counter for one in stages]
    found = [_stage(one) for one in stages]
    engines: dict[str, Any] = {}
    for _, its in found:
        engines = {name: engines.get(name, 0.0) + seconds for name, seconds in its.items()}
    probes = {c.leaves[-1].einsum.output.tensor: c.probed for c in counters if c.probed is not None}
    units = tuple(unit for those, _ in found for unit in those)
    return SparseEstimate(
        counters[0].mapping, tuple(one.product for one in counters), counters[0].device,
        gathered([one.counted for one in stages]), units, tuple(stages), engines, probes,
        next((one.loads for one in stages if one.loads is not None), None),
    )  # fmt: skip


def _stage(one: Stage) -> tuple[tuple[Unit, ...], dict[str, Any]]:
    """Units, and engines' seconds, of one product."""
    counter, counted = one.counter, one.counted
    units = tuple(unit_of(counter, leaf, counted, one.dealt[leaf.at]) for leaf in counter.leaves)
    engines = {name: engine_of(counter, counted, name, tensors) for name, tensors in counter.mapping.via.items()}
    return tuple(crowded(counter, counted, unit) for unit in units), engines
