"""Units of a mapped sparse product: operations, waiting and balance, queues at what they ask, engines beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from einsum import WeirError, hint
from mappings.formats import ALL
from mappings.tree import Spatial
from sim.arch import Compute, Device, Fanout, Memory
from sim.model.actions import IN
from sim.model.nests import Leaf
from sim.model.sparse import work
from sim.model.sparse.contention import Requests, contended, queued
from sim.model.sparse.count import Counter, Move, SparseCounts
from sim.model.sparse.fetch import tiles
from sim.model.sparse.hashing import theory
from sim.model.sparse.share import efficiency, loads, spans
from sim.model.sparse.structure import Floats, Ints

DTYPE = "fp64"
WALKS = {"intersect": work.intersected, "skip": work.skipped}


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

    def spans(self, share: str, busy: Any, serial: Any) -> Any:
        """Seconds until all windows are done (:func:`sim.model.sparse.share.spans`): one operation to NumPy."""

        def last_done(each: float, together: float) -> float:
            return spans(self.loads, share, self.groups, each, together)

        return np.frompyfunc(last_done, 2, 1)(busy, serial)


def shared(counter: Counter, leaf: Leaf) -> Shared | None:
    """What a loop in space shares out: rows of the result, entries of A (each a row of B), or outer products."""
    rows, _, summed = counter.ranks
    product = counter.product
    for loop in leaf.loops:
        if not isinstance(loop.node, Spatial) or loop.node.rank not in (rows, summed):
            continue
        workers = loop.node.ways or _ways(counter.device, loop.node.over)
        edges = counter.windows(counter.held) if counter.held in leaf.keeps else np.array([0, product.a.shape[0]])
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
    a, b = (counter.leaves[0].einsum.inputs * 2)[:2]
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


def unit_of(counter: Counter, leaf: Leaf, counted: SparseCounts, out: Shared | None) -> Unit:
    """One Einsum on its unit."""
    mapping, device = counter.mapping, counter.device
    unit = _find(device, leaf.unit, mapping.name)
    rows, back = _needed(counter, leaf), _swept(counter, leaf)
    copies = device.instances(unit.name)
    own = [move for move in counted.moves if _own(counter, leaf, move)]
    result = counter.held.at if counter.held in leaf.keeps else -1
    even = efficiency(out.loads, mapping.share, out.groups) if out else 1.0
    wall: Any = 0.0
    working: Any = 0.0
    waiting: Any = 0.0
    joules: Any = 0.0
    for needed, moves, moves_rows in (
        (rows, [m for m in own if m.at != result], True), (back, [m for m in own if m.at == result], False)
    ):  # fmt: skip
        seconds, spent = work.cost(device, unit, needed, DTYPE)
        waited: Any = sum(_waits(counter, move) for move in moves)
        fair = unit.elapsed(seconds / copies, waited / copies)
        if out is not None and moves_rows:
            fair = max(fair, _spanned(counter, unit, out, moves, seconds, waited))
        # Threads go through rows and then write back; a unit that waits for nothing leaves that to the levels.
        wall += max(fair, _channel(counter, moves)) if unit.contexts < np.inf else fair
        working, waiting, joules = working + seconds, waiting + waited, joules + spent
    total = {op: rows.get(op, 0.0) + back.get(op, 0.0) for op in {**rows, **back}}
    return Unit(leaf.einsum.name, unit.name, total, working, waiting, even, wall, joules)


def _channel(counter: Counter, moves: list[Move]) -> Any:
    """Seconds that the slowest level needs for these moves."""
    seconds: Any = 0.0
    for memory in counter.device.memories:
        sizes: list[Any] = [0.0, 0.0]
        for move in moves:
            if move.level == memory.name:
                sizes[move.kind in IN] += move.size
        seconds = max(seconds, memory.busy(*sizes) / counter.device.instances(memory.name))
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
    elif kind in WALKS:
        left, right = counter.operands(leaf).values()
        compared = WALKS[kind](left, right, leaf)
    if given := mapping.instructions.get(leaf.einsum.name):
        rows = {k: v for k, v in given.items() if k not in work.BACK}
        return {"map": work.instructions(rows, product, probes, compared, 0.0)}
    needed = work.points(mapping.cascade, leaf, product)
    load = counter.table.load if counter.table else 0.5
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


def _requests(device: Device, memory: Memory, size: Any, unit: Compute) -> Requests:
    """What a unit asks of one copy of a memory for ``size`` bytes in all, and how many of it may be in flight."""
    copies = device.instances(memory.name)
    return Requests(size / copies / (memory.line or 1.0), unit.contexts * device.instances(unit.name) / copies)


def _spanned(counter: Counter, unit: Compute, out: Shared, moves: list[Move], seconds: Any, waited: Any) -> Any:
    """Seconds until the last of those that share rows has gone through its own."""
    copies = counter.device.instances(unit.name)
    serial = seconds + waited if unit.contexts < np.inf else seconds * out.workers / copies
    # In one another's way threads are at whatever all share: their pipeline, or the memory they wait for.
    busy = max(seconds / copies, _channel(counter, moves) if unit.contexts < np.inf else 0.0)
    return out.spans(counter.mapping.share, busy, serial)


def crowded(counter: Counter, counted: SparseCounts, unit: Unit) -> Unit:
    """The unit, slowed down by queues at what it asks, an engine's among them, and with the last window's writing back,
    which no other window hides."""
    leaf = next(leaf for leaf in counter.leaves if leaf.einsum.name == unit.einsum)
    where = next(c for c in counter.device.computes if c.name == unit.name)
    seconds = unit.seconds
    for memory in counter.device.memories:
        here = [m for m in counted.moves if m.level == memory.name and memory.line and memory.bandwidth < np.inf]
        own = sum(m.size for m in here if _own(counter, leaf, m))
        asked = _requests(counter.device, memory, own, where)
        if own and where.contexts < np.inf:
            seconds = queued(seconds, asked, memory.line / memory.bandwidth)
        for name, tensors in counter.mapping.via.items():
            engine = next(c for c in counter.device.computes if c.name == name)
            its = sum(m.size for m in here if m.tensor in tensors and not _own(counter, leaf, m))
            beside = _requests(counter.device, memory, its, engine)
            seconds = contended(seconds, asked, beside, memory.line / memory.bandwidth, latency(counter.device, memory))
    return replace(unit, seconds=seconds + _last(counter, counted))


def _last(counter: Counter, counted: SparseCounts) -> float:
    """Seconds of engines that write back the last piece of the result, which nothing else hides."""
    result = counter.leaves[-1].einsum.output.tensor
    rows = counter.product.entries.rows
    piece = min(tiles(counter.held.loops).get(counter.ranks[0], ALL), len(rows))
    share = float(rows[(len(rows) - 1) // piece * piece :].sum() / max(rows.sum(), 1.0))
    seconds = 0.0
    for name, tensors in counter.mapping.via.items():
        seconds += engine_of(counter, counted, name, tuple(t for t in tensors if t == result))
    return seconds * share


def _lined(counter: Counter) -> list[Memory]:
    return [memory for memory in counter.device.memories if memory.line]


def engine_of(counter: Counter, counted: SparseCounts, name: str, tensors: tuple[str, ...]) -> Any:
    """Seconds of a unit that moves tensors between levels: its requests in flight, and one issued at a time."""
    unit = _find(counter.device, name, counter.mapping.name)
    leaves = {leaf.at for leaf in counter.leaves}
    moves = [m for m in counted.moves if m.tensor in tensors and m.at not in leaves]
    waited = sum(_waits(counter, move) for move in moves)
    # A request takes a line out of one level and puts it into another: the level of most lines counts them.
    lines = max(
        (sum(m.size for m in moves if m.level == level.name) / level.line for level in _lined(counter)), default=0
    )
    rate = unit.rate("map", DTYPE)
    copies = counter.device.instances(name)
    return unit.elapsed((lines / rate if rate else 0.0) / copies, waited / copies)
