"""Time and energy of a mapped cascade on a component tree: counts, then seconds and joules of every component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from einsum import Cascade, Einsum
from einsum.counts import operations, volume
from einsum.ops import bits
from mappings.tree import Nest, Spatial
from sim.arch import Compute, Device
from sim.model.actions import IN, KINDS, OUT, Action, Counts
from sim.model.counts import counted
from sim.model.elapsed import elapsed
from sim.model.filling import Filling, filling
from sim.model.hops import carried
from sim.model.legal import legal
from sim.model.nests import Leaf, Mapped, taken_apart
from sim.model.sized import Sized
from sim.model.wires import Wires
from sim.units import fmt

if TYPE_CHECKING:
    from sim.arch.technology import Area, Filled


@dataclass(frozen=True, slots=True)
class Busy:
    """One Einsum on its unit: seconds of the busiest instance, fill and drain of the array, points and joules."""

    einsum: str
    unit: str
    seconds: Any
    skew: Any
    points: Any  # run, over all instances
    capacity: Any  # seconds times instances of the unit that this work would keep fully busy
    joules: Any


@dataclass(frozen=True)
class MappedEstimate:
    """A cascade run once under a nest on a device; every figure may be an array over tile sizes or problem sizes."""

    mapped: Mapped
    device: Device
    counts: Counts
    leaves: tuple[Busy, ...]
    filling: Filling
    sizes: Mapping[str, Any] = field(default_factory=dict)
    tiles: Mapping[str, Any] = field(default_factory=dict)  # tile sizes by loop that replace those of the nest
    filled: Filled | None = None  # what technology models gave the device

    @cached_property
    def compute_seconds(self) -> Any:
        """Seconds of the units alone, combined as the nest says."""
        return elapsed(self.mapped.nest, self._work)

    @cached_property
    def level_seconds(self) -> dict[str, Any]:
        """Seconds that each level's own bandwidth needs for all that it reads and writes."""
        found = {}
        for memory in self.device.memories:
            read, written = self.traffic(memory.name, *OUT), self.traffic(memory.name, *IN)
            found[memory.name] = memory.busy(read, written) / self.device.instances(memory.name)
        return found

    @cached_property
    def wires(self) -> Wires:
        """What moves on the wires of fan-outs that state their topology, its seconds and joules."""
        each = {one.tensor: self._each(one.tensor) for one in self.counts.carried}
        return Wires(self.device, self.counts.carried, each, self.filled.technology if self.filled else None)

    @cached_property
    def seconds(self) -> Any:
        """Wall seconds: units and levels overlap but for what the nest puts in sequence and for fills nothing hides;
        operands that are handed on while others are used set a pace of their own. Wires overlap as levels do."""
        found = elapsed(self.mapped.nest, self._work, self.filling.exposed, self._traffic_seconds)
        return np.maximum(found, self.filling.hidden + self.filling.total)

    @property
    def _work(self) -> dict[str, tuple[str, Any, Any]]:
        """Unit, busy seconds and skew of each Einsum."""
        return {b.einsum: (b.unit, b.seconds, b.skew) for b in self.leaves}

    @cached_property
    def _traffic_seconds(self) -> dict[int, dict[str, Any]]:
        """Seconds of each level and fan-out of limited bandwidth, by the place in the nest on whose behalf it works."""
        moved: dict[tuple[int, str], list[Any]] = {}
        for action in self.counts.actions:
            both = moved.setdefault((action.at, action.level), [0.0, 0.0])
            both[action.kind in IN] = both[action.kind in IN] + self._each(action.tensor) * action.count
        found = {at: dict(wires) for at, wires in self.wires.places.items()}
        memories = {m.name: m for m in self.device.memories if m.rate < np.inf}
        for (at, level), (read, written) in moved.items():
            if level in memories:
                busy = memories[level].busy(read, written) / self.device.instances(level)
                found.setdefault(at, {})[level] = busy
        return found

    def _each(self, tensor: str) -> float:
        return bits(self.mapped.cascade.tensor(tensor).dtype) / 8

    def traffic(self, level: str, *kinds: str) -> Any:
        """Bytes of all tensors handled at a level in these ways (in all, if none is named)."""
        wanted = kinds or KINDS
        rows = (a for a in self.counts.actions if a.level == level and a.kind in wanted)
        return sum((self._each(a.tensor) * a.count for a in rows), start=0.0)

    def spent(self, level: str, *kinds: str, tensor: str = "") -> Any:
        """Joules of what is handled at a level (of one tensor, in these ways, if named), in whole lines if it has any.

        Each tensor's reads fill their lines up, as do its fills, updates and drains, at every instance.
        """
        total: Any = 0.0
        for action in self.counts.actions:
            if action.level == level and action.kind in (kinds or KINDS) and tensor in ("", action.tensor):
                total = total + self.handled(action)
        return total

    def handled(self, action: Action) -> Any:
        """Joules of one tensor handled in one way at a level, in whole lines if it has any."""
        memory = next(m for m in self.device.memories if m.name == action.level)
        size = self._each(action.tensor) * action.count
        if memory.line:
            lines = memory.line * self.device.instances(action.level)
            size = np.ceil(size / lines) * lines
        return memory.joules(size, written=action.kind in IN)

    @cached_property
    def joules_by(self) -> dict[str, Any]:
        """Joules of each level, unit and fan-out's wires, and ``idle`` for the time it takes."""
        found: dict[str, Any] = {}
        for memory in self.device.memories:
            leaked = memory.leakage * self.device.instances(memory.name) * self.seconds
            found[memory.name] = self.spent(memory.name) + leaked
        for busy in self.leaves:
            found[busy.unit] = found.get(busy.unit, 0.0) + busy.joules
        found |= self.wires.joules
        if self.device.power is not None:
            found["idle"] = self.device.power.idle * self.seconds
        return found

    @property
    def joules(self) -> Any:
        """Joules of all components together."""
        return sum(self.joules_by.values())

    def operations(self, unit: str) -> Any:
        """Operations that a unit does, a multiply-accumulate being two."""
        total: Any = 0.0
        for busy in (b for b in self.leaves if b.unit == unit):
            einsum = self.mapped.cascade.einsum(busy.einsum)
            each = sum(operations(self.mapped.cascade, einsum, self.sizes).values())
            total = total + busy.points * each / volume(einsum.ranks, self.sizes)
        return total

    def peak(self, unit: str) -> Any:
        """Operations a second that a unit would do of what it does here, all its instances at work all the time."""
        full = sum(b.capacity for b in self.leaves if b.unit == unit)
        return self.operations(unit) * self.device.instances(unit) / full

    def utilisation(self, unit: str) -> Any:
        """Fraction of a unit's instances and time that does work."""
        work = sum((b.capacity for b in self.leaves if b.unit == unit), start=0.0)
        return work / (self.seconds * self.device.instances(unit))

    @property
    def bounds(self) -> Any:
        """The level, fan-out, ``compute``, or ``fills`` (operands handed on), that sets the pace, of each design
        point."""
        moving = self.level_seconds | self.wires.seconds
        parts = {"compute": self.compute_seconds, "fills": self.filling.hidden, **moving}
        slowest = np.argmax(np.broadcast_arrays(*map(np.ravel, parts.values())), axis=0)
        return np.array(list(parts), object)[slowest]

    @property
    def bound(self) -> str:
        """What sets the pace at the last design point."""
        return str(self.bounds[-1])

    @cached_property
    def areas(self) -> tuple[Area, ...]:
        """Area of each on-chip component, as given or as modelled; unknown where there is no technology to ask."""
        from sim.arch.technology import areas  # models are rarely asked for

        return areas(self.device, self.filled.technology if self.filled else None)

    @property
    def area(self) -> float:
        """mm^2 of all components whose area is known."""
        return sum(one.total for one in self.areas)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which energies are modelled and not the file's, and which are missing, of what the nest uses."""
        used = {held.node.level for leaf in self.mapped.leaves for held in leaf.keeps} | {b.unit for b in self.leaves}
        rows = self.filled.modelled if self.filled else ()
        shown = used | {c.name for c in self.device.computes}
        found = [f"{r.path} is modelled: {r.model}" for r in rows if r.path.partition(".")[0] in shown]
        units = {c.name for c in self.device.computes if c.energies}
        stated = units | {m.name for m in self.device.memories if m.energy or m.write_energy}
        if nothing := sorted(used - stated):
            cure = "; a technology models what a file leaves out"
            if self.filled and self.filled.technology:
                cure = (
                    "; its kind in the file, [technology] dram, would say" if self.device.memory.name in nothing else ""
                )
            found.append(f"no energy is known for {', '.join(nothing)}: counted as 0 J{cure}")
        return (*found, *self.wires.notes())

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
        for name in self.wires.names:
            moved, hops = _last(self.wires.moved(name)), _last(self.wires.hops(name))
            seconds, joules = self.wires.seconds[name], self.wires.joules.get(name, 0.0)
            shown = (fmt(moved, "B"), fmt(_last(seconds), "s"), fmt(_last(joules), "J"))
            lines.append(f"  {name:12} " + " ".join(f"{cell:>10}" for cell in shown) + f" {hops:,.0f} hops")
        return "\n".join(lines)


