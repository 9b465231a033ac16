"""Pictures of sparse products: a roofline, traffic by tensor, and how evenly workers are used."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from einsum.files import write
from sim.plot import style
from sim.plot.style import COLOURS, MARKERS
from sim.sparse import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def roofline(found: Comparison, ax: Axes | None = None) -> Axes:
    """Multiplications and additions a second over those a byte of the outermost level, under that level's bandwidth."""
    ax = style.on(ax)
    flops = 2.0 * found.estimates[0].multiplies
    points = [(flops / e.traffic, flops / e.seconds) for e in found.estimates]
    outer = found.estimates[0].outer
    bandwidth = outer.bandwidth * found.device.instances(outer.name)
    reach = np.array([min(x for x, _ in points) / 3, max(x for x, _ in points) * 3])
    ax.loglog(reach, reach * bandwidth, color="0.4", label=f"{outer.name} bandwidth")
    styles = zip(cycle(COLOURS), cycle(MARKERS))
    for (x, y), e, (colour, marker) in zip(points, found.estimates, styles):  # noqa: B905
        ax.loglog(x, y, marker, color=colour, label=e.mapping.name)
    ax.set(xlabel="operations per byte (op/B)", ylabel="operations per second (op/s)")
    ax.set_title(f"{found.matrix} on {found.device.name}")
    ax.legend(fontsize="small")
    return ax


def traffic(found: Comparison, ax: Axes | None = None) -> Axes:
    """Bytes of each tensor at the outermost level, a bar each for each mapping, over the least there can be."""
    ax = style.on(ax)
    names = list(dict.fromkeys(t for e in found.estimates for t in e.tensors))
    rows, high = np.arange(len(found.estimates)), 0.8 / len(names)
    for place, (tensor, (colour, hatch)) in enumerate(zip(names, style.fills(), strict=False)):
        width = [e.counted.moved(e.outer.name, tensor) / e.compulsory for e in found.estimates]
        ax.barh(
            rows - 0.4 + (place + 0.5) * high, width, high, label=tensor, color=colour, hatch=hatch, edgecolor="white"
        )
    ax.set_yticks(rows, [e.mapping.name for e in found.estimates])
    ax.set(xscale="log", xlabel="bytes moved, over the least there can be (1)")
    ax.axvline(1.0, color="0.4", linewidth=1)
    ax.legend(fontsize="small")
    return ax


def workers(found: Comparison, ax: Axes | None = None) -> Axes:
    """How many workers have how much of the work of the busiest one."""
    ax = style.on(ax)
    edges = [place / 20 for place in range(21)]
    for e, colour, dashes in zip(found.estimates, cycle(COLOURS), cycle(("-", "--", ":", "-."))):
        if e.thread_loads is not None and e.thread_loads.max() > 0:
            share = e.thread_loads / e.thread_loads.max()
            ax.hist(share, edges, histtype="step", label=e.mapping.name, color=colour, linestyle=dashes)
    ax.set(xlabel="work, as a share of the busiest worker's (1)", ylabel="workers")
    ax.legend(fontsize="small")
    return ax


def save(found: Comparison, path: str | Path) -> None:
    """All three in one file, which is replaced only when it is whole."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    target, drawn = Path(path), io.BytesIO()
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    try:
        _draw(found, axes)
        figure.savefig(drawn, format=target.suffix[1:])
    finally:
        plt.close(figure)
    write(target, drawn.getvalue(), "picture")


def _draw(found: Comparison, axes: Any) -> None:
    roofline(found, axes[0])
    traffic(found, axes[1])
    if any(e.thread_loads is not None for e in found.estimates):
        workers(found, axes[2])
    else:
        axes[2].set_axis_off()
