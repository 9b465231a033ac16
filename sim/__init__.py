"""The front door: on what, how fast, how much energy, at what price.

Everything public is here, loaded when first used.

==========================================  ==========================================================
``device("h100")``, ``cluster("4xh100")``   hardware by name or from a file; ``tier``, ``trace`` likewise
``serve(model, cluster)``, ``compare``      what a model serves: speed, latencies, energy, money
``training_step(model, cluster, ...)``      an iteration of training
``estimate(cascade, device)``               time and energy of one run of a cascade
``search(cascade, device)``                 the best loop nest of a cascade
``spgemm(matrix, on=device)``               ways to compute a sparse product
``plan(problem)``                           addresses of buffers in memory
``sweep(what, on=..., batch=[...])``        a table over any axes; ``explore`` where there are too many
``pareto(table, minimise=[...])``           the rows that none dominates
``report(table, "page.html")``              a page to look at and to mail
``validate("step3")``                       published figures beside the model's
==========================================  ==========================================================

Numbers are in SI units (bytes, seconds, joules), money in US dollars; tables name the units of their columns in
``table.attrs["units"]``. Mistakes raise :class:`einsum.WeirError`, what cannot fit its subclass ``Infeasible``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sim.arch import cluster, device, tier
    from sim.mapper.hunt import search
    from sim.model.estimate import estimate
    from sim.pages.page import report
    from sim.planner.iteration import training_step
    from sim.planner.offsets import plan
    from sim.published import validate
    from sim.serving.answer import serve
    from sim.serving.comparison import compare
    from sim.serving.trace import trace
    from sim.space.explore import explore
    from sim.space.pareto import pareto
    from sim.space.sweep import sweep
    from sim.sparse import spgemm

_WHERE = {
    "cluster": "sim.arch",
    "compare": "sim.serving.comparison",
    "device": "sim.arch",
    "estimate": "sim.model.estimate",
    "explore": "sim.space.explore",
    "pareto": "sim.space.pareto",
    "plan": "sim.planner.offsets",
    "report": "sim.pages.page",
    "search": "sim.mapper.hunt",
    "serve": "sim.serving.answer",
    "spgemm": "sim.sparse",
    "sweep": "sim.space.sweep",
    "tier": "sim.arch",
    "trace": "sim.serving.trace",
    "training_step": "sim.planner.iteration",
    "validate": "sim.published",
}

__all__ = [
    "cluster",
    "compare",
    "device",
    "estimate",
    "explore",
    "pareto",
    "plan",
    "report",
    "search",
    "serve",
    "spgemm",
    "sweep",
    "tier",
    "trace",
    "training_step",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Load a public name from where it lives (PEP 562): importing ``sim`` costs nothing until it is used."""
    if name not in _WHERE:
        raise AttributeError(f"module 'sim' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
