from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.serving.service import Array
from sim.serving.steptable import counts, spread, table


def test_grids_hold_their_ends() -> None:
    assert counts(1, 1.05).tolist() == [1, 2]
    assert counts(5, 1.05).tolist() == [1, 2, 3, 4, 5]
    wide = counts(800, 1.05)
    assert (wide[0], wide[-1]) == (1, 800)
    assert (wide[1:] / wide[:-1])[16:].max() < 1.1
    grid = spread(10, 16_000, 1.3)
    assert (grid[0], grid[-1]) == pytest.approx((10, 16_000))
    assert (grid[1:] / grid[:-1]).max() <= 1.3
    assert len(spread(7, 7, 1.3)) >= 2


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 300), tokens=st.floats(20, 9000), slope=st.floats(0, 1e-6), each=st.floats(0, 1e-3))
def test_linear_costs_are_exact(n: int, tokens: float, slope: float, each: float) -> None:
    def cost(b: Array, c: Array) -> Array:
        return np.asarray(0.01 + each * b + slope * b * c)

    made = table(cost, counts(300, 1.05), spread(20, 9000, 1.3), "cost")
    true = 0.01 + each * n + slope * n * tokens
    assert made.at(n, tokens) == pytest.approx(true, rel=1e-9)
    assert made.error < 1e-9


def test_a_bend_is_measured_and_small() -> None:
    def cost(b: Array, c: Array) -> Array:
        return np.asarray(np.maximum(0.01, 1e-4 * b) + 1e-9 * b * c)

    made = table(cost, counts(800, 1.05), spread(20, 9000, 1.3), "cost")
    every = np.arange(1.0, 801)
    off = [abs(made.at(int(b), 1000) / cost(np.array(b), np.array(1000.0)) - 1) for b in every]
    assert max(off) < 0.0125  # a quarter of a grid step, at the bend only
    assert np.mean(off) < 0.001
    assert made.error <= 0.0125


def test_the_grid_is_built_by_one_call() -> None:
    calls = []

    def cost(b: Array, c: Array) -> Array:
        calls.append(b.shape)
        return np.asarray(b + c)

    table(cost, counts(100, 1.05), spread(1, 100, 1.3), "cost").at(3, 7.5)
    assert len(calls) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_costs_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(WeirError, match="the service's decode seconds must give one finite value of at least 0"):
        table(lambda b, c: np.full_like(b, bad), counts(4, 1.05), spread(1, 9, 1.3), "decode seconds")
    with pytest.raises(WeirError, match="for each batch and length"):
        table(lambda b, c: b[:1], counts(4, 1.05), spread(1, 9, 1.3), "prefill seconds")
