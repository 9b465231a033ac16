"""Pareto fronts: the rows of a table that no other row beats in every respect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError, hint

if TYPE_CHECKING:
    import pandas as pd

Ranks = NDArray[np.int64]
FEW = 20_000  # rows that are compared block by block in less time than a compiler takes to start
BLOCK = 512  # candidates compared at once
FRONT = 8192  # rows of the front that they are compared with at once


def pareto(frame: pd.DataFrame, minimise: Sequence[str] | str = (), maximise: Sequence[str] | str = ()) -> pd.DataFrame:
    """The rows that none dominates, in their order; of equal rows all are kept.

    A row dominates another if it is no worse in every objective and better in at least one. Raises
    :class:`WeirError` for columns that are not there or hold no numbers.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"usd": [1, 2, 3, 3], "seconds": [9, 4, 5, 4]})
    >>> pareto(table, minimise=["usd", "seconds"]).index.tolist()
    [0, 1]
    """
    return frame[nondominated(frame, minimise, maximise)]


def nondominated(
    frame: pd.DataFrame, minimise: Sequence[str] | str = (), maximise: Sequence[str] | str = ()
) -> NDArray[np.bool_]:
    """Which rows of the table are on its front."""
    least, most = _names(minimise), _names(maximise)
    _check(frame, (*least, *most))
    columns = [_ranks(frame[name]) for name in least] + [-_ranks(frame[name]) for name in most]
    if not len(frame):
        return np.zeros(0, bool)
    if len(columns) == 1:
        return np.asarray(columns[0] == columns[0].min())
    if len(columns) == 2:
        return _staircase(*columns)
    points = np.stack([column - column.min() for column in columns])
    if len(frame) <= FEW:
        return _by_blocks(points)
    from sim.space.fronts import front  # compiled: for large tables only

    return front(points)


def _names(given: Sequence[str] | str) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _check(frame: pd.DataFrame, names: tuple[str, ...]) -> None:
    """Refuse objectives that are missing, twice there, or not numbers everywhere."""
    from pandas.api.types import is_numeric_dtype

    if not names:
        raise WeirError("pareto: nothing to minimise or maximise; name at least one column")
    for name in names:
        if name not in frame.columns:
            raise WeirError(f"pareto: no column {name!r}{hint(name, map(str, frame.columns), most=40)}")
        if names.count(name) > 1:
            raise WeirError(f"pareto: column {name!r} is named more than once")
        if not is_numeric_dtype(frame[name]):
            raise WeirError(f"pareto: column {name!r} holds {frame[name].dtype} values; objectives are numbers")
        missing = int(frame[name].isna().sum())
        if missing:
            raise WeirError(f"pareto: column {name!r} is NaN in {missing} of {len(frame)} rows; drop them first")


def _ranks(column: Any) -> Ranks:
    """Each value's place among the distinct ones: exact for integers, floats and infinities alike."""
    values = column.to_numpy()
    order = np.argsort(values)
    ordered = values[order]
    places = np.empty(len(values), np.int64)
    places[order] = np.cumsum(np.concatenate(([0], ordered[1:] != ordered[:-1])))
    return places


def _staircase(x: Ranks, y: Ranks) -> NDArray[np.bool_]:
    """Two objectives: sorted by the first, a row stays if its second is below all of those before."""
    low = y - y.min()
    order = np.argsort((x - x.min()) * (low.max() + 1) + low, kind="stable")
    xs, ys = x[order], low[order]
    starts = np.flatnonzero(np.concatenate(([True], xs[1:] != xs[:-1])))  # the best row of each value of x
    best = ys[starts]
    beats = np.concatenate(([True], best[1:] < np.minimum.accumulate(best)[:-1]))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(xs))))
    kept = np.empty(len(x), bool)
    kept[order] = beats[group] & (ys == best[group])
    return kept


def _by_blocks(points: Ranks) -> NDArray[np.bool_]:
    """Any number of objectives (objective, row), block by block in the order of the ranks' sum.

    Whatever dominates a row has a smaller sum, so it comes before; the front found so far never loses a row.
    """
    total = points.sum(axis=0)
    order = np.argsort(total, kind="stable")
    kept = np.zeros(points.shape[1], bool)
    front = order[:0]
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        for first in range(0, len(front), FRONT):
            rows = rows[~_dominated(points, total, rows, front[first : first + FRONT])]
        rows = rows[~_dominated(points, total, rows, rows)]
        front = np.append(front, rows)
    kept[front] = True
    return kept


def _dominated(points: Ranks, total: Ranks, rows: Ranks, by: Ranks) -> NDArray[np.bool_]:
    """Which of ``rows`` some row of ``by`` dominates: no worse anywhere, and of a smaller sum."""
    beaten = total[by][None, :] < total[rows][:, None]
    for objective in points:
        beaten &= objective[by][None, :] <= objective[rows][:, None]
    return np.asarray(beaten.any(axis=1))
