"""Compiled fronts against the definition and against the block-wise ones, ties and duplicates among them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.space import pareto as module
from sim.space.fronts import _lexicographic, front
from sim.space.pareto import nondominated


def ranks(values: np.ndarray) -> np.ndarray:
    """Each objective's places among its distinct values; (row, objective) -> (objective, row)."""
    return np.stack([np.unique(column, return_inverse=True)[1] for column in values.T]).astype(np.int64)


def brute(points: np.ndarray) -> np.ndarray:
    no_worse = (points[:, None, :] <= points[None, :, :]).all(-1)
    better = (points[:, None, :] < points[None, :, :]).any(-1)
    return np.asarray(~(no_worse & better).any(0))


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    columns, most = draw(st.integers(3, 5)), draw(st.integers(1, 6))
    cell = st.integers(0, most)
    return np.array(draw(st.lists(st.tuples(*[cell] * columns), min_size=1, max_size=60)))


@given(tables())
@settings(max_examples=200, deadline=None)
def test_equals_brute_force(points: np.ndarray) -> None:
    assert front(ranks(points)).tolist() == brute(points).tolist()


@pytest.mark.parametrize("objectives", [3, 4])
def test_both_ways_agree_on_a_large_table(objectives: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).random((20_001, objectives)).round(2)
    values[:5, 0] = np.inf
    frame = pd.DataFrame(values, columns=[f"o{i}" for i in range(objectives)])
    names = list(frame)
    fast = nondominated(frame, names[:-1], names[-1])
    monkeypatch.setattr(module, "FEW", len(frame))
    assert fast.tolist() == nondominated(frame, names[:-1], names[-1]).tolist()
    assert 1 < fast.sum() < 2000


def test_a_front_of_every_row_is_found_too() -> None:
    values = np.random.default_rng(3).random((5000, 2))
    points = np.column_stack([values, 2 - values.sum(axis=1)])
    assert front(ranks(points)).all()


def test_keys_too_large_for_one_number_are_sorted_by_each() -> None:
    places = np.array([[2**30, 0, 2**30, 0], [0, 2**30, 2**30, 7], [2**30, 5, 2**30, 0]])
    assert _lexicographic(places).tolist() == [3, 1, 0, 2]
    assert _lexicographic(places % 11).tolist() == np.lexsort((places % 11)[::-1]).tolist()