def _last(value: Any) -> float:
    return float(np.ravel(value)[-1])


def evaluate(
    cascade: Cascade, nest: Nest | Mapped, device: Device, sizes: Mapping[str, Any] | None = None,
    tiles: Mapping[str, Any] | None = None, checked: bool = True, technology: str | float | None = None,
) -> MappedEstimate:  # fmt: skip
    """Counts, seconds and joules of a cascade under a nest on a device; refuses an illegal nest unless ``checked`` is
    false (for bulk evaluation of nests checked before).

    Energies that the device does not state are modelled in a ``technology`` (``"16 nm"``), or else in its file's own.
    """
    filled = _filled(device, technology)
    mapped = nest if isinstance(nest, Mapped) else taken_apart(cascade, nest)
    sized = Sized.of(mapped, dict(cascade.bind() if sizes is None else sizes), tiles)
    if checked:
        legal(sized, filled.device if filled else device)
    return measured(sized, device, filled)


def measured(at: Sized, device: Device, filled: Filled | None = None) -> MappedEstimate:
    """Counts, seconds and joules of a nest that is legal, on a device, or on that with what models have ``filled``
    in."""
    device = filled.device if filled else device
    found = counted(at)
    if moved := carried(at, device):
        found = replace(found, carried=moved)
    points = {c.einsum: c.points for c in found.computes}
    leaves = tuple(_busy(at, leaf, device, points[leaf.einsum.name]) for leaf in at.mapped.leaves)
    return MappedEstimate(at.mapped, device, found, leaves, filling(at, device, found), at.sizes, at.tiles, filled)


