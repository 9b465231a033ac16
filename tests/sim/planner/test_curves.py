"""Overhead against memory: monotone, proven across budgets, and within its time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.planner import rematerialise as module
from sim.planner.curves import POINTS, budgets, curve
from sim.planner.graph import graph
from sim.planner.problem import Plan, Problem
from sim.planner.rematerialise import rematerialise
from tests.sim.planner.test_rematerialise import chain


def test_overhead_falls_as_the_budget_grows() -> None:
    table = curve(chain(6), [20, 50, 60, 70, 80], seconds=20)
    assert np.isnan(table.overhead[0])
    assert table.overhead.iloc[-1] == 0.0
    assert (table.overhead[1:].diff()[1:] <= 1e-12).all()
    assert (table.peak[1:] <= table.budget[1:]).all()
    assert (table.bound[1:] <= table.overhead[1:] + 1e-12).all()


def test_an_interrupt_leaves_the_budgets_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, done = chain(4), list[float]()

    def interrupted(one: Problem, **given_: object) -> Plan:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(one.tiers[0].capacity)
        return rematerialise(one, seconds=5)

    monkeypatch.setattr("sim.planner.curves.rematerialise", interrupted)
    table = curve(problem, [50, 60, 70, 80])
    assert table.budget.tolist() == done == [50, 60]
    assert table.attrs["wanted"] == 4
    with pytest.raises(KeyboardInterrupt):
        curve(problem, [50, 60])  # nothing was done before it


def test_a_bound_of_more_bytes_holds_for_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = chain(4)

    def unsure(one: Problem, **given_: object) -> Plan:
        plan = rematerialise(one, seconds=5)
        return replace(plan, bound=12.0, proven=False) if one.tiers[0].capacity == 40 else plan

    monkeypatch.setattr("sim.planner.curves.rematerialise", unsure)
    table = curve(problem, [40, 50])
    assert table.bound[0] == table.bound[1] > 0


def test_what_meets_the_bound_of_more_bytes_is_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, true = chain(6), curve(chain(6), [40, 47], seconds=20)
    assert true.overhead[0] == true.overhead[1]

    def unsure(one: Problem, **given_: object) -> Plan:
        plan = rematerialise(one, seconds=10)
        return replace(plan, bound=18.0, proven=False) if one.tiers[0].capacity == 40 else plan

    monkeypatch.setattr("sim.planner.curves.rematerialise", unsure)
    assert curve(problem, [40, 47]).proven.tolist() == [True, True]


def test_a_bound_that_a_quicker_plan_breaks_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is over schedules in stages, and the plan of a smaller budget is none."""

    def slower(one: Problem, **given_: object) -> Plan:
        plan = rematerialise(one, seconds=10)
        return replace(plan, value=99.0, bound=99.0, proven=True) if one.tiers[0].capacity == 50 else plan

    monkeypatch.setattr("sim.planner.curves.rematerialise", slower)
    table = curve(chain(4), [40, 50])
    assert table.overhead[0] == table.overhead[1]
    assert (table.bound[1], table.proven[1]) == (0.0, False)


def test_progress_names_the_budget_and_the_method() -> None:
    told = list[str]()
    curve(chain(6), [50, 60], seconds=20, told=lambda done, count, what: told.append(what))
    assert told[0] == "budget 1 of 2"
    assert any(what.startswith("budget 2 of 2: one cut; ") for what in told)
    told.clear()
    curve(chain(6), seconds=20, told=lambda done, count, what: told.append(what))
    assert told[:2] == ["seeking the least budget", "seeking the least budget: 55 B will do"]
    assert told[-1].startswith(f"budget {POINTS} of {POINTS}")


def test_budgets_go_from_the_least_to_everything_kept() -> None:
    table = curve(chain(6), seconds=20)
    least = module.smallest(graph(chain(6)))
    assert table.budget.tolist() == budgets(least.fits, 80)
    assert table.overhead.notna().all()
    assert not table.attrs["coarse"]


def test_the_least_budget_is_sought_within_a_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second at every look: with no schedule in time, only keeping everything is known."""
    now = iter(range(10**6))
    monkeypatch.setattr(module, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(module, "attempt", lambda made, budget: iter([False] * 9))
    table = curve(chain(6), seconds=4)
    assert table.attrs["coarse"]
    assert table.budget.tolist() == [80.0] * POINTS
