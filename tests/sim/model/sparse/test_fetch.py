"""What enters a keep, against running the loops over every cell by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product as places

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappings.formats import parse_format
from mappings.tree import Temporal
from sim.arch import Memory
from sim.model.nests import Loop
from sim.model.sparse.fetch import Operand, fetch, lines
from sim.model.sparse.structure import Structure

Draw = Callable[..., Structure]
SIDES = {"m": 6, "k": 7, "n": 5}


def operand(name: str, ranks: tuple[str, str], one: Structure) -> Operand:
    return Operand(name, ranks, one, parse_format(name, ["12"], ranks))


def loops(order: list[tuple[str, int]]) -> tuple[Loop, ...]:
    return tuple(Loop(Temporal(rank, tile), at, f"{rank}.{at}") for at, (rank, tile) in enumerate(order))


def dense(one: Structure) -> np.ndarray:
    made = np.zeros(one.shape, bool)
    made[one.rows, one.indices] = True
    return made


def window(at: dict[str, int], finest: dict[str, int], ranks: tuple[str, str]) -> tuple[slice, slice]:
    made = [slice(at[r] * finest[r], (at[r] + 1) * finest[r]) if r in at else slice(None) for r in ranks]
    return made[0], made[1]


def by_hand(own: Operand, other: Operand, order: list[tuple[str, int]]) -> float:
    """Entries of each tile that differs from the one held, over all visits in which both operands hold something."""
    finest = dict(order)
    total, held = 0.0, None
    for digits in places(*(range(-(-SIDES[rank] // tile)) for rank, tile in order)):
        at = dict(zip(finest, digits, strict=True))
        ours = dense(own.structure)[window(at, finest, own.ranks)]
        theirs = dense(other.structure)[window(at, finest, other.ranks)]
        if not (ours.any() and theirs.any()):
            continue
        key = tuple(at[r] for r in own.ranks if r in at)
        if key != held:
            total, held = total + ours.sum(), key
    return total


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 999),
    order=st.permutations(["m", "k", "n"]),
    depth=st.integers(1, 3),
    tiles=st.tuples(*[st.integers(2, 4)] * 3),
    density=st.sampled_from([0.1, 0.3, 0.6]),
)
def test_fills_are_those_of_the_loops(
    drawn: Draw, seed: int, order: list[str], depth: int, tiles: tuple[int, ...], density: float
) -> None:
    a = operand("A", ("m", "k"), drawn(6, 7, seed, density))
    b = operand("B", ("k", "n"), drawn(7, 5, seed + 1, density))
    above = list(zip(order, tiles, strict=True))[:depth]
    plain = Memory("buffer")
    for own, other in ((a, b), (b, a)):
        trimmed = above
        while trimmed and trimmed[-1][0] not in own.ranks:
            trimmed = trimmed[:-1]
        found = fetch(own, other, loops(above), plain, plain, 1)
        assert found.parts[0] == by_hand(own, other, trimmed)


def test_a_fibre_is_scanned_whole(drawn: Draw) -> None:
    a, b = operand("A", ("m", "k"), drawn(6, 7, 3)), operand("B", ("k", "n"), drawn(7, 5, 4, 0.1))
    found = fetch(a, b, loops([("m", 1), ("k", 1)]), Memory("r"), Memory("d"), 1)
    assert found.parts[0] == a.structure.entries
    assert found.how == "streamed"


@pytest.mark.parametrize("capacity", [24.0, 60.0, 1e9])
def test_a_cache_of_fibres_is_simulated(drawn: Draw, capacity: float) -> None:
    from sim.model.sparse.reuse import misses

    a, b = operand("A", ("m", "k"), drawn(6, 7, 5)), operand("B", ("k", "n"), drawn(7, 5, 6, 0.9))
    cache = Memory("cache", capacity=capacity, replacement="lru")
    found = fetch(b, a, loops([("m", 1), ("k", 1)]), cache, Memory("d", line=64), 1)
    lengths = b.structure.lengths
    want = misses(a.structure.indices, 12 * lengths, int(min(capacity, 2**62))) @ lengths
    assert found.parts[0] == want
    assert found.how == "lru"
    assert found.transferred >= 12 * want  # whole lines


def test_what_is_asked_for_in_turn_is_held_if_it_fits(drawn: Draw) -> None:
    a, b = operand("A", ("m", "k"), drawn(6, 7, 5)), operand("B", ("n", "k"), drawn(5, 7, 6, 0.9))
    rows = int((a.structure.lengths > 0).sum())
    for capacity, times in ((12.0 * b.structure.entries, 1), (12.0 * b.structure.entries - 1, rows)):
        cache = Memory("cache", capacity=capacity, replacement="lru")
        assert fetch(b, a, loops([("m", 1), ("n", 1)]), cache, Memory("d"), 1).parts[0] == times * b.structure.entries


def test_lines_of_runs_that_begin_anywhere() -> None:
    starts = np.arange(16) * 4  # any item of 4 bytes of a line of 64
    for size in (4, 12, 64, 100):
        touched = [(s + size - 1) // 64 - s // 64 + 1 for s in starts]
        assert lines(np.array([float(size)]), 4.0, 64.0)[0] == pytest.approx(64 * np.mean(touched))
