"""Paging with recomputation: by hand on a chain, and against recomputing alone on whatever hypothesis draws."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, WeirError
from sim.planner import paging
from sim.planner.check import check
from sim.planner.graph import graph, within
from sim.planner.paging import build, page, steps_of, swap
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.rematerialise import rematerialise
from sim.planner.timeline import Step, timed


def chain(length: int, budget: float, rate: float, host: float = 1e9) -> Problem:
    """Layers of 10 bytes and a second forward, two backward, each backward reading its layer's input."""
    names = [f"a{i}" for i in range(length + 1)]
    forward = [Task(f"f{i}", 1.0, (names[i],), (names[i + 1],)) for i in range(length)]
    backward = [
        Task(f"b{i}", 2.0, (names[i], f"g{i + 1}" if i < length - 1 else names[length]), (f"g{i}",))
        for i in reversed(range(length))
    ]
    buffers = tuple(Buffer(n, 10) for n in (*names, *(f"g{i}" for i in range(length))))
    tiers = (Tier("hbm", budget), Tier("host", host, rate, rate))
    return Problem("chain", buffers, tiers, (*forward, *backward), (names[0],), ("g0",))


def test_a_fast_link_hides_all_paging() -> None:
    problem = chain(6, 50, 100.0)
    plan = page(problem, seconds=30)
    check(problem, plan)
    assert plan.value == 18.0
    assert plan.proven
    assert plan.moves


def test_a_link_too_slow_to_use_leaves_recomputation() -> None:
    problem = chain(5, 40, 0.01)
    assert page(problem, seconds=9).value == rematerialise(problem).value > 15.0


def test_between_the_two_both_are_used_or_neither_is_better() -> None:
    slow, middle, fast = (page(chain(5, 40, rate), seconds=9) for rate in (0.5, 4.0, 8.0))
    assert slow.value >= middle.value >= fast.value >= 15.0
    assert middle.value < rematerialise(chain(5, 40, 4.0)).value


def test_a_full_host_pages_no_more() -> None:
    problem = chain(6, 50, 100.0, host=10)
    plan = page(problem, seconds=30)
    check(problem, plan)
    assert 18.0 < plan.value <= rematerialise(problem).value


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_never_longer_than_recomputing_alone(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 6))
    buffers, tasks = [Buffer("in", data.draw(st.integers(1, 5)))], []
    for i in range(count):
        reads = tuple(b.name for b in buffers if data.draw(st.booleans()))
        buffers.append(Buffer(f"x{i}", data.draw(st.integers(1, 5))))
        tasks.append(Task(f"t{i}", float(data.draw(st.integers(1, 4))), reads, (f"x{i}",)))
    kept = tuple(b.name for b in buffers if data.draw(st.integers(0, 3)) == 0)
    rate = data.draw(st.sampled_from([0.5, 2.0, 1e6]))
    host = Tier("host", data.draw(st.sampled_from([3, 1e9])), rate, rate)
    whole = Problem("drawn", tuple(buffers), (Tier("hbm"), host), tuple(tasks), ("in",), kept)
    made = graph(whole)
    made = within(made, max(round(made.full * data.draw(st.floats(0.4, 1.0))), made.least))
    try:
        plan = page(made.problem, seconds=30)
    except Infeasible:
        with pytest.raises(Infeasible):
            rematerialise(made.problem)
        return
    check(made.problem, plan)
    assert plan.value >= made.once - 1e-9
    try:
        assert plan.value <= rematerialise(made.problem).value + 1e-9
    except Infeasible:
        assert plan.moves


def test_paging_alone_and_the_programme_s_answer_pass_the_checker() -> None:
    made = graph(chain(5, 50, 5.0))
    for steps in (swap(made), None):
        if steps is None:
            s = build(made)
            steps = steps_of(s, s.model.solve(seconds=30).values)
        check(made.problem, timed(made.problem, steps, "", made.once))


def test_one_tier_is_not_enough() -> None:
    problem = chain(3, 50, 1.0)
    with pytest.raises(WeirError, match="paging needs a second tier"):
        page(replace(problem, tiers=problem.tiers[:1]))


def test_too_small_for_one_task() -> None:
    with pytest.raises(Infeasible, match="one task alone needs 30 bytes, 20 are given"):
        page(chain(3, 20, 1.0))


def test_why_the_programme_found_nothing_is_a_note_and_no_method(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = chain(5, 40, 4.0)
    whole = [Step("run", task.name) for task in problem.tasks]  # nothing is ever dropped, so that this does not fit
    monkeypatch.setattr(paging, "steps_of", lambda s, values: whole)
    plan = page(problem, seconds=9)
    assert "short" not in plan.method
    assert plan.notes[-1].startswith("highs pages parts of buffers, and whole ones do not fit: hbm: ")
