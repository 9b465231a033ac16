"""Offsets as a mixed-integer programme: which of two buffers that are live at once lies below the other.

In units of bytes rather than bytes, with the upper bound as big-M, so that a solver's tolerance cannot hide an overlap;
offsets are computed anew from the orders it decides, never rounded. After MEMO (Zhao et al. 2024) and OLLA (Steiner et
al. 2022), with the rows of live sets that make its relaxation as strong as the bound of what is live.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import ceil, isfinite

import numpy as np

from sim.planner import milp
from sim.planner.packing import Ints, Packing

FORMULATIONS = ("ordering", "big-m")
SMALL = 2_000  # pairs of buffers that are live at once, for which a solver may well prove something
LARGEST = 10_000  # pairs for which it is worth trying


@dataclass(frozen=True)
class Programme:
    """A programme for a packing below ``most`` units: offsets ``low``, the height, and z = 1 where i is below j."""

    packing: Packing
    most: int
    model: milp.Model
    low: tuple[milp.Variable, ...]
    below: dict[tuple[int, int], milp.Variable]
    height: milp.Variable

    def under(self, i: int, j: int) -> milp.Row:
        """1 where buffer i lies below buffer j."""
        return self.below[i, j] if i < j else 1 - self.below[j, i]


def programme(
    packing: Packing, most: int, pairs: list[tuple[int, int]], formulation: str = "ordering", *, least: int = 0
) -> Programme:  # fmt: skip
    """The programme that minimises the height, which is at least ``least``, in one of two formulations."""
    model = milp.Model("offsets")
    size, align = packing.shape.size, packing.shape.align
    low = tuple(
        model.number(f"A{i}", 0, most - int(s))
        if align[i] == 1
        else int(align[i]) * model.integer(f"K{i}", 0, (most - int(s)) // int(align[i]))
        for i, s in enumerate(size)
    )
    below = {(i, j): model.binary(f"z{i}_{j}") for i, j in pairs}
    made = Programme(packing, most, model, low, below, model.number("H", least, most))
    model.minimise(made.height + 0)
    model.add("every buffer ends below the height", ends(made))
    model.add("one of two lies below the other", apart(made))
    if formulation == "ordering":
        sets = live_sets(packing)
        model.add("a live set is stacked", stacked(made, sets))
        model.add("orders are transitive", transitive(made, sets))
    return made


def ends(made: Programme) -> Iterator[milp.Row]:
    """A_i + S_i <= H."""
    for low, size in zip(made.low, made.packing.shape.size, strict=True):
        yield low + int(size) <= made.height


def apart(made: Programme) -> Iterator[milp.Row]:
    """A_i + S_i <= A_j + M (1 - z_ij) and A_j + S_j <= A_i + M z_ij, for two that are live at once."""
    size, most = made.packing.shape.size, made.most
    for (i, j), z in made.below.items():
        yield made.low[i] + int(size[i]) <= made.low[j] + most - most * z
        yield made.low[j] + int(size[j]) <= made.low[i] + most * z


def stacked(made: Programme, sets: list[Ints]) -> Iterator[milp.Row]:
    """A_j >= sum of S_i z_ij, and A_j + S_j + sum of S_i z_ji <= H, over each set that is live at one moment."""
    size = made.packing.shape.size
    for members in sets:
        for j in members:
            others = [i for i in members if i != j]
            yield made.low[j] >= milp.total(int(size[i]) * made.under(i, j) for i in others)
            above = milp.total(int(size[i]) * made.under(j, i) for i in others)
            yield made.low[j] + int(size[j]) + above <= made.height


def transitive(made: Programme, sets: list[Ints], most: int = 20_000) -> Iterator[milp.Row]:
    """z_ij + z_jk + z_ki <= 2 both ways round, for three that are live at once; as many rows as a solver bears."""
    threes = dict.fromkeys(three for members in sets for three in combinations(map(int, members), 3))
    for i, j, k in list(threes)[: most // 2]:
        yield made.under(i, j) + made.under(j, k) + made.under(k, i) <= 2
        yield made.under(j, i) + made.under(k, j) + made.under(i, k) <= 2


def live_sets(packing: Packing) -> list[Ints]:
    """What is live at once, each set that is not within another's."""
    shape = packing.shape
    table = np.zeros((shape.moments, shape.size.size), bool)
    owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
    for i, begin, end in zip(owner, shape.begin, shape.end, strict=True):
        table[begin:end, i] = True
    table = np.unique(table, axis=0)
    shared = table.astype(np.int64) @ table.T.astype(np.int64)
    counts = table.sum(axis=1)
    within = (shared == counts[:, None]) & (counts[:, None] < counts[None, :])  # a row's set lies in a column's
    return [
        np.flatnonzero(row) for row, inside in zip(table, within.any(axis=1), strict=True) if row.any() and not inside
    ]


def improve(
    packing: Packing, table: np.ndarray, offsets: Ints, *, least: int, seconds: float, solver: str = "highs",
    formulation: str = "ordering", progress: milp.Progress | None = None,
) -> tuple[Ints, int]:  # fmt: skip
    """Offsets no higher than those given, and a height (units) that no placement can be below: ``least`` or more.

    Raises :class:`sim.planner.milp.Unfinished` when the solver has nothing to say.
    """
    most = packing.height(offsets)
    pairs = [(int(i), int(j)) for i, j in zip(*np.nonzero(np.triu(table, 1)), strict=True)]
    made = programme(packing, most, pairs, formulation, least=least)
    found = made.model.solve(seconds=seconds, start=_start(made, offsets), solver=solver, progress=progress)
    orders = {pair: found[z] > 0.5 for pair, z in made.below.items()}
    better = recomputed(packing, orders)
    bound = max(least, ceil(found.bound - 1e-6)) if isfinite(found.bound) else least
    if better is None or packing.height(better) > most:
        return offsets, min(bound, most)
    return better, min(bound, packing.height(better))


def _start(made: Programme, offsets: Ints) -> dict[str, float]:
    """A placement as values of the variables."""
    align = made.packing.shape.align
    values = {f"A{i}" if align[i] == 1 else f"K{i}": float(o // align[i]) for i, o in enumerate(offsets)}
    values |= {z.name: float(offsets[i] < offsets[j]) for (i, j), z in made.below.items()}
    return values | {made.height.name: float(made.packing.height(offsets))}


def recomputed(packing: Packing, orders: dict[tuple[int, int], bool]) -> Ints | None:
    """The lowest offsets under the orders decided (True: the first of a pair lies below), or None if they go round."""
    size, align = packing.shape.size, packing.shape.align
    above: list[list[int]] = [[] for _ in size]
    waits = np.zeros(size.size, np.int64)
    for (i, j), first in orders.items():
        low, high = (i, j) if first else (j, i)
        above[low].append(high)
        waits[high] += 1
    offsets, ready, done = np.zeros(size.size, np.int64), [int(i) for i in np.flatnonzero(waits == 0)], 0
    while ready:
        i = ready.pop()
        done += 1
        end = int(offsets[i] + size[i])
        for j in above[i]:
            offsets[j] = max(int(offsets[j]), end + (-end) % int(align[j]))
            waits[j] -= 1
            if waits[j] == 0:
                ready.append(j)
    return offsets if done == size.size else None
