"""``weir plan``: a problem of offsets, a graph of tasks, or a model's training step, by what is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from einsum import WeirError, hint
from sim.cli import ask
from sim.cli.data import Form
from sim.cli.plan_asked import GRAPH, GRAPH_CURVE, OFFSETS, Asked

SOLVERS = ("highs", "cbc")


def plan(asked: Asked, form: Form) -> None:
    """A CSV is a problem of offsets, a JSON a graph of tasks; anything else names a model in training."""
    if asked.solver not in SOLVERS:
        raise WeirError(f"no solver {asked.solver!r:.40}{hint(asked.solver, SOLVERS)}")
    ask.limit(asked.seconds)
    asked.check()
    if form is Form.CSV and not asked.curve:
        raise WeirError("--csv prints the rows of --curve; a CSV's own placement is written by --save placed.csv")
    _asked_as(asked.kind)[0](asked, form)


def answered(asked: Asked) -> Any:
    """The plan, with what was asked."""
    if asked.curve:
        raise WeirError("a curve has no formula: each of its plans is searched for")
    asked.check()
    return _asked_as(asked.kind)[1](asked)


def _asked_as(kind: str) -> tuple[Callable[[Asked, Form], None], Callable[[Asked], Any]]:
    """What prints a plan of a kind, and what makes it."""
    if kind in (GRAPH, GRAPH_CURVE):
        from sim.cli import plans_graphs

        return plans_graphs.graphed, plans_graphs.scheduled
    if kind == OFFSETS:
        from sim.cli import plans_offsets

        return plans_offsets.placed, plans_offsets.laid
    from sim.cli import plans_training

    return plans_training.trained, plans_training.best
