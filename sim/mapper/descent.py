"""A search of many choices at once by one choice at a time, from many starts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import inf, prod

import numpy as np

Place = tuple[int, ...]


def descend(axes: Place, cost: Callable[[Place], float], most: int, enough: float = -inf) -> int:
    """Ask for the cost of ``most`` different places at most, and say how many were asked for.

    With no more places than that, each of them. Otherwise from the first place, and then from random ones (the same in
    every run): along one axis after another the best choice is taken, until no axis has a better one. Ends early at a
    cost of ``enough`` or less.
    """
    seen: dict[Place, float] = {}
    least = inf

    def asked(place: Place) -> float:
        nonlocal least
        if place not in seen and len(seen) < most and least > enough:
            seen[place] = cost(place)
            least = min(least, seen[place])
        return seen.get(place, inf)

    if prod(axes) <= most:
        for place in product(*map(range, axes)):
            asked(place)
        return len(seen)
    rng = np.random.default_rng(0)
    start = (0,) * len(axes)
    while len(seen) < most and least > enough:
        _down(axes, start, asked)
        start = tuple(int(n) for n in rng.integers(axes))
    return len(seen)


def _down(axes: Place, start: Place, asked: Callable[[Place], float]) -> None:
    """From a start to a place that no single choice makes better."""
    place, least, before = start, asked(start), None
    while least != before:
        before = least
        for axis, number in enumerate(axes):
            along = [(*place[:axis], n, *place[axis + 1 :]) for n in range(number)]
            costs = [asked(one) for one in along]
            if min(costs) < least:
                place, least = along[costs.index(min(costs))], min(costs)
