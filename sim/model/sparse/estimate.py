"""Seconds and joules of a mapped sparse product: counts, then every component's own time, combined as the nest says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from einsum import WeirError, hint
from mappings.sparse import SparseMapping
from mappings.tree import Spatial
from sim.arch import Compute, Device, Fanout, Memory
from sim.model.actions import IN
from sim.model.elapsed import elapsed
from sim.model.nests import Leaf
from sim.model.sparse import work
from sim.model.sparse.contention import Requests, contended, queued
from sim.model.sparse.count import Counter, Move, SparseCounts
from sim.model.sparse.hashing import Probed, theory
from sim.model.sparse.share import efficiency, loads, spans
from sim.model.sparse.structure import Floats, Ints, Product
from sim.units import fmt

DTYPE = "fp64"


@dataclass(frozen=True)
class Unit:
    """A unit's part in one Einsum: operations, seconds of working and of waiting for memory of all its instances
    together, the share of time that balanced rows leave them at work, and wall seconds."""

    einsum: str
    name: str
    operations: dict[str, float]
    working: float
    waiting: float
    balance: float
    seconds: float
    joules: float


@dataclass(frozen=True)
class SparseEstimate:
    """A sparse product run once under a mapping on a device."""

    mapping: SparseMapping
    product: Product
    device: Device
    counted: SparseCounts
    units: tuple[Unit, ...]
    engines: dict[str, float] = field(default_factory=dict)  # seconds of units that only move tensors
    probed: Probed | None = None
    thread_loads: Floats | None = None  # work of each worker of the loop in space, or of one of their groups

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
        if self.probed is not None and memory.banks:
            updates = self.counted.counts.get(memory.name, self._result, "updates") / copies
            seconds.append(memory.atomics(updates, self.probed.collisions))
        return max(seconds)

    @property
    def _result(self) -> str:
        return self.mapping.cascade.einsums[-1].output.tensor

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
    def joules(self) -> float:
        """Joules of all components together."""
        return sum(self.joules_by.values())

    @property
    def pace(self) -> dict[str, float]:
        """Seconds that each component alone would take."""
        each: dict[str, float] = {}
        for unit in self.units:
            each[unit.name] = each.get(unit.name, 0.0) + unit.seconds
        return {**each, **self.engines, **self.level_seconds}

    @property
    def bound(self) -> str:
        """The component that sets the pace."""
        return max(self.pace, key=lambda name: self.pace[name])

    @property
    def outer(self) -> Memory:
        """The outermost level that the nest keeps anything in."""
        names = [m.level for m in self.counted.moves]
        return next(m for m in self.device.memories if m.name in names)

    @property
    def traffic(self) -> float:
        """Bytes moved at the outermost level."""
        return self.counted.moved(self.outer.name)

    @property
    def compulsory(self) -> float:
        """Bytes if each operand were read once and the result written once."""
        sizes = {f.tensor: f.parts[0].size for f in self.mapping.formats}
        inputs = sum(sizes[name] * s.entries for name, s in self.product.operands.items())
        return inputs + sizes[self._result] * self.product.entries.total

    @property
    def utilisation(self) -> float:
        """Share of the outermost level's bandwidth that is used over the run."""
        whole = self.outer.bandwidth * self.device.instances(self.outer.name)
        return self.traffic / self.seconds / whole if self.seconds else 0.0

    @property
    def balance(self) -> float:
        """Share of their time that workers have rows to work on."""
        return min((u.balance for u in self.units), default=1.0)

    @property
    def operations(self) -> float:
        """Operations of all units."""
        return sum(sum(u.operations.values()) for u in self.units)

    def summary(self) -> dict[str, Any]:
        """Plain values under stable names."""
        return {
            "mapping": self.mapping.name, "device": self.device.name, "matrix": self.product.name,
            "seconds": self.seconds, "joules": self.joules, "bound": self.bound, "bytes": self.traffic,
            "compulsory": self.compulsory, "utilisation": self.utilisation, "balance": self.balance,
            "multiplies": self.product.products, "entries": self.product.entries.total,
            "entries_how": self.product.entries.how, "entries_spread": self.product.entries.spread,
            "operations": self.operations, "pace": self.pace,
            "probes": self.probed.mean if self.probed else None,
            "tensors": {t: self.counted.moved(self.outer.name, t) for t in self.tensors},
        }  # fmt: skip

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tensors that the outermost level holds."""
        return tuple(dict.fromkeys(m.tensor for m in self.counted.moves if m.level == self.outer.name))

    def frame(self) -> Any:
        """A pandas DataFrame of all moves, a row each level, tensor and kind."""
        import pandas as pd

        rows = [(m.level, m.tensor, m.kind, m.size, m.requests) for m in self.counted.moves]
        made = pd.DataFrame(rows, columns=["level", "tensor", "kind", "bytes", "requests"])
        return made.groupby(["level", "tensor", "kind"], sort=False, as_index=False).sum()

    def __str__(self) -> str:
        """A table to read."""
        head = f"{self.mapping.name} on {self.device.name}: {fmt(self.seconds, 's')}, {fmt(self.joules, 'J')}"
        lines = [f"{head}, bound by {self.bound}"]
        lines += [f"  {name:12} {fmt(seconds, 's'):>10}" for name, seconds in self.pace.items()]
        lines += [f"  {t:12} {fmt(self.counted.moved(self.outer.name, t), 'B'):>10}" for t in self.tensors]
        return "\n".join(lines)


def fans_above(device: Device, name: str) -> Iterator[Fanout]:
    """The fan-outs between a component and the root, inwards first."""
    parts: dict[str, Memory | Fanout | Compute] = {}
    parts |= {p.name: p for p in device.memories} | {p.name: p for p in device.fanouts}
    parts |= {p.name: p for p in device.computes}
    above = parts[name].under
    while above:
        if isinstance(part := parts[above], Fanout):
            yield part
        above = parts[above].under


def latency(device: Device, memory: Memory) -> float:
    """Seconds from a request to its answer: the level's own, and there and back over the networks that lie between."""
    if not memory.interleaved:
        return memory.latency
    return memory.latency + 2 * sum(fan.hops * fan.hop for fan in fans_above(device, memory.name))


