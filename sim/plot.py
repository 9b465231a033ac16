"""Pictures: each function draws on the Axes it is given, or on a new one, and returns it.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which people with any colour vision tell apart;
groups differ in their markers as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from einsum.errors import WeirError, hint
from sim.arch import Device
from sim.model.estimate import Estimate
from sim.model.step import Step
from sim.model.timing import Timed
from sim.space.pareto import nondominated
from sim.units import fmt

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#BBBBBB"


def roofline(found: Estimate | Step, ax: Axes | None = None) -> Axes:
    """Each kernel by its operations per byte and the operations per second that one device achieves, under the roof of
    the device it runs on: its memory's bandwidth, and its peak in the type the kernels compute in."""
    step = found.step if isinstance(found, Estimate) else found
    axes = _axes(ax)
    styles = _styles()
    for pool in dict.fromkeys(place.pool for place in step.work.layout.places):
        kernels = [one for _, timed in step.rows for one in timed if one.task.pool == pool and _drawable(one)]
        if kernels:
            _under_roof(axes, step.cluster.pool(pool).device, pool, kernels, next(styles))
    if not axes.lines:
        raise WeirError("roofline: no kernel both computes and moves bytes; there is nothing to draw")
    axes.set(xscale="log", yscale="log", xlabel="operations per byte (op/B)")
    axes.set_ylabel("operations per second of one device (op/s)")
    axes.legend()
    return axes


def pareto(frame: pd.DataFrame, x: str, y: str, ax: Axes | None = None, *, maximise: Sequence[str] | str = ()) -> Axes:
    """Two columns of a table against each other: the Pareto front in colour, what it dominates in grey.

    Both are minimised unless named in ``maximise``; rows that do not fit (NaN) are left out.
    """
    most = [maximise] if isinstance(maximise, str) else list(maximise)
    if strange := [name for name in most if name not in (x, y)]:
        raise WeirError(f"pareto: {strange[0]!r} is not an axis of the picture; maximise {x!r} or {y!r}")
    rows = _rows(frame, x, y)
    on = nondominated(rows, [name for name in (x, y) if name not in most], most)
    axes = _axes(ax)
    axes.plot(rows[x][~on], rows[y][~on], ".", color=GREY, label=f"dominated ({(~on).sum()})")
    front = rows[on].sort_values([x, y])
    axes.plot(front[x], front[y], "o-", color=COLOURS[0], label=f"Pareto front ({on.sum()})")
    axes.set(xlabel=_label(frame, x), ylabel=_label(frame, y))
    axes.legend()
    return axes


def cost_curve(
    frame: pd.DataFrame, x: str = "batch", y: str = "usd_per_million_tokens", ax: Axes | None = None, *,
    by: str | None = "on",
) -> Axes:  # fmt: skip
    """What a token costs against batch, latency or any other column of a sweep: a curve for each value of ``by``."""
    rows = _rows(frame, x, y, *([] if by is None else [by]))
    axes = _axes(ax)
    styles = _styles()
    for name, group in [(None, rows)] if by is None else rows.groupby(by, sort=False):
        colour, marker = next(styles)
        line = group.sort_values(x)
        axes.plot(line[x], line[y], marker=marker, markersize=4, color=colour, label=None if by is None else str(name))
    axes.set(xlabel=_label(frame, x), ylabel=_label(frame, y))
    if by is not None:
        axes.legend(title=_label(frame, by))
    return axes


def _axes(ax: Axes | None) -> Axes:
    """The Axes given, or that of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def _styles() -> Iterator[tuple[str, str]]:
    """Colour and marker of each group in turn."""
    return cycle(zip(COLOURS, MARKERS, strict=True))


def _drawable(one: Timed) -> bool:
    """Whether a task is a kernel with a place on logarithmic axes."""
    return one.task.kind == "kernel" and bool(np.all(_operations(one) > 0) and np.all(one.task.size > 0))


def _operations(one: Timed) -> Any:
    return sum((count for _, _, count in one.task.ops), start=0.0)


def _under_roof(axes: Axes, device: Device, pool: str, kernels: list[Timed], style: tuple[str, str]) -> None:
    """One pool's kernels and the roof over them."""
    colour, marker = style
    points = [np.broadcast_arrays(_operations(k), k.task.size, k.seconds) for k in kernels]
    ops, size, seconds = (np.concatenate([np.ravel(p[i]) for p in points]) for i in range(3))
    axes.plot(ops / size, ops / seconds, marker, color=colour, label=f"{pool}: kernels")
    peaks = {device.rate(op, dtype): dtype for k in kernels for op, dtype, _ in k.task.ops}
    peak, slope = max(peaks), device.memory.rate
    ends = np.array(
        [min((ops / size).min(), peak / slope) / 2, peak / slope, max((ops / size).max(), peak / slope) * 2]
    )
    text = f"{device.name}: {fmt(peak, 'op/s')} {peaks[peak]}, {fmt(slope, 'B/s')}"
    axes.plot(ends, np.minimum(peak, slope * ends), "-", color=colour, label=text)


def _rows(frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The rows with numbers in the columns to draw."""
    for name in names:
        if name not in frame.columns:
            raise WeirError(f"plot: no column {name!r}{hint(name, map(str, frame.columns))}")
    rows = frame.dropna(subset=list(names))
    if not len(rows):
        raise WeirError(f"plot: nothing to draw: no row has {' and '.join(names)} (does anything fit?)")
    return rows


def _label(frame: pd.DataFrame, name: str) -> str:
    """A column's name for people, with its unit."""
    unit = frame.attrs.get("units", {}).get(name)
    words = name.replace("_", " ").replace("usd", "USD")
    return f"{words} ({unit})" if unit else words
