"""Pictures of memory plans: what runs and what moves over time, bytes in use, and overhead against bytes."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.planner.problem import Plan, Problem
from sim.plot import style
from sim.plot.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED = 12  # no more kinds than this are named beside the picture


def streams(problem: Problem, plan: Plan, ax: Axes | None = None) -> Axes:
    """Runs on their units, and copies beneath them on each direction of each link, over time."""
    axes = style.on(ax, (9, 3))
    units = {t.name: t.unit for t in problem.tasks}
    rows: dict[str, list[tuple[float, float, str]]] = {}
    for run in plan.runs:
        rows.setdefault(units[run.task], []).append((run.start, run.stop - run.start, run.task))
    for move in plan.moves:
        rows.setdefault(f"{move.source} to {move.target}", []).append((move.start, move.stop - move.start, move.buffer))
    kinds = dict.fromkeys(_kind(name) for spans in rows.values() for _, _, name in spans)
    looks = dict(zip(kinds, cycle(style.fills())))
    for place, spans in enumerate(rows.values()):
        thin = min(length for _, length, _ in spans) > 0.004 * plan.value  # or there is nothing but edges
        for kind in dict.fromkeys(_kind(name) for _, _, name in spans):
            bars = [(start, length) for start, length, name in spans if _kind(name) == kind]
            (colour, hatch), label = looks[kind], kind if kind not in axes.get_legend_handles_labels()[1] else None
            axes.broken_barh(bars, (-place - 0.4, 0.8), facecolor=colour, hatch=hatch, edgecolor="white",
                             lw=0.3 * thin, label=label)  # fmt: skip
    axes.set_yticks([-i for i in range(len(rows))], list(rows))
    axes.set_xlabel("time")
    style.measured(axes.xaxis, "s")
    if 1 < len(kinds) <= NAMED:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    axes.set_title(f"{plan.problem}: {plan.value:.4g} s ({plan.method})", fontsize="medium")
    return axes


def resident(problem: Problem, plan: Plan, ax: Axes | None = None) -> Axes:
    """Bytes of each tier in use over time, with the first tier's capacity."""
    axes = style.on(ax, (9, 3))
    looks = cycle(zip(COLOURS, ("-", "--", "-."), strict=False))
    sizes = {b.name: b.size for b in problem.buffers}
    for tier in problem.tiers:
        stays = [s for s in plan.stays if s.tier == tier.name]
        if stays:
            times, held = _held([(s.start, s.stop, sizes[s.buffer]) for s in stays])
            colour, dashes = next(looks)
            axes.step(times, held, dashes, where="post", color=colour, label=tier.name)
    if np.isfinite(problem.tiers[0].capacity):
        axes.axhline(problem.tiers[0].capacity, color="grey", ls=":", label=f"{problem.tiers[0].name} capacity")
    axes.set(xlabel="time", ylabel="in use")
    style.measured(axes.xaxis, "s")
    style.measured(axes.yaxis, "B")
    axes.legend(fontsize="small")
    return axes


def overhead(table: Any, ax: Axes | None = None) -> Axes:
    """Overhead against budget, and the bound beneath it: the table of :func:`sim.planner.curves.curve`. What is proven
    optimal is filled; between the two lies what is not known."""
    axes = style.on(ax, (9, 3))
    share, found, bound = table.share * 100, table.overhead * 100, table.bound * 100
    axes.fill_between(share, bound.astype(float), found.astype(float), color=COLOURS[0], alpha=0.15, lw=0)
    axes.plot(share, found, color=COLOURS[0], marker="o", mfc="white", label="schedule found")
    axes.plot(share, bound, color=COLOURS[1], ls=":", marker=".", label="no schedule is below")
    best = table.proven.eq(True)  # nan where nothing fits
    axes.plot(share[best], found[best], color=COLOURS[0], marker="o", ls="", label="proven optimal")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("budget, % of what keeping everything takes")
    axes.set_ylabel("recomputation, % of one pass")
    axes.legend(fontsize="small")
    return axes


def _kind(name: str) -> str:
    """The first word of what runs or moves, without its number."""
    return name.partition(" ")[0].rstrip("0123456789")


def _held(spans: list[tuple[float, float, int]]) -> tuple[Any, Any]:
    """Moments of change and the bytes in use from each of them on."""
    changes = sorted([(start, size) for start, _, size in spans] + [(stop, -size) for _, stop, size in spans])
    times = np.array([t for t, _ in changes])
    return times, np.cumsum([float(c) for _, c in changes])