def estimate(mapping: SparseMapping, product: Product, device: Device) -> SparseEstimate:
    """Counts, seconds and joules; raises :class:`WeirError` for levels and units that the device lacks."""
    counter = Counter(mapping, product, device)
    counted = counter.count()
    outs = {leaf.at: shared(counter, leaf) for leaf in counter.mapped.leaves}
    units = tuple(_unit(counter, leaf, counted, outs[leaf.at]) for leaf in counter.mapped.leaves)
    engines = {name: _engine(counter, counted, name, tensors) for name, tensors in mapping.via.items()}
    units = tuple(_contended(counter, counted, unit, engines) for unit in units)
    first = next((out for out in outs.values() if out is not None), None)
    thread_loads = None if first is None else first.loads.sum(axis=0)
    return SparseEstimate(mapping, product, device, counted, units, engines, counter.probed, thread_loads)


def _find(device: Device, name: str, where: str) -> Compute:
    known = {c.name: c for c in device.computes}
    if name not in known:
        raise WeirError(f"{where}: {device.name} has no unit {name!r}{hint(name, known)}")
    return known[name]


@dataclass(frozen=True)
class Shared:
    """Work that a loop in space shares out: what each worker of a group gets of each window, and how many groups of
    workers, each with a table of its own, take windows side by side."""

    loads: Floats  # (windows, workers of one group)
    groups: int = 1

    @property
    def workers(self) -> int:
        """Workers of all groups."""
        return int(self.loads.shape[1]) * self.groups


def shared(counter: Counter, leaf: Leaf) -> Shared | None:
    """What a loop in space shares out: rows of the result, entries of A (each a row of B), or outer products."""
    rows, _, summed = counter.ranks(leaf)
    product = counter.product
    for loop in leaf.loops:
        if not isinstance(loop.node, Spatial) or loop.node.rank not in (rows, summed):
            continue
        workers = loop.node.ways or _ways(counter.device, loop.node.over)
        edges = counter.windows(counter.held, rows) if counter.held in leaf.keeps else np.array([0, product.a.shape[0]])
        if loop.node.rank == rows:
            each, entry, row = _serial(counter, leaf)
            spent: Floats = (product.row_products * each + product.a.lengths * entry + row).astype(np.float64)
            return _dealt(counter, spent, workers, edges, _groups(counter, edges))
        if any(one.node.rank == rows for one in leaf.loops if one.at < loop.at):
            each, entry, _ = _serial(counter, leaf)
            spent = (product.b.lengths[product.a.indices] * each + entry).astype(np.float64)
            return _dealt(counter, spent, workers, product.a.indptr[edges], _groups(counter, edges))
        spent = (product.a.heights * product.b.lengths).astype(np.float64)
        return _dealt(counter, spent, workers, np.array([0, product.b.shape[0]]), 1)
    return None


