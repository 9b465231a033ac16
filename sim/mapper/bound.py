"""What no mapping can go below on a device: every operation done once, every input fetched and output stored once."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from einsum import Access, Affine, Cascade
from einsum.ops import bits
from einsum.sparsity import density
from sim.arch import Device
from sim.mapper.parts import Group
from sim.mapper.sites import Values, able, expected


def seconds(group: Group, device: Device, sizes: Values) -> float:
    """Seconds: the memory's for what must be moved, or the units' together, work divided over them at will."""
    read, written = moved(group, sizes)
    return max(float(device.memory.busy(read, written)), _work(group.cascade, device, sizes))


def joules(group: Group, device: Device, sizes: Values) -> float:
    """Joules: what must be moved at the memory's energy, each point on the unit that takes least."""
    read, written = moved(group, sizes)
    passed = device.memory.joules(read) + device.memory.joules(written, written=True)
    least = (
        min(each for _, each in able(group.cascade, e, device, sizes).values()) * expected(group.cascade, e, sizes)
        for e in group.cascade.einsums
    )
    return float(passed + sum(least))


def moved(group: Group, sizes: Values) -> tuple[float, float]:
    """Bytes of all that comes from memory, and of all that goes there, as far as it is touched."""
    made = group.cascade.produced
    read = sum(_size(group.cascade, name, sizes) for name in group.ends if name not in made)
    return read, sum(_size(group.cascade, name, sizes) for name in group.ends if name in made)


def _size(cascade: Cascade, name: str, sizes: Values) -> float:
    """Bytes of the least that touches a tensor: the fewest places that any one access reaches."""
    accesses = [a for e in cascade.einsums for a in (*e.reads, e.output) if a.tensor == name]
    tensor = cascade.tensor(name)
    part = float(density(tensor.patterns, sizes)) if tensor.patterns else 1.0
    return max(_places(access, sizes) for access in accesses) * part * bits(tensor.dtype) / 8


def _places(access: Access, sizes: Values) -> float:
    """At least so many places does an access reach: one for each value of the rank of largest extent, by dimension."""
    if any(isinstance(index, Access) for index in access.indices):
        return 0.0  # it depends on values
    ranks = [max((sizes[r] for r in i.ranks), default=1) for i in access.indices if isinstance(i, Affine)]
    shared = len({r for i in access.indices for r in i.ranks}) < sum(len(i.ranks) for i in access.indices)
    return float(max(ranks, default=1) if shared else prod(float(r) for r in ranks))


def _work(cascade: Cascade, device: Device, sizes: Values) -> float:
    """Seconds of the busiest unit where each Einsum's points may be divided over units in any way (a linear
    programme)."""
    costs: list[dict[str, float]] = []
    for einsum in cascade.einsums:
        found = able(cascade, einsum, device, sizes)
        points = expected(cascade, einsum, sizes)
        costs.append({unit: points * each / device.instances(unit) for unit, (each, _) in found.items()})
    units = sorted({unit for one in costs for unit in one})
    scale = max(max(one.values()) for one in costs)
    if len(units) == 1 or not scale:
        return sum(one[units[0]] for one in costs) if scale else 0.0
    from scipy.optimize import linprog  # heavy, and not asked for by a single estimate

    share = [(n, unit) for n, one in enumerate(costs) for unit in one]
    busy = np.array([[costs[n][u] / scale if u == unit else 0.0 for n, u in share] + [-1.0] for unit in units])
    whole = np.array([[float(n == at) for n, _ in share] + [0.0] for at in range(len(costs))])
    goal: Any = [0.0] * len(share) + [1.0]
    solved = linprog(goal, A_ub=busy, b_ub=np.zeros(len(units)), A_eq=whole, b_eq=np.ones(len(costs)), method="highs")
    return float(solved.fun or 0.0) * scale
