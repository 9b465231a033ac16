"""Actions of a mapped sparse product, with what lines, partial results and spilled windows add to them."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from einsum import Infeasible, WeirError
from mappings.formats import ALL, Part, name
from mappings.sparse import SparseMapping, Table
from sim.arch import Device, Memory
from sim.model.actions import Action, Computes, Counts
from sim.model.nests import Held, Leaf, Mapped
from sim.model.sparse.fetch import Fetched, Operand, fetch, tiles
from sim.model.sparse.hashing import Probed, probes
from sim.model.sparse.partial import revisited
from sim.model.sparse.stages import axes
from sim.model.sparse.structure import Ints, Product, Structure


@dataclass(frozen=True, slots=True)
class Move:
    """Bytes of whole lines that a level reads or writes for one part of the nest (``at``), in so many requests."""

    level: str
    tensor: str
    kind: str
    size: float
    requests: float
    at: int


@dataclass(frozen=True)
class SparseCounts:
    """All actions of one run, the bytes behind them, and how fetches were counted."""

    counts: Counts
    moves: tuple[Move, ...]
    fetched: tuple[tuple[str, str, Fetched], ...]  # tensor, level

    def moved(self, level: str, tensor: str = "", *kinds: str) -> float:
        """Bytes moved at a level, of one tensor and in these ways if named."""
        return sum(
            m.size for m in self.moves
            if m.level == level and tensor in ("", m.tensor) and (not kinds or m.kind in kinds)
        )  # fmt: skip


class Counter:
    """One counting of a mapping on a device with operands in hand."""

    def __init__(self, mapping: SparseMapping, product: Product, device: Device) -> None:
        self.mapping, self.product, self.device = mapping, product, device
        self.mapped = Mapped(mapping.cascade, mapping.nest)
        self.leaves = tuple(
            leaf for leaf in self.mapped.leaves if leaf.einsum.name in (product.einsums or (leaf.einsum.name,))
        )
        self.memories = {m.name: m for m in device.memories}
        self.actions: list[Action] = []
        self.moves: list[Move] = []
        self.fetched: list[tuple[str, str, Fetched]] = []

    def on(self, device: Device) -> Counter:
        """The same counting, with what it has found out, on a device that holds as much and differs in rates."""
        made = copy(self)
        made.device, made.memories = device, {m.name: m for m in device.memories}
        return made

    def count(self) -> SparseCounts:
        """Fetches of operands, updates and drains of results, points of every Einsum."""
        computes = tuple(self.leaf(leaf) for leaf in self.leaves)
        return SparseCounts(Counts(tuple(self.actions), computes), tuple(self.moves), tuple(self.fetched))

    def leaf(self, leaf: Leaf) -> Computes:
        """One Einsum."""
        for access in leaf.einsum.reads:
            chain = self._chain(leaf, access.tensor)
            if access.tensor in self.product.operands:
                self._operand(leaf, access.tensor, chain)
            else:
                self._again(leaf, access.tensor, chain)
        self._result(leaf, self._chain(leaf, leaf.einsum.output.tensor))
        return Computes(leaf.einsum.name, leaf.unit, float(self.product.products))

    def _chain(self, leaf: Leaf, tensor: str) -> tuple[Held, ...]:
        chain = leaf.chain(tensor)
        if not chain:
            raise WeirError(f"{self.mapping.name}: {tensor} is kept nowhere above {leaf.einsum.name}")
        for held in chain:
            if held.node.level not in self.memories:
                raise WeirError(f"{self.mapping.name}: {self.device.name} has no level {held.node.level!r}")
        return chain

    def operands(self, leaf: Leaf) -> dict[str, Operand]:
        """The matrices that an Einsum reads."""
        found = {}
        for access in leaf.einsum.reads:
            if access.tensor in self.product.operands:
                first, second = (*access.ranks, "")[:2]
                found[access.tensor] = Operand(
                    access.tensor, (first, second), self.product.operands[access.tensor],
                    self.mapping.format(access.tensor),
                )  # fmt: skip
        return found

    def _operand(self, leaf: Leaf, tensor: str, chain: tuple[Held, ...]) -> None:
        """What enters each keep of an operand from the one outside it."""
        have = self.operands(leaf)
        own = have[tensor]
        other = next((one for one in have.values() if one.name != tensor), own)
        for parent, held in pairwise(chain):
            above, level = self.memories[parent.node.level], self.memories[held.node.level]
            copies = self.device.instances(level.name)
            found = fetch(own, other, held.loops, level, above, copies)
            self.fetched.append((tensor, level.name, found))
            for place, part in enumerate(own.format.parts):
                self._act(above.name, name(tensor, place, part), "reads", found.parts[place], held.at)
                self._act(level.name, name(tensor, place, part), "fills", found.parts[place], held.at)
            entire = float(found.parts @ np.array([part.size for part in own.format.parts]))
            self._move(above, tensor, "reads", found.transferred, found.requests, held.at)
            self._move(level, tensor, "fills", entire, found.requests, held.at)
        inner = self.memories[chain[-1].node.level]
        points = float(self.product.products)
        self._act(inner.name, tensor, "reads", points, leaf.at)
        self._move(inner, tensor, "reads", points * own.format.parts[0].size, points, leaf.at)

    def _again(self, leaf: Leaf, tensor: str, chain: tuple[Held, ...]) -> None:
        """An intermediate result read once, from where it was written, through whatever it passes."""
        for held in chain:
            for place, part in enumerate(self.mapping.format(tensor).parts):
                cells = self._cells(tensor, part)
                self._act(held.node.level, name(tensor, place, part), "reads", cells, leaf.at)
                self._move(self.memories[held.node.level], tensor, "reads", cells * part.size, cells, leaf.at)

    def _result(self, leaf: Leaf, chain: tuple[Held, ...]) -> None:
        """Updates of the innermost keep, and what each keep drains into the one outside it."""
        tensor, points = leaf.einsum.output.tensor, float(self.product.products)
        inner = self.memories[chain[-1].node.level]
        entry = self.mapping.format(tensor).parts[0].size
        again = points - self._cells(tensor, self.mapping.format(tensor).parts[0])
        self._act(inner.name, tensor, "updates", points, leaf.at)
        self._act(inner.name, tensor, "reads", again, leaf.at)
        self._move(inner, tensor, "updates", points * entry, points, leaf.at)
        self._move(inner, tensor, "reads", again * entry, again, leaf.at)
        for place, part in enumerate(self.mapping.format(tensor).parts[1:], 1):
            if len(chain) == 1:
                cells = self._cells(tensor, part)
                self._act(inner.name, name(tensor, place, part), "updates", cells, leaf.at)
                self._move(inner, tensor, "updates", cells * part.size, cells, leaf.at)
        if self.table is not None and leaf is self.leaves[-1]:
            self._table(leaf, chain[-1], inner)
            if len(chain) == 1 and (over := self._spilled(leaf, chain[0], inner)):
                raise Infeasible(
                    f"{self.mapping.name}: {over:.0f} entries of {tensor} do not fit their windows' tables in "
                    f"{inner.name}, and no level outside keeps them: smaller windows (--tile) are needed",
                    1.0 + over / max(self.product.entries.total, 1.0),
                )
        for parent, held in zip(chain[-2::-1], chain[:0:-1], strict=True):
            self._drained(leaf, tensor, parent, held)

    def _table(self, leaf: Leaf, held: Held, level: Memory) -> None:
        """Tags that probes read, and slots that are cleared before each window."""
        table, probed = self.table, self.probed
        assert table is not None and probed is not None  # noqa: S101, PT018 - the caller looked
        tensor = f"{leaf.einsum.output.tensor}.tags"
        reads = float(self.product.products) * probed.mean
        self._act(level.name, tensor, "reads", reads, leaf.at)
        self._move(level, tensor, "reads", 8.0 * reads, reads, leaf.at)
        if table.clear:
            self._act(level.name, tensor, "updates", self.swept, held.at)
            self._move(level, tensor, "updates", table.clear * self.swept, self.swept, held.at)

    @cached_property
    def swept(self) -> float:
        """Slots of the table over all windows."""
        if self.table is None:
            return 0.0
        windows = len(self.windows(self.held)) - 1
        return float(windows * self.slots(self.memories[self.held.node.level]))

    @property
    def table(self) -> Table | None:
        """The hash table in which the products meet, if they are hashed."""
        hashed = self.mapping.work.get(self.leaves[-1].einsum.name, ("",))[0] == "hash"
        return self.mapping.table if hashed else None

    @property
    def held(self) -> Held:
        """The innermost keep of the result."""
        leaf = self.leaves[-1]
        return leaf.chain(leaf.einsum.output.tensor)[-1]

    def slots(self, level: Memory) -> int:
        """Slots of the table: the largest power of two that the level holds."""
        table = self.table
        assert table is not None  # noqa: S101
        return 1 << int(np.log2(max(level.capacity / table.slot, 2.0)))

    @cached_property
    def probed(self) -> Probed | None:
        """Probes of the mapping's hash table, if it has one: of the level that the result is kept in."""
        table = self.table
        if table is None:
            return None
        edges = self.windows(self.held)
        slots = self.slots(self.memories[self.held.node.level])
        return probes(self.product.a, self.product.b, edges, slots, table.hash, table.tag, table.load)

    def _drained(self, leaf: Leaf, tensor: str, parent: Held, held: Held) -> None:
        """What leaves a keep, and what of it comes back: partial sums, and windows that do not fit."""
        above, level = self.memories[parent.node.level], self.memories[held.node.level]
        loops = held.loops
        while (
            loops
            and loops[-1].node.rank not in leaf.einsum.ranks[: len(leaf.einsum.output.ranks)]
            and (loops[-1].node.rank in leaf.einsum.reduced)
        ):
            loops = loops[:-1]
        summed = [loop for loop in loops if loop.node.rank in leaf.einsum.reduced]
        back = revisited(self.product, self.ranks, loops, leaf.loops) if summed else 0.0
        back += self._spilled(leaf, held, level)
        for place, part in enumerate(self.mapping.format(tensor).parts):
            out = self._leaving(leaf, tensor, part) + (back if place == 0 else 0.0)
            self._act(level.name, name(tensor, place, part), "drains", out, held.at)
            self._act(above.name, name(tensor, place, part), "updates", out, held.at)
            self._move(level, tensor, "drains", out * part.size, out, held.at)
            self._move(above, tensor, "updates", out * part.size, out, held.at)
        if back:
            entry = self.mapping.format(tensor).parts[0].size
            self._act(above.name, tensor, "reads", back, held.at)
            self._act(level.name, tensor, "fills", back, held.at)
            self._move(above, tensor, "reads", back * entry, back, held.at)
            self._move(level, tensor, "fills", back * entry, back, held.at)

    def _leaving(self, leaf: Leaf, tensor: str, part: Part) -> float:
        """What is written back of a tensor: what there is of it, or whole tables."""
        table = self.table
        if table is not None and table.drain == "table" and part.cell == () and leaf is self.leaves[-1]:
            return self.swept
        return self._cells(tensor, part)

    @cached_property
    def ranks(self) -> tuple[str, str, str]:
        """Names of the rows and columns of the result, and of what is summed."""
        return axes(self.leaves[0].einsum, self.leaves[-1].einsum)

    def windows(self, held: Held) -> Ints:
        """Where the windows of rows begin above a keep, and the number of rows."""
        tile = tiles(tuple(loop for loop in held.loops if not loop.space)).get(self.ranks[0], ALL)
        rows = self.product.a.shape[0]
        return np.append(np.arange(0, max(rows, 1), min(tile, max(rows, 1))), rows)

    def _spilled(self, leaf: Leaf, held: Held, level: Memory) -> float:
        """Entries of windows beyond what their table holds; a single row that does not fit is refused."""
        table = self.table
        if table is None or level.capacity == np.inf:
            return 0.0
        room = level.capacity * table.load / table.slot
        most = int(np.argmax(self.product.entries.rows))
        if self.product.entries.rows[most] > room:
            size = f"{level.capacity / 1024:.0f} KiB, slots of {table.slot:g} B, filled to {table.load:g}"
            raise Infeasible(
                f"{self.mapping.name}: row {most} of the result has {self.product.entries.rows[most]:.0f} entries; "
                f"a table in {level.name} ({size}) holds {room:.0f}",
                float(self.product.entries.rows[most] / room),
            )
        edges = self.windows(held)
        sums = np.concatenate([[0.0], np.cumsum(self.product.entries.rows)])
        return float(np.maximum(sums[edges[1:]] - sums[edges[:-1]] - room, 0).sum())

    def _cells(self, tensor: str, part: Part) -> float:
        """How many cells of a result or an intermediate hold anything."""
        _, columns, summed = self.ranks
        wide = {rank for rank, extent in part.cell if extent > 1}
        final = tensor == self.leaves[-1].einsum.output.tensor
        if final and not wide:
            return self.product.entries.total
        if (final and wide == {columns}) or wide == {columns, summed}:
            if part.every:
                return float(self.product.a.shape[0])
            return float(np.count_nonzero(self.product.row_products))
        if not final and wide == {columns}:
            return float(np.count_nonzero(self.product.b.lengths[self.product.a.indices]))
        if not final and not wide:
            return float(self.product.products)
        raise WeirError(f"{self.mapping.name}: cells of {tensor} over {', '.join(sorted(wide))} are not counted")

    def _act(self, level: str, tensor: str, kind: str, count: float, at: int) -> None:
        self.actions.append(Action(level, tensor, kind, float(count), at))

    def _move(self, memory: Memory, tensor: str, kind: str, size: float, requests: float, at: int) -> None:
        self.moves.append(Move(memory.name, tensor, kind, float(size), float(requests), at))


def counts(mapping: SparseMapping, product: Product, device: Device) -> SparseCounts:
    """All actions of one run of a mapping on a device with operands in hand."""
    return Counter(mapping, product, device).count()


def product(mapping: SparseMapping, a: Structure, b: Structure, entries: object, name: str = "") -> Product:
    """The operands as a mapping's Einsums hold them; ``a`` is rows by summed, ``b`` summed by columns."""
    from sim.model.sparse.structure import Entries

    assert isinstance(entries, Entries)  # noqa: S101 - our own mistake
    return Product(dict(_oriented(mapping, a, b)), a, b, entries, name)


def _oriented(mapping: SparseMapping, a: Structure, b: Structure) -> Iterator[tuple[str, Structure]]:
    first, last = mapping.cascade.einsums[0], mapping.cascade.einsums[-1]
    rows, columns = last.output.ranks
    for access in first.reads:
        if rows in access.ranks:
            yield access.tensor, a if access.ranks[0] == rows else a.transposed
        elif columns in access.ranks:
            yield access.tensor, b if access.ranks[1] == columns else b.transposed
