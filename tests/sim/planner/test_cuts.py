"""Cuts bound every schedule: those of eviction are solutions, and none of all in stages is shorter."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible
from sim.arch import cluster
from sim.planner import cuts
from sim.planner.check import check
from sim.planner.evict import evict, scores, trim
from sim.planner.graph import Graph, graph, spent, within
from sim.planner.milp import holds
from sim.planner.passes import Setting
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.rematerialise import LARGE, rematerialise
from sim.planner.steps import step
from workloads.transformer import model

CHEAP = settings(max_examples=40, deadline=None)


@st.composite
def graphs(draw: st.DrawFn, most: int = 9) -> Graph:
    """Tasks that read some of what is there, in less than keeping everything takes."""
    there, tasks = ["in"], []
    for i in range(draw(st.integers(2, most))):
        reads = tuple(n for n in there if draw(st.integers(0, 2)) == 0)
        tasks.append(Task(f"t{i}", float(draw(st.integers(1, 4))), reads, (f"x{i}",)))
        there.append(f"x{i}")
    kept = tuple(n for n in there if draw(st.integers(0, 3)) == 0)
    buffers = tuple(Buffer(n, draw(st.integers(1, 5))) for n in there)
    made = graph(Problem("drawn", buffers, (Tier("hbm"),), tuple(tasks), ("in",), kept))
    return within(made, float(max(made.least, int(made.full * draw(st.floats(0.5, 1.0))))))


@CHEAP
@given(graphs(), st.data())
def test_every_schedule_in_the_order_listed_is_a_solution(made: Graph, data: st.DataObject) -> None:
    tasks = st.integers(0, len(made.reads) - 1)
    c = cuts.build(made, sorted(data.draw(st.sets(tasks, min_size=1, max_size=3))))
    for _, score in scores(made):
        order = evict(made, score)
        for one in [order, trim(made, order)] if order else []:
            values = cuts.start_of(c, one)
            families = (cuts.gathered, cuts.supplied, cuts.carried, cuts.finished, cuts.fitting)
            assert all(holds(row, values) for family in families for row in family(c))
            again = sum(made.seconds[i] * values[v.name] for s, _ in enumerate(c.at) for i, v in c.again[s, s].items())
            assert made.once + again <= spent(made, one) + 1e-9


@CHEAP
@given(graphs(5), st.integers(1, 3))
def test_no_schedule_is_shorter_than_the_bound(made: Graph, count: int) -> None:
    if made.full <= made.budget:
        return
    at = cuts.moments(made, count)
    try:
        values = [cuts.build(made, at, relaxed=relaxed).model.solve().objective for relaxed in (True, False)]
    except Infeasible:
        with pytest.raises(Infeasible):
            rematerialise(made.problem)
        return
    assert values[0] <= values[1] + 1e-9
    try:
        assert values[1] * made.once <= rematerialise(made.problem).value + 1e-9
    except Infeasible:
        return


def test_moments_are_where_memory_is_short() -> None:
    problem = step(Setting(model("gpt2-xl").spec, cluster("5xa100"), 4096), 2)
    made = graph(problem)
    tight = within(made, 0.5 * made.full)
    one, several = cuts.moments(tight, 1), cuts.moments(tight, 8)
    assert len(one) == 1
    assert set(one) < set(several)
    assert len(several) <= 9


def test_a_cut_proves_a_step_that_is_too_large_for_stages() -> None:
    problem = step(Setting(model("gpt2-xl").spec, cluster("5xa100"), 4096), 9)
    made = graph(problem)
    assert len(made.reads) > LARGE
    tight = replace(problem, tiers=(Tier("device", int(0.5 * made.full)),))
    found = rematerialise(tight, seconds=20)
    check(tight, found)
    assert made.once < found.bound <= found.value
    assert found.gap < 0.005
