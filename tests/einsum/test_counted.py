"""So many places a row or group: how full they are and how many are taken at all, against draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum.counted import PerRow, Structured


@given(rows=st.integers(1, 40), places=st.integers(1, 24), count=st.integers(1, 24))
@settings(max_examples=60)
def test_places_taken_in_turn_are_equally_full(rows: int, places: int, count: int) -> None:
    sizes, pattern = {"p": rows, "m": places}, PerRow(("p",), "m", min(count, places), spread=1)
    taken = pattern.mask(sizes, np.random.default_rng(0)).sum(axis=0)
    assert np.ptp(taken) <= 1
    assert pattern.occupied(("m",), sizes, sizes) == pytest.approx((taken > 0).mean())


def test_popular_places_leave_others_empty() -> None:
    """Of 64 experts, 32 tokens that choose 4: the more uneven the choice, the fewer are chosen at all."""
    sizes = {"p": 32, "m": 64}
    used = []
    for pattern in (PerRow(("p",), "m", 4), *(PerRow(("p",), "m", 4, 1.0, r) for r in (4.0, 100.0))):
        drawn = np.mean([pattern.mask(sizes, np.random.default_rng(i)).any(axis=0).mean() for i in range(40)])
        used.append(pattern.occupied(("m",), sizes, sizes))
        assert used[-1] == pytest.approx(drawn, rel=0.05)
    assert used[0] > used[1] > used[2]


def test_the_fullest_of_many_windows_gets_more_than_its_share() -> None:
    pattern, tokens = PerRow(("p",), "m", 8, 1.2, 400.0), 512

    def received(ways: int) -> float:
        used, rows = pattern.crowd(128, 128 / ways, tokens)
        return float((used * rows).mean() * 128 / ways)

    assert received(1) == pytest.approx(8 * tokens, rel=0.05)
    assert 1.3 < received(8) / (8 * tokens / 8) < received(32) / (8 * tokens / 32) < 8


def test_structured_group_is_sure_to_hold_something() -> None:
    pattern = Structured("m", 2, 4)
    assert pattern.occupied((), {"m": 20}, {"m": 1}) == 0.5
    assert pattern.occupied((), {"m": 20}, {"m": 2}) == pytest.approx(1 - (2 / 4) * (1 / 3))  # both outside
    assert pattern.occupied((), {"m": 20}, {"m": 3}) == 1.0
