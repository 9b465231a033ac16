"""What binds a plan and what would help, in words: the plan computed again with one number a tenth better.

What was decided (fractions of a block, an order of runs, ranges of layers) stays, but for policies and purchases, which
are planned again: policies for the same block, purchases for a few seconds. ``memory_advice`` is for buffers, graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from sim.planner.answers import Piped
from sim.planner.cache import Replayed, room
from sim.planner.milp import Unfinished
from sim.planner.offers import Rented
from sim.planner.pipeline import timed
from sim.planner.policy import Policy
from sim.planner.purchase import rent
from sim.planner.quicker import Gains, said
from sim.planner.ranges import Placed, flow, limiting
from sim.planner.shape import UNITS
from sim.planner.timeline import timed as laid_out
from sim.planner.training import Training
from sim.serving.sensitivity import NUDGE
from sim.units import fmt

AGAIN = 5.0  # seconds at most for each purchase that is planned again
HALVES = 12  # steps of a bisection: a price to one part in 4,000
NAMED = 3  # nodes that are named


def offloaded(found: Policy) -> Iterator[str]:
    """Which stage takes most of a block and which of its loads is slowest; then the hardware's numbers."""
    stage, spent = max(found.seconds_by.items(), key=lambda item: item[1])
    name, seconds = found.slowest(stage)
    yield (
        f"{stage} takes {spent / found.block_seconds:.0%} of a block; the slowest in it is {name},"
        f" {fmt(seconds, 's')} of the {fmt(found.stages[stage], 's')} of a run"
    )
    yield from said(_hardware(found), "tokens/s at this block")


def _hardware(found: Policy) -> Gains:
    own = found.placement
    for name in UNITS:
        value = own.numbers[name]
        if name != "gpus" and isfinite(value) and value > 0:
            more = replace(own, numbers={**own.numbers, name: value * NUDGE})
            free = set(own.method.fractions) - set(own.fixed)
            best = more.solve()[0] if free else dict(found.fractions)
            yield name, found.block_seconds / more.total(best) - 1


def trained(found: Training) -> Iterator[str]:
    """Whether a step computes or waits for copies; then quicker kernels and a quicker link."""
    wait = found.stalled / found.seconds
    yield f"{1 - wait:.0%} of a step is computing, {wait:.0%} waiting for copies between device and host"
    yield from said(_step(found), "tokens/s with this plan")


def _step(found: Training) -> Gains:
    problem = found.problem
    quicker = tuple(replace(task, seconds=task.seconds / NUDGE) for task in problem.tasks)
    wider = tuple(replace(tier, read=tier.read * NUDGE, write=tier.write * NUDGE) for tier in problem.tiers)
    for name, one in (("speed of all kernels", replace(problem, tasks=quicker)),
                      ("link to the host", replace(problem, tiers=wider))):  # fmt: skip
        yield name, found.seconds / laid_out(one, found.steps).value - 1


def piped(one: Piped) -> Iterator[str]:
    """The busiest device and how long devices wait; then quicker passes of it, and a shorter way to the next stage."""
    found, busy = one.found, [0.0] * one.found.flow.devices
    for n, _ in found.start:
        busy[found.flow.nodes[n].device] += found.flow.nodes[n].seconds
    first = max(range(len(busy)), key=lambda device: busy[device])
    yield (
        f"{one.name}: device {first} is busiest, at work {busy[first] / found.seconds:.0%} of the time; all together"
        f" wait {found.idle:.0%}"
    )
    yield from said(_passes(one, first), "microbatches/s in this order")


def _passes(one: Piped, device: int) -> Gains:
    own = one.found.flow
    for name, here, lag in ((f"speed of device {device}", {device}, 1.0), ("speed of all devices", None, 1.0),
                            ("speed of links", set[int](), NUDGE)):  # fmt: skip
        nodes = tuple(
            replace(n, seconds=n.seconds / (NUDGE if here is None or n.device in here else 1.0), lag=n.lag / lag)
            for n in own.nodes
        )
        yield name, one.found.seconds / timed(replace(own, nodes=nodes), one.found.orders).seconds - 1


