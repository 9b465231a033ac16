from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.model.sparse.entries import entries, exact, expected, sampled
from sim.model.sparse.structure import Product, Structure
from workloads.matrices import named

Draw = Callable[..., Structure]
RELAXED = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dense(one: Structure) -> np.ndarray:
    made = np.zeros(one.shape, bool)
    made[one.rows, one.indices] = True
    return made


@RELAXED
@given(seed=st.integers(0, 999), high=st.integers(1, 9), wide=st.integers(1, 9))
def test_cells_of_a_grid(drawn: Draw, seed: int, high: int, wide: int) -> None:
    one = drawn(7, 8, seed)
    found = {(int(i), int(j)): int(n) for i, j, n in zip(*one.cells((high, wide)), strict=True)}
    want: dict[tuple[int, int], int] = {}
    for i, j in zip(*np.nonzero(dense(one)), strict=True):
        key = (int(i) // min(high, 7), int(j) // min(wide, 8))
        want[key] = want.get(key, 0) + 1
    assert found == want
    assert list(found) == sorted(found)


def test_parts_within_cells(drawn: Draw) -> None:
    one = drawn(8, 8, 1)
    [whole, rows] = one.held((4, 8), ((1, 1), (1, 8)))
    assert whole.tolist() == [int(dense(one)[:4].sum()), int(dense(one)[4:].sum())]
    assert rows.tolist() == [int(dense(one)[:4].any(axis=1).sum()), int(dense(one)[4:].any(axis=1).sum())]


@RELAXED
@given(seed=st.integers(0, 999))
def test_exact_counts_are_scipys(drawn: Draw, seed: int) -> None:
    a, b = drawn(6, 7, seed, 0.2), drawn(7, 5, seed + 1, 0.2)
    found = exact(a, b)
    assert found.rows.tolist() == ((dense(a).astype(int) @ dense(b).astype(int)) > 0).sum(axis=1).tolist()
    product = Product({}, a, b, found)
    assert product.row_products.tolist() == (dense(a).astype(int) @ dense(b).sum(axis=1)).tolist()


@pytest.mark.parametrize("text", ["rmat:scale=10,draws=12000", "uniform:n=800,density=0.01", "mesh:side=6"])
def test_nine_in_ten_samples_hold_the_truth_in_their_interval(text: str) -> None:
    a = Structure.of(named(text))
    truth = exact(a, a).total
    inside = 0
    for seed in range(20):
        found = sampled(a, a, rows=96, seed=seed)
        assert found.how == "sampled"
        inside += abs(found.total / truth - 1) <= found.spread + 1e-9
    assert inside >= 18 - 2  # 19 expected of 20


def test_degrees_alone_are_right_where_nothing_clusters() -> None:
    a = Structure.of(named("uniform:n=1500,density=0.004"))
    assert expected(a, a).total == pytest.approx(exact(a, a).total, rel=0.01)
    mesh = Structure.of(named("mesh:side=6"))
    assert expected(mesh, mesh).total > 1.5 * exact(mesh, mesh).total


def test_an_unknown_way_to_count(drawn: Draw) -> None:
    with pytest.raises(ValueError, match="did you mean 'exact'"):
        entries("exakt", drawn(2, 2, 0), drawn(2, 2, 0))
