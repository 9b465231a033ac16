"""The flattened nest as the arrays that the kernel of the exact simulator runs on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from einsum import Affine, WeirError
from sim.model import visits
from sim.model.flat import Flat, Ints, Loop, Point, Slot, intervals, terms
from sim.model.sites import Port, Site, lacking
from sim.model.visits import Machine

CELLS = 1 << 26  # elements of state
POINTS = 1 << 28
_KINDS = ("begin", "next", "visit", "run")


def build(flat: Flat) -> Machine:
    """The nest before it runs."""
    return _Builder(flat).build()


def ints(values: Iterable[Any]) -> Ints:
    """An array of whole numbers."""
    return np.array(list(values), np.int64)


def starts(lengths: Iterable[int]) -> list[int]:
    """Where each of some consecutive stretches starts; the end of the last one comes last."""
    return list(accumulate(lengths, initial=0))


def table(rows: Sequence[Ints], width: int = 1) -> Ints:
    """Rows one under another, as wide as the longest (and at least ``width``)."""
    found = np.zeros((len(rows), max([width, *map(len, rows)])), np.int64)
    for row, values in zip(found, rows, strict=True):
        row[: len(values)] = values
    return found


def ragged(rows: Sequence[Sequence[Any] | Ints]) -> tuple[Ints, Ints]:
    """Rows one after another: their starts, and what is in them."""
    return ints(starts(len(row) for row in rows)), ints(v for row in rows for v in row)


class _Builder:
    """What the parts of the tables are made from."""

    def __init__(self, flat: Flat) -> None:
        self.flat = flat
        self.ranks = {rank: n for n, rank in enumerate(flat.sizes)}
        self.sites: dict[tuple[int, ...], Site] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.ports = [self._of_slot(s) for s in flat.slots] + [
            p for point in flat.points for p in self._of_point(point)
        ]
        for op in flat.ops:
            self.site(op.loops)
        self._check()

    def build(self) -> Machine:
        """All of it."""
        rows = self._loops() | self._ops() | self._sites() | self._keeps() | self._dims() | self._ports() | self._runs()
        instances = [rows.pop(name) for name in ("LIVE", "GROUP", "TARGET", "OUTER")]
        places, memory = self._memory()
        rows |= places
        flat = self.flat
        counted = max(len(flat.slots), len(flat.points), len(self.ports))
        moving = max(len(flat.loops), len(self.ranks))
        return Machine(
            facts=table([rows[name] for name in sorted(rows, key=visits.__dict__.__getitem__)], moving),
            instances=table(instances),
            memory=memory,
            counts=np.zeros((counted, 7), np.int64),
            now=np.zeros((4, moving), np.int64),
            cells=np.zeros((2, max([self.cells(s) for s in flat.slots], default=1)), np.int64),
        )

    def site(self, loops: tuple[Loop, ...]) -> Site:
        """The one site under these loops."""
        return self.sites.setdefault(tuple(p.number for p in loops), Site(len(self.sites), loops))

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Extent of each dimension of a tensor; found out once."""
        if tensor not in self.shapes:
            self.shapes[tensor] = tuple(int(n) for n in self.flat.cascade.shape(tensor, self.flat.sizes))
        return self.shapes[tensor]

    def cells(self, slot: Slot) -> int:
        """Elements of a slot's tensor."""
        return prod(self.shape(slot.tensor))

    def strides(self, tensor: str) -> list[int]:
        """Cells from one index to the next, by dimension; a scalar has one dimension."""
        shape = self.shape(tensor)
        return [prod(shape[axis + 1 :]) for axis in range(len(shape))] or [1]

    def _of_slot(self, slot: Slot) -> Port:
        ranks = slot.reduced if slot.writers else lacking(slot.between, slot.ranks)
        made = frozenset(r for e in slot.writers for r in e.ranks) if slot.writers and slot.parent else None
        span = 2 * self.cells(slot) if slot.parent else 0
        return Port(self.site(slot.loops), slot.parent or slot, frozenset(ranks), span, made, own=True)

    def _of_point(self, point: Point) -> list[Port]:
        site, span = self.site(point.loops), prod(self._left(point).values())
        *reads, (_, out) = point.served
        found = [Port(site, s, lacking(point.loops, a.ranks), span) for a, s in reads]
        made = frozenset(point.einsum.ranks) if point.einsum.reduced else None
        return [*found, Port(site, out, frozenset(point.einsum.reduced), span, made)]

    def _left(self, point: Point) -> dict[str, int]:
        """The longest piece of each rank that is left to an Einsum."""
        sizes = {r: self.flat.sizes[r] for r in point.einsum.ranks}
        return {r: min([n, *(p.tile for p in point.loops if p.rank == r)]) for r, n in sizes.items()}

    def _check(self) -> None:
        """Refuse what would take too long or too much memory."""
        for point in self.flat.points:
            points = prod([*self._left(point).values(), *(p.trips for p in point.loops)])
            if points > POINTS:
                raise WeirError(f"mapping: {points} points of {point.einsum.name} are too many to simulate one by one; "
                                f"at most {POINTS}: take smaller sizes")  # fmt: skip
        cells = sum(self.site(s.loops).count * self.cells(s) for s in self.flat.slots)
        cells += sum(self._stamps(p) + self._marks(p) for p in self.ports)
        if cells > CELLS:
            raise WeirError(f"mapping: {cells} elements of state are too many to simulate; at most {CELLS}: "
                            "take smaller sizes")  # fmt: skip

    def _stamps(self, port: Port) -> int:
        return port.site.count * port.span

    def _marks(self, port: Port) -> int:
        if port.marks is None:
            return 0
        return int(port.marked().max() + 1) * prod(p.trips for p in port.repeats()) * self.cells(port.keep)

    def _loops(self) -> dict[str, Ints]:
        loops = self.flat.loops
        return {
            "RANK_COUNT": ints([len(self.ranks)]),
            "SIZE": ints(self.flat.sizes.values()),
            "LOOP_RANK": ints(self.ranks[p.rank] for p in loops),
            "LOOP_TILE": ints(p.tile for p in loops),
            "LOOP_TRIPS": ints(p.trips for p in loops),
            "LOOP_SPACE": ints(p.space for p in loops),
        }

    def _ops(self) -> dict[str, Ints]:
        ops = self.flat.ops
        return {
            "OP_COUNT": ints([len(ops)]),
            "OP_KIND": ints(_KINDS.index(op.kind) for op in ops),
            "OP_ARG": ints(op.what.number for op in ops),
            "OP_SITE": ints(self.site(op.loops).number for op in ops),
            "OP_JUMP": ints(op.jump for op in ops),
        }

    def _sites(self) -> dict[str, Ints]:
        sites = list(self.sites.values())
        site_at, site_loop = ragged([[p.number for p in s.loops] for s in sites])
        _, radix = ragged([s.radix() for s in sites])
        live_at, live = ragged([s.live(self.flat.sizes) for s in sites])
        return {"SITE_AT": site_at, "SITE_LOOP": site_loop, "SITE_RADIX": radix, "LIVE_AT": live_at, "LIVE": live}

    def _keeps(self) -> dict[str, Ints]:
        slots = self.flat.slots
        has_at, has = ragged([[self.ranks[r] for r in s.ranks] for s in slots])
        renewing = [self._renewing(s) for s in slots]
        anew_at, anew = ragged([[p.number for p in loops] for loops in renewing])
        spread = [{p.rank for p in s.between if p.space} for s in slots]
        return {
            "KEEP_COUNT": ints([len(slots)]),
            "KEEP_SITE": ints(self.site(s.loops).number for s in slots),
            "KEEP_CELLS": ints(self.cells(s) for s in slots),
            "KEEP_PARENT": ints(s.parent.number if s.parent else -1 for s in slots),
            "KEEP_WRITES": ints(bool(s.writers) for s in slots),
            "KEEP_REDUCES": ints(bool(over & set(s.reduced)) for s, over in zip(slots, spread, strict=True)),
            "HAS_AT": has_at,
            "HAS": has,
            "ANEW_AT": anew_at,
            "ANEW_LOOP": anew,
            "ANEW_MOVED": ints(s.repeated(p) for s, loops in zip(slots, renewing, strict=True) for p in loops),
        }

    def _dims(self) -> dict[str, Ints]:
        slots = self.flat.slots
        boxes = [intervals(s, self.flat.cascade, self.flat.sizes) for s in slots]
        dim_at = ints(starts(len(box) for box in boxes))
        dims = [dim for box in boxes for dim in box]
        term_at, rank = ragged([[self.ranks[r] for r in factors] for factors, _, _ in dims])
        _, scale = ragged([list(factors.values()) for factors, _, _ in dims])
        return {
            "DIM_AT": dim_at,
            "DIM_LEAST": ints(least for _, least, _ in dims),
            "DIM_MOST": ints(most for _, _, most in dims),
            "DIM_STEP": ints(step for s in slots for step in self.strides(s.tensor)),
            "TERM_AT": term_at,
            "TERM_RANK": rank,
            "TERM_SCALE": scale,
        }

    def _ports(self) -> dict[str, Ints]:
        ports = self.ports
        key_at, keys = ragged([[p.number for p in port.repeats()] for port in ports])
        _, radix = ragged([starts_by_product([p.trips for p in port.repeats()]) for port in ports])
        port_map, group = ragged([port.group() for port in ports])
        return {
            "PORT_KEEP": ints(port.keep.number for port in ports),
            "PORT_MAP": port_map,
            "GROUP": group,
            "TARGET": ragged([port.marked() for port in ports])[1],
            "OUTER": ragged([port.site.numbers(port.keep.outer.loops) for port in ports])[1],
            "PORT_SPAN": ints(port.span for port in ports),
            "PORT_KEYS": ints(prod(p.trips for p in port.repeats()) for port in ports),
            "PORT_OLD": ints(self.flat.cascade.tensor(port.keep.tensor).kind == "state" for port in ports),
            "KEY_AT": key_at,
            "KEY_LOOP": keys,
            "KEY_RADIX": radix,
        }

    def _runs(self) -> dict[str, Ints]:
        points = self.flat.points
        lengths = [self._left(p) for p in points]
        outputs = [self._output(p) for p in points]
        point_at, rank = ragged([[self.ranks[r] for r in left] for left in lengths])
        return {
            "RUN_SITE": ints(self.site(p.loops).number for p in points),
            "RUN_BASE": ints(base for _, base in outputs),
            "RUN_SUMS": ints(bool(p.einsum.reduced) for p in points),
            "PORT_AT": ints(len(self.flat.slots) + n for n in starts(len(p.served) for p in points)),
            "POINT_AT": point_at,
            "POINT_RANK": rank,
            "POINT_RADIX": ragged([starts_by_product(list(left.values())) for left in lengths])[1],
            "POINT_WHOLE": ragged([self._strides(p.einsum.ranks) for p in points])[1],
            "POINT_STEP": ints(step.get(r, 0) for (step, _), left in zip(outputs, lengths, strict=True) for r in left),
        }

    def _strides(self, ranks: tuple[str, ...]) -> list[int]:
        """Places from one point of an iteration space to the next, by rank."""
        sizes = [self.flat.sizes[r] for r in ranks]
        return [prod(sizes[at + 1 :]) for at in range(len(sizes))]

    def _output(self, point: Point) -> tuple[dict[str, int], int]:
        """How far each rank moves along an Einsum's output, in cells, and the cell at the origin."""
        access = point.einsum.output
        steps: dict[str, int] = {}
        base = 0
        for index, stride in zip(access.indices, self.strides(access.tensor), strict=False):
            factors, constant = terms(index, self.flat.sizes) if isinstance(index, Affine) else ({}, 0)
            base += constant * stride
            for rank, factor in factors.items():
                steps[rank] = steps.get(rank, 0) + factor * stride
        return steps, base

    def _renewing(self, slot: Slot) -> list[Loop]:
        """Loops in time above a slot that can make its tile new."""
        return [p for p in slot.loops if not p.space and (p.rank in slot.ranks or slot.repeated(p))]

    def _bounds(self, slot: Slot) -> int:
        """Numbers that make a tile of a tensor: two ends a dimension."""
        return 2 * len(self.strides(slot.tensor))

    def _memory(self) -> tuple[dict[str, Ints], Ints]:
        """Where everything that changes is kept, and the memory itself: nothing held, nothing marked."""
        slots = self.flat.slots
        cells = [self.site(s.loops).count * self.cells(s) for s in slots]
        boxes = [self.site(s.loops).count * (self._bounds(s) + len(self._renewing(s))) for s in slots]
        lengths = [cells, cells, boxes, [*map(self._stamps, self.ports)], [*map(self._marks, self.ports)]]
        tensors = [self.flat.present.tensors.get(s.tensor) for s in slots]
        points = [self.flat.present.points.get(p.einsum.name) for p in self.flat.points]
        masks = [np.ravel(one).astype(np.int64) for one in (*tensors, *points) if one is not None]
        held, era, box, stamp, mark, there = starts(
            [visits.NEW + max([0, *map(self._bounds, slots)]), *map(sum, lengths)]
        )[1:]
        eras = starts(cells)
        memory = np.zeros(there + sum(map(len, masks)), np.int64)
        memory[mark:there] = -1
        memory[there:] = np.concatenate(masks) if masks else 0
        places = iter(starts(map(len, masks)))
        found = ints(-1 if one is None else there + next(places) for one in (*tensors, *points))
        return {
            "KEEP_HELD": held + ints(starts(cells)),
            "KEEP_ERA": era + ints(eras[s.outer.number] for s in slots),
            "KEEP_BOX": box + ints(starts(boxes)),
            "KEEP_THERE": found[: len(slots)],
            "RUN_THERE": found[len(slots) :],
            "PORT_STAMP": stamp + ints(starts(lengths[3])),
            "PORT_MARK": mark + ints(starts(lengths[4])),
        }, memory


def starts_by_product(lengths: Sequence[int]) -> list[int]:
    """Mixed-radix weights: the product of the lengths before each."""
    return [prod(lengths[:at]) for at in range(len(lengths))]
