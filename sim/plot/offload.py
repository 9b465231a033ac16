"""Pictures of pipelines and placements, each drawn on the Axes it is given, or on a new one, which it returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from einsum.errors import WeirError
from sim.planner.pipeline import Schedule
from sim.planner.policy import Policy
from sim.planner.ranges import Placed
from sim.plot import style
from sim.plot.style import COLOURS, HATCHES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 4000  # passes that a picture still shows


def pipeline(found: Schedule, ax: Axes | None = None) -> Axes:
    """Every pass as a bar on its device's line, coloured by the kind of node (the letters its name begins with)."""
    if len(found.start) > MOST:
        raise WeirError(f"{len(found.start)} passes; at most {MOST} can be seen, schedule fewer microbatches")
    ax = style.on(ax)
    kinds = sorted(
        {node.name.rstrip("0123456789") for node in found.flow.nodes}, key=lambda kind: ("FBST".find(kind), kind)
    )
    for place, kind in enumerate(kinds):
        own = [n for n, node in enumerate(found.flow.nodes) if node.name.rstrip("0123456789") == kind]
        passes = [(n, k) for n, k in found.start if n in own]
        ax.barh(
            [found.flow.nodes[n].device for n, _ in passes],
            [found.flow.nodes[n].seconds for n, _ in passes],
            left=[found.start[one] for one in passes],
            color=COLOURS[place % len(COLOURS)], hatch=HATCHES[place % len(HATCHES)], edgecolor="white", label=kind,
        )  # fmt: skip
    held = ", ".join(f"{most:g}" for most in found.held)
    ax.set(xlabel="time (s)", ylabel="device", title=f"{found.method}: {found.idle:.1%} idle; most held {held}")
    ax.set_yticks(range(found.flow.devices))
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def placement(found: Policy, ax: Axes | None = None) -> Axes:
    """Where each tensor class lies: a bar a class, divided by tier."""
    ax = style.on(ax)
    classes = found.placement.method.classes
    tiers = list(dict.fromkeys(tier for _, own in classes for tier in own))
    left = [0.0] * len(classes)
    for place, tier in enumerate(tiers):
        shares = [found.fractions.get(f"{name}.{tier}", 0.0) for name, _ in classes]
        ax.barh(
            [name for name, _ in classes], shares, left=left, label=tier, color=COLOURS[place], hatch=HATCHES[place],
            edgecolor="white",
        )  # fmt: skip
        left = [a + b for a, b in zip(left, shares, strict=True)]
    ax.set(
        xlim=(0, 1), xlabel="share of the class's bytes", title=f"{found.model}: {found.tokens_per_second:.3g} tokens/s"
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def ranges(found: Placed, ax: Axes | None = None) -> Axes:
    """Each node's layers as a bar, one colour a kind of node, with how much of its rate is used."""
    ax = style.on(ax)
    kinds = list(dict.fromkeys(node.name.rpartition(" ")[0] for node in found.network.nodes))
    for n, (name, first, stop, _, busy) in enumerate(found.frame().itertuples(index=False)):
        place = kinds.index(name.rpartition(" ")[0]) % len(COLOURS)
        ax.barh(n, stop - first, left=first, color=COLOURS[place], hatch=HATCHES[place], edgecolor="white")
        if stop > first:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            ax.text(first + (stop - first) / 2, n, f"{busy:.0%}", ha="center", va="center", fontsize="small", bbox=box)
    ax.set_yticks(range(len(found.ranges)), [node.name for node in found.network.nodes])
    ax.set(xlim=(0, found.network.layers), xlabel="layer", title=f"{found.flow:.4g} tokens/s, {found.gap:.1%} unproven")
    ax.invert_yaxis()
    return ax
