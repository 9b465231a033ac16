"""Sweeps of any function, point by point."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from einsum.errors import Infeasible, WeirError, hint
from sim.arch import Device, Prices
from sim.arch.prices import prices_or_why
from sim.model.estimate import placed
from sim.serving.answer import flat
from sim.space.axes import REFUSED, Axis, changed, dotted, held, label, points, repriced, size
from sim.space.progress import tracked

if TYPE_CHECKING:
    import pandas as pd


def calls(
    function: Callable[..., Any], axes: Sequence[Axis], only: str | None = None,
    devices: tuple[Device, ...] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a point: the axes' values, then what the function answers; ``fits`` is False where it cannot.

    An answer may say itself that it does not fit, and its ``reason``. All are priced from one book that has the
    ``devices`` (those of all clusters unless given). Where the condition ``only`` does not hold, the function is not
    called and there is no row.
    """
    import pandas as pd

    checked(function, axes)
    asked = held(axes, only)
    total = size(axes) if asked is None else int(asked.sum())
    priced = priced_of(function, axes) if devices is None else devices
    wanted = points(axes) if asked is None else compress(points(axes), asked)
    rows = [_row(function, point, priced) for point in tracked(wanted, total)]
    first, last = [*(a.name for a in axes), "fits"], ("reason", REFUSED)
    found = dict.fromkeys(name for row in rows for name in row)
    names = [*first, *(n for n in found if n not in (*first, *last)), *(n for n in last if n in found)]
    return pd.DataFrame({name: [row.get(name, math.nan) for row in rows] for name in names})


def _parameters(function: Callable[..., Any]) -> list[str]:
    found = inspect.signature(function).parameters.values()
    return [p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def priced_of(function: Callable[..., Any], axes: Sequence[Axis]) -> tuple[Device, ...]:
    """Devices of all clusters, where the function takes prices: all are then priced from one book."""
    places = [one for a in axes if a.name == "on" for one in a.values]
    if not places or not {"on", "prices"} <= set(_parameters(function)):
        return ()
    return tuple(p.device for one in places for p in placed(one).pools)


def checked(function: Callable[..., Any], axes: Sequence[Axis]) -> None:
    """Refuse axes that are not parameters of the function, and those that need one it does not have."""
    named = _parameters(function)
    free = any(p.kind == p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())
    title = getattr(function, "__name__", "the function")
    for one in axes:
        wanted = one.name
        if dotted(one.name):
            wanted = ("prices" if "prices" in named else "price") if one.name.startswith("price.") else "on"
        if wanted not in named and not (wanted == one.name and free):
            raise WeirError(f"sweep: {title} takes no {wanted!r}{hint(wanted, named)} (axis {one.name!r})")
        if wanted == "on" and "on" not in [a.name for a in axes]:
            raise WeirError(f"sweep: axis {one.name!r} changes a cluster; give at least one with on=[...]")


def _row(function: Callable[..., Any], point: dict[str, Any], priced: tuple[Device, ...]) -> dict[str, Any]:
    given = {name: label(value) for name, value in point.items()}
    try:
        answer = _figures(answered(function, point, priced))
    except WeirError as reason:  # a point that cannot be is a row; that none can be, the sweep finds out
        return given | {"fits": False, "reason": str(reason), REFUSED: not isinstance(reason, Infeasible)}
    return given | {"fits": True} | {k: v for k, v in answer.items() if given.get(k) is None}


def answered(function: Callable[..., Any], point: dict[str, Any], priced: tuple[Device, ...]) -> Any:
    """What the function answers at a point."""
    return function(**_arguments(point, priced))


def _arguments(point: dict[str, Any], priced: tuple[Device, ...]) -> dict[str, Any]:
    """The point as keyword arguments, its dotted names worked into the cluster and the prices."""
    arguments: dict[str, Any] = {name: value for name, value in point.items() if not dotted(name)}
    if any(dotted(name) and not name.startswith("price.") for name in point):
        arguments["on"] = changed(placed(point["on"]), point)
    overrides = {**(point.get("price") or {}), **repriced(point)}
    if priced and not isinstance(point.get("prices"), Prices):
        arguments["prices"] = prices_or_why(priced, point.get("prices"), overrides)  # one book for all points, or none
        arguments.pop("price", None)
    elif overrides:
        arguments["price"] = overrides
    return arguments


def _figures(answer: Any) -> dict[str, Any]:
    """Named figures out of whatever a function returns."""
    if isinstance(answer, numbers.Real):
        return {"value": float(answer)}
    summary = answer if isinstance(answer, Mapping) else getattr(answer, "summary", None)
    found = summary() if callable(summary) else summary
    if not isinstance(found, Mapping):
        raise WeirError(
            f"sweep: the function returned a {type(answer).__name__}; a number, a mapping or a result with"
            " summary() can be a row"
        )
    return flat(found)
