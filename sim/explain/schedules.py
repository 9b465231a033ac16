"""Plans opened: the buffers that a height and its bound are made of, the runs that a step or a pipeline waits for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from sim.explain.given import COUNTED
from sim.explain.opened import Beside, Opened, opened
from sim.explain.traced import leaf
from sim.planner.answers import Pipelines, Scheduled
from sim.planner.packing import Laid, highest
from sim.planner.pipeline import Schedule, timed
from sim.planner.problem import Problem
from sim.planner.ranges import Placed, limiting
from sim.planner.timeline import timed as laid_out
from sim.planner.training import Training

TIMED = "timed by the model, kernel by kernel, or given"
GIVEN = "given with the problem"
ADDRESS = "address: found by the search"


@opened.register
def _laid(result: Laid, changed: tuple[str, ...] = ()) -> Opened:
    """Height: the highest end of all buffers. Bound: the bytes that are live at the fullest moment, if that is it."""
    sizes = {b.name: leaf(b.size, f"bytes of {b.name}", "B", GIVEN) for b in result.problem.buffers}
    ends = [leaf(offset, f"address of {name}", "B", ADDRESS) for name, offset in result.offsets.items()]
    figures: dict[str, Any] = dict(result.summary())
    if ends:
        figures["height"] = highest(np.stack(ends), np.stack([sizes[name] for name in result.offsets]))
    when, live = result.packing.fullest
    if sum(b.size for b in live) == result.plan.bound:
        figures["bound"] = sum(sizes[b.name] for b in live)
    proven = f"proven by {result.plan.method}; {sum(b.size for b in live):,} bytes are live at {when:g}"
    return Opened(figures, "height", how=lambda name: proven if name == "bound" else ADDRESS,
                  units={"height": "B", "bound": "B"})  # fmt: skip


class _Alike:
    """Seconds of runs as traced numbers, one for all that are called alike but for a number and take as long."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, float], Any] = {}

    def seconds(self, name: str, value: float) -> Any:
        """The seconds of one of them."""
        key = name.rstrip("0123456789 "), value
        if value and key not in self.known:
            again = sum(known == key[0] for known, _ in self.known)
            self.known[key] = leaf(value, f"{name} and its like" if again else key[0], "s", TIMED)
        return self.known[key] if value else value


def _tasks(problem: Problem) -> Problem:
    """The problem with traced seconds and rates."""
    alike = _Alike()
    tasks = tuple(replace(t, seconds=alike.seconds(t.name, t.seconds)) for t in problem.tasks)
    tiers = tuple(
        replace(t, **{
            key: leaf(getattr(t, key), f"{t.name}.{key}", "B/s", GIVEN)
            for key in ("read", "write") if np.isfinite(getattr(t, key))
        })
        for t in problem.tiers
    )  # fmt: skip
    return replace(problem, tasks=tasks, tiers=tiers)


@opened.register
def _trained(result: Training, changed: tuple[str, ...] = ()) -> Opened:
    found = laid_out(_tasks(result.problem), result.steps)
    memory = tuple((name, leaf(size, name, "B", COUNTED)) for name, size in result.memory)
    made = replace(result, plan=found, memory=memory, operations=leaf(result.operations, "operations", "op", COUNTED))
    units = {f"memory.{name}": "B" for name, _ in memory} | {"capacity": "B", "bytes": "B", "stalled": "s"}
    return Opened(made.summary(), "seconds", units=units)


@opened.register
def _scheduled(result: Scheduled, changed: tuple[str, ...] = ()) -> Opened:
    """The runs in the order of the plan; where copies wait, what they add stands as it was found."""
    problem, plan = _tasks(result.problem), result.plan
    seconds = {task.name: task.seconds for task in problem.tasks}
    spent: Any = sum(seconds[run.task] for run in plan.runs)
    if waiting := plan.value - float(spent):
        spent = spent + leaf(waiting, "waiting for copies", "s", f"as {plan.method} lays them out")
    made = replace(result, problem=problem, plan=replace(plan, value=spent))
    units = {"budget": "B", "everything_kept": "B", "bound": "s"}
    return Opened(made.summary(), "seconds", how=lambda _: plan.method, units=units)


@opened.register
def _pipelines(result: Pipelines, changed: tuple[str, ...] = ()) -> Opened:
    rows = [one.row | _timed(one.found) for one in result.schedules]
    units = {
        f"schedules[{n}].{name}": unit for n in range(len(rows)) for name, unit in (("bytes", "B"), ("bound", "s"))
    }
    best = min(range(len(rows)), key=lambda n: float(rows[n]["seconds"]))
    return Opened({"schedules": rows}, f"schedules[{best}].seconds", units=units)


def _timed(found: Schedule) -> dict[str, Any]:
    """The figures of a schedule in the same order of passes, their seconds traced: those on the way to its end."""
    alike = _Alike()
    nodes = tuple(
        replace(n, seconds=alike.seconds(f"pass {n.name}", n.seconds), lag=alike.seconds("lag", n.lag))
        for n in found.flow.nodes
    )
    again = timed(replace(found.flow, nodes=nodes), found.orders)
    same = float(again.seconds) == found.seconds
    return {"seconds": again.seconds, "idle": again.idle, "bound": again.bound} if same else {}


@opened.register
def _placed(result: Placed, changed: tuple[str, ...] = ()) -> Opened:
    full = {name: leaf(rate, name, "tokens/s", TIMED) for name, rate in limiting(result.network, result.ranges).items()}
    said = "A largest flow is found over whole numbers; what is full on every way (a smallest cut)"
    beside = Beside(sum(full.values()), said) if full else None
    return Opened(result.figures, "tokens_per_second", how=lambda _: f"found by {result.method}",
                  beside=lambda name: beside if name == "tokens_per_second" else None)  # fmt: skip
