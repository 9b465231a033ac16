"""Comparisons of fibres that meet, by hand and against a walk of every pair."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product as pairs

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.formats import Format, Part
from mappings.sparse import read
from sim.model.nests import Leaf, Mapped
from sim.model.sparse import work
from sim.model.sparse.fetch import Operand
from sim.model.sparse.structure import Structure


def leaf(tile: int) -> Leaf:
    made = read("extensor").with_tiles({"k.1": tile})
    return Mapped(made.cascade, made.nest).leaves[0]


def operands(a: np.ndarray, b: np.ndarray) -> tuple[Operand, Operand]:
    plain = (Part(12.0),)
    return (
        Operand("A", ("m", "k"), Structure.of(a), Format("A", plain)),
        Operand("B", ("n", "k"), Structure.of(b), Format("B", plain)),
    )


def skips(one: list[int], other: list[int]) -> int:
    """Runs of coordinates that only one of two fibres has, before either ends, and coordinates that both have."""
    if not one or not other:
        return 0
    last = min(max(one), max(other))
    places = [(k in one, k in other) for k in range(last + 1) if k in one or k in other]
    return sum(both == (True, True) or (i == 0 or places[i - 1] != both) for i, both in enumerate(places))


def test_turns_by_hand() -> None:
    a, b = np.zeros((1, 10)), np.zeros((1, 10))
    a[0, [0, 1, 5, 7, 8]] = b[0, [2, 3, 5, 9]] = 1
    assert skips([0, 1, 5, 7, 8], [2, 3, 5, 9]) == 4  # 0 1, 2 3, 5, 7 8
    assert work.skipped(*operands(a, b), leaf(128)) == 4
    assert work.intersected(*operands(a, b), leaf(128)) == 9


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), tile=st.sampled_from([2, 4, 16]), density=st.floats(0.05, 0.8))
def test_every_pair_of_fibres_of_a_tile(seed: int, tile: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random((n, 16)) < density for n in (5, 6))
    found = work.skipped(*operands(a, b), leaf(tile))
    want = 0
    for start in range(0, 16, tile):
        for one, other in pairs(a[:, start : start + tile], b[:, start : start + tile]):
            want += skips(np.flatnonzero(one).tolist(), np.flatnonzero(other).tolist())
    assert found == want


def test_too_many_pairs_are_sampled(drawn: Callable[..., Structure], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random((40, 2048)) < 0.05 for _ in range(2))
    whole = work.skipped(*operands(a, b), leaf(16))
    monkeypatch.setattr(work, "PAIRS", 20_000)
    assert work.skipped(*operands(a, b), leaf(16)) == pytest.approx(whole, rel=0.1)
