"""Annealing: whatever is broken off or found is a right placement, small ones are the lowest there are."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.planner import anneal, fit, kernel
from sim.planner.check import check
from sim.planner.packing import pack
from sim.planner.problem import Problem
from tests.sim.planner.test_offsets import lowest, problems

GO, HALT = np.zeros(1, np.int64), np.ones(1, np.int64)


def annealed(problem: Problem, target: int, steps: int, stop: np.ndarray = GO) -> np.ndarray:
    packing = pack(problem)
    table, draw = kernel.overlaps(packing.shape), np.random.default_rng(0)
    return anneal.place(packing.shape, table, packing.order("Z"), target, steps, draw, stop)


@settings(max_examples=100, deadline=None)
@given(problem=problems())
def test_a_few_buffers_come_as_low_as_brute_force_puts_them(problem: Problem) -> None:
    packing = pack(problem)
    if packing.buffers:
        best = lowest(problem)
        found = annealed(problem, best // packing.unit, 20_000)
        assert packing.height(found) * packing.unit == best


@settings(max_examples=50, deadline=None)
@given(problem=problems(30), steps=st.integers(0, 300), halted=st.booleans())
def test_what_is_found_is_right_and_no_higher_than_first_fit(problem: Problem, steps: int, halted: bool) -> None:
    packing = pack(problem)
    if packing.buffers:
        found = annealed(problem, packing.bound, steps, HALT if halted else GO)
        check(problem, packing.plan(found, packing.bound, "annealing", 0, proven=False))
        assert packing.height(found) <= packing.height(fit.fit(packing.shape, packing.order("Z"), False, GO))


@settings(max_examples=20, deadline=None)
@given(problem=problems(30))
def test_the_same_draws_give_the_same_placement(problem: Problem) -> None:
    if pack(problem).buffers:
        assert (annealed(problem, 0, 200) == annealed(problem, 0, 200)).all()