def _dealt(counter: Counter, work: Floats, workers: int, edges: Ints, groups: int) -> Shared:
    return Shared(loads(work, edges, max(workers // groups, 1), counter.mapping.share), groups)


def _serial(counter: Counter, leaf: Leaf) -> tuple[float, float, float]:
    """What a product, an entry of A and a row take one thread, as a program says: instructions, and lines waited for.

    Only their ratios matter. Where there is no program, products alone count.
    """
    given = counter.mapping.instructions.get(leaf.einsum.name)
    if not given:
        return 1.0, 0.0, 0.0
    unit = _find(counter.device, leaf.unit, counter.mapping.name)
    cycle = 1.0 / (unit.rate("map", DTYPE) or 1.0)
    outer = counter.memories[leaf.keeps[0].node.level]
    wait = latency(counter.device, outer) / outer.line if outer.line else 0.0  # s of waiting a byte
    size = {f.tensor: sum(part.size for part in f.parts) for f in counter.mapping.formats}
    first = {f.tensor: f.parts[0].size for f in counter.mapping.formats}
    a, b = (access.tensor for access in counter.mapped.leaves[0].einsum.reads)
    probed = counter.probed.mean if counter.probed else 0.0
    near = counter.memories[counter.held.node.level].latency * (1 + probed)
    product = (given.get("product", 0.0) + given.get("probe", 0.0) * probed) * cycle + first[b] * wait + near
    entry = given.get("entry", 0.0) * cycle + (first[a] + size[b] - first[b]) * wait
    return product, entry, given.get("row", 0.0) * cycle


def _groups(counter: Counter, edges: Ints) -> int:
    """Instances of the level that holds windows of the result, where there are several windows."""
    return counter.device.instances(counter.held.node.level) if len(edges) > 2 else 1


def _ways(device: Device, over: str) -> int:
    """Instances of a fan-out's copies; every context of a unit under it is one more."""
    fan = next((f for f in device.fanouts if f.name == over), None)
    if fan is not None:
        return fan.count * device.instances(fan.name)
    unit = _find(device, over, "spatial loop")
    return int(min(unit.contexts, 1 << 20)) * device.instances(unit.name)


def _unit(counter: Counter, leaf: Leaf, counted: SparseCounts, out: Shared | None) -> Unit:
    """One Einsum on its unit."""
    mapping, device = counter.mapping, counter.device
    unit = _find(device, leaf.unit, mapping.name)
    rows, back = _needed(counter, leaf), _swept(counter, leaf)
    copies = device.instances(unit.name)
    own = [move for move in counted.moves if _own(counter, leaf, move)]
    result = counter.held.at if counter.held in leaf.keeps else -1
    even = efficiency(out.loads, mapping.share, out.groups) if out else 1.0
    wall = working = waiting = joules = 0.0
    for needed, moves, moves_rows in (
        (rows, [m for m in own if m.at != result], True), (back, [m for m in own if m.at == result], False)
    ):  # fmt: skip
        seconds, spent = work.cost(device, unit, needed, DTYPE)
        waited = sum(_waits(counter, move) for move in moves)
        fair = float(unit.elapsed(seconds / copies, waited / copies))
        if out is not None and moves_rows:
            serial = seconds + waited if unit.contexts < np.inf else seconds * out.workers / copies
            fair = max(fair, spans(out.loads, mapping.share, out.groups, seconds / copies, serial))
        wall += max(fair, _channel(counter, moves))  # rows and writing back come one after the other
        working, waiting, joules = working + seconds, waiting + waited, joules + spent
    total = {op: rows.get(op, 0.0) + back.get(op, 0.0) for op in {**rows, **back}}
    return Unit(leaf.einsum.name, unit.name, total, working, waiting, even, wall, joules)


def _channel(counter: Counter, moves: list[Move]) -> float:
    """Seconds that the slowest level needs for these moves."""
    seconds = 0.0
    for memory in counter.device.memories:
        sizes = [0.0, 0.0]
        for move in moves:
            if move.level == memory.name:
                sizes[move.kind in IN] += move.size
        seconds = max(seconds, float(memory.busy(*sizes)) / counter.device.instances(memory.name))
    return seconds


def _swept(counter: Counter, leaf: Leaf) -> work.Operations:
    """Instructions that write windows back, which all workers share evenly whatever their rows were."""
    given = counter.mapping.instructions.get(leaf.einsum.name, {})
    back = {k: v for k, v in given.items() if k in work.BACK}
    return {"map": work.instructions(back, counter.product, 0.0, 0.0, counter.swept)} if back else {}


def _needed(counter: Counter, leaf: Leaf) -> work.Operations:
    """Operations of an Einsum: its points', what brings products together, or a program's instructions."""
    mapping, product, probed = counter.mapping, counter.product, counter.probed
    kind, radix = mapping.work.get(leaf.einsum.name, ("add", 0))
    probes = float(product.products) * (probed.mean if probed else 0.0)
    compared = 0.0
    if kind == "merge":
        compared = work.merged(product, radix)
    elif kind == "intersect":
        left, right = counter.operands(leaf).values()
        compared = work.intersected(left, right, leaf)
    if given := mapping.instructions.get(leaf.einsum.name):
        rows = {k: v for k, v in given.items() if k not in work.BACK}
        return {"map": work.instructions(rows, product, probes, compared, 0.0)}
    needed = work.points(mapping.cascade, leaf, product)
    load = mapping.table.load if mapping.table else 0.5
    looked = (probes or float(product.products) * theory(load)) if kind == "hash" else 0.0
    extra = {"compare": compared, "lookup": looked}
    return needed | {op: count for op, count in extra.items() if count}


def _own(counter: Counter, leaf: Leaf, move: Move) -> bool:
    """Whether a leaf's unit itself asks for a move and waits: on its way, and not left to an engine."""
    places = {leaf.at, *(held.at for held in leaf.keeps)}
    left = {t for tensors in counter.mapping.via.values() for t in tensors}
    return move.at in places and not (move.tensor in left and move.at != leaf.at)


def _waits(counter: Counter, move: Move) -> float:
    """Seconds of waiting for a move, one request a line."""
    memory = counter.memories[move.level]
    each = latency(counter.device, memory)
    return each * move.size / memory.line if each and memory.line else 0.0


def _contended(counter: Counter, counted: SparseCounts, unit: Unit, engines: dict[str, float]) -> Unit:
    """The unit, slowed down by queues at what it asks, an engine's among them, and with the last window's writing back,
    which no other window hides."""
    leaf = next(leaf for leaf in counter.mapped.leaves if leaf.einsum.name == unit.einsum)
    where = next(c for c in counter.device.computes if c.name == unit.name)
    seconds = unit.seconds
    for memory in counter.device.memories:
        copies = counter.device.instances(memory.name)
        here = [m for m in counted.moves if m.level == memory.name and memory.line and memory.bandwidth < np.inf]
        own = sum(m.size for m in here if _own(counter, leaf, m))
        if own and where.contexts < np.inf:
            flight = where.contexts * counter.device.instances(where.name) / copies
            lines = Requests(own / copies / memory.line, flight)
            seconds = queued(seconds, lines, memory.line / memory.bandwidth)
        for name, tensors in counter.mapping.via.items():
            engine = next(c for c in counter.device.computes if c.name == name)
            its = sum(m.size for m in here if m.tensor in tensors and not _own(counter, leaf, m))
            seconds = contended(
                seconds,
                Requests(
                    own / copies / (memory.line or 1.0), where.contexts * counter.device.instances(where.name) / copies
                ),
                Requests(
                    its / copies / (memory.line or 1.0), engine.contexts * counter.device.instances(name) / copies
                ),
                memory.line / memory.bandwidth,
                latency(counter.device, memory),
            )
    windows = len(counter.windows(counter.held, counter.ranks(leaf)[0])) - 1
    return replace(unit, seconds=seconds + sum(engines.values()) / windows)


def _engine(counter: Counter, counted: SparseCounts, name: str, tensors: tuple[str, ...]) -> float:
    """Seconds of a unit that moves tensors between levels: its requests in flight, and one issued at a time."""
    unit = _find(counter.device, name, counter.mapping.name)
    leaves = {leaf.at for leaf in counter.mapped.leaves}
    moves = [m for m in counted.moves if m.tensor in tensors and m.at not in leaves]
    waited = sum(_waits(counter, move) for move in moves)
    lines = sum(m.size / counter.memories[m.level].line for m in moves if counter.memories[m.level].line)
    rate = unit.rate("map", DTYPE)
    copies = counter.device.instances(name)
    return float(unit.elapsed((lines / rate if rate else 0.0) / copies, waited / copies))
