"""A search of many choices at once by one choice at a time, from many starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from math import inf, prod

import numpy as np

Place = tuple[int, ...]


def descend(axes: Place, cost: Callable[[Place], float], most: int, enough: float = -inf) -> int:
    """Ask for the cost of ``most`` different places at most, and say how many were asked for.

    With no more places than that, each of them. Otherwise from the first place, from the last if all so far were out of
    reach, and then from random ones (the same in every run): along one axis after another the best choice is taken,
    until no axis has a better one. Ends early at a cost of ``enough`` or less.
    """
    asked = _Asked(cost, most, enough)
    if prod(axes) <= most:
        for place in product(*map(range, axes)):
            asked(place)
        return len(asked.seen)
    rng = np.random.default_rng(0)
    start = (0,) * len(axes)
    while asked.more:
        _down(axes, start, asked)
        last = tuple(n - 1 for n in axes)
        alone = asked.least == inf and last not in asked.seen
        start = last if alone else tuple(int(n) for n in rng.integers(axes))
    return len(asked.seen)


@dataclass
class _Asked:
    """Costs of the places asked for; out of reach where no more may be asked."""

    cost: Callable[[Place], float]
    most: int
    enough: float
    seen: dict[Place, float] = field(default_factory=dict)
    least: float = inf

    @property
    def more(self) -> bool:
        """Whether another place may be asked for, and is wanted."""
        return len(self.seen) < self.most and self.least > self.enough

    def __call__(self, place: Place) -> float:
        if place not in self.seen and self.more:
            self.seen[place] = self.cost(place)
            self.least = min(self.least, self.seen[place])
        return self.seen.get(place, inf)


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
