"""Rooflines, fronts and curves of tables, and what one run of a mapped cascade does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from einsum.errors import WeirError
from sim.arch import Device
from sim.model.actions import KINDS
from sim.model.estimate import Estimate
from sim.model.spatial import MappedEstimate
from sim.model.step import Step
from sim.model.timing import Timed
from sim.model.trace import Timeline
from sim.model.trace import timeline as drawn
from sim.plot import style
from sim.plot.style import COLOURS, GREY
from sim.space.pareto import nondominated
from sim.units import fmt

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def roofline(found: Estimate | Step | MappedEstimate, ax: Axes | None = None) -> Axes:
    """Each kernel by its operations per byte and the operations per second that one device achieves, under the roof of
    the device it runs on: its memory's bandwidth, and its peak in the type the kernels compute in.

    A mapped run is one point for each level of limited bandwidth, by the bytes that this level moves, under the roof
    of each; the units in use are the ceilings.
    """
    if isinstance(found, MappedEstimate):
        return _under_levels(style.on(ax), found)
    step = found.step if isinstance(found, Estimate) else found
    axes = style.on(ax)
    looks = style.styles()
    for pool in dict.fromkeys(place.pool for place in step.work.layout.places):
        kernels = [one for _, timed in step.rows for one in timed if one.task.pool == pool and _drawable(one)]
        if kernels:
            _under_roof(axes, step.cluster.pool(pool).device, pool, kernels, next(looks))
    if not axes.lines:
        raise WeirError("roofline: no kernel both computes and moves bytes; there is nothing to draw")
    _rooflike(axes)
    return axes


def _rooflike(axes: Axes) -> None:
    axes.set(xscale="log", yscale="log", xlabel="operations per byte (op/B)")
    axes.set_ylabel("operations per second of one device (op/s)")
    axes.legend()


def sheet(found: MappedEstimate, *, runs: int = 40) -> Figure:
    """All pictures of one mapped run: utilisation, energy, traffic, roofline and the first ``runs`` runs in time.

    In place of a picture of what the device's file does not state, the reason stands.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplot_mosaic([["a", "b", "c"], ["d", "e", "e"]], figsize=(16, 9), layout="constrained")
    for name, draw in zip("abcd", (utilisation, energy, traffic, roofline), strict=True):
        try:
            draw(found, axes[name])
        except WeirError as error:
            axes[name].set_axis_off()
            axes[name].text(0.5, 0.5, str(error), ha="center", va="center", wrap=True)
    timeline(found, axes["e"], runs=runs)
    return figure


def pareto(frame: pd.DataFrame, x: str, y: str, ax: Axes | None = None, *, maximise: Sequence[str] | str = ()) -> Axes:
    """Two columns of a table against each other: the Pareto front in colour, what it dominates in grey.

    Both are minimised unless named in ``maximise``; rows that do not fit (NaN) are left out. An axis whose values lie
    more than thirtyfold apart is logarithmic.
    """
    most = [maximise] if isinstance(maximise, str) else list(maximise)
    if strange := [name for name in most if name not in (x, y)]:
        raise WeirError(f"pareto: {strange[0]!r} is not an axis of the picture; maximise {x!r} or {y!r}")
    rows = style.rows(frame, x, y)
    on = nondominated(rows, [name for name in (x, y) if name not in most], most)
    axes = style.on(ax)
    axes.plot(rows[x][~on], rows[y][~on], ".", color=GREY, label=f"dominated ({(~on).sum()})")
    front = rows[on].sort_values([x, y])
    axes.plot(front[x], front[y], "o-", color=COLOURS[0], label=f"Pareto front ({on.sum()})")
    style.spread(axes, x=rows[x], y=rows[y])
    axes.set(xlabel=style.label(frame, x), ylabel=style.label(frame, y))
    axes.legend()
    return axes


def cost_curve(
    frame: pd.DataFrame, x: str = "batch", y: str = "usd_per_million_tokens", ax: Axes | None = None, *,
    by: str | None = "on",
) -> Axes:  # fmt: skip
    """What a token costs against batch, latency or any other column of a sweep: a curve for each value of ``by``.

    An axis whose values lie more than thirtyfold apart is logarithmic.
    """
    rows = style.rows(frame, x, y, *([] if by is None else [by]))
    axes = style.on(ax)
    style.spread(axes, x=rows[x], y=rows[y])
    looks = style.styles()
    for name, group in [(None, rows)] if by is None else rows.groupby(by, sort=False):
        colour, marker = next(looks)
        line = group.sort_values(x)
        axes.plot(line[x], line[y], marker=marker, markersize=4, color=colour, label=None if by is None else str(name))
    axes.set(xlabel=style.label(frame, x), ylabel=style.label(frame, y))
    if by is not None:
        axes.legend(title=style.label(frame, by))
    return axes


