"""The closed form against the exact simulator, on random nests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from einsum import Cascade, WeirError, parse
from mappings import text
from mappings.tree import Nest
from sim.arch import Device
from sim.model.counts import counts
from sim.model.exact import simulate
from sim.model.fit import occupancy
from sim.model.flat import Present
from sim.model.legal import check
from sim.model.nests import Mapped as Nested
from sim.model.sized import Sized
from tests import machines
from tests.machines import Dice, difference, drawn
from tests.strategies import fused, single

Mapped = tuple[Cascade, Nest, Device]
RECOMPUTING = partial(machines.fused, foreign=True)


def legal(cascade: Cascade, nest: Nest, device: Device) -> bool:
    """Whether the nest may run on the device."""
    try:
        check(cascade, nest, device)
    except WeirError:
        return False
    return True


SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(fused())
def test_the_closed_form_counts_the_same_for_fused_nests(mapped: tuple[Cascade, Nest]) -> None:
    cascade, nest = mapped
    assert difference(cascade, nest) == {}


@settings(max_examples=500, deadline=None, suppress_health_check=SLOW)
@given(single())
def test_the_closed_form_counts_the_same(mapped: tuple[Cascade, Nest]) -> None:
    cascade, nest = mapped
    assert difference(cascade, nest) == {}


@pytest.mark.parametrize(("make", "examples"), [(machines.single, 600), (machines.fused, 300), (RECOMPUTING, 300)])
def test_the_closed_form_counts_the_same_on_any_machine(make: Callable[[Dice], Mapped], examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=SLOW)
    @given(drawn(make))
    def agrees(mapped: Mapped) -> None:
        assume(legal(*mapped))
        assert difference(*mapped) == {}

    agrees()


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(drawn(machines.single) | drawn(machines.fused))
def test_what_fits_just_fits(mapped: Mapped) -> None:
    cascade, nest, device = mapped
    assume(legal(*mapped))
    held = occupancy(Sized.of(Nested(cascade, nest), cascade.bind()))
    exact = tuple(replace(m, capacity=float(held.get(m.name, 1))) for m in device.memories)
    check(cascade, nest, replace(device, memories=exact))
    for full in (m for m in exact if m.name in held):
        short = tuple(replace(m, capacity=m.capacity - 1) if m is full else m for m in exact)
        with pytest.raises(WeirError, match=f"{full.name!r} must hold {full.capacity:.0f} bytes at once"):
            check(cascade, nest, replace(device, memories=short))


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(drawn(machines.sparse))
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


def test_an_operand_that_is_absent_is_missing_for_all_who_share_it() -> None:
    cascade = parse("A[m, k]: uniform(0.5)\nB[k]: uniform(0.5)\nZ[m] = A[m, k] * B[k]", m=2, k=8)
    nest = text.parse("keep A, B, Z in dram\nspatial m tile 1 over rows\n  Z on mac")
    found = counts(cascade, nest).table()
    assert found["dram", "A", "reads"] == pytest.approx(2 * 8 * 0.25)
    assert found["dram", "B", "reads"] == pytest.approx(8 * 0.5 * (1 - 0.5**2))  # there, and any of two rows of A


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
