"""When a search from the bottom up gives up, and that it agrees with the search of valleys on what cannot be placed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.planner import kernel, search, valleys
from sim.planner.check import check
from sim.planner.packing import Packing, pack
from sim.planner.problem import Buffer, Problem, Tier

GO = np.zeros(1, np.int64)  # nobody says stop


def sought(
    packing: Packing, capacity: int, limit: int, rank: kernel.Ints | None = None
) -> tuple[int, int, kernel.Ints]:
    shape, n = packing.shape, packing.shape.size.size
    rank, none = np.arange(n) if rank is None else rank, np.zeros(shape.moments, np.int64)
    table, memory = kernel.overlaps(shape), np.zeros(64, np.int64)
    return search.place(shape, table, rank, capacity, limit, memory, 0, True, none, GO)


def pinwheel() -> Packing:
    """Four around one: the middle piece first in the ordering is wrong."""
    rows = ((3, 6, 3), (0, 6, 3), (6, 9, 6), (3, 9, 3), (0, 3, 6))
    buffers = tuple(Buffer(str(i), z, ((a, b),)) for i, (a, b, z) in enumerate(rows))
    return pack(Problem("pinwheel", buffers, (Tier("m"),)))


def test_what_is_never_taken_back_is_found_under_any_limit() -> None:
    tower = pack(Problem("tower", tuple(Buffer(str(i), 1, ((0, 1),)) for i in range(50)), (Tier("m"),)))
    assert sought(tower, 50, 1)[:2] == (kernel.FOUND, 50)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_search_gives_up_when_it_has_taken_back_so_many_choices(limit: int) -> None:
    status, choices, _ = sought(pinwheel(), 3, limit)
    assert status == kernel.UNDECIDED
    assert limit <= choices < limit + 5  # what is still placed was chosen too
    assert sought(pinwheel(), 3, 100)[0] == kernel.FOUND


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """More buffers than brute force could order, some with gaps, some aligned."""
    buffers = []
    for name in range(draw(st.integers(5, 9))):
        a, b, c, d = sorted(draw(st.sets(st.integers(0, 9), min_size=4, max_size=4)))
        live = draw(st.sampled_from([((a, b), (c, d)), ((a, d),), ((a, c),), ((b, c),)]))
        buffers.append(Buffer(str(name), draw(st.integers(1, 7)), live, draw(st.sampled_from([1, 1, 2, 4]))))
    return Problem("drawn", tuple(buffers), (Tier("memory"),))


@settings(max_examples=150, deadline=None)
@given(problem=problems(), data=st.data())
def test_both_searches_agree_on_what_is_possible(problem: Problem, data: st.DataObject) -> None:
    packing = pack(problem)
    shape, least = packing.shape, int(packing.live.max())
    rank = np.array(data.draw(st.permutations(range(shape.size.size))), np.int64)
    for capacity in (least, least + 1):
        one, _, found = sought(packing, capacity, 10**6, rank)
        none = np.zeros(shape.moments, np.int64)
        other = valleys.place(shape, kernel.overlaps(shape), rank, capacity, 10**6, none, False, GO)[0]
        assert one == other != kernel.UNDECIDED
        if one == kernel.FOUND:
            assert packing.height(found) <= capacity
            check(problem, packing.plan(found, 0, "search", 0, proven=False))