def utilisation(found: MappedEstimate, ax: Axes | None = None) -> Axes:
    """The share of its instances and time that each unit works, and that each level of limited bandwidth moves data."""
    units = {b.unit: found.utilisation(b.unit) for b in found.leaves}
    levels = {m.name: found.level_seconds[m.name] / found.seconds for m in found.device.memories if m.rate < np.inf}
    axes = style.on(ax)
    for (kind, shares), (colour, hatch) in zip((("units", units), ("levels", levels)), style.fills(), strict=False):
        if shares:
            heights = [100 * _last(share) for share in shares.values()]
            axes.bar(list(shares), heights, color=colour, hatch=hatch, edgecolor="white", label=kind)
    axes.set(ylim=(0, 100), ylabel="share of time in use (%)", title=_run(found))
    axes.legend()
    return axes


def energy(found: MappedEstimate, ax: Axes | None = None) -> Axes:
    """The joules of one run, one bar divided by level and unit, those that spend most at the bottom."""
    joules = {name: _last(value) for name, value in found.joules_by.items() if _last(value) > 0}
    if not joules:
        raise WeirError("energy: no component has an energy; state some, or give a technology")
    axes = style.on(ax)
    below = 0.0
    for (name, value), (colour, hatch) in zip(
        sorted(joules.items(), key=lambda at: -at[1]), style.fills(), strict=False
    ):
        label = f"{name} ({value / sum(joules.values()):.1%})"
        axes.bar([_run(found)], value, bottom=below, color=colour, hatch=hatch, edgecolor="white", label=label)
        below += value
    axes.set_ylabel("energy of one run (J)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def traffic(found: MappedEstimate, ax: Axes | None = None) -> Axes:
    """The bytes that each level handles in one run, by kind of action, on a logarithmic axis."""
    levels = [m.name for m in found.device.memories if _last(found.traffic(m.name)) > 0]
    axes = style.on(ax)
    width = 0.8 / len(KINDS)
    for place, (kind, (colour, hatch)) in enumerate(zip(KINDS, style.fills(), strict=False)):
        at = np.arange(len(levels)) + (place - (len(KINDS) - 1) / 2) * width
        heights = [_last(found.traffic(level, kind)) for level in levels]
        axes.bar(at, heights, width, color=colour, hatch=hatch, edgecolor="white", label=kind)
    axes.set(yscale="log", ylabel="bytes of one run (B)", title=_run(found))
    axes.set_xticks(range(len(levels)), levels)
    axes.legend()
    return axes


def timeline(found: MappedEstimate | Timeline, ax: Axes | None = None, *, runs: int = 40) -> Axes:
    """The first ``runs`` runs of Einsums on their units, and the levels that work for them, a row each."""
    line = found if isinstance(found, Timeline) else drawn(found, runs=runs)
    axes = style.on(ax)
    names = dict.fromkeys(e.name for e in line.events if e.kind == "run")
    styles = dict(zip(names, style.fills(), strict=False)) | {"moved": (GREY, "")}
    rows = {lane: place for place, lane in enumerate(line.lanes)}
    for lane, name in dict.fromkeys((e.lane, e.name if e.kind == "run" else "moved") for e in line.events):
        own = [e for e in line.events if e.lane == lane and (e.name if e.kind == "run" else "moved") == name]
        spans = [(e.start * 1e6, e.seconds * 1e6) for e in own]
        (colour, hatch), new = styles[name], name not in axes.get_legend_handles_labels()[1]
        label = name if new else None
        axes.broken_barh(spans, (rows[lane] - 0.4, 0.8), facecolor=colour, hatch=hatch, edgecolor="white", label=label)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlabel="time (us)", title=line.name)
    axes.invert_yaxis()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def _run(found: MappedEstimate) -> str:
    return f"{found.mapped.cascade.name} on {found.device.name}"


def _last(value: Any) -> float:
    """A figure, of the last design point."""
    return float(np.ravel(value)[-1])


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


def _under_levels(axes: Axes, found: MappedEstimate) -> Axes:
    """One mapped run against each level of limited bandwidth."""
    units = {
        unit: (_last(found.operations(unit)), _last(found.peak(unit))) for unit in {b.unit: 0 for b in found.leaves}
    }
    ops = sum(done for done, _ in units.values())
    sizes = {m: _last(found.traffic(m.name)) for m in found.device.memories if m.rate < np.inf}
    levels = {m: size for m, size in sizes.items() if size > 0}
    if not levels or ops == 0:
        raise WeirError("roofline: no level of limited bandwidth moves anything for an operation; nothing to draw")
    peak = max(most for _, most in units.values())
    bends = [peak / (m.rate * found.device.instances(m.name)) for m in levels]
    ends = np.array([min([*bends, *(ops / size for size in levels.values())]) / 2,
                     max([*bends, *(ops / size for size in levels.values())]) * 2])  # fmt: skip
    for (memory, size), (colour, marker), bend in zip(levels.items(), style.styles(), bends, strict=False):
        slope = memory.rate * found.device.instances(memory.name)
        at = np.array([ends[0], bend])
        axes.plot(at, slope * at, "-", color=colour, label=f"{memory.name}: {fmt(slope, 'B/s')}")
        axes.plot(ops / size, ops / _last(found.seconds), marker, color=colour, markersize=9)
    for (unit, (_, most)), dashes in zip(units.items(), cycle(("-", "--", ":", "-.")), strict=False):
        axes.plot(ends, [most, most], dashes, color="black", label=f"{unit}: {fmt(most, 'op/s')}")
    axes.set_title(_run(found))
    _rooflike(axes)
    return axes
