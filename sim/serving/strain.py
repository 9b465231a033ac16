"""How sharply the time to first token depends on capacity: near saturation a small error there is a large one here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from einsum.errors import Infeasible
from sim.serving.served import Served
from sim.serving.service import Service
from sim.serving.simulate import Rules, fitting, serveable, simulate
from sim.serving.trace import Trace
from sim.units import fmt

PART = 0.05  # of the capacity, as far as a good estimate of it may be off
SHARP = 1.25  # times longer or shorter first tokens for that much are said to be near saturation
BUSY = 0.8  # of the requests a second that can be served, below which queues are short


@dataclass(frozen=True)
class Strain:
    """Mean seconds to first token, and with a little less and a little more of what the load presses on."""

    what: str
    now: float
    less: float  # infinite where a request would not fit
    more: float

    @property
    def sharp(self) -> bool:
        """Whether a likely error of the capacity is a large one here."""
        return max(self.less / self.now, self.now / self.more) > SHARP

    @property
    def slope(self) -> float:
        """Per cent longer for each per cent less of it, from the one side to the other."""
        return (self.less - self.more) / self.now / (2 * PART)

    def __str__(self) -> str:
        """A sentence to print below an answer."""
        now, less, more = (fmt(x, "s") for x in (self.now, self.less, self.more))
        if math.isinf(self.less):
            return f"near saturation: with {PART:.0%} less {self.what} the longest request would not fit"
        return (
            f"near saturation: with {PART:.0%} less or more {self.what} the mean time to first token, {now}, would be"
            f" {less} or {more} ({self.slope:.1f}% for each per cent)"
        )


def strained(
    service: Service, load: Trace, rules: Rules, served: Served, *, users: int | None = None,
    rate: float | None = None, seed: int = 0, cold: bool = False,
) -> Strain | None:  # fmt: skip
    """What the load presses on, if first tokens depend on it sharply: served again with a little less and more of it.

    Requests in flight press on the memory that they must find free, arrivals on the pace at which they are served: at
    another pace everything takes longer by that much, beside arrivals that come more densely.
    """
    n = len(served.arrival)
    if rate is not None:
        paced = rate

        def again(part: float) -> float:
            return (
                float(simulate(service, load, rate=paced / part, requests=n, rules=rules, seed=seed).ttft.mean()) / part
            )

        return _between("speed", served, again) if rate > BUSY * serveable(service, load, rules) else None

    def waiting(part: float) -> float:
        tight = replace(service, capacity=service.capacity * part)
        found = simulate(tight, load, concurrency=users, requests=n, rules=rules, seed=seed, cold=cold)
        return float(found.ttft.mean())

    full = users is not None and users > (1 - PART) * fitting(service, load, rules)
    return _between("memory for requests", served, waiting) if full else None


def _between(what: str, served: Served, again: Callable[[float], float]) -> Strain | None:
    try:
        less = again(1 - PART)
    except Infeasible:  # a request that needs nearly all there is
        less = math.inf
    found = Strain(what, float(served.ttft.mean()), less, again(1 + PART))
    return found if found.sharp else None
