"""Bounds from buffers that cannot share addresses: exact where brute force can say, never above a placement."""

from __future__ import annotations

from itertools import combinations, permutations
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.planner import stacking
from sim.planner.offsets import plan
from sim.planner.packing import pack
from sim.planner.problem import Buffer, Problem, Tier

SIZED = st.tuples(st.integers(1, 20), st.sampled_from([1, 2, 3, 4, 8]))


def brute(buffers: list[tuple[int, int]]) -> int:
    """The least height of a stack, of all its orders."""
    least = 1 << 62
    for order in permutations(buffers):
        top = 0
        for size, align in order:
            top = -(-top // align) * align + size
        least = min(least, top)
    return least


def arrays(buffers: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    sizes, aligns = zip(*buffers, strict=True)
    return np.array(sizes, np.int64), np.array(aligns, np.int64)


@given(st.lists(SIZED, min_size=1, max_size=6))
def test_a_stack_is_as_low_as_its_best_order(buffers: list[tuple[int, int]]) -> None:
    assert stacking.stacked(*arrays(buffers)) == brute(buffers)


@given(st.lists(SIZED, min_size=1, max_size=7), st.integers(1, 50), st.integers(0, 60))
def test_what_is_liquid_only_lowers_the_bound(buffers: list[tuple[int, int]], states: int, enough: int) -> None:
    """And what is known already may only be missed by what is no higher."""
    whole, stack = brute(buffers), stacking._Stack(*arrays(buffers))
    assert stack.least(enough) <= max(whole, enough)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacking, "STATES", states)
        assert stacking.stacked(*arrays(buffers)) <= whole


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(10**8, 10**9)), min_size=1, max_size=5))
def test_alignments_whose_common_multiple_is_beyond_64_bits(buffers: list[tuple[int, int]]) -> None:
    assert stacking.stacked(*arrays(buffers)) == brute(buffers)


@given(st.lists(SIZED, min_size=1, max_size=7))
def test_what_is_broken_off_is_a_bound(buffers: list[tuple[int, int]]) -> None:
    assert stacking._Stack(*arrays(buffers)).least(0, np.ones(1, np.int64)) <= brute(buffers)


def test_sizes_are_rounded_up_to_what_divides_every_alignment_save_on_top() -> None:
    assert stacking.stacked(*arrays([(65, 64), (1, 64), (127, 64)])) == 128 + 128 + 1
    assert stacking.stacked(*arrays([(1, 64)] * 40)) == 39 * 64 + 1


def test_forty_of_a_few_kinds_are_stacked_exactly() -> None:
    """Each of 5 leaves a gap of 3 to the next multiple of 8; 10 of the gaps are filled, the last is none."""
    buffers = [(5, 8)] * 30 + [(3, 1)] * 10
    assert stacking.stacked(*arrays(buffers)) == 30 * 8 - 3


@st.composite
def meeting(draw: st.DrawFn) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Sizes and alignments, and which of them meet."""
    buffers = draw(st.lists(SIZED, min_size=2, max_size=7))
    n = len(buffers)
    upper = np.triu(np.array(draw(st.lists(st.booleans(), min_size=n * n, max_size=n * n))).reshape(n, n), 1)
    return buffers, upper | upper.T


@given(meeting())
def test_the_highest_stack_of_those_that_meet_in_pairs_is_found(
    drawn: tuple[list[tuple[int, int]], np.ndarray],
) -> None:
    buffers, meets = drawn
    n = len(buffers)
    sets = (some for k in range(1, n + 1) for some in combinations(range(n), k))
    stacks = (some for some in sets if all(meets[i, j] for i, j in combinations(some, 2)))
    assert stacking._highest(*arrays(buffers), meets, 0) == max(brute([buffers[i] for i in some]) for some in stacks)


LIVES = st.lists(st.integers(0, 12), min_size=2, max_size=4, unique=True).map(sorted)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SIZED, LIVES), min_size=1, max_size=9))
def test_no_placement_is_below_the_bound(drawn: list[tuple[tuple[int, int], list[int]]]) -> None:
    buffers = tuple(
        Buffer(str(n), size, tuple(zip(times[::2], times[1::2], strict=False)), align=align)
        for n, ((size, align), times) in enumerate(drawn)
    )
    problem = Problem("drawn", buffers, (Tier("memory", inf),))
    found = plan(problem, seconds=10, minimise=True)
    packed = pack(problem)
    assert packed.live.max() * packed.unit <= packed.bound * packed.unit <= found.value
    assert found.proven


def test_three_that_meet_two_by_two_take_their_sum() -> None:
    lives = [((0.0, 1.0), (4.0, 5.0)), ((0.0, 1.0), (2.0, 3.0)), ((2.0, 3.0), (4.0, 5.0))]
    buffers = tuple(Buffer(str(n), 10, live) for n, live in enumerate(lives))
    packed = pack(Problem("ring", buffers, (Tier("memory", inf),)))
    assert int(packed.live.max()) * packed.unit == 20
    assert packed.bound * packed.unit == 30