def _filled(device: Device, technology: str | float | None) -> Filled | None:
    """The device with modelled energies, if there is a technology to model them in."""
    if technology is None and device.technology is None:
        return None
    from sim.arch.technology import made  # models are rarely asked for

    return made(device, technology)


def modelled(device: Device, technology: str | float | None = None) -> Device:
    """The device with the energies that a technology, or its file's own, models for it."""
    filled = _filled(device, technology)
    return replace(filled.device, technology=None) if filled else device


def busiest(at: Sized, device: Device) -> Any:
    """Seconds of the unit that is busy longest: the nest takes no less."""
    found: dict[str, Any] = {}
    for leaf in at.mapped.leaves:
        each, _ = per_point(at.mapped.cascade, leaf, device, at.sizes)
        found[leaf.unit] = found.get(leaf.unit, 0.0) + _most(at, leaf) * each
    return reduce(np.maximum, found.values())


def _most(at: Sized, leaf: Leaf) -> Any:
    """Points of an Einsum at the instance that has most."""
    return at.run(leaf, frozenset(loop.at for loop in leaf.loops if loop.space))


def _busy(at: Sized, leaf: Leaf, device: Device, points: Any) -> Busy:
    """Seconds of the busiest instance: its places, each for as long as its expected operations take on the unit."""
    each, energy = per_point(at.mapped.cascade, leaf, device, at.sizes)
    places = at.run(leaf)
    skew = _skew(at, leaf, device)
    name = leaf.einsum.name
    return Busy(name, leaf.unit, _most(at, leaf) * each, skew, points, places * each, places * energy)


def per_point(cascade: Cascade, leaf: Leaf, device: Device, sizes: Mapping[str, Any]) -> tuple[Any, Any]:
    """Seconds and joules of one point of an Einsum on one instance of its unit."""
    unit = next(c for c in device.computes if c.name == leaf.unit)
    dtype = max((cascade.tensor(n).dtype for n in (*leaf.einsum.inputs, leaf.einsum.output.tensor)), key=bits)
    whole = volume(leaf.einsum.ranks, sizes)
    seconds: Any = 0.0
    joules: Any = 0.0
    for op, count in operations(cascade, leaf.einsum, sizes).items():
        runner = _runner(device, unit, op)
        alone = device.alone(runner.name)
        as_dtype, _ = alone.runs_as(op, dtype)
        each = count / whole / (alone.rate(op, dtype) / alone.instances(runner.name))
        seconds = np.maximum(seconds, each) if unit.chained else seconds + each
        joules = joules + runner.joules(op if _lists(runner, op) else "map", as_dtype, count / whole)
    return seconds, joules


def idle(cascade: Cascade, einsum: Einsum, device: Device, unit: Compute, sizes: Mapping[str, Any]) -> bool:
    """Whether a unit would only wait for those beside it, which run every operation of an Einsum that has some."""
    needs = operations(cascade, einsum, sizes)
    return bool(needs) and all(_runner(device, unit, op) is not unit for op in needs)


def _runner(device: Device, unit: Compute, op: str) -> Compute:
    """The unit, or the one beside it that has an operation which the unit lacks; the unit waits for it."""
    beside = (one for one in device.computes if one.under == unit.under)
    return next((one for one in (unit, *beside) if _lists(one, op)), unit)


def _lists(unit: Compute, op: str) -> bool:
    """Whether a unit has an operation by name, and not as one of any elementwise class."""
    return any(kind == op for kind, _, _ in unit.rates)


def _skew(at: Sized, leaf: Leaf, device: Device) -> Any:
    """Seconds of wavefronts running in and out: once for every piece of work that the array is given anew.

    Where all that the array keeps has a second piece, the next wavefront follows at the heels of the last.
    """
    space = [loop for loop in leaf.loops if loop.space]
    if not space:
        return 0.0
    inside = [held for held in leaf.keeps if held.at > space[0].at]
    outside = () if inside and all(held.node.double for held in inside) else leaf.loops
    fans = {f.name: f.skew for f in device.fanouts}
    used = dict.fromkeys(loop.node.over for loop in space if isinstance(loop.node, Spatial))
    visits = at.rounds(tuple(loop for loop in outside if loop.at < space[0].at))
    return visits * sum(fans[name] for name in used)
