"""Rows of sweeps opened: a step of a model, a run of a cascade, or what a function answered at a point."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.explain import given, mapped, serving
from sim.explain.opened import Opened, opened
from sim.explain.traced import Traced
from sim.serving.answer import Answer, flat
from sim.space.point import Called, Ran, Stepped
from sim.space.runs import figures
from sim.space.steps import money, timed
from sim.space.sweep import ENDINGS


@opened.register
def _stepped(result: Stepped, changed: tuple[str, ...] = ()) -> Opened:
    own = serving.deployed(result.deployment, changed)
    found = timed(own, result.phase, np.array([result.batch]), np.array([result.tokens]))
    usd = given.prices(result.prices).usd_per_hour(result.deployment.cluster)
    dollar, million = money(found["tokens_per_second"], usd)
    costs = {"usd_per_hour": usd, "usd_per_million_tokens": million, "tokens_per_dollar": dollar}
    return Opened({k: v for k, v in found.items() if k != "bound"} | costs, "seconds", lambda: serving.tasks(own))


@opened.register
def _ran(result: Ran, changed: tuple[str, ...] = ()) -> Opened:
    made = mapped.traced(result.estimate, changed)
    found = {k: _plain(v) for k, v in figures(made, 1).items() if k != "bound"}
    units = {name: ENDINGS[name.rpartition("_")[2]] for name in found if name.rpartition("_")[2] in ENDINGS}
    return Opened(found, "seconds", lambda: mapped.parts(made), units=units)


@opened.register
def _called(result: Called, changed: tuple[str, ...] = ()) -> Opened:
    inner = opened(result.answer, changed)
    if not isinstance(result.answer, Answer):
        return inner
    names = {f"{key}_{name}": f"{key}.{name}" for key, value in inner.figures.items() if isinstance(value, dict)
             for name in value}  # fmt: skip

    def own(figure: str) -> str:
        return names.get(figure, figure)

    return Opened(flat(inner.figures), inner.first, inner.parts, lambda figure: inner.how(own(figure)),
                  lambda figure: inner.beside(own(figure)))  # fmt: skip


def _plain(value: Any) -> Any:
    """A figure that nothing traced is in as a number."""
    return value if isinstance(value, Traced) else float(np.ravel(value)[-1])
