from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings.tree import Temporal
from sim.model.nests import Loop
from sim.model.sparse.entries import exact
from sim.model.sparse.partial import revisited
from sim.model.sparse.structure import Product, Structure


def dense(one: Structure) -> np.ndarray:
    made = np.zeros(one.shape, int)
    made[one.rows, one.indices] = 1
    return made


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 999),
    high=st.integers(1, 4),
    wide=st.integers(1, 4),
    pieces=st.integers(1, 3),
    grain=st.integers(1, 2),
)
def test_entries_that_come_back(
    drawn: Callable[..., Structure], seed: int, high: int, wide: int, pieces: int, grain: int
) -> None:
    deep = pieces * grain
    a, b = drawn(6, 8, seed, 0.15), drawn(8, 5, seed + 1, 0.15)
    above = [("k", deep), ("m", high), ("n", wide)]
    order = tuple(Loop(Temporal(rank, tile), at, "") for at, (rank, tile) in enumerate([*above, ("k", grain)]))
    found = revisited(Product({}, a, b, exact(a, b)), ("m", "n", "k"), order[:3], order)

    da, db, so_far, total = dense(a), dense(b), np.zeros((6, 5), bool), 0
    for k in range(0, 8, deep):
        new = da[:, k : k + deep] @ db[k : k + deep] > 0
        for m in range(0, 6, high):
            for n in range(0, 5, wide):
                inner = range(k, min(k + deep, 8), grain)
                if any(da[m : m + high, i : i + grain].any() and db[i : i + grain, n : n + wide].any() for i in inner):
                    total += so_far[m : m + high, n : n + wide].sum()
        so_far |= new
    assert found == total
