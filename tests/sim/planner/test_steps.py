"""A training step as a graph: its seconds are the passes', its values those of live ranges, its schedules valid."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.arch import cluster
from sim.planner.check import check
from sim.planner.curves import curve
from sim.planner.evict import best
from sim.planner.graph import graph, spent, within
from sim.planner.passes import Setting, work
from sim.planner.problem import Tier
from sim.planner.rematerialise import rematerialise
from sim.planner.steps import step
from workloads.transformer import model

SETTING = Setting(model("gpt2-xl").spec, cluster("5xa100"), 4096)


def test_a_step_takes_what_its_passes_take() -> None:
    made, found = work(SETTING), graph(step(SETTING, 3))
    passes = 3 * (made.forward + made.backward)
    assert found.once == pytest.approx(passes + made.classify)
    assert step(SETTING, 3).given == ("x0", "T.loss", "DLOSS.loss")


def test_what_stays_from_forward_to_backward_is_the_skeleton() -> None:
    made, problem = work(SETTING), step(SETTING, 3)
    turn = next(i for i, task in enumerate(problem.tasks) if task.name.startswith("loss"))
    sizes = {b.name: b.size for b in problem.buffers}
    written = {name for task in problem.tasks[:turn] for name in task.writes if name.endswith(".1") or name == "x1"}
    later = {name for task in problem.tasks[turn:] for name in task.reads}
    kept = sum(sizes[name] for name in written & later)
    assert kept == pytest.approx(made.anchors + made.others + made.statistics, rel=1e-3)


def test_the_relaxation_of_a_models_step_is_rounded_to_a_valid_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.planner.rematerialise.LARGE", 10)
    problem = step(SETTING, 2)
    made = graph(problem)
    tight = replace(problem, tiers=(Tier("device", int(0.7 * made.full)),))
    found = rematerialise(tight, seconds=60)
    check(tight, found)
    plain = best(within(made, int(0.7 * made.full)))
    assert plain
    assert made.once < found.value <= spent(made, plain[1])
    assert found.bound <= found.value


def test_the_curve_of_a_step_falls() -> None:
    problem = step(SETTING, 2)
    made = graph(problem)
    table = curve(problem, [made.full * share for share in (0.7, 0.85, 1.0)], seconds=0.3)
    assert table.overhead.iloc[-1] == 0
    assert table.overhead.is_monotonic_decreasing
    assert (table.overhead < 1).all()
