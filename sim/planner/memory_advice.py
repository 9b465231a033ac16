"""What binds a plan of buffers or of a graph's tasks in one memory, and what more of it would give, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from einsum import Infeasible
from sim.planner.milp import Unfinished
from sim.units import fmt

if TYPE_CHECKING:
    from sim.planner.answers import Scheduled
    from sim.planner.packing import Laid

AGAIN = 5.0  # seconds at most for a schedule that is planned again
MORE = 1.1  # of the memory there is
NAMED = 3  # buffers that are named


def laid(found: Laid) -> Iterator[str]:
    """The fullest moment and the largest of the buffers that are live then."""
    when, live = found.packing.fullest
    if not live:
        return
    large = sorted(live, key=lambda b: -b.size)[:NAMED]
    names = ", ".join(f"{b.name} ({fmt(b.size, 'B')})" for b in large)
    more = f" and {len(live) - len(large)} more" if len(live) > len(large) else ""
    yield (
        f"fullest at {when:g}: {fmt(sum(b.size for b in live), 'B')} live, {names}{more}; no placement is lower unless"
        " one of them is smaller or not live then"
    )


def scheduled(found: Scheduled) -> Iterator[str]:
    """What of a graph's time is computing again or waiting, and what a tenth more memory would save."""
    over, budget = found.seconds / found.once - 1 if found.once else 0.0, found.problem.tiers[0].capacity
    if over <= 0 or not isfinite(budget):
        yield "nothing is computed again or waited for: more memory would not help"
        return
    yield f"{over / (1 + over):.1%} of the time is computing again or waiting for copies"
    more = replace(
        found.problem, tiers=(replace(found.problem.tiers[0], capacity=budget * MORE), *found.problem.tiers[1:])
    )
    from sim.planner.paging import page
    from sim.planner.rematerialise import rematerialise

    make = page if len(more.tiers) > 1 else rematerialise
    try:
        quicker = min(found.seconds, make(more, seconds=AGAIN).value)  # the schedule there is still fits
    except (Infeasible, Unfinished):
        yield f"whether more memory would help was not found in {AGAIN:g} s"
        return
    from sim.planner.quicker import said

    yield from said([("memory", found.seconds / quicker - 1)], "runs/s")
