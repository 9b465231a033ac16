"""Fronts by hand, against brute force, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.space.pareto import nondominated, pareto

VALUES = st.sampled_from([-np.inf, -1.0, 0.0, 1.0, 2.0, 3.0, np.inf])


def brute(points: np.ndarray) -> np.ndarray:
    """By the definition, all against all; (row, objective), all minimised."""
    no_worse = (points[:, None, :] <= points[None, :, :]).all(-1)
    better = (points[:, None, :] < points[None, :, :]).any(-1)
    return ~(no_worse & better).any(0)


@st.composite
def tables(draw: st.DrawFn) -> np.ndarray:
    columns = draw(st.integers(1, 4))
    rows = draw(st.lists(st.tuples(*[VALUES] * columns), min_size=1, max_size=40))
    return np.array(rows)


@given(tables(), st.integers(0, 4))
@settings(max_examples=150, deadline=None)
def test_equals_brute_force(points: np.ndarray, flipped: int) -> None:
    names = [f"o{i}" for i in range(points.shape[1])]
    signs = np.where(np.arange(len(names)) < flipped, -1.0, 1.0)
    frame = pd.DataFrame(points * signs, columns=names)
    least = [n for n, s in zip(names, signs, strict=True) if s > 0]
    most = [n for n, s in zip(names, signs, strict=True) if s < 0]
    assert nondominated(frame, least, most).tolist() == brute(points).tolist()


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_equals_brute_force_over_many_blocks(objectives: int) -> None:
    points = np.random.default_rng(1).integers(0, 40, (2500, objectives)).astype(float)
    frame = pd.DataFrame(points, columns=[f"o{i}" for i in range(objectives)])
    assert nondominated(frame, list(frame)).tolist() == brute(points).tolist()


def test_by_hand_keeps_order_index_and_ties() -> None:
    frame = pd.DataFrame({"cost": [3, 1, 2, 2, 3], "rate": [9, 1, 5, 5, 8]}, index=list("abcde"))
    assert pareto(frame, minimise="cost", maximise="rate").index.tolist() == ["a", "b", "c", "d"]


def test_one_objective_is_its_minimum() -> None:
    frame = pd.DataFrame({"cost": [2.0, 1.0, 1.0]})
    assert pareto(frame, minimise=["cost"]).index.tolist() == [1, 2]


def test_large_integers_are_compared_exactly() -> None:
    frame = pd.DataFrame({"a": [2**60, 2**60 + 1], "b": [0, 0]})
    assert pareto(frame, minimise=["a", "b"]).index.tolist() == [0]


def test_units_survive() -> None:
    frame = pd.DataFrame({"a": [1.0]})
    frame.attrs["units"] = {"a": "s"}
    assert pareto(frame, minimise="a").attrs["units"] == {"a": "s"}


def test_empty_table_has_an_empty_front() -> None:
    assert len(pareto(pd.DataFrame({"a": np.zeros(0), "b": np.zeros(0)}), minimise=["a", "b"])) == 0


@pytest.mark.parametrize(
    ("minimise", "maximise", "message"),
    [
        ([], [], "nothing to minimise"),
        (["cots"], [], "no column 'cots'; did you mean 'cost'?"),
        (["cost"], ["cost"], "'cost' is named more than once"),
        (["name"], [], "'name' holds .* values; objectives are numbers"),
        (["rate"], ["cost"], "'rate' is NaN in 1 of 2 rows; drop them first"),
    ],
)
def test_refused(minimise: list[str], maximise: list[str], message: str) -> None:
    frame = pd.DataFrame({"cost": [1, 2], "rate": [1.0, np.nan], "name": ["a", "b"]})
    with pytest.raises(WeirError, match=message):
        pareto(frame, minimise, maximise)


def test_a_million_random_rows_have_a_front_of_about_the_harmonic_number() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).random((1_000_000, 2)), columns=["a", "b"])
    assert 5 < len(pareto(frame, minimise=["a", "b"])) < 40  # 14.4 is expected
