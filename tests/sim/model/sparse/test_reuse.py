from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.model.sparse.reuse import che, misses


def by_hand(requests: list[int], sizes: list[int], capacity: int) -> list[int]:
    held: OrderedDict[int, int] = OrderedDict()
    missed = [0] * len(sizes)
    for fibre in requests:
        if fibre in held:
            held.move_to_end(fibre)
            continue
        missed[fibre] += 1
        if sizes[fibre] > capacity:
            continue
        held[fibre] = sizes[fibre]
        while sum(held.values()) > capacity:
            held.popitem(last=False)
    return missed


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    picks=st.lists(st.integers(0, 7), max_size=60),
    capacity=st.integers(0, 30),
)
def test_the_simulated_cache_is_an_ordered_dictionary(sizes: list[int], picks: list[int], capacity: int) -> None:
    requests = [p % len(sizes) for p in picks]
    found = misses(np.array(requests, np.int64), np.array(sizes, np.int64), capacity)
    assert found.tolist() == by_hand(requests, sizes, capacity)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_che_is_close_where_requests_are_random(share: float) -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 50, 400)
    requests = rng.choice(400, 60_000, p=(weight := np.arange(1, 401) ** -0.8) / weight.sum())
    capacity = int(share * sizes.sum())
    counts = np.bincount(requests, minlength=400)
    simulated = (misses(requests, sizes, capacity) * sizes).sum()
    assert (che(counts, sizes, capacity) * sizes).sum() == pytest.approx(simulated, rel=0.03)


def test_all_that_fits_is_missed_once() -> None:
    counts, sizes = np.array([5, 0, 2]), np.array([4, 9, 3])
    assert che(counts, sizes, 100).tolist() == [1, 0, 1]
