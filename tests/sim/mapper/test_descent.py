"""One choice at a time against all choices."""

from __future__ import annotations

from itertools import product
from math import inf

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sim.mapper.descent import Place, descend

AXES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@given(AXES, st.integers(1, 300), st.integers(0, 99))
def test_no_place_is_asked_for_twice_nor_more_than_allowed(axes: Place, most: int, seed: int) -> None:
    costs = np.random.default_rng(seed).random(axes)
    asked: list[Place] = []

    def cost(place: Place) -> float:
        asked.append(place)
        return float(costs[place])

    assert descend(axes, cost, most) == len(asked) == len(set(asked)) == min(most, costs.size)
    assert set(asked) <= set(product(*map(range, axes)))


@given(AXES, st.integers(0, 99))
def test_costs_that_add_up_are_least_after_one_descent(axes: Place, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [rng.random(n) for n in axes]
    found: list[float] = []

    def cost(place: Place) -> float:
        found.append(sum(part[n] for part, n in zip(parts, place, strict=True)))
        return found[-1]

    descend(axes, cost, sum(axes) + 1)
    assert min(found) == sum(part.min() for part in parts)


def test_what_is_enough_ends_it() -> None:
    asked: list[Place] = []

    def cost(place: Place) -> float:
        asked.append(place)
        return float(10 - place[0])

    assert descend((5, 7), cost, 20, enough=7.0) == len(asked) == 4


def test_where_nothing_near_the_first_place_is_within_reach_the_last_is_next() -> None:
    asked: list[Place] = []

    def cost(place: Place) -> float:
        asked.append(place)
        return 1.0 if place == (3, 3, 3) else inf

    descend((4, 4, 4), cost, 20)
    assert asked[0] == (0, 0, 0)
    assert (3, 3, 3) in asked
