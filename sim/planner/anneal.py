"""First fit in one order after another, each the last with one buffer moved: simulated annealing (Kirkpatrick, Gelatt
and Vecchi 1983).

Some order makes first fit as low as can be. What reaches above the height sought is the cost. Where alignments waste
space anyhow this finds what a search that decides offsets from the bottom up does not. Kernels only; they call none of
another file (see ``kernel``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.planner.kernel import Ints, Shape, compiled, inside

HOT, COLD = 0.1, 0.001  # the temperature at first and at last, of the mean size


class _State(NamedTuple):
    near: Ints  # (n, n) who is live with each
    degree: Ints  # (n) how many those are
    order: Ints  # (n) now, and with one buffer moved
    other: Ints
    ends: Ints  # (n) under either
    found: Ints
    low: Ints  # (n) scratch: stretches taken, from and to, in order
    high: Ints
    best: Ints  # (n) the offsets of the lowest placement


@compiled
def place(
    shape: Shape, table: NDArray[np.bool_], order: Ints, target: int, steps: int, draw: np.random.Generator, stop: Ints
) -> Ints:  # fmt: skip
    """The lowest placement of ``steps`` orders, from the one given; the first that is no higher than ``target``.

    Ends soon after another thread has set ``stop[0]``.
    """
    state, n = _start(table, order), order.size
    cost = _fit(shape, state, state.order, target, state.ends)
    state.best[:] = state.ends - shape.size
    least, hot = state.ends.max(), max(HOT * shape.size.mean(), 1.0)
    for step in range(steps):
        if least <= target or stop[0]:
            break
        _move(state, _chosen(state, target, draw), int(draw.integers(0, n)), draw.random() < 0.5)
        other = _fit(shape, state, state.other, target, state.found)
        if state.found.max() < least:
            least = state.found.max()
            state.best[:] = state.found - shape.size
        heat = hot * (COLD / HOT) ** (step / steps)
        if other <= cost or draw.random() < np.exp((cost - other) / heat):
            cost = other
            state.order[:], state.ends[:] = state.other, state.found
    return state.best


@inside
def _start(table: NDArray[np.bool_], order: Ints) -> _State:
    n = order.size
    near, degree = np.zeros((n, n), np.int64), np.zeros(n, np.int64)
    for i in range(n):
        for j in range(n):
            if table[i, j]:
                near[i, degree[i]] = j
                degree[i] += 1
    none = np.zeros((6, n), np.int64)
    return _State(near, degree, order.copy(), none[0], none[1], none[2], none[3], none[4], none[5])


@inside
def _fit(shape: Shape, state: _State, order: Ints, target: int, ends: Ints) -> int:
    """Each in the order at the lowest offset where it fits; how far they reach above the target, together."""
    ends[:] = 0
    cost = np.int64(0)
    for i in order:
        taken = _taken(shape, state, i, ends)
        size, align, offset = shape.size[i], shape.align[i], np.int64(0)
        for k in range(taken):
            if state.low[k] - offset >= size:
                break
            if state.high[k] > offset:
                offset = state.high[k] + (-state.high[k]) % align
        ends[i] = offset + size
        cost += max(0, ends[i] - target)
    return int(cost)


@inside
def _taken(shape: Shape, state: _State, i: int, ends: Ints) -> int:
    """List the stretches that are taken where a buffer is live, by their beginnings; how many there are."""
    low, high, taken = state.low, state.high, 0
    for k in range(state.degree[i]):
        j = state.near[i, k]
        if ends[j] > 0:
            start, m = ends[j] - shape.size[j], taken
            while m > 0 and low[m - 1] > start:
                low[m], high[m] = low[m - 1], high[m - 1]
                m -= 1
            low[m], high[m] = start, ends[j]
            taken += 1
    return taken


@inside
def _chosen(state: _State, target: int, draw: np.random.Generator) -> int:
    """A place in the order: half of the time of a buffer that reaches above the target."""
    place, above = int(draw.integers(0, state.order.size)), 0
    if draw.random() < 0.5:
        for k in range(state.order.size):
            if state.ends[state.order[k]] > target:
                above += 1
                if draw.integers(0, above) == 0:
                    place = k
    return place


@inside
def _move(state: _State, a: int, b: int, swap: bool) -> None:
    """The order with two buffers exchanged (``swap``), or one moved to the other's place."""
    other = state.other
    other[:] = state.order
    one = other[a]
    if swap:
        other[a] = other[b]
    elif a < b:
        for k in range(a, b):
            other[k] = other[k + 1]
    else:
        for k in range(a, b, -1):
            other[k] = other[k - 1]
    other[b] = one
