"""Figures of answers unfolded: found in a summary by name, computed again on traced numbers, written as terms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch import Tier
from sim.explain import given
from sim.explain.scalars import Resolver
from sim.explain.traced import Traced, leaf
from sim.explain.unfold import Term, Unfolding
from sim.model.spatial import MappedEstimate, evaluate
from sim.serving.answer import Answer, Comparison, limited
from sim.serving.deploy import Choice, Deployment
from sim.serving.steady import lengths, steady
from sim.space.sweep import UNITS

SIMULATED = "simulated, request by request"
MEANS = {"ttft.mean": "ttft", "tpot.mean": "tpot", "e2e.mean": "e2e", "joules_per_token": "joules_per_token"}
LATENCIES = ("ttft", "tpot", "e2e")
RATES = ("tokens_per_second", "tokens_per_dollar", "usd_per_million_tokens")
_PLACE = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Explained:
    """A figure's terms, the first the figure itself; ``closed`` are those of the same figure in closed form, where it
    was simulated; ``rests`` is every number that was given to either, the most influential first."""

    figure: str
    value: float
    terms: tuple[Term, ...]
    closed: tuple[Term, ...]
    rests: tuple[Term, ...]


def explained(result: Any, figure: str, *, slight: float, depth: int, changed: tuple[str, ...] = ()) -> Explained:
    """A figure of an answer, a comparison or a mapped cascade; ``changed`` are paths that the user has set.

    ``depth`` levels are unfolded, and no term whose influence is under ``slight``. Raises :class:`WeirError` for a
    name that the result does not have, or for one that is no number.
    """
    made = _traced(result, changed)
    value = found(made.figures, figure)
    if not isinstance(value, Traced):
        value = leaf(value, figure, unit(figure), made.how(figure))
    closed, rests = made.closed(figure), dict[str, Term]()
    parts: list[tuple[Term, ...]] = []
    for one, name in ((value, figure), (closed, f"{figure} in closed form")):
        if one is None:
            parts.append(())
            continue
        whole = Unfolding(made.names(), depth, slight)
        parts.append(tuple(whole.unfold(made.resolver.at(one), name, unit(figure))))
        rests = {term.name: term for term in whole.given()} | rests
    ranked = tuple(sorted(rests.values(), key=lambda term: -abs(term.influence)))
    return Explained(figure, made.resolver.at(value).value, parts[0], parts[1], ranked)


def unit(figure: str) -> str:
    """The unit of a figure by its name."""
    last = figure.rpartition("]")[2].strip(".") or figure
    if last.startswith(LATENCIES):
        return "s"
    return UNITS.get(last, "J" if last.startswith("joules_by") else "B" if last.startswith("bytes") else "")


def names_of(figures: Any, at: str = "") -> Iterator[str]:
    """The names of all numbers of a summary."""
    if isinstance(figures, Mapping):
        for key, value in figures.items():
            yield from names_of(value, f"{at}.{key}" if at else str(key))
    elif isinstance(figures, list):
        for place, value in enumerate(figures):
            yield from names_of(value, f"{at}[{place}]")
    elif isinstance(figures, Traced | int | float) and not isinstance(figures, bool):
        yield at


def found(figures: Any, name: str) -> Any:
    """The figure of a dotted name such as ``answers[1].ttft.p95``."""
    value = figures
    known = list(names_of(figures))
    if name not in known:
        raise WeirError(f"no figure {name!r:.80}{hint(name, known) or '; such as ' + ', '.join(known[:6])}")
    for key, place in _PLACE.findall(name):
        value = value[key] if key else value[int(place)]
    return value


class _Made:
    """A result computed on traced numbers, with the names of its parts."""

    def __init__(self, figures: Mapping[str, Any], answers: Mapping[str, _Answer | _Mapped]) -> None:
        self.figures, self.answers, self.resolver = figures, answers, Resolver()

    def names(self) -> dict[int, tuple[str, str]]:
        """Name and unit of each part of each step, by identity."""
        named: dict[int, tuple[str, str]] = {}
        for one in self.answers.values():
            for value, name, unit_ in one.parts():
                named.setdefault(id(self.resolver.at(value)), (name, unit_))
        return named

    def how(self, figure: str) -> str:
        """Where a figure comes from that no formula of the model gives."""
        for place, one in self.answers.items():
            if figure.startswith(place) and figure.removeprefix(place).startswith(LATENCIES):
                return one.simulated
        return "asked for, or chosen by search"

    def closed(self, figure: str) -> Any:
        """The figure's counterpart in closed form, where there is one."""
        for place, one in self.answers.items():
            if figure.startswith(place):
                return one.closed(figure.removeprefix(place))
        return None