def ranged(found: Placed) -> Iterator[str]:
    """What is full on every way of a token; then each such node quicker."""
    full = limiting(found.network, found.ranges)
    names = ", ".join(list(full)[:NAMED]) + (f" and {len(full) - NAMED} more" if len(full) > NAMED else "")
    yield f"full on every way of a token: {names}"
    yield from said(_nodes(found, full), "tokens/s with these ranges")


def _nodes(found: Placed, full: dict[str, float]) -> Gains:
    network = found.network
    nodes = tuple(
        replace(n, rates=tuple(rate * NUDGE for rate in n.rates)) if n.name in full else n for n in network.nodes
    )
    links: dict[Any, float] = {pair: rate * NUDGE for pair, rate in network.links.items()}
    base = flow(network, found.ranges)
    yield "speed of these devices", flow(replace(network, nodes=nodes), found.ranges) / base - 1
    yield "bandwidth of all links", flow(replace(network, links=links), found.ranges) / base - 1


def rented(found: Rented) -> Iterator[str]:
    """How busy what is rented is; what quicker templates would save, and below which price others would be rented."""
    own = found.purchase
    busy = np.where(own.shares > 0, found.load, 0.0) * own.shares
    used = {t.name: b / n for t, n, b in zip(own.templates, own.counts, busy.sum(axis=0).tolist(), strict=True) if n}
    shares = ", ".join(f"{name} {share:.0%}" for name, share in used.items())
    yield f"busy: {shares}; {1 / max(used.values()) - 1:.0%} more requests before more is rented, shared as they are"
    if not own.usd_per_hour:
        return  # what is free cannot be had for less
    try:
        yield from said(_quicker(found), "requests/USD")
        yield from _cheaper(found)
    except Unfinished:
        yield f"what else would help was not found in {AGAIN:g} s"


def _cheaper(found: Rented) -> Iterator[str]:
    """Prices at which templates that are not rented would be."""
    for at, template in enumerate(found.purchase.templates):
        if not found.purchase.counts[at] and np.isfinite(found.load[:, at]).any():
            price = _drawing_level(found, at)
            yield f"{template.name}, now {template.usd_per_hour:.2f} USD/h, would be rented below {price:.2f} USD/h"


def _quicker(found: Rented) -> Gains:
    """USD an hour saved by each rented template's copies bearing a tenth more."""
    own = found.purchase
    for at, template in enumerate(own.templates):
        if own.counts[at]:
            load = found.load.copy()
            load[:, at] /= NUDGE
            best = rent(own.buckets, own.templates, load, stock=found.stock, seconds=AGAIN)
            yield f"speed of {template.name}", max(0.0, own.usd_per_hour / best.usd_per_hour - 1)


def _drawing_level(found: Rented, at: int) -> float:
    """USD an hour up to which a template that is not rented lowers the price of the whole, by bisection."""
    own, low, high = found.purchase, 0.0, found.purchase.templates[at].usd_per_hour
    for _ in range(HALVES):
        price = (low + high) / 2
        offers = [replace(t, usd_per_hour=price) if n == at else t for n, t in enumerate(own.templates)]
        cheaper = rent(own.buckets, offers, found.load, stock=found.stock, seconds=AGAIN)
        low, high = (price, high) if cheaper.counts[at] else (low, price)
    return low


def stored(found: Replayed) -> Iterator[str]:
    """The allocator that wastes least, and what a tenth more memory would hold."""
    best = min(found.usages, key=lambda one: one.waste)
    tokens = found.room / found.token
    yield (
        f"{best.allocator.name} wastes least, {best.waste:.1%}: {best.batch:.1f} requests at once on average, in memory"
        f" that has room for {tokens:,.0f} tokens"
    )
    more = room(found.where.with_(f"{found.where.memory.name}.capacity", found.where.capacity * NUDGE), found.weights)
    yield from said([("capacity of the device", more / found.room - 1)], "tokens held")
