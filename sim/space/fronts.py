"""Pareto fronts of three and more objectives, compiled: loops over rows that NumPy has no word for.

Three objectives: Kung, Luccio and Preparata, "On Finding the Maxima of a Set of Vectors", J. ACM 22 (1975): rows in
lexicographic order, beside a tree with the least third objective of all rows so far by their second; n log n whatever
the front is. More: sort-filter skyline (Chomicki, Godfrey, Gryz and Liang, "Skyline with Presorting", ICDE 2003): rows
by their sum, each compared with the front so far, what dominated last first; rows times front at the worst.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.planner.kernel import compiled

Ranks = NDArray[np.int64]


def front(points: Ranks) -> NDArray[np.bool_]:
    """Which rows none dominates, all objectives minimised; (objective, row), each a place among its distinct values."""
    if len(points) == 3:
        return _swept(points, _lexicographic(points))
    return _filtered(np.ascontiguousarray(points.T), np.argsort(points.sum(axis=0), kind="stable"))


def _lexicographic(points: Ranks) -> Ranks:
    """Rows sorted by the first objective, then the second, then the third."""
    highest = [int(one.max()) + 1 for one in points]
    if highest[0] * highest[1] * highest[2] < 2**63:
        return np.argsort((points[0] * highest[1] + points[1]) * highest[2] + points[2])
    return np.lexsort(points[::-1])


@compiled
def _swept(points: Ranks, order: Ranks) -> NDArray[np.bool_]:  # (3, n), (n) -> (n)
    """Rows in order; ``least`` is a binary indexed tree: the least third objective of all seconds up to a place."""
    count = len(order)
    least = np.full(count + 2, np.iinfo(np.int64).max)
    kept = np.zeros(count, np.bool_)
    x, y, z = points[0], points[1], points[2]
    at = 0
    while at < count:
        row, end = order[at], at + 1
        while end < count and x[order[end]] == x[row] and y[order[end]] == y[row] and z[order[end]] == z[row]:
            end += 1
        found, place = np.iinfo(np.int64).max, y[row] + 1
        while place > 0:
            found = min(found, least[place])
            place -= place & -place
        if found > z[row]:  # whatever is in the tree is another row, no worse in the first two
            kept[order[at:end]] = True
            place = y[row] + 1
            while place <= count + 1:
                least[place] = min(least[place], z[row])
                place += place & -place
        at = end
    return kept


@compiled
def _filtered(points: Ranks, order: Ranks) -> NDArray[np.bool_]:  # (n, k), (n) -> (n)
    """Rows by their sum: whatever dominates a row has a smaller sum, so it comes before, and is never lost."""
    count, many = points.shape
    kept = np.zeros(count, np.bool_)
    best = np.empty((count, many), np.int64)  # the front so far
    size = 0
    for row in order:
        beaten = False
        for one in range(size):
            better = False
            for k in range(many):
                if best[one, k] > points[row, k]:
                    break
                better = better or best[one, k] < points[row, k]
            else:
                beaten = better
                if beaten:
                    for k in range(many):  # what dominates once does so again: it comes first from now on
                        best[one, k], best[one // 2, k] = best[one // 2, k], best[one, k]
                    break
        if not beaten:
            kept[row] = True
            best[size] = points[row]
            size += 1
    return kept
