"""The closed form against the exact simulator, on random nests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from einsum import Cascade, parse
from mappings import text
from mappings.tree import Nest
from sim.model.counts import counts
from sim.model.exact import simulate
from sim.model.flat import Present
from tests.strategies import fused, single, sparse


@settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fused())
def test_the_closed_form_counts_the_same_for_fused_nests(mapped: tuple[Cascade, Nest]) -> None:
    cascade, nest = mapped
    assert simulate(cascade, nest).table() == counts(cascade, nest).table()


@settings(max_examples=1200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(single())
def test_the_closed_form_counts_the_same(mapped: tuple[Cascade, Nest]) -> None:
    cascade, nest = mapped
    assert simulate(cascade, nest).table() == counts(cascade, nest).table()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sparse())
def test_the_closed_form_expects_what_sparse_operands_cost_on_average(
    drawn: tuple[Cascade, Nest, tuple[Present, ...]],
) -> None:
    cascade, nest, present = drawn
    expected = counts(cascade, nest).table()
    tables = [simulate(cascade, nest, present=one).table() for one in present]
    for key in {*expected, *(key for one in tables for key in one)}:
        seen = np.array([one.get(key, 0) for one in tables], float)
        error = 5 * seen.std() / np.sqrt(len(seen)) + 20 / len(seen)  # five standard errors; what is rare may be unseen
        assert seen.mean() == pytest.approx(expected.get(key, 0), rel=0.03, abs=error)


def test_what_is_absent_is_not_moved() -> None:
    cascade = parse("A[m, k]: uniform(0.5)\nZ[m, n] = A[m, k] * B[k, n]", m=2, n=3, k=2)
    there = np.array([[True, False], [False, False]])
    points = np.broadcast_to(there[:, None, :], (2, 3, 2))
    nest = text.parse("keep A, B, Z in dram\nspatial k tile 1 over rows\n  keep A, Z in registers\n  Z on mac")
    found = simulate(cascade, nest, present=Present({"A": there, "Z": points.any(axis=2)}, {"Z": points})).table()
    assert found["registers", "A", "fills"] == 1
    assert found["registers", "A", "reads"] == found["registers", "Z", "updates"] == 3
    assert found["registers", "Z", "drains"] == 2 * 3  # both instances hand over the row that has anything
    assert found["dram", "Z", "updates"] == 3
