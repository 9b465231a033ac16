"""How far off an answer may be: the tested error of each class of kernel in it, and where it leaves what was tested."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.arch import Device, Tested, Tier, power_tested
from sim.model.chip import Chip
from sim.model.physical import kernel_class
from sim.model.step import Step
from sim.model.timing import Timed

UNTESTED = 0.5  # median error assumed of what no measurement covers; the plain roofline's on measured kernels


@dataclass(frozen=True, slots=True)
class Term:
    """One class of kernels in an answer: its share of the time, and its error on devices left out of the fit."""

    name: str
    share: float
    median: float
    p90: float
    beyond: tuple[str, ...]  # how it leaves what was tested


@dataclass(frozen=True, slots=True)
class Band:
    """The tested errors of an answer's terms, and of their sum with all errors pointing one way."""

    tier: str
    terms: tuple[Term, ...]

    @property
    def median(self) -> float:
        """Relative error of the total that half of such answers stay within."""
        return sum(term.share * term.median for term in self.terms)

    @property
    def p90(self) -> float:
        """Relative error of the total that nine in ten stay within."""
        return sum(term.share * term.p90 for term in self.terms)

    def lines(self) -> tuple[str, ...]:
        """Sentences to print below an answer."""
        if not self.terms:
            return (f"tier {self.tier}: a bound, not a forecast; no error band",)
        shown = [t for t in self.terms if t.share >= 0.005]
        each = ", ".join(f"{t.name} {t.median:.0%} ({t.share:.0%} of the time)" for t in shown)
        total = f"tested error of a step: {self.median:.0%} median, {self.p90:.0%} in nine of ten; by term: {each}"
        flags = dict.fromkeys(flag for t in shown for flag in t.beyond)
        return (total, *(f"beyond what was tested: {flag}" for flag in flags))


def band(step: Step, tier: Tier) -> Band:
    """The tested error of a step, at its last design point; of a bound there is none."""
    if not tier.tested:
        return Band(tier.name, ())
    known = dict(tier.tested)
    spent: dict[str, list[tuple[float, tuple[str, ...]]]] = {}
    for part, timed in step.rows:
        for one in timed:
            name, beyond = _place(step.cluster.pool(one.task.pool).device, one, known)
            spent.setdefault(name, []).append((part.times * _last(one.seconds), beyond))
    if step.host:
        spent["host"] = [(float(step.host), ())]
    whole = sum(seconds for found in spent.values() for seconds, _ in found) or 1.0
    return Band(tier.name, tuple(_term(name, found, whole, known.get(name)) for name, found in sorted(spent.items())))


def energy(step: Step, time: Band) -> tuple[str, ...]:
    """Sentences on an answer's joules: power's tested error, alone and with the time's, and boards not measured."""
    boards = dict.fromkeys(pool.device.name for pool in step.cluster.pools if pool.device.power is not None)
    if not time.terms or not boards:
        return ()
    power = power_tested()
    where = f"{power.kernels} kernels on {', '.join(power.devices)}"
    total = (
        f"tested error of power: {power.median:.0%} median, {power.p90:.0%} in nine of ten ({where}); of joules, with"
        f" the step's: {power.median + time.median:.0%} and {power.p90 + time.p90:.0%}"
    )
    others = [name for name in boards if not any(name.startswith(known) for known in power.devices)]
    return (total, *(f"beyond what was tested: no board power of {name} was measured" for name in others))


def _term(name: str, found: list[tuple[float, tuple[str, ...]]], whole: float, facts: Tested | None) -> Term:
    beyond = tuple(dict.fromkeys(flag for _, flags in found for flag in flags))
    share = sum(seconds for seconds, _ in found) / whole
    return Term(name, share, UNTESTED if facts is None else facts.median, _p90(facts), beyond)


def band_of(device: Device, one: Timed, known: dict[str, Tested]) -> float:
    """Relative error of a task that nine in ten are said to stay within, as :func:`band` has it."""
    return _p90(known.get(_place(device, one, known)[0]))


def _p90(facts: Tested | None) -> float:
    return 2 * UNTESTED if facts is None else facts.p90


def _last(value: Any) -> float:
    return float(np.ravel(value)[-1])


def _place(device: Device, one: Timed, known: dict[str, Tested]) -> tuple[str, tuple[str, ...]]:
    """The class of a task, and how it leaves what was tested."""
    if one.task.kind == "transfer":
        return "transfer", ("transfers between pools: no measurements",)
    if Chip.of(device) is None:
        return "roofline", (f"{device.name}: no measured constants for such devices, plain fractions of peak",)
    name = kernel_class(one.task) if one.task.kind == "kernel" else "collective"
    facts = known.get(name)
    if facts is not None and facts.vendors and device.vendor not in facts.vendors:
        untested = f"{device.vendor}: no device of this vendor was measured; constants are {', '.join(facts.vendors)}'s"
        return f"{name} on {device.vendor}", (untested,)
    return name, tuple(_beyond(one, device.name, name, facts)) if facts is not None else (f"{name}: not tested",)


def _beyond(one: Timed, device: str, name: str, facts: Tested) -> Iterator[str]:
    if not any(device.startswith(known) for known in facts.devices):
        yield f"{device} was not measured; errors are of devices left out of the fit"
    types = {p.dtype for p in one.task.products} - set(facts.dtypes) - {"fp16"}
    if types:
        yield f"{name} in {', '.join(sorted(types))}"
    if one.task.attends and (states := {p.stored for p in one.task.products} - {"fp16"} - set(facts.dtypes)):
        yield f"{name} with keys and values kept in {', '.join(sorted(states))}, which has no tested error of its own"
    seconds = _last(one.seconds)
    if one.task.kind == "kernel" and seconds > 2 * facts.longest:
        yield f"{name} kernels of {seconds:.2g} s (longest tested {facts.longest:.2g} s)"
