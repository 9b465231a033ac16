"""From a cascade and a layout to tasks: fused kernels, and every collective and transfer that the shardings imply.

Nothing here knows a device. A task says what one device does (operations by class and type, bytes through its memory)
or what must travel; all amounts may be arrays over design points.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import gcd, prod
from typing import Any

import numpy as np

from einsum import Access, Affine, Cascade, Einsum, WeirError
from einsum.counted import PerRow
from einsum.counts import constants, footprint, operations, touched
from einsum.ops import bits
from einsum.terms import Sizes, accesses
from mappings.kernels import cached, divisions, weighted
from mappings.layout import FREE, Axis, Layout, Place
from mappings.spread import Sharded, expand
from sim.model.products import Product, merged, product
from sim.model.task import Ops, Task


def tasks(cascade: Cascade, layout: Layout, sizes: Sizes) -> tuple[Task, ...]:
    """All tasks of one run of a cascade, in program order, each after those it waits for."""
    return _Builder(cascade, layout, sizes, Sharded(cascade, expand(cascade, layout))).build()


@dataclass
class _Made:
    """How a tensor stands: written by which Einsum, since which task so, how divided, in how many partial sums, and the
    loops over devices that divide it (axes) and leave it in parts (summed)."""

    task: int
    einsum: Einsum
    place: Place
    divided: tuple[int, ...]
    partial: int
    axes: frozenset[Axis]
    summed: frozenset[Axis]


@dataclass
class _Builder:
    """The walk over a cascade; it holds what has been made and what has already been moved."""

    cascade: Cascade
    layout: Layout
    sizes: Sizes
    sharded: Sharded
    found: list[Task] = field(default_factory=list)
    made: dict[str, _Made] = field(default_factory=dict)
    moved: dict[tuple[Any, ...], int] = field(default_factory=dict)
    locals: dict[str, dict[str, Any]] = field(default_factory=dict)

    def build(self) -> tuple[Task, ...]:
        """Kernels in order, each preceded by what must travel to it; then state sent to its home."""
        for group in self.sharded.groups:
            if not all(constants(e) for e in group):
                self.kernel(group)
        for name, pool in self.layout.home:
            self.bring_home(name, self.layout.at(pool))
        for name in self.cascade.outputs:
            self.complete(name)
        return tuple(self.found)

    def place(self, einsum: Einsum) -> Place:
        """The devices that an Einsum runs on."""
        return self.layout.at(self.sharded.pools[einsum.name])

    def divisions(self, access: Access, einsum: Einsum) -> tuple[int, ...]:
        """Ways in which each dimension of a tensor is divided, as an Einsum writes or reads it."""
        return divisions(self.sharded.ways(einsum), access)

    def axes(self, access: Access, einsum: Einsum) -> frozenset[Axis]:
        """The loops over devices that divide a tensor, as an Einsum writes or reads it."""
        ranks = {rank for index in access.indices if isinstance(index, Affine) for rank in index.ranks}
        return self.along(einsum, ranks)

    def along(self, einsum: Einsum, ranks: Collection[str]) -> frozenset[Axis]:
        """Where the devices lie over which an Einsum's loops along some ranks go."""
        return frozenset(axis for rank, axis in self.place(einsum).axes(einsum) if rank in ranks)

    def local(self, einsum: Einsum) -> dict[str, Any]:
        """Extents of one device's share of an Einsum (the fullest device's, where the division is uneven)."""
        if einsum.name not in self.locals:
            ways = self.sharded.ways(einsum)
            self.locals[einsum.name] = {**self.sizes, **{r: np.ceil(self.sizes[r] / w) for r, w in ways.items()}}
        return self.locals[einsum.name]

    def bytes_of(self, access: Access, einsum: Einsum) -> Any:
        """Bytes of a tensor that one device touches through an access."""
        dtype = self.cascade.tensor(access.tensor).dtype
        return touched(self.cascade, access, einsum, self.sizes, self.local(einsum)) * bits(dtype) / 8

    def kernel(self, group: tuple[Einsum, ...]) -> None:
        """The task of one fused group, after whatever brings it its inputs."""
        if any(e.name in self.layout.anew for e in group):
            self.moved = {}
        after: set[int] = set()
        own: dict[str, _Made] = {}
        for einsum in group:
            parts = self.parts(einsum, own)
            for access in einsum.reads:
                if access.tensor in self.made and not self.inner(access.tensor, einsum, group):
                    after.add(self.made[access.tensor].task if parts > 1 else self.fetch(access, einsum))
            own[einsum.output.tensor] = self.written(einsum, own, parts)
        self.found.append(self.fused(group, tuple(sorted(after))))
        number = len(self.found) - 1
        for einsum in group:
            self.made[einsum.output.tensor] = replace(own[einsum.output.tensor], task=number)
            self.moved = {key: task for key, task in self.moved.items() if key[0] != einsum.output.tensor}
        for einsum in group:
            self.push(einsum.output.tensor, self.place(einsum))

    def written(self, einsum: Einsum, own: Mapping[str, _Made], parts: int) -> _Made:
        """How an Einsum leaves its result, in as many partial sums for each that its operands are in; no task yet."""
        divided = self.divisions(einsum.output, einsum)
        partial = prod(w for r, w in self.sharded.ways(einsum).items() if r in einsum.reduced) * parts
        made = [one for one in self.operands(einsum, own) if one and parts > 1]
        summed = self.along(einsum, einsum.reduced).union(*(one.summed for one in made))
        return _Made(-1, einsum, self.place(einsum), divided, partial, self.axes(einsum.output, einsum), summed)

    def fused(self, group: tuple[Einsum, ...], after: tuple[int, ...]) -> Task:
        """What one device does in a group."""
        names, inside = tuple(e.name for e in group), {e.output.tensor for e in group}
        size = self.inputs(group, inside) + self.outputs(group, inside)
        return Task(
            " ".join(names), "kernel", self.place(group[0]).pool, size, self.operations(group), after=after,
            einsums=names, products=self.products(group), attends=not weighted(self.cascade, group[0]),
            fresh=self.local(group[0]).get("p", 1.0), wide=self.wide(group), rows=self.rows(group),
            work=self.sort(group), flash=self.layout.flash if cached(self.cascade, group) else None,
        )  # fmt: skip

    def parts(self, einsum: Einsum, own: Mapping[str, _Made]) -> int:
        """Partial sums in which an Einsum leaves what it adds up: as many as all its operands are in (its kernel's
        ``own`` among them), if they are divided as it is. State that sums are added to is in as many by itself."""
        reads = [a.tensor for a in einsum.reads]
        made = self.operands(einsum, own)
        alike = {(one.partial, one.divided) if one else (1, ()) for one in made}
        partial, divided = alike.pop() if len(alike) == 1 and einsum.adds else (1, ())
        if partial > 1 and divided == self.divisions(einsum.output, einsum):
            return partial
        for name in (n for n in reads if n in own and own[n].partial > 1):
            raise WeirError(
                f"{einsum.name} needs {name} whole, which its own kernel leaves in partial sums: set it apart"
            )
        return 1

    def operands(self, einsum: Einsum, own: Mapping[str, _Made]) -> list[_Made | None]:
        """How what an Einsum reads stands, but for state of before; None for what nothing here has made."""
        names = [a.tensor for a in einsum.reads]
        return [own.get(n) or self.made.get(n) for n in names if n in own or self.cascade.tensor(n).kind != "state"]

    def products(self, group: tuple[Einsum, ...]) -> tuple[Product, ...]:
        """The matrix products of a group."""
        found = [(e, product(self.cascade, e, self.sizes, self.local(e), self.widest(e))) for e in group]
        return merged(group, [(e, p) for e, p in found if p is not None])

    def wide(self, group: tuple[Einsum, ...]) -> Any:
        """Elements in a row of the group's last result; of all that a rotation turns, one after another."""
        alike = [e for e in group if _turns(e)] if self.sort(group) == "turn" else group[-1:]
        return sum(self.row(e) for e in alike)

    def row(self, einsum: Einsum) -> Any:
        """Elements in a row of a result: all but what its first rank, or a router's choice, counts."""
        routed = {p.along for p in self.cascade.patterns[einsum.name] if isinstance(p, PerRow)}
        ranks = set(einsum.output.ranks) - {*FREE[:2], "m"} - routed
        return prod((self.local(einsum)[r] for r in sorted(ranks)), start=1.0)

    def rows(self, group: tuple[Einsum, ...]) -> Any:
        """Rows of the group's last result."""
        last = group[-1].output
        return self.bytes_of(last, group[-1]) * 8 / bits(self.cascade.tensor(last.tensor).dtype) / self.row(group[-1])

    def sort(self, group: tuple[Einsum, ...]) -> str:
        """What a kernel without products does, by what its Einsums are."""
        read = {a.tensor for e in group for a in e.reads} - {e.output.tensor for e in group}
        last = self.cascade.tensor(group[-1].output.tensor)
        kept = last.kind == "state" and isinstance(group[-1].expr, Access)  # at scales that are known beforehand
        if len(read) == 1 and bits(last.dtype) <= 8 and not kept:
            return "narrow"
        if group[0].name in self.layout.held:
            return "map"
        if any(e.reduced for e in group):
            return "reduce"
        if any("exp" in operations(self.cascade, e, self.sizes, self.local(e)) for e in group):
            return "curve"
        return "turn" if any(map(_turns, group)) else "map"

    def push(self, name: str, place: Place) -> None:
        """Send a tensor that another pool will read as soon as it is made, rather than when it is asked for."""
        for einsum in self.cascade.einsums:
            for access in einsum.reads:
                if access.tensor == name and self.sharded.pools[einsum.name] != place.pool:
                    self.fetch(access, einsum)
                    return

    def inner(self, name: str, einsum: Einsum, group: tuple[Einsum, ...]) -> bool:
        """Whether a tensor is written in the group before an Einsum reads it."""
        before = group[: group.index(einsum)]
        return any(e.output.tensor == name for e in before)

    def operations(self, group: tuple[Einsum, ...]) -> Ops:
        """One device's operations of a group by class and by the widest type among the operands."""
        total: dict[tuple[str, str], Any] = {}
        for einsum in group:
            dtype = self.widest(einsum)
            for kind, count in operations(self.cascade, einsum, self.sizes, self.local(einsum)).items():
                total[kind, dtype] = total.get((kind, dtype), 0) + count
        return tuple((kind, dtype, count) for (kind, dtype), count in total.items())

    def widest(self, einsum: Einsum) -> str:
        """The type an Einsum computes in: that of its widest operand (indices, and what a product is scaled by, aside).

        A factor that lacks the ranks along which a contraction multiplies (routing weights) scales what comes out.
        """
        reads = [a for a in einsum.reads if a.ranks] if einsum.contraction else []
        routed = {p.along for p in self.cascade.patterns[einsum.name] if isinstance(p, PerRow)}
        inner = [a.tensor for a in reads if set(a.ranks) & set(einsum.reduced) - routed]
        names = inner or [a.tensor for a in accesses(einsum.expr)] or [einsum.output.tensor]
        index = {i.tensor for a in (*einsum.reads, einsum.output) for i in a.indirect}
        types = [self.cascade.tensor(n).dtype for n in names if n not in index or names == [n]]
        return max(types, key=bits)

    def inputs(self, group: tuple[Einsum, ...], inside: set[str]) -> Any:
        """Bytes that a fused group reads from memory: each tensor once, what it makes itself not at all."""
        read: dict[str, Any] = {}
        for einsum in group:
            for access in einsum.reads:
                if access.tensor not in inside or self.cascade.tensor(access.tensor).kind == "state":
                    size = self.bytes_of(access, einsum)
                    read[access.tensor] = np.maximum(read.get(access.tensor, 0), size)
        return sum(read.values())

    def outputs(self, group: tuple[Einsum, ...], inside: set[str]) -> Any:
        """Bytes that a fused group writes to memory: what others read, results and state; of plain copies only one."""
        needed = set(self.cascade.outputs)
        needed |= {n for e in self.cascade.einsums if e not in group for n in e.inputs}
        writers = [e for e in group if e.output.tensor in inside & needed and not constants(e)]
        roots = [(self.original(e, group), e) for e in writers]
        written = [e for root, e in roots if root == e.output.tensor]
        there = {e.output.tensor for e in written}
        copied = dict[str, Any]()  # the largest copy of what nobody else needs
        for root, e in roots:
            if root in inside - there:
                copied[root] = np.maximum(copied.get(root, 0), self.bytes_of(e.output, e))
        return sum((*(self.bytes_of(e.output, e) for e in written), *copied.values()), start=0)

    def original(self, einsum: Einsum, group: tuple[Einsum, ...]) -> str:
        """The tensor that the result of an Einsum is, place by place and bit by bit; the result itself if it is new, or
        keeps what is overwritten later."""
        own, term = einsum.output, einsum.expr
        if not isinstance(term, Access) or term.indices != own.indices:
            return own.tensor
        here, there = self.cascade.tensor(own.tensor), self.cascade.tensor(term.tensor)
        if here.kind == "state" or here.dtype != there.dtype or here.patterns != there.patterns:
            return own.tensor
        maker = next((e for e in group[: group.index(einsum)] if e.output.tensor == term.tensor), None)
        if maker:
            return self.original(maker, group)
        later = self.cascade.einsums[self.cascade.einsums.index(einsum) + 1 :]
        return own.tensor if any(e.output.tensor == term.tensor for e in later) else term.tensor

    def fetch(self, access: Access, einsum: Einsum) -> int:
        """The task after which an Einsum has the slice it reads; adds what must travel, once for all who need it."""
        made, place = self.made[access.tensor], self.place(einsum)
        want = self.divisions(access, einsum)
        key = (access.tensor, place.pool, want)
        if key not in self.moved:
            if made.partial > 1:
                need = self.bytes_of(access, einsum) * prod(want)  # the whole may hold more than any part
                here = place.pool == made.place.pool
                self.reduce(made, want if here else None, need, self.axes(access, einsum) if here else frozenset())
            self.moved[key] = self.route(access, einsum, made, place, want)
        return self.moved[key]

    def reduce(self, made: _Made, want: tuple[int, ...] | None, whole: Any, kept: frozenset[Axis]) -> None:
        """Add up partial sums of ``whole`` bytes: everywhere, or each part where wanted (anywhere for another pool),
        divided along the axes ``kept``."""
        name, size = made.einsum.output.tensor, self.bytes_of(made.einsum.output, made.einsum)
        left, divided = made.partial, made.divided
        if want is None and divided:
            scattered = (divided[0] * left, *divided[1:])
        else:
            scattered = tuple(h * gcd(w // h, left) if w > h else h for w, h in zip(want or (), divided, strict=True))
        further = prod(scattered) // prod(divided)
        made.partial = 1
        if further == 1 or left % further:
            size = np.maximum(size, whole / prod(divided))
            made.task = self.add("all-reduce", name, made.place, size, left, made.task, _span(made.summed, left))
            return
        span, made.divided, made.axes = _span(made.summed, left), scattered, made.axes | made.summed
        made.task = self.add("reduce-scatter", name, made.place, size, left, made.task, span)
        if left > further:  # several devices want the same part
            size, left = whole / prod(scattered), left // further
            made.task = self.add("all-gather", name, made.place, size, left, made.task, _span(made.summed, left, kept))

    def route(self, access: Access, einsum: Einsum, made: _Made, place: Place, want: tuple[int, ...]) -> int:
        """Cross to the reader's pool, or divide anew within the writer's; a finer division is there already."""
        if place.pool != made.place.pool:
            need = self.bytes_needed(access, einsum, made)
            return self.add("transfer", access.tensor, place, need, place.count, made.task, source=made.place)
        ratios = [(w, h) for w, h in zip(want, made.divided, strict=True)]
        coarser, finer = prod(h // w for w, h in ratios if h > w), any(w > h for w, h in ratios)
        if coarser == 1:
            return made.task
        kind = "all-to-all" if finer or self.routed(access, einsum) else "all-gather"
        span = _span(made.axes, coarser, self.axes(access, einsum))
        return self.add(kind, access.tensor, place, self.bytes_of(access, einsum), coarser, made.task, span)

    def routed(self, access: Access, einsum: Einsum) -> bool:
        """Whether each reader wants only some of a tensor: the rank that divides the readers decides, and is sparse."""
        chosen = set(self.sharded.ways(einsum)) - set(access.ranks)
        return any(
            chosen & set(p.ranks) and set(p.ranks) & set(access.ranks) for p in self.cascade.patterns[einsum.name]
        )

    def bytes_needed(self, access: Access, einsum: Einsum, made: _Made) -> Any:
        """Bytes that one reader in another pool needs of what was just written (not of state it already holds)."""
        readers = prod(self.divisions(access, einsum))
        writers = prod(self.divisions(made.einsum.output, made.einsum))
        fresh = self.bytes_of(made.einsum.output, made.einsum) * writers / readers
        return np.minimum(self.bytes_of(access, einsum), fresh)

    def bring_home(self, name: str, place: Place) -> None:
        """Send what was written of a state tensor to the pool where it lives."""
        if name in self.made and self.made[name].place.pool != place.pool:
            made = self.made[name]
            held = self.bytes_of(made.einsum.output, made.einsum)
            ways = prod(self.divisions(made.einsum.output, made.einsum))
            self.add("transfer", name, place, held * ways / place.count, place.count, made.task, source=made.place)

    def complete(self, name: str) -> None:
        """Gather a result divided along anything but requests or positions: whoever reads it next wants it whole."""
        made = self.made.get(name)
        if made is None or self.cascade.tensor(name).kind == "state":
            return
        access = made.einsum.output
        ways = self.sharded.ways(made.einsum)
        split = prod(w for r, w in ways.items() if r in access.ranks and r not in FREE)
        held, last = self.bytes_of(access, made.einsum), made.task
        if made.partial > 1:
            parts = prod(made.divided)
            whole = footprint(self.cascade, name, self.sizes) / parts  # parts may be sparser than their sum
            size, span = np.maximum(held, whole), _span(made.summed, made.partial)
            last = self.add("all-reduce", name, made.place, size, made.partial, last, span)
        if split > 1:
            span = _span(self.along(made.einsum, set(access.ranks) - set(FREE)), split)
            self.add("all-gather", name, made.place, held * split, split, last, span)

    def add(
        self, kind: str, name: str, place: Place, size: Any, ways: int, after: int, span: int = 1,
        source: Place | None = None,
    ) -> int:  # fmt: skip
        """Append one collective, among ``span`` neighbours, or one transfer, and return its number."""
        sender = source or place
        groups = self.layout.devices(place.pool) // max(ways, span)
        self.found.append(
            Task(f"{kind} {name}", kind, place.pool, size, ways=ways, span=span, groups=groups,
                 source=sender.pool if source else "", senders=sender.count, receivers=place.count, after=(after,))
        )  # fmt: skip
        return len(self.found) - 1


def _turns(einsum: Einsum) -> bool:
    """Whether an Einsum puts together elements of one tensor, as a rotation by positions does."""
    return len({a.tensor for a in einsum.reads}) < len(einsum.reads)


def _span(axes: frozenset[Axis], ways: int, kept: frozenset[Axis] = frozenset()) -> int:
    """Neighbouring devices among which ``ways`` are that differ along some axes, but not along those ``kept``.

    Where what is left does not come to so many ways, devices may differ along all of them.
    """
    left = axes
    for one in kept:
        left = frozenset(part for axis in left for part in axis.without(one))
    some = left if prod(axis.ways for axis in left) == ways else axes
    return max((axis.span for axis in some), default=ways)
