"""Annealed orders fit, run first runs as listed, and are weighed as the planner weighs an order."""

from itertools import pairwise
from types import FunctionType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible
from sim.planner import reordering as module
from sim.planner.evict import evict, scores
from sim.planner.graph import Graph, graph, lives, peak, profile, spent, within
from sim.planner.rematerialise import Found, _annealed, quick, rematerialise, smallest, squeezed
from sim.planner.reordering import LENGTH, anneal, net_of
from tests.sim.planner.test_cuts import graphs
from tests.sim.planner.test_rematerialise import anyhow, chain

# The kernels as plain Python: compiled, they cannot be called from here.
PLAIN = dict(vars(module))
PLAIN |= {n: FunctionType(f.py_func.__code__, PLAIN) for n, f in vars(module).items() if hasattr(f, "py_func")}
CHEAP = settings(max_examples=25, deadline=None)


@CHEAP
@given(graphs(7), st.integers(0, 3))
def test_what_is_found_fits_and_is_no_slower_than_a_start_that_fits(made: Graph, seed: int) -> None:
    for start in [list(range(len(made.reads))), *(o for _, s in scores(made) if (o := evict(made, s)))]:
        found = anneal(made, start, 200_000, seed=seed)
        if peak(made, start) <= made.budget:
            assert found
            assert spent(made, found) <= spent(made, start) + 1e-9
        if found:
            assert peak(made, found) <= made.budget
            first = [found.index(task) for task in range(len(made.reads))]
            assert all(one < other for one, other in pairwise(first))
            assert spent(made, found) >= anyhow(made) - 1e-9 if len(made.reads) <= 5 else True


@CHEAP
@given(graphs(), st.data())
def test_an_order_is_weighed_as_its_profile_says(made: Graph, data: st.DataObject) -> None:
    order = list(range(len(made.reads)))
    for _ in range(data.draw(st.integers(0, 4))):
        task = data.draw(st.integers(0, len(made.reads) - 1))
        order.insert(data.draw(st.integers(order.index(task) + 1, len(order))), task)
    net = net_of(made)
    line = PLAIN["_line"](net, len(order))
    line.runs[:] = order
    line.now[LENGTH] = len(order)
    over = float(np.maximum(profile(made, order) - made.budget, 0).sum()) / made.budget
    assert PLAIN["_weigh"](net, line) == pytest.approx(over)
    assert line.used[: len(order)].tolist() == profile(made, order).tolist()
    assert sorted(map(tuple, line.spans[: line.now[1]].tolist())) == sorted(lives(made, order))


def test_the_same_each_time_and_given_up_when_time_is_over() -> None:
    made = within(graph(chain(10)), 60)
    order = list(range(len(made.reads)))
    assert anneal(made, order, 3_000_000) == anneal(made, order, 3_000_000)
    over = np.ones(1, np.int64)
    assert module._anneal(net_of(made), np.array(order, np.int64), 10**9, 0, over).size == 0


def test_annealing_fits_what_eviction_does_not() -> None:
    made = within(graph(chain(8)), 50)
    alone = squeezed(made)
    assert alone
    assert peak(made, alone[1]) <= 50
    known = quick(made)
    assert known
    assert spent(made, _annealed(made, known, 60.0).order) <= spent(made, known.order)


def test_the_least_budget_found_is_one_that_a_schedule_is_found_for() -> None:
    made = graph(chain(6))
    least = smallest(made).fits
    assert rematerialise(within(made, least).problem, seconds=10).value >= made.once
    with pytest.raises(Infeasible):
        rematerialise(within(made, made.least - 1).problem)
    assert isinstance(quick(within(made, least)), Found)
