"""Answers and comparisons opened: hardware, tier, prices and simulated totals traced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sim.explain import given
from sim.explain.opened import SOUGHT, Beside, Named, Opened, opened
from sim.explain.traced import leaf
from sim.model.step import Step
from sim.model.timing import schedule
from sim.serving.answer import Answer, limited
from sim.serving.comparison import Comparison
from sim.serving.deploy import Choice, Deployment
from sim.serving.served import Served
from sim.serving.steady import lengths, steady

SIMULATED = "simulated, request by request"
ONE_BY_ONE = "Requests are simulated one by one"
MEANS = {"ttft.mean": "ttft", "tpot.mean": "tpot", "e2e.mean": "e2e", "joules_per_token": "joules_per_token"}
LATENCIES = ("ttft", "tpot", "e2e")
RATES = ("tokens_per_second", "tokens_per_dollar", "usd_per_million_tokens")


@opened.register
def _one(result: Answer, changed: tuple[str, ...] = ()) -> Opened:
    one = _Answer(result, changed)
    return _opened({"": one}, one.traced.summary(), "tokens_per_dollar")


@opened.register
def _several(result: Comparison, changed: tuple[str, ...] = ()) -> Opened:
    answers = {f"answers[{n}].": _Answer(one, changed) for n, one in enumerate(result.answers)}
    whole = Comparison(tuple(one.traced for one in answers.values()))
    return _opened(answers, whole.summary(), "answers[1].tokens_per_dollar")


def _opened(answers: Mapping[str, _Answer], figures: Mapping[str, Any], first: str) -> Opened:
    """Answers by the place of their figures in a summary."""

    def where(figure: str) -> tuple[_Answer, str] | None:
        return next(((one, figure.removeprefix(at)) for at, one in answers.items() if figure.startswith(at)), None)

    def how(figure: str) -> str:
        here = where(figure)
        return here[0].simulated if here and here[1].startswith(LATENCIES) else SOUGHT

    def beside(figure: str) -> Beside | None:
        here = where(figure)
        return here[0].beside(here[1]) if here else None

    return Opened(figures, first, lambda: (part for one in answers.values() for part in one.parts()), how, beside)


def deployed(own: Deployment, changed: tuple[str, ...] = ()) -> Deployment:
    """The deployment on traced hardware, its work traced as it is counted."""
    made = own.on(given.cluster(own.cluster, changed), given.tier(own.tier))
    return replace(made, _works=_Works())


def tasks(own: Deployment) -> Iterator[Named]:
    """Seconds and joules of every task of the steps that a deployment has timed, and of the steps, with their names."""
    for key, step in own._steps.items():
        phase = str(key[0])
        for _, timed in step.rows:
            for one in timed:
                at = f"{one.task.name} on {one.task.pool}, {phase}"
                for name in ("seconds", "compute", "memory", "link", "launch"):
                    title = at if name == "seconds" else f"{name} alone of {at}"
                    yield getattr(one, name), title, "s"
                if power := step.cluster.pool(one.task.pool).device.power:
                    yield one.joules(power), f"energy of {at} beyond idling", "J"
        yield from _whole(step, phase)


def _whole(step: Step, phase: str) -> Iterator[Named]:
    """What a step's tasks come to together."""
    for part, timed in step.rows:
        yield schedule(timed), f"{part.cascade.name} from start to end, {phase}", "s"
    yield step.latency, f"a batch from start to end, {phase}", "s"
    yield from ((seconds, f"{name} kept busy by a batch, {phase}", "s") for name, seconds in step.busy.items())
    yield step.period, f"seconds between steps, {phase}", "s"
    yield step.joules, f"energy of a step, {phase}", "J"


class _Answer:
    """An answer whose hardware, tier, prices and simulated totals are traced numbers."""

    def __init__(self, one: Answer, changed: tuple[str, ...]) -> None:
        self.plain = one
        self.span = lengths(one.load.prompt, one.load.output, one.load.weight)
        own = one.choice.deployment
        self.deployment = deployed(own, changed)
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

    def parts(self) -> Iterator[Named]:
        """Seconds of every task of the steps that were timed, with their names."""
        return tasks(self.deployment)

    def beside(self, figure: str) -> Beside | None:
        """What stands for a simulated figure: the steady state's for a mean, a request's own for a percentile."""
        name, _, which = figure.partition(".")
        if figure in (*MEANS, *RATES):
            return Beside(self._steady(figure), f"{ONE_BY_ONE}; in steady state and closed form the same")
        if name in LATENCIES and which.startswith("p"):
            return self._request(name, getattr(self.plain.served, name), self.plain.summary()[name][which])
        return None

    def _steady(self, figure: str) -> Any:
        """The figure of the steady state."""
        one, service, span = self.plain, self.deployment.service(), self.span
        at = steady(service, span.mean_prompt, span.mean_output, one.choice.batch, prefill=one.prefill)
        if figure in MEANS:
            return getattr(at, MEANS[figure])[0]
        of: Any = _Rate(at.tokens_per_second[0])
        return getattr(replace(self.traced, served=of), figure)

    def _request(self, name: str, times: Any, value: float) -> Beside | None:
        """The measured request whose time is nearest to a percentile, its stages traced."""
        served = self.plain.served
        if not len(times):
            return None
        measured = np.arange(served.first, served.last)
        if name == "tpot":
            measured = measured[served.output[measured] > 1]
        request = int(measured[np.abs(times - value).argmin()])
        return Beside(
            getattr(_alone(served, request, self.simulated), name)[0],
            f"{ONE_BY_ONE}; request {request:,} is nearest to it, and its own",
        )


def _alone(served: Served, n: int, how: str) -> Served:
    """One request of a simulation: when it came, how long it waited, for its first token and for the others."""

    def spent(name: str, seconds: Any) -> Any:
        return leaf(np.array([seconds]), name, "s", how)

    arrival = spent("arrival", served.arrival[n])
    admitted = arrival + spent("waiting to be admitted", served.admitted[n] - served.arrival[n])
    first = admitted + spent("from there to its first token", served.first_token[n] - served.admitted[n])
    finish = first + spent("from its first token to its last", served.finish[n] - served.first_token[n])
    output = np.array([served.output[n]])
    return replace(served, arrival=arrival, admitted=admitted, first_token=first, finish=finish, output=output,
                   first=0, last=1)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Rate:
    """Stands for a simulation whose rate alone is asked."""

    tokens_per_second: Any


class _Works(dict[Any, Any]):
    """Counts of steps, each traced when it is kept."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, given.work(value))
