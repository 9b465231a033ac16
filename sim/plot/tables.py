"""Pictures of tables and answers: each draws on the Axes it is given, or on a new one, and returns it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from einsum.errors import WeirError
from sim.plot import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from sim.serving.answer import Answer
    from sim.serving.sensitivity import Sensitivity

WRITTEN = 64  # a heat map of no more cells than this has their values written in them


def heat_map(
    frame: pd.DataFrame, x: str, y: str, value: str, ax: Axes | None = None, *, log: bool = False
) -> Axes:  # fmt: skip
    """A column's ``value`` over two others, a cell for each pair that a sweep visited; cells that do not fit are grey.

    ``x`` and ``y`` take their values in order. A pair that several rows share is refused: choose the rows first.
    ``log`` colours by the logarithm. The colours are those of cividis, which does not depend on telling red from green.
    """
    rows = style.rows(frame, x, y)
    style.rows(rows, value)
    if twice := int(rows.duplicated([x, y]).sum()):
        raise WeirError(f"heat map: {twice} rows share {x} and {y} with another; choose one row for each pair first")
    grid = rows.pivot(index=y, columns=x, values=value).astype(float)
    if log and not (np.nan_to_num(grid.to_numpy(), nan=1.0) > 0).all():
        raise WeirError(f"heat map: {value!r} is not positive everywhere; it has no logarithm")
    axes = style.on(ax)
    axes.set_facecolor("#DDDDDD")
    drawn = axes.pcolormesh(grid.to_numpy(), cmap="cividis", norm="log" if log else "linear", edgecolors="white")
    axes.figure.colorbar(drawn, ax=axes, label=style.label(frame, value))
    axes.set_xticks(np.arange(grid.shape[1]) + 0.5, [_short(v) for v in grid.columns])
    axes.set_yticks(np.arange(grid.shape[0]) + 0.5, [_short(v) for v in grid.index])
    axes.set(xlabel=style.label(frame, x), ylabel=style.label(frame, y))
    if grid.size <= WRITTEN:
        _write(axes, grid.to_numpy(), drawn)
    return axes


def _write(axes: Axes, grid: Any, drawn: Any) -> None:
    """Each cell's value in it, dark on light and light on dark."""
    for (row, column), value in np.ndenumerate(grid):
        missing = not np.isfinite(value)
        colour = "#000000" if missing or drawn.norm(value) > 0.55 else "#FFFFFF"
        text = "does not fit" if missing else _short(float(value))
        size = "x-small" if missing else "small"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=size)


def _short(value: Any) -> str:
    """Three digits of a number, the whole of a name."""
    if isinstance(value, float):  # numpy's own floats as well
        return f"{value:,.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"
    return str(value)


def stacked(frame: pd.DataFrame, parts: Sequence[str], ax: Axes | None = None, *, by: str | None = None) -> Axes:
    """A bar for each row, divided into ``parts``: columns of one unit, such as dollars, joules or bytes by component.

    ``by`` is the column that names the bars; without it they have the index's names. Parts are zero or more.
    """
    if not parts:
        raise WeirError("stacked: name at least one column")
    rows = style.rows(frame, *parts, *([] if by is None else [by]))
    units = {frame.attrs.get("units", {}).get(part) for part in parts}
    if len(units) > 1:
        raise WeirError(f"stacked: parts of unlike units ({', '.join(sorted(map(str, units)))}) have no sum")
    if negative := [part for part in parts if (rows[part] < 0).any()]:
        raise WeirError(f"stacked: {negative[0]!r} is negative somewhere; a bar cannot be divided into that")
    axes = style.on(ax)
    names = [str(name) for name in (rows.index if by is None else rows[by])]
    below = np.zeros(len(rows))
    for part, (colour, hatch) in zip(parts, style.fills(), strict=False):
        heights, label = rows[part].to_numpy(float), style.label(frame, part).partition(" (")[0]
        axes.bar(range(len(names)), heights, bottom=below, color=colour, hatch=hatch, edgecolor="white", label=label)
        below += heights
    axes.set_xticks(range(len(names)), names, rotation=30 if max(map(len, names)) > 8 else 0)
    [unit] = units
    axes.set_ylabel(f"sum of parts ({unit})" if unit else "sum of parts")
    if by is not None:
        axes.set_xlabel(style.label(frame, by))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def tornado(found: Answer | Iterable[Sensitivity], ax: Axes | None = None, *, most: int = 12) -> Axes:
    """What an answer hangs on: tokens per dollar by percent when each parameter rises by one percent, largest on top.

    Bars to the right help, bars to the left hurt; parameters without effect are left out, as are those after ``most``.
    """
    every: Any = getattr(found, "sensitivities", found)
    rows = sorted((s for s in every if s.elasticity), key=lambda s: -abs(s.elasticity))[:most]
    if not rows:
        raise WeirError(
            "tornado: no parameter has an effect; there is nothing to draw (was the answer sensitive=True?)"
        )
    axes = style.on(ax)
    for colour, hatch, label, sign in ((style.COLOURS[0], "", "more", 1), (style.COLOURS[1], "//", "less", -1)):
        own = [(place, s.elasticity) for place, s in enumerate(rows) if s.elasticity * sign > 0]
        if own:
            places, widths = zip(*own, strict=True)
            axes.barh(places, widths, color=colour, hatch=hatch, edgecolor="white", label=f"{label} tokens per dollar")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [s.parameter for s in rows])
    axes.invert_yaxis()
    axes.set_xlabel("tokens per dollar (% for each % of the parameter)")
    axes.legend(loc="lower right")  # the longest bars are on top
    return axes