def _traced(result: Any, changed: tuple[str, ...]) -> _Made:
    if isinstance(result, Answer):
        one = _Answer(result, changed)
        return _Made(one.traced.summary(), {"": one})
    if isinstance(result, Comparison):
        all_ = [_Answer(answer, changed) for answer in result.answers]
        whole = Comparison(tuple(one.traced for one in all_)).summary()
        return _Made(whole, {f"answers[{n}].": one for n, one in enumerate(all_)})
    if isinstance(result, MappedEstimate):
        mapped = _Mapped(result)
        return _Made(mapped.summary, {"": mapped})
    raise WeirError("only what 'weir estimate', 'weir compare' and 'weir map' answer can be unfolded")


class _Mapped:
    """A mapped cascade whose device's numbers and counts are traced."""

    def __init__(self, one: MappedEstimate) -> None:
        rows = {row.path: f"modelled: {row.model}" for row in one.filled.modelled} if one.filled else {}
        where = replace(given.device(one.device, rows), technology=None)  # what it models is filled in already
        again = evaluate(one.mapped.cascade, one.mapped, where, one.sizes, one.tiles, checked=False)
        self.traced = replace(again, counts=given.actions(again.counts))
        self.simulated = ""

    @property
    def summary(self) -> dict[str, Any]:
        """The figures of a run that have formulas."""
        one = self.traced
        return {
            "seconds": one.seconds,
            "joules": one.joules,
            "utilisation": {b.unit: one.utilisation(b.unit) for b in one.leaves},
            "bytes": {m.name: one.traffic(m.name) for m in one.device.memories},
            "joules_by": one.joules_by,
        }

    def parts(self) -> Iterator[tuple[Any, str, str]]:
        """Seconds of units and of levels, with their names."""
        for busy in self.traced.leaves:
            yield busy.seconds, f"{busy.einsum} on {busy.unit}", "s"
        for levels in self.traced._traffic_seconds.values():
            yield from ((seconds, f"moving at {level}", "s") for level, seconds in levels.items())

    def closed(self, _: str) -> None:
        """Nothing was simulated."""


class _Answer:
    """An answer whose hardware, tier, prices and simulated totals are traced numbers."""

    def __init__(self, one: Answer, changed: tuple[str, ...]) -> None:
        self.plain = one
        self.span = lengths(one.load.prompt, one.load.output, one.load.weight)
        own = one.choice.deployment
        self.deployment = self._deployed(own, own.tier, changed)
        book = given.prices(one.prices)
        usd = book.usd_per_hour(own.cluster)
        self.deployment = replace(self.deployment, usd_per_hour=usd)
        choice = Choice(self.deployment, one.choice.batch, one.choice.tokens_per_second)
        self.simulated = how = f"{SIMULATED}: {one.served.load}, {len(one.served.arrival):,} requests"
        served = replace(
            one.served,
            tokens=leaf(one.served.tokens, f"tokens generated on {own.cluster.name}", "tokens", how),
            seconds=leaf(one.served.seconds, f"seconds measured on {own.cluster.name}", "s", how),
            joules=leaf(one.served.joules, f"joules drawn by {own.cluster.name}", "J", how),
        )
        limit = limited(choice, self.span, one.prefill)
        self.traced = replace(one, choice=choice, served=served, prices=book, limit_tokens_per_second=limit)

    def _deployed(self, own: Deployment, tier: Tier, changed: tuple[str, ...]) -> Deployment:
        """The deployment on traced hardware, its work traced as it is counted."""
        made = own.on(given.cluster(own.cluster, changed), given.tier(tier))
        return replace(made, _works=_Works())

    def parts(self) -> Iterator[tuple[Traced, str, str]]:
        """Seconds of every task of the steps that were timed, with their names."""
        for key, step in self.deployment._steps.items():
            phase = str(key[0])
            for _, tasks in step.rows:
                for one in tasks:
                    at = f"{one.task.name} on {one.task.pool}, {phase}"
                    for name in ("seconds", "compute", "memory", "link", "launch"):
                        value = getattr(one, name)
                        if isinstance(value, Traced):
                            title = at if name == "seconds" else f"{name} alone of {at}"
                            yield value, title, "s"

    def closed(self, figure: str) -> Any:
        """The figure of the steady state that stands for a simulated one."""
        if figure not in (*MEANS, *RATES):
            return None
        one, service, span = self.plain, self.deployment.service(), self.span
        at = steady(service, span.mean_prompt, span.mean_output, one.choice.batch, prefill=one.prefill)
        if figure in MEANS:
            return getattr(at, MEANS[figure])[0]
        of: Any = _Rate(at.tokens_per_second[0])
        return getattr(replace(self.traced, served=of), figure)


@dataclass(frozen=True, slots=True)
class _Rate:
    """Stands for a simulation whose rate alone is asked."""

    tokens_per_second: Any


class _Works(dict[Any, Any]):
    """Counts of steps, each traced when it is kept."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, given.work(value))
