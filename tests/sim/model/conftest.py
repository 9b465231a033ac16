"""A brute-force machine: it runs a sharded cascade point by point over devices and counts what happens."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from einsum import Access, Affine, Call, Cascade, Const, Einsum
from mappings.layout import Layout, Place
from sim.model.task import Task

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
# Written out again on purpose: operations of one point by class.
COST = {"add": {"add": 1}, "sub": {"add": 1}, "mul": {"mul": 1}, "div": {"div": 1}, "max": {"max": 1}, "one": {}}
COST |= {"exp": {"exp": 1}, "square": {"mul": 1}, "relu": {"max": 1}, "silu": {"exp": 1, "add": 1, "div": 1}}


def strides(place: Place) -> dict[tuple[str, int], tuple[int, int]]:
    """(ways, stride) of each loop that has an axis of the devices to itself."""
    found, free = {}, place.count
    for number, loop in enumerate(place.spatial):
        if loop.ways <= free:
            free //= loop.ways
            found[loop.rank, number] = (loop.ways, free)
    return found


def digits(place: Place, einsum: Einsum) -> dict[str, Ints]:
    """Which part of each divided rank every device has."""
    alternatives = prod(loop.ways for loop in place.spatial) > place.count  # such as experts or requests
    part: dict[str, Ints] = {}
    free, axes = place.count, strides(place)
    for number, loop in enumerate(place.spatial):
        if loop.rank not in einsum.ranks or (loop.only and einsum.name not in loop.only) or not 1 < loop.ways <= free:
            continue
        free //= loop.ways
        stride = free if alternatives else axes[loop.rank, number][1]
        digit = np.arange(place.count) // stride % loop.ways
        part[loop.rank] = part.get(loop.rank, 0) * loop.ways + digit
    return part


@dataclass
class Run:
    """One run of a cascade in a layout; counts by group of Einsums, by tensor and by device."""

    cascade: Cascade
    layout: Layout
    sizes: dict[str, int]
    seed: int = 0
    present: dict[str, Mask] = field(default_factory=dict)
    parts: dict[str, tuple[Place, Mask, Ints]] = field(default_factory=dict)  # device holds a part; which partial sum
    holds: dict[tuple[str, str], Mask] = field(default_factory=dict)  # (tensor, pool): device holds the whole value
    received: Counter[str] = field(default_factory=Counter)  # elements by tensor, all devices together
    kinds: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    read: dict[str, dict[str, Mask]] = field(default_factory=dict)  # Einsum -> tensor -> device x element
    wrote: dict[str, Mask] = field(default_factory=dict)
    ops: dict[str, list[Counter[str]]] = field(default_factory=dict)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(int(n) for n in self.cascade.shape(name, self.sizes))

    def mask_of(self, name: str) -> Mask:
        """Places of an input that are present, drawn once."""
        if name not in self.present:
            self.present[name] = self.declared(name)
        return self.present[name]

    def declared(self, name: str) -> Mask:
        tensor = self.cascade.tensor(name)
        whole = np.ones(self.shape(name), bool)
        for pattern in tensor.patterns:
            drawn = pattern.mask(self.sizes, np.random.default_rng(self.seed))
            order = [tensor.ranks.index(r) for r in pattern.ranks]
            spread = np.moveaxis(drawn, np.argsort(np.argsort(order)), range(len(order)))
            whole &= spread.reshape([n if a in order else 1 for a, n in enumerate(whole.shape)])
        return whole

    def flat(self, access: Access, at: dict[str, Ints]) -> Ints:
        places = [i.value(self.sizes, at) if isinstance(i, Affine) else 0 for i in access.indices]
        full = [np.broadcast_to(p, next(iter(at.values())).shape) for p in places]
        return np.asarray(np.ravel_multi_index(tuple(full), self.shape(access.tensor)) if full else np.zeros(1, int))

    def there(self, expr: Any, at: dict[str, Ints]) -> Mask:
        if isinstance(expr, Const):
            return np.ones(next(iter(at.values())).shape, bool)
        if isinstance(expr, Access):
            return np.asarray(self.mask_of(expr.tensor).reshape(-1)[self.flat(expr, at)])
        parts = [self.there(a, at) for a in expr.args if not isinstance(a, Const)]
        if expr.op in ("add", "max"):
            return np.asarray(np.logical_or.reduce(parts))
        return np.asarray(parts[0] if expr.op == "sub" else np.logical_and.reduce(parts))

    def execute(self) -> Run:
        for einsum in self.cascade.einsums:
            self.step(einsum)
        return self

    def step(self, einsum: Einsum) -> None:
        """Give every present point to its device; fetch what it reads, note what it writes."""
        place = self.layout.place(einsum.name)
        grid = np.indices([self.sizes[r] for r in einsum.ranks]).reshape(len(einsum.ranks), -1)
        at = dict(zip(einsum.ranks, grid, strict=True))
        own = digits(place, einsum)
        mine = np.ones((place.count, grid.shape[1]), bool)
        for rank, part in own.items():
            ways = place.ways(einsum)[rank]
            mine &= (at[rank] * ways // self.sizes[rank])[None, :] == part[:, None]
        out = self.flat(einsum.output, at)
        allowed: Mask = self.declared(einsum.output.tensor).reshape(-1)[out]
        live = mine & (self.there(einsum.expr, at) & allowed)[None, :]
        self.read[einsum.name] = {}
        for access in einsum.reads:
            need = self.spread(live, self.flat(access, at), access.tensor)
            before = self.read[einsum.name].get(access.tensor, np.zeros_like(need))
            self.read[einsum.name][access.tensor] = before | need
            self.fetch(access.tensor, place, need)
        made = self.spread(live, out, einsum.output.tensor)
        self.wrote[einsum.name] = made
        self.count(einsum, mine, at, allowed)
        self.made(einsum, place, made, own)

    def spread(self, live: Mask, flat: Ints, name: str) -> Mask:
        found = np.zeros((len(live), prod(self.shape(name))), bool)
        for device, here in enumerate(live):
            found[device, flat[here]] = True
        return found

    def made(self, einsum: Einsum, place: Place, made: Mask, own: dict[str, Ints]) -> None:
        name = einsum.output.tensor
        if self.cascade.tensor(name).kind != "state":  # what was written before this run is there as well
            self.present[name] = made.any(axis=0).reshape(self.shape(name))
        which = np.zeros(place.count, int)
        for rank in sorted(set(own) & set(einsum.reduced)):
            which = which * 1000 + own[rank]
        self.parts[name] = (place, made, which)
        if not which.any():
            self.holds[name, place.pool] = made.copy()

    def fetch(self, name: str, place: Place, need: Mask) -> None:
        """Bring what is needed and not held: combine partial sums where they are, then copy."""
        if name not in self.parts:
            return
        maker, made, which = self.parts[name]
        need = need & np.asarray(made.any(axis=0))[None, :]
        if (name, maker.pool) not in self.holds:
            self.combine(name, maker, made, which, need if place.pool == maker.pool else None)
        held = self.holds.get((name, place.pool), np.zeros_like(need))
        missing = need & ~held
        if missing.any():
            inside = place.pool == maker.pool
            grows = (need >= held).all()
            self.kinds[name].add(("all-gather" if grows else "all-to-all") if inside else "transfer")
            self.received[name] += int(missing.sum())
        self.holds[name, place.pool] = held | need

    def combine(self, name: str, maker: Place, made: Mask, which: Ints, need: Mask | None) -> None:
        """Add up partial sums at a device that needs the value, then pass it to the others that do."""
        whole = np.zeros_like(made)
        several = False
        for element in np.flatnonzero(made.any(axis=0)):
            have = np.flatnonzero(made[:, element])
            sums = len(set(which[have]))
            wants = have[:1] if need is None else np.flatnonzero(need[:, element])
            at_home = bool(set(have) & set(wants))
            self.received[name] += sums - at_home + max(len(wants) - 1, 0)
            several |= len(wants) > 1
            whole[wants, element] = True
        self.kinds[name].add("all-reduce" if several and need is not None else "reduce-scatter")
        self.holds[name, maker.pool] = whole

    def count(self, einsum: Einsum, mine: Mask, at: dict[str, Ints], allowed: Mask) -> None:
        """Operations of each device by class: every call at the distinct points of its own ranks."""
        found = [Counter[str]() for _ in mine]
        for call in _calls(einsum.expr):
            mac = call is einsum.expr and einsum.contraction
            at_all = set(call.ranks) == set(einsum.ranks)
            live = np.array(self.there(call, at))
            if at_all or set(einsum.output.ranks) <= set(call.ranks):
                live &= allowed
            key = np.ravel_multi_index([at[r] for r in call.ranks], [self.sizes[r] for r in call.ranks])
            for device, here in enumerate(mine):
                points = len(np.unique(key[here & live]))
                for kind, each in ({"mac": 2} if mac else COST[call.op]).items():
                    found[device][kind] += each * points
        if einsum.reduced and not einsum.contraction:
            whole: Mask = self.there(einsum.expr, at) & allowed
            for device, here in enumerate(mine):
                found[device]["max" if einsum.reduction == "max" else "add"] += int((here & whole).sum())
        self.ops[einsum.name] = found

    def kernel_bytes(self, task: Task, width: int = 2) -> list[int]:
        """Bytes that each device moves through its memory in one fused kernel, distinct elements once."""
        inside = [self.cascade.einsum(n).output.tensor for n in task.einsums]
        others = {t for e in self.cascade.einsums if e.name not in task.einsums for t in e.inputs}
        total = np.zeros(self.layout.at(task.pool).count, int)
        reads: dict[str, Mask] = {}
        for name in task.einsums:
            for tensor, need in self.read[name].items():
                if tensor not in inside or self.cascade.tensor(tensor).kind == "state":
                    reads[tensor] = reads.get(tensor, np.zeros_like(need)) | need
            out = self.cascade.einsum(name).output.tensor
            if out in others or out in self.cascade.outputs:
                total = total + self.wrote[name].sum(axis=1)
        for need in reads.values():
            total = total + need.sum(axis=1)
        return [int(n) * width for n in total]

    def kernel_ops(self, task: Task) -> list[dict[str, int]]:
        """Operations of each device in one fused kernel."""
        rows = zip(*(self.ops[n] for n in task.einsums), strict=True)
        return [{k: v for k, v in sum(row, Counter[str]()).items() if v} for row in rows]


def _calls(expr: Any) -> Iterator[Call]:
    if isinstance(expr, Call):
        yield expr
        for arg in expr.args:
            yield from _calls(arg)


def travelled(tasks: tuple[Task, ...], layout: Layout) -> dict[str, float]:
    """Bytes received by all devices together, by tensor, as the tasks say (minimal algorithms)."""
    total: dict[str, float] = defaultdict(float)
    for task in tasks:
        devices = layout.at(task.pool).count
        share = (task.ways - 1) / task.ways
        factor = {"kernel": 0.0, "all-reduce": 2 * share * devices, "transfer": float(task.receivers)}
        total[task.name.split()[-1]] += task.size * factor.get(task.kind, share * devices)
    return dict(total)


@pytest.fixture(scope="session")
def brute() -> type[Run]:
    """The brute-force machine."""
    return Run


@pytest.fixture(scope="session")
def moved() -> Any:
    """What tasks move, summed by tensor."""
    return travelled
