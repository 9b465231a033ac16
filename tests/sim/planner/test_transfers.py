"""The bound of paging: by hand where a chain's values cannot all stay, and below every schedule that is found."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, WeirError
from sim.planner.check import check
from sim.planner.cuts import moments
from sim.planner.graph import graph, within
from sim.planner.paging import page
from sim.planner.problem import Buffer, Move, Plan, Problem, Run, Stay, Task, Tier
from sim.planner.rematerialise import rematerialise
from sim.planner.transfers import bound, build
from tests.sim.planner.test_paging import chain


def test_two_values_go_out_and_come_back_or_are_made_again() -> None:
    """Two inputs of 10 bytes, made in 100 s each, are read at the end; a task between needs the whole memory."""
    tasks = (Task("a", 100.0, (), ("a",)), Task("b", 100.0, (), ("b",)), Task("m", 1.0, (), ("m",)),
             Task("z", 1.0, ("a", "b"), ("z",)))  # fmt: skip
    buffers = (Buffer("a", 10), Buffer("b", 10), Buffer("m", 30), Buffer("z", 5))
    tiers = (Tier("hbm", 30.0), Tier("host", 1e9, 10.0, 0.5))
    made = graph(Problem("two", buffers, tiers, tasks, (), ("z",)))
    # Copies out hide beside the work; 20 bytes back at 0.5 B/s do not begin before the 200 s of a and b are over.
    assert bound(made, 10.0, "highs") == pytest.approx(240.0)
    assert page(made.problem, seconds=10).value == pytest.approx(243.0)


def test_what_may_be_kept_on_the_host_need_not_come_back() -> None:
    tasks = (Task("a", 10.0, (), ("a",)), Task("m", 100.0, (), ("m",)))
    buffers = (Buffer("a", 10, tiers=("hbm", "host")), Buffer("m", 30))
    problem = Problem("kept", buffers, (Tier("hbm", 30.0), Tier("host", 1e9, 10.0, 0.05)), tasks, (), ("a",))
    stays = (Stay("a", "hbm", 0, 11), Stay("a", "host", 10, 111), Stay("m", "hbm", 11, 111))
    moves = (Move("a", "hbm", "host", 10, 11),)
    plan = Plan("kept", "time", 111.0, 0.0, False, "by hand", 0.0, stays, (Run("a", 0, 10), Run("m", 11, 111)), moves)
    check(problem, plan)
    assert bound(graph(problem), 10.0, "highs") <= plan.value  # 120 where it must come back or be made again
    assert not page(problem, seconds=5).proven


def test_an_unknown_solver_is_no_lack_of_time() -> None:
    with pytest.raises(WeirError, match="no solver 'gurobi'"):
        bound(graph(chain(4, 40, 1.0)), 1.0, "gurobi")


def test_a_slow_link_is_bounded_by_recomputation_and_a_quick_one_by_the_plain_pass() -> None:
    slow, quick = (bound(graph(chain(4, 40, rate)), 10.0, "highs") for rate in (0.1, 1e6))
    assert quick == pytest.approx(12.0)
    assert 12.0 < slow <= rematerialise(chain(4, 40, 0.1)).value + 1e-6


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_schedule_found_is_shorter(data: st.DataObject) -> None:
    buffers, tasks = [Buffer("in", data.draw(st.integers(1, 5)))], []
    for i in range(data.draw(st.integers(2, 7))):
        reads = tuple(b.name for b in buffers if data.draw(st.integers(0, 2)) == 0)
        buffers.append(Buffer(f"x{i}", data.draw(st.integers(1, 5))))
        tasks.append(Task(f"t{i}", float(data.draw(st.integers(1, 4))), reads, (f"x{i}",)))
    kept = tuple(b.name for b in buffers if data.draw(st.integers(0, 3)) == 0)
    write, read = (data.draw(st.sampled_from([0.5, 2.0, 10.0])) for _ in range(2))
    tiers = (Tier("hbm"), Tier("host", 1e9, write, read))
    made = graph(Problem("drawn", tuple(buffers), tiers, tuple(tasks), ("in",), kept))
    made = within(made, max(round(made.full * data.draw(st.floats(0.4, 1.0))), made.least))
    # The bounds themselves, without the cap that a plan puts on its own.
    floors = [bound(made, 10.0, "highs")]
    if made.full > made.budget:
        for count in (1, 2, 6):
            try:
                floors.append(build(made, moments(made, count)).model.solve().bound * made.once)
            except Infeasible:
                continue
    try:
        assert max(floors) <= page(made.problem, seconds=10).value + 1e-6
    except Infeasible:
        return
