"""Placements against brute force, against a second solver, and against what must hold of every plan."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from math import inf
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

from einsum import Infeasible, WeirError
from sim.planner import anneal, attempts, fit, kernel, milp, offsets, orders, search, valleys
from sim.planner.check import check
from sim.planner.packing import Packing, pack
from sim.planner.problem import Buffer, Problem, Tier

GO = np.zeros(1, np.int64)  # nobody says stop


@st.composite
def problems(draw: st.DrawFn, most: int = 6, aligned: bool = True) -> Problem:
    """A few buffers, some with gaps, some aligned."""
    buffers = []
    for name in range(draw(st.integers(1, most))):
        a, b, c, d = sorted(draw(st.sets(st.integers(0, 9), min_size=4, max_size=4)))
        live = draw(st.sampled_from([((a, b), (c, d)), ((a, d),), ((a, c),)]))
        align = draw(st.sampled_from([1, 1, 2, 4])) if aligned else 1
        buffers.append(Buffer(str(name), draw(st.integers(0, 6)) * (1 if aligned else 1024), live, align))
    return Problem("drawn", tuple(buffers), (Tier("memory"),))


def lowest(problem: Problem) -> int:
    """The least height by trying every order of piling up: some order gives the best placement."""
    buffers = [b for b in problem.buffers if b.size]
    best = sum(b.size + b.align for b in buffers)
    for order in permutations(buffers):
        ends: dict[Buffer, tuple[int, int]] = {}
        for b in order:
            below = max((end for other, (_, end) in ends.items() if together(b, other)), default=0)
            start = below + -below % b.align
            ends[b] = start, start + b.size
        best = min(best, max((end for _, end in ends.values()), default=0))
    return best


def together(one: Buffer, other: Buffer) -> bool:
    return any(a[0] < b[1] and b[0] < a[1] for a, b in product(one.live, other.live))


def within(problem: Problem, capacity: float) -> Problem:
    return replace(problem, tiers=(replace(problem.tiers[0], capacity=capacity),))


@settings(max_examples=100, deadline=None)
@given(problem=problems(most=5), data=st.data())
def test_either_search_is_right_under_any_ordering(problem: Problem, data: st.DataObject) -> None:
    packing, best = pack(problem), lowest(problem)
    n, shape = len(packing.buffers), packing.shape
    if not n:
        return
    rank = np.array(data.draw(st.permutations(range(n))), np.int64)
    table = kernel.overlaps(shape)
    for capacity, verdict in ((best // packing.unit, kernel.FOUND), (best // packing.unit - 1, kernel.IMPOSSIBLE)):
        none = np.zeros(shape.moments, np.int64)
        for lowest_first in (True, False):
            memory = np.zeros(64, np.int64)
            assert search.place(shape, table, rank, capacity, 10**6, memory, 0, lowest_first, none, GO)[0] == verdict
        for weighed in (True, False):
            assert valleys.place(shape, table, rank, capacity, 10**6, none, weighed, GO)[0] == verdict


def test_the_last_in_an_ordering_counts_only_where_nothing_may_be_wasted() -> None:
    """Buffer 1 must lie at the bottom though it is last in the ordering: what is above it is dominated there."""
    problem = Problem(
        "gaps",
        (Buffer("0", 1, ((0, 1), (2, 3))), Buffer("1", 1, ((1, 2), (3, 4))), Buffer("2", 1, ((0, 1), (2, 3)), 2)),
        (Tier("memory"),),
    )
    packing = pack(problem)
    rank, none = np.array([0, 2, 1]), np.zeros(packing.shape.moments, np.int64)
    table, memory = kernel.overlaps(packing.shape), np.zeros(64, np.int64)
    assert search.place(packing.shape, table, rank, 2, 100, memory, 0, True, none, GO)[0] == kernel.FOUND


@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_small_problems_reach_the_height_of_brute_force(problem: Problem) -> None:
    best = lowest(problem)
    found = offsets.plan(problem, seconds=20)
    assert (found.value, found.proven) == (best, True)
    assert offsets.plan(within(problem, best)).value <= best
    if best > 1:
        with pytest.raises(
            Infeasible, match=f"nothing fits in {best - 1} bytes.*; {best} is the smallest that would do"
        ):
            offsets.plan(within(problem, best - 1), seconds=20)


@settings(max_examples=60, deadline=None)
@given(problem=problems(), lowest_first=st.booleans(), data=st.data())
def test_the_search_decides_under_any_ordering(problem: Problem, lowest_first: bool, data: st.DataObject) -> None:
    packing, best = pack(problem), lowest(problem)
    rank = np.array(data.draw(st.permutations(range(len(packing.buffers)))), np.int64)
    table = kernel.overlaps(packing.shape)
    for capacity in range(best // packing.unit - 1, best // packing.unit + 2):
        memory, blame = np.zeros(64, np.int64), np.zeros(packing.shape.moments, np.int64)
        status, _, found = search.place(packing.shape, table, rank, capacity, 10**6, memory, 0, lowest_first, blame, GO)
        if packing.buffers:
            assert status == (kernel.FOUND if capacity * packing.unit >= best else kernel.IMPOSSIBLE)
        if status == kernel.FOUND:
            assert packing.height(found) <= capacity


@settings(max_examples=100, deadline=None)
@given(problem=problems(), weighed=st.booleans(), data=st.data())
def test_the_search_of_valleys_decides_under_any_ordering(problem: Problem, weighed: bool, data: st.DataObject) -> None:
    packing, best = pack(problem), lowest(problem)
    rank = np.array(data.draw(st.permutations(range(len(packing.buffers)))), np.int64)
    table = kernel.overlaps(packing.shape)
    for capacity in range(best // packing.unit - 1, best // packing.unit + 2):
        blame = np.zeros(packing.shape.moments, np.int64)
        status, _, found = valleys.place(packing.shape, table, rank, capacity, 10**6, blame, weighed, GO)
        if packing.buffers:
            assert status == (kernel.FOUND if capacity * packing.unit >= best else kernel.IMPOSSIBLE)
        if status == kernel.FOUND:
            check(problem, packing.plan(found, packing.bound, "valleys", 0, proven=False))


def test_the_search_of_valleys_forces_what_a_dense_packing_needs() -> None:
    """Four around one, as tiles in a pinwheel: 60 choices are more than enough."""
    rows = ((0, 6, 3), (6, 9, 6), (3, 9, 3), (0, 3, 6), (3, 6, 3))
    buffers = tuple(Buffer(str(i), z, ((a, b),)) for i, (a, b, z) in enumerate(rows))
    packing = pack(Problem("pinwheel", buffers, (Tier("m"),)))
    rank, blame = np.arange(5), np.zeros(packing.shape.moments, np.int64)
    status, _, found = valleys.place(packing.shape, kernel.overlaps(packing.shape), rank, 3, 60, blame, False, GO)
    assert (status, packing.height(found)) == (kernel.FOUND, 3)


@pytest.mark.parametrize("formulation", orders.FORMULATIONS)
@pytest.mark.parametrize("solver", ["highs", "cbc"])
@settings(max_examples=8, deadline=None)
@given(problem=problems(5))
def test_the_programmes_reach_the_height_of_brute_force(solver: str, formulation: str, problem: Problem) -> None:
    packing = pack(problem)
    start = np.cumsum([0, *(b.size + 8 for b in packing.buffers)])[:-1].astype(np.int64)
    start = -(-start // 8) * 8
    best = lowest(problem) // packing.unit
    found, bound = orders.improve(
        packing, kernel.overlaps(packing.shape), start, least=0, seconds=20, solver=solver, formulation=formulation
    )
    assert packing.height(found) == best
    assert bound <= best
    if solver == "highs":
        assert bound == best


def second_opinion(packing: Packing, height: int) -> bool:
    """Whether a height suffices, by scipy's interface to its own HiGHS: a binary for each buffer and offset, no byte
    taken twice at any moment. (Of big-M rows that HiGHS breaks off on some.)"""
    from scipy import optimize, sparse

    shape = packing.shape
    owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
    places = [(i, o) for i, size in enumerate(shape.size) for o in range(height - int(size) + 1)]
    spots = {
        (k, t, byte)
        for k, (i, o) in enumerate(places)
        for span in np.flatnonzero(owner == i)
        for t in range(shape.begin[span], shape.end[span])
        for byte in range(o, o + int(shape.size[i]))
    }
    if {i for i, _ in places} != set(range(shape.size.size)):
        return False  # one buffer alone is higher
    columns, rows = zip(*((k, t * height + byte) for k, t, byte in spots), strict=True)
    taken = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(shape.moments * height, len(places)))
    once = sparse.coo_array((np.ones(len(places)), ([i for i, _ in places], range(len(places)))))
    rules = [optimize.LinearConstraint(taken.tocsr(), 0, 1), optimize.LinearConstraint(once.tocsr(), 1, 1)]
    found = optimize.milp(np.zeros(len(places)), constraints=rules, integrality=1, bounds=optimize.Bounds(0, 1))
    assert found.status in (0, 2), found.message  # solved, or infeasible
    return bool(found.success)


@settings(max_examples=20, deadline=None)
@given(problem=problems(9, aligned=False))
def test_a_second_solver_agrees(problem: Problem) -> None:
    packing = pack(problem)
    if packing.buffers:
        height = round(offsets.plan(problem, seconds=20).value / packing.unit)
        assert second_opinion(packing, height)
        assert not second_opinion(packing, height - 1)


@settings(max_examples=30, deadline=None)
@given(problem=problems(30))
def test_every_heuristic_gives_a_right_plan(problem: Problem) -> None:
    packing = pack(problem)
    for by in ("Z", "A", "W", "TWA"):
        order = packing.order(by)
        for found in (
            fit.fit(packing.shape, order, False, GO),
            fit.fit(packing.shape, order, True, GO),
            fit.skyline(packing.shape, order, GO),
        ):
            check(problem, packing.plan(found, packing.bound, by, 0, proven=False))


def tower(count: int, size: int = 1024) -> Problem:
    """Buffers that are all live at once: any pile is as good as any other."""
    return Problem("tower", tuple(Buffer(str(i), size, ((0, 1),)) for i in range(count)), (Tier("memory"),))


def loose() -> Problem:
    """Buffers that fit in the 15 bytes live at once, which first fit in many orders does not find."""
    rows = ((4, 4, 7), (5, 2, 5), (4, 5, 6), (2, 3, 6), (2, 2, 5), (2, 4, 7), (5, 1, 3), (3, 2, 4))
    return Problem("loose", tuple(Buffer(str(i), z, ((a, b),)) for i, (z, a, b) in enumerate(rows)), (Tier("memory"),))


def test_a_height_equal_to_what_is_live_is_proof_at_once() -> None:
    found = offsets.plan(tower(500))
    assert (found.value, found.bound, found.proven, found.method) == (500 * 1024, 500 * 1024, True, "greedy")


def test_the_unit_divides_sizes_and_agrees_with_alignments() -> None:
    buffers = (Buffer("a", 4096, ((0, 1),), 64), Buffer("b", 6144, ((0, 1),), 4096))
    packing = pack(Problem("p", buffers, (Tier("m"),)))
    assert packing.unit == 2048
    assert list(packing.shape.align) == [1, 2]


def test_gaps_are_used_and_one_address_is_kept() -> None:
    buffers = (Buffer("on and off", 4, ((0, 2), (5, 8))), Buffer("meanwhile", 4, ((2, 5),)))
    found = offsets.plan(Problem("p", buffers, (Tier("m"),)))
    assert found.value == 4
    assert {s.offset for s in found.stays} == {0}


def test_orders_that_go_round_are_not_a_placement() -> None:
    packing = pack(tower(3))
    assert orders.recomputed(packing, {(0, 1): True, (1, 2): True, (0, 2): False}) is None
    found = orders.recomputed(packing, {(0, 1): True, (1, 2): True, (0, 2): True})
    assert found is not None
    assert found.tolist() == [0, 1, 2]


def test_live_sets_are_the_largest() -> None:
    buffers = tuple(Buffer(str(i), 1, (live,)) for i, live in enumerate([(0, 3), (1, 2), (2, 3), (3, 4)]))
    sets = {tuple(s) for s in orders.live_sets(pack(Problem("p", buffers, (Tier("m"),))))}
    assert sets == {(0, 1), (0, 2), (3,)}


def test_a_solver_that_finds_nothing_leaves_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*_: object, **__: object) -> Any:
        raise milp.Unfinished("no time")

    monkeypatch.setattr(milp.Model, "solve", late)
    monkeypatch.setattr(attempts, "seek", lambda *_: None)
    found = offsets.plan(loose(), seconds=20)
    assert (found.method, found.notes) == ("greedy", ("no time",))  # neither hidden nor in the way of what there is
    assert found.bound < found.value


def interrupted(work: Any) -> None:
    work.take(np.arange(len(work.packing.buffers)) * 7, "half way")
    raise KeyboardInterrupt


def test_an_interrupt_leaves_what_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offsets, "_place", interrupted)
    found = offsets.plan(tower(3, 7))
    assert (found.proven, found.method) == (False, "half way, interrupted")


@pytest.mark.parametrize(
    ("problem", "options", "why"),
    [
        (tower(2), {"seconds": 0}, "seconds must be more than 0"),
        (tower(2), {"seconds": inf}, "seconds must be more than 0"),
        (tower(2), {"solver": "cplex"}, "no solver 'cplex'"),
        (Problem("p", (Buffer("a", 1),), (Tier("m"),)), {}, "no live interval"),
        (Problem("p", (Buffer("a", 1, ((0, 1),), tiers=("h",)),), (Tier("m"), Tier("h"))), {}, "may not be in 'm'"),
    ],
)
def test_what_makes_no_sense_is_refused(problem: Problem, options: dict[str, Any], why: str) -> None:
    with pytest.raises(WeirError, match=why):
        offsets.plan(problem, **options)


def test_without_buffers_there_is_nothing_to_place() -> None:
    assert offsets.plan(Problem("p", (), (Tier("m"),))).value == 0


@pytest.mark.parametrize("module", [search, fit, valleys, anneal])
def test_kernels_kept_on_disk_call_none_of_another_file(module: ModuleType) -> None:
    """Numba's cache looks at one file only: it would go on using what a changed helper elsewhere was compiled to."""
    kernels = [value for value in vars(module).values() if isinstance(value, Dispatcher)]
    assert len(kernels) >= 4
    assert {kernel.py_func.__module__ for kernel in kernels} == {module.__name__}


@settings(max_examples=20, deadline=None)
@given(problem=problems())
def test_time_may_run_backward(problem: Problem) -> None:
    packing = pack(problem)
    assert (kernel.overlaps(packing.backward) == kernel.overlaps(packing.shape)).all()
    assert (packing.backward.begin < packing.backward.end).all()
