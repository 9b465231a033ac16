"""``weir plan``: a problem of offsets, a graph of tasks, or a model's training step, by what is named."""

from __future__ import annotations

from pathlib import Path

from einsum import WeirError, hint
from sim.cli import ask
from sim.cli.data import Form
from sim.cli.plan_asked import Asked

SOLVERS = ("highs", "cbc")


def plan(asked: Asked, form: Form) -> None:
    """A CSV is a problem of offsets, a JSON a graph of tasks; anything else names a model in training."""
    if asked.solver not in SOLVERS:
        raise WeirError(f"no solver {asked.solver!r:.40}{hint(asked.solver, SOLVERS)}")
    ask.limit(asked.seconds)
    if form is Form.CSV and not asked.curve:
        raise WeirError("--csv prints the rows of --curve; a CSV's own placement is written by --save placed.csv")
    if asked.what.lower().endswith(".json") and Path(asked.what).name != "config.json":
        from sim.cli import plans_graphs

        plans_graphs.graphed(asked, form)
    elif _is_file(asked.what) and asked.sequence is None:
        from sim.cli import plans_offsets

        plans_offsets.placed(asked, form)
    else:
        from sim.cli import plans_training

        plans_training.trained(asked, form)


def _is_file(what: str) -> bool:
    return what.lower().endswith(".csv") or Path(what).is_file()
