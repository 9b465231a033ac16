"""Steps laid out in time: three streams, waiting for room, and the checker's word on it."""

import pytest

from einsum import Infeasible
from sim.planner.check import check
from sim.planner.problem import Buffer, Problem, Task, Tier
from sim.planner.timeline import Step, timed


def network(capacity: float, rate: float = 10.0) -> Problem:
    """Two layers of 10 bytes, 1 second each way; a host that moves 10 bytes a second."""
    buffers = tuple(Buffer(n, 10) for n in ("x", "a", "b", "g", "h"))
    tasks = (
        Task("f0", 1.0, ("x",), ("a",)),
        Task("f1", 1.0, ("a",), ("b",)),
        Task("b1", 1.0, ("a", "b"), ("g",)),
        Task("b0", 1.0, ("a", "g"), ("h",)),
    )
    return Problem("net", buffers, (Tier("hbm", capacity), Tier("host", 100, rate, rate)), tasks, ("x",), ("h",))


def test_runs_follow_each_other() -> None:
    problem = network(50)
    plan = timed(problem, [Step("run", n) for n in ("f0", "f1", "b1", "b0")], bound=4.0)
    check(problem, plan)
    assert plan.value == 4.0
    assert plan.proven


def test_a_copy_out_runs_beside_the_work_and_its_drop_waits_for_it() -> None:
    problem = network(50)
    steps = [
        Step("run", "f0"), Step("out", "a", "host"), Step("run", "f1"), Step("drop", "a"), Step("in", "a", "host"),
        Step("run", "b1"), Step("run", "b0"),
    ]  # fmt: skip
    plan = timed(problem, steps)
    check(problem, plan)
    out, back = plan.moves
    assert (out.start, out.stop) == (1.0, 2.0)
    assert back.start == 2.0
    assert plan.value == 5.0  # b1 waits a second for a to come back


def test_what_is_made_again_waits_until_the_copy_before_has_left() -> None:
    problem = network(50, rate=5.0)
    steps = [
        Step("run", "f0"), Step("out", "a", "host"), Step("drop", "a"), Step("run", "f0"), Step("forget", "a", "host"),
        Step("run", "f1"), Step("run", "b1"), Step("run", "b0"),
    ]  # fmt: skip
    plan = timed(problem, steps)
    check(problem, plan)
    assert [(r.task, r.start) for r in plan.runs[:2]] == [("f0", 0.0), ("f0", 3.0)]


def test_work_waits_for_room() -> None:
    """With 30 bytes b1's result waits until x is gone; a slow link holds the room of what it copies."""
    problem = network(30, rate=2.0)
    steps = [
        Step("run", "f0"), Step("out", "x", "host"), Step("drop", "x"), Step("run", "f1"), Step("run", "b1"),
        Step("drop", "b"), Step("run", "b0"),
    ]  # fmt: skip
    plan = timed(problem, steps)
    check(problem, plan)
    assert [run.start for run in plan.runs] == [0.0, 1.0, 5.0, 6.0]


def test_too_little_room_says_how_much() -> None:
    with pytest.raises(Infeasible, match="hbm: 5 bytes short of what the steps need"):
        timed(network(25), [Step("run", "f0"), Step("run", "f1")])
