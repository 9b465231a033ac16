"""Plans beside what was asked, and their figures under stable names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sim.planner.graph import graph
from sim.planner.pipeline import Schedule
from sim.planner.problem import Plan, Problem


@dataclass(frozen=True)
class Scheduled:
    """A graph's tasks in their order."""

    problem: Problem
    plan: Plan

    @property
    def once(self) -> float:
        """Seconds of every task run once: no schedule is shorter."""
        return graph(self.problem).once

    @property
    def seconds(self) -> float:
        """Seconds to the end of the last run or copy."""
        return self.plan.value

    def summary(self) -> dict[str, Any]:
        """The figures (the JSON schema ``weir.plan/1``)."""
        found, once = self.plan, self.once
        return {
            "schema": "weir.plan/1", "problem": self.problem.name, "seconds": self.seconds,
            "overhead": self.seconds / once - 1 if once else 0.0, "bound": found.bound, "proven": found.proven,
            "method": found.method, "solve_seconds": found.seconds, "budget": self.problem.tiers[0].capacity,
            "everything_kept": graph(self.problem).full, "runs": [run.task for run in found.runs],
            "moves": [[m.buffer, m.source, m.target, m.start] for m in found.moves], "notes": list(found.notes),
        }  # fmt: skip


@dataclass(frozen=True)
class Piped:
    """One schedule of a pipeline, and what is known of it beside its times."""

    name: str
    found: Schedule
    bytes: float | None = None
    mfu: float | None = None

    @property
    def row(self) -> dict[str, Any]:
        """The figures, SI units."""
        return {
            "schedule": self.name, "seconds": self.found.seconds, "bound": self.found.bound, "idle": self.found.idle,
            "held": max(self.found.held), "bytes": self.bytes, "mfu": self.mfu,
        }  # fmt: skip


@dataclass(frozen=True)
class Pipelines:
    """Schedules side by side."""

    schedules: tuple[Piped, ...]
