"""What binds an answer, what would help, and at what price another cluster would win, in words.

All of it comes from the model: what binds from the tasks of the step that takes most time, what helps from the model
run again with one number of the hardware a tenth larger, the price from solving for equal tokens per dollar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.arch import Cluster, Device
from sim.arch.prices import Prices
from sim.model.step import Step
from sim.model.timing import BOUNDS, Timed
from sim.serving.sensitivity import NUDGE, Sensitivity
from sim.units import fmt

HELPS = 3  # numbers that are named
LEAST = 0.001  # change of tokens a second that counts as help
SINGULAR = ("attention", "elementwise work")
WORKS = {
    "map": "elementwise work", "reduce": "reductions", "curve": "activation functions", "turn": "rotations",
    "narrow": "quantisations",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Binding:
    """The like tasks that take most of a step: what they do and where, what limits them, their ``share`` of the time
    of their resource, and how much of the limiting rate they reach (0 where no rate limits)."""

    phase: str
    work: str
    place: str
    limit: str
    share: float
    reached: float
    rate: str  # what the limit is a rate of, with its value; "" where none limits

    def __str__(self) -> str:
        """As in ``decode attention is bound by hbm on h20: 61% of the step, at 92% of 4 TB/s``."""
        speed = f", at {self.reached:.0%} of {self.rate}" if self.rate else ""
        place = f" on {self.place}" if self.place else ""
        verb = "is" if self.work in SINGULAR else "are"
        return f"{self.phase} {self.work} {verb} bound by {self.limit}{place}: {self.share:.0%} of the step{speed}"


def binding(step: Step, phase: str) -> Binding:
    """What takes most of a step, at its last design point."""
    alone = _alone(step)
    rows: dict[tuple[str, str, str], list[tuple[float, Timed]]] = {}
    for part, tasks in step.rows:
        for one in tasks:
            if alone in ("", one.resource):
                key = (_work(one), one.task.pool, BOUNDS[int(np.ravel(one.limits)[-1])])
                rows.setdefault(key, []).append((part.times * _last(one.seconds), one))
    (work, pool, limit), found = max(rows.items(), key=lambda item: sum(spent for spent, _ in item[1]))
    whole = sum(spent for tasks in rows.values() for spent, _ in tasks) + _last(step.host)
    spent = sum(seconds for seconds, _ in found)
    where = step.cluster.pool(pool).device
    text, ideal, rate = _limited(limit, where, step.cluster)
    reached = sum(s * _last(getattr(t, ideal)) / _last(t.seconds) for s, t in found) / spent if ideal else 0.0
    place = "" if limit == "network" else where.name
    return Binding(phase, work, place, text, spent / whole, reached, rate if ideal else "")


def _alone(step: Step) -> str:
    """The resource that never waits for others, if one does not: then only what runs there matters."""
    resource, busy = max(((name, _last(seconds)) for name, seconds in step.busy.items()), key=lambda item: item[1])
    return resource if busy * _last(step.in_flight) >= 0.98 * _last(step.latency) else ""


def _work(one: Timed) -> str:
    """What a task does, in words."""
    task = one.task
    if task.kind == "transfer":
        return "transfers"
    if task.kind != "kernel":
        return f"{task.kind}s"
    if task.attends and len(task.products) > 1:
        return "attention"
    if task.products:
        return "experts" if task.products[0].routed else "matrix products"
    return WORKS[task.work]


def _limited(limit: str, where: Device, cluster: Cluster) -> tuple[str, str, str]:
    """How a limit is called, the ideal seconds that it goes with, and the rate that it is."""
    if limit == "memory":
        return where.memory.name, "memory", fmt(where.memory.bandwidth, "B/s")
    if limit == "compute":
        return "compute", "compute", "the units' peak"
    if limit == "network":
        return "the network", "link", fmt(cluster.network.bandwidth, "B/s")
    if limit == "collective":
        return "the links", "link", "the link's bandwidth"
    return "launches", "", ""


def helps(found: Iterable[Sensitivity], what: str = "tokens/s") -> Iterator[str]:
    """What a tenth more of the most helpful numbers would give, in ``what``."""
    better = sorted((s for s in found if s.speed >= LEAST), key=lambda s: -s.speed)[:HELPS]
    for one in better:
        dollars = "" if abs(one.per_dollar - one.speed) < 5e-4 else f" ({one.per_dollar:+.1%} tokens/USD)"
        yield f"+{NUDGE - 1:.0%} {one.parameter} -> {one.speed:+.1%} {what}{dollars}"
    if not better:
        yield f"no single number of the hardware helps: none raised by {NUDGE - 1:.0%} gives {LEAST:.1%} {what}"


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The price of a device, USD an hour, at which two clusters give equal tokens per dollar; None where none does.

    ``below`` says whether the ``other`` cluster wins below that price or above it.
    """

    device: str
    price: float | None
    now: float
    other: str
    first: str
    below: bool

    def __str__(self) -> str:
        """As in ``B gives more tokens per dollar than A while h20 rents below 2.31 USD/h (now 1.50)``."""
        if self.price is None:
            verdict = "more" if self.below else "fewer"
            return f"{self.other} gives {verdict} tokens per dollar than {self.first} whatever {self.device} rents for"
        side = "below" if self.below else "above"
        return (
            f"{self.other} gives more tokens per dollar than {self.first} while {self.device} rents {side}"
            f" {self.price:.2f} USD/h (now {self.now:.2f})"
        )


Counts = Mapping[str, int]


def break_evens(
    first: tuple[str, float, Counts], other: tuple[str, float, Counts], book: Prices
) -> Iterator[BreakEven]:
    """For each device of either cluster (its name, tokens a second, number of each device) the price that makes equal.

    Tokens per dollar are rate over cost, and cost is linear in each price: one equation in one unknown.
    """
    (name, rate, devices), (other_name, other_rate, others) = first, other
    usd = {device: book.of(device).usd_per_hour for device in {**devices, **others}}
    for device, now in usd.items():
        rest, other_rest = (sum(n * usd[d] for d, n in c.items() if d != device) for c in (devices, others))
        slope = rate * others.get(device, 0) - other_rate * devices.get(device, 0)
        offset = other_rate * rest - rate * other_rest  # above 0: the other wins where the device costs nothing
        price = offset / slope if slope else -1.0
        below = slope > 0 if price > 0 else offset > 0 or (offset == 0 and slope < 0)
        yield BreakEven(device, price if price > 0 else None, now, other_name, name, below)


def _last(value: Any) -> float:
    return float(np.ravel(value)[-1])
