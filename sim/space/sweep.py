"""``sweep``: a table of answers over any arguments as axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum.errors import WeirError
from sim.arch import Cluster, Device, cluster
from sim.serving.deploy import Model
from sim.space.axes import Axis, axis, dotted, unit_of
from sim.space.calls import calls
from sim.space.steps import steps

if TYPE_CHECKING:
    import pandas as pd

UNITS = {
    "context": "tokens", "prompt": "tokens", "output": "tokens", "batch": "requests", "host": "s", "seconds": "s",
    "tokens_per_second": "tokens/s", "joules_per_token": "J/token", "joules": "J", "usd_per_hour": "USD/h",
    "usd_per_million_tokens": "USD/Mtoken", "tokens_per_dollar": "tokens/USD", "limit_seconds": "s",
    "limit_tokens_per_second": "tokens/s", "operations_per_device": "op", "bytes_per_device": "B",
}  # fmt: skip


def sweep(
    what: Callable[..., Any] | Model | str | Path | list[Model | str | Path], /, *, on: Any = None, **axes: Any
) -> pd.DataFrame:
    """A tidy table, one row for every combination of the axes' values, the last axis moving fastest.

    ``what`` is a model (or several, or their names): then each row is one decode step (axes ``batch`` and ``context``)
    or one prefill (``batch`` and ``prompt``) on a cluster of ``on``, with ``layout``, ``tier``, ``host`` and
    ``prices`` as further axes, and all sizes of a deployment are timed in one vectorised call. Or it is a function,
    such as :func:`sim.serve`, whose parameters are the axes: it is called point by point.

    A dotted name reaches into the clusters (``**{"model.hbm.bandwidth": ["2 TB/s", "4 TB/s"]}``) or into the prices
    (``**{"price.h100_sxm": [2, 3]}``). What does not fit is a row with ``fits`` False. ``frame.attrs["units"]`` names
    the units.
    """
    made = [axis(name, values) for name, values in axes.items()]
    front = [] if on is None else [axis("on", on)]
    for one in front:
        one.check((str, Path, Cluster, Device) if callable(what) else (str, Path, Cluster))
    if callable(what):
        frame = calls(what, [*front, *made])
    else:
        frame = steps([Axis("model", _models(what)), _clusters(front), *made])
    frame.attrs["units"] = {str(c): unit for c in frame.columns if (unit := _unit(str(c)))}
    return frame


def _models(what: Any) -> tuple[Model, ...]:
    """The models, those given by name read."""
    given = list(what) if isinstance(what, list | tuple) else [what]
    if not given:
        raise WeirError("sweep: no model; give one, or a list of them")
    return tuple(_model(one) for one in given)


def _model(one: Any) -> Model:
    if isinstance(one, str | Path):
        from workloads.transformer import from_config

        return from_config(one)
    if not (hasattr(one, "decode") and hasattr(one, "prefill")):
        raise WeirError(f"sweep: a {type(one).__name__} is neither a model nor a function")
    made: Model = one
    return made


def _clusters(given: list[Axis]) -> Axis:
    if not given:
        raise WeirError("sweep: no cluster; give at least one with on=[...], for example on=['4xh100']")
    return Axis("on", tuple(one if isinstance(one, Cluster) else cluster(one) for one in given[0].values))


def _unit(name: str) -> str | None:
    if dotted(name):
        return unit_of(name)
    return "s" if name.startswith(("ttft_", "tpot_", "e2e_")) else UNITS.get(name)
