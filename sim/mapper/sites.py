"""Where a group of Einsums can run: the way from the outermost memory to their units, cut into stages of the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import permutations, product
from math import perm, prod
from typing import Any

import numpy as np

from einsum import Cascade, Einsum, WeirError
from einsum.cascade import carried
from einsum.sparsity import density
from sim.arch import Device, Fanout, Memory
from sim.model.nests import Leaf
from sim.model.spatial import idle, per_point

Values = Mapping[str, Any]
NEARLY = 0.75  # of the best use of fan-outs, below which a way is not looked at
MOST = 1 << 16  # ways of giving Einsums to units, or ranks to fan-outs, that are compared
TAKEN = 64  # ways of giving ranks to the fan-outs of a stage that nests are made of


@dataclass(frozen=True, slots=True)
class Stage:
    """Fan-outs on the way inwards, and the memory behind them ("" where a unit stands there)."""

    fans: tuple[Fanout, ...]
    level: str


def way(device: Device, unit: str) -> tuple[Memory | Fanout, ...]:
    """Memories and fan-outs above a unit, outermost first."""
    every: tuple[Memory | Fanout, ...] = (*device.memories, *device.fanouts)
    parts = {part.name: part for part in every}
    above = next(c.under for c in device.computes if c.name == unit)
    found: list[Memory | Fanout] = []
    while above:
        found.insert(0, parts[above])
        above = parts[above].under
    return tuple(found)


def shared(device: Device, units: tuple[str, ...]) -> tuple[Memory | Fanout, ...]:
    """What all units have above them."""
    first, *others = [way(device, unit) for unit in units]
    return reduce(lambda a, b: tuple(x for x, y in zip(a, b, strict=False) if x == y), others, first)


def stages(parts: tuple[Memory | Fanout, ...]) -> tuple[Stage, ...]:
    """A way inwards in stages, each ending in a memory; the last one may end at the units."""
    found: list[Stage] = []
    fans: tuple[Fanout, ...] = ()
    for part in parts:
        if isinstance(part, Fanout):
            fans = (*fans, part)
        else:
            found.append(Stage(fans, part.name))
            fans = ()
    return (*found, Stage(fans, "")) if fans else tuple(found)


def able(cascade: Cascade, einsum: Einsum, device: Device, sizes: Values) -> dict[str, tuple[float, float]]:
    """Units that have an Einsum's operations, or some of them: seconds of one point on one instance, and joules."""
    found: dict[str, tuple[float, float]] = {}
    lacking = []
    for unit in device.computes:
        if idle(cascade, einsum, device, unit, sizes):
            continue  # the units that it would wait for are gone through themselves
        try:
            seconds, joules = per_point(cascade, Leaf(einsum, unit.name, 0, (), ()), device, sizes)
        except WeirError as error:
            lacking.append(str(error))
        else:
            found[unit.name] = float(seconds), float(joules)
    if not found:
        raise WeirError(f"{device.name} has no unit that can run {einsum}: {'; '.join(lacking)}")
    return found


def expected(cascade: Cascade, einsum: Einsum, sizes: Values) -> float:
    """Points of an Einsum that are present."""
    patterns = cascade.patterns[einsum.name]
    points = prod(float(sizes[r]) for r in einsum.ranks)
    return points * float(density(patterns, sizes)) if patterns else points


def spread(einsum: Einsum, fans: tuple[Fanout, ...], sizes: Values, ranks: tuple[str, ...]) -> dict[str, str]:
    """The fan-out of each rank that keeps most instances at work; of equals, the one over ranks of the output."""
    given = max(ways(einsum, fans, sizes, ranks), key=lambda one: _used(einsum, fans, sizes, one))
    return {rank: fan.name for rank, fan in zip(given, fans, strict=True) if rank}


