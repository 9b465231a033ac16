"""A memory map: what lies where over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sim.plot import style
from sim.units import fmt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

NAMED = 80  # no more rectangles than this have their names written in them


def memory_map(
    start: ArrayLike, stop: ArrayLike, offset: ArrayLike, size: ArrayLike, label: Sequence[str] = (),
    ax: Axes | None = None, *, capacity: float | None = None, live: bool = True, unit: str = "steps",
) -> Axes:  # fmt: skip
    """Rectangles of time (``start`` to ``stop``) by address (``offset`` and up, bytes), one for each stay.

    ``live`` adds the sum of what is live as a line: where it meets the top, no placement is lower. ``unit`` is that of
    the times, ``"steps"`` or ``"s"``.
    """
    low, high, base, bytes_ = (np.asarray(a, float) for a in (start, stop, offset, size))
    axes = style.on(ax)
    _rectangles(axes, low, high, base, base + bytes_)
    axes.set_xlim(low.min(initial=0), high.max(initial=1))
    top = max((base + bytes_).max(initial=1), capacity or 0)
    axes.set_ylim(0, top * 1.03)
    if live and low.size:
        times, sums = _live(low, high, bytes_)
        axes.step(times, sums, where="post", color="black", linewidth=1, label=f"live (at most {fmt(sums.max(), 'B')})")
    if capacity is not None:
        axes.axhline(capacity, color="#D55E00", linestyle="--", label=f"capacity {fmt(capacity, 'B')}")
    if (live and low.size) or capacity is not None:
        axes.legend(loc="lower right")
    if len(label) <= NAMED:
        _names(axes, label, (low + high) / 2, base + bytes_ / 2)
    axes.set(xlabel="time" if unit == "s" else f"time ({unit})", ylabel="address")
    style.measured(axes.yaxis, "B")
    if unit == "s":
        style.measured(axes.xaxis, unit)
    return axes


def _rectangles(axes: Axes, low: np.ndarray, high: np.ndarray, base: np.ndarray, top: np.ndarray) -> None:
    """Each stay's rectangle, ``low`` to ``high`` in time and ``base`` to ``top`` in address."""
    from matplotlib.collections import PolyCollection

    corners = np.stack([np.stack(side, 1) for side in ((low, base), (high, base), (high, top), (low, top))], 1)
    light = style.tints()
    colours = light[np.arange(low.size) * 3 % len(light)]  # neighbours differ
    thin = 0.4 if low.size < 2000 else 0.0
    axes.add_collection(PolyCollection(list(corners), facecolors=colours, edgecolors="white", linewidths=thin))


def _names(axes: Axes, label: Sequence[str], x: np.ndarray, y: np.ndarray) -> None:
    """A name in the middle of each rectangle."""
    letters = 9 if len(label) <= NAMED // 4 else 6
    for name, across, up in zip(label, x, y, strict=False):
        axes.text(across, up, name, ha="center", va="center", fontsize=letters, clip_on=True)


def _live(low: np.ndarray, high: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes live from each moment on."""
    times = np.unique(np.concatenate([low, high]))
    change = np.zeros(times.size)
    np.add.at(change, np.searchsorted(times, low), size)
    np.add.at(change, np.searchsorted(times, high), -size)
    return times, np.cumsum(change)