def ways(einsum: Einsum, fans: tuple[Fanout, ...], sizes: Values, ranks: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Ranks for the fan-outs, each rank once, as many fan-outs in use as there are ranks for ("" is none).

    Of too many ways to compare there is one: the fan-outs with most instances choose first.
    """
    free = tuple(r for r in ranks if r not in carried(einsum))
    every = free + ("",) * max(len(fans) - len(free), 0)
    if perm(len(every), len(fans)) > MOST:
        yield _in_turn(einsum, fans, sizes, free)
    else:
        yield from dict.fromkeys(permutations(every, len(fans)))


def _in_turn(einsum: Einsum, fans: tuple[Fanout, ...], sizes: Values, free: tuple[str, ...]) -> tuple[str, ...]:
    """The rank that keeps most instances of a fan-out at work, of those that larger ones left; of the output first."""
    found = [""] * len(fans)
    for at in sorted(range(len(fans)), key=lambda n: -fans[n].count)[: len(free)]:
        left = [r for r in free if r not in found]
        found[at] = max(left, key=lambda r: (_busy(sizes[r], fans[at].count), r not in einsum.reduced))
    return tuple(found)


def full(einsum: Einsum, fans: tuple[Fanout, ...], sizes: Values, ranks: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Those of the ways that keep nearly as many instances at work as the best, the first ``TAKEN`` of them; of equal
    fan-outs, one order."""
    every = list(ways(einsum, fans, sizes, ranks))
    best = max(_used(einsum, fans, sizes, one)[0] for one in every)
    found: dict[frozenset[tuple[str, int]], tuple[str, ...]] = {}
    for one in every:
        if _used(einsum, fans, sizes, one)[0] >= NEARLY * best:
            alike = frozenset((rank, fan.count) for rank, fan in zip(one, fans, strict=True))
            found.setdefault(alike, one)
    return list(found.values())[:TAKEN]


def _used(einsum: Einsum, fans: tuple[Fanout, ...], sizes: Values, given: tuple[str, ...]) -> tuple[float, int]:
    pairs = [(rank, fan) for rank, fan in zip(given, fans, strict=True) if rank]
    return prod(_busy(sizes[r], f.count) for r, f in pairs), -sum(r in einsum.reduced for r, _ in pairs)


def _busy(extent: Any, count: int) -> float:
    """Instances at work on average while a rank goes by in strips as wide as the fan-out."""
    return float(extent) / float(np.ceil(extent / count))


def assigned(cascade: Cascade, device: Device, sizes: Values, looped: frozenset[str]) -> tuple[str, ...]:
    """Units for Einsums that take turns: the busiest has least to do, and then all need least energy.

    Ranks that are ``looped`` over one by one outside cannot go over fan-outs. Every way is compared; with too many
    ways, each Einsum in turn goes where the busiest unit stays least busy.
    """
    costs = [_costs(cascade, e, device, sizes, looped) for e in cascade.einsums]
    if prod(map(len, costs)) > MOST:
        return _one_by_one(costs)
    return min(product(*costs), key=lambda chosen: _load(costs, chosen))


Costs = dict[str, tuple[float, float]]  # unit -> seconds of all points, and joules


def _costs(cascade: Cascade, einsum: Einsum, device: Device, sizes: Values, looped: frozenset[str]) -> Costs:
    points = expected(cascade, einsum, sizes)
    found: Costs = {}
    for unit, (seconds, joules) in able(cascade, einsum, device, sizes).items():
        fans = tuple(part for part in way(device, unit) if isinstance(part, Fanout))
        ranks = tuple(r for r in einsum.ranks if sizes[r] > 1 and r not in looped)
        used = max((_used(einsum, fans, sizes, one)[0] for one in ways(einsum, fans, sizes, ranks)), default=1.0)
        found[unit] = points / used * seconds, points * joules
    return found


def _load(costs: list[Costs], chosen: tuple[str, ...]) -> tuple[float, float]:
    busy: dict[str, float] = {}
    for unit, one in zip(chosen, costs, strict=False):
        busy[unit] = busy.get(unit, 0.0) + one[unit][0]
    return max(busy.values()), sum(one[unit][1] for unit, one in zip(chosen, costs, strict=False))


def _one_by_one(costs: list[Costs]) -> tuple[str, ...]:
    chosen: tuple[str, ...] = ()
    for one in costs:
        chosen = min(((*chosen, unit) for unit in one), key=lambda units: _load(costs, units))
    return chosen
