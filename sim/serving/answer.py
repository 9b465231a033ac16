"""The main question answered: what a model on a cluster serves, how fast, for how much, and what that rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from einsum import WeirError
from mappings.layout import uneven
from sim.arch import Cluster, Tier, cluster, tier
from sim.arch.prices import Prices, prices
from sim.model.chip import Chip
from sim.model.step import Step
from sim.model.tested import band, energy
from sim.serving.advice import Binding, binding, helps
from sim.serving.deploy import Choice, Model, best, deployments, idle
from sim.serving.engines import Software, engine_names, software
from sim.serving.sensitivity import Sensitivity, sensitivities
from sim.serving.served import Served, at_percentile, percentiles
from sim.serving.simulate import Rules, holding, respecting, simulate
from sim.serving.steady import Lengths, Prefill, lengths
from sim.serving.strain import strained
from sim.serving.trace import Trace, constant, trace
from sim.units import fmt, si

SCHEMA = "weir.estimate/1"
DEFAULT_LENGTHS = (1024, 256)  # tokens of prompt and output when no load is given; every report says so


@dataclass(frozen=True)
class Answer:
    """A model served on a cluster: the deployment chosen, the simulated service, and the terms it was asked on."""

    model: str
    choice: Choice
    load: Trace
    served: Served
    prefill: Prefill
    prices: Prices
    bound: str
    limit_tokens_per_second: float  # the same deployment and batch with every rate at its peak
    sensitivities: tuple[Sensitivity, ...]
    notes: tuple[str, ...]
    binding: Binding

    @property
    def cluster(self) -> Cluster:
        """The cluster it runs on."""
        return self.choice.deployment.cluster

    @property
    def replicas(self) -> int:
        """Copies of the model that serve side by side."""
        return self.choice.deployment.layout.replicas

    @property
    def batch(self) -> int:
        """Requests in flight, all replicas together."""
        return self.choice.batch * self.replicas

    @property
    def usd_per_hour(self) -> float:
        """Price of all devices of the cluster, used or not."""
        return self.choice.deployment.usd_per_hour

    @property
    def tokens_per_second(self) -> float:
        """Output tokens a second, all replicas together."""
        return self.served.tokens_per_second * self.replicas

    @property
    def tokens_per_dollar(self) -> float:
        """Output tokens for one US dollar."""
        return self.tokens_per_second * 3600 / self.usd_per_hour

    @property
    def usd_per_million_tokens(self) -> float:
        """US dollars for a million output tokens."""
        return 1e6 / self.tokens_per_dollar

    def per_dollar(self, what: str = "tokens") -> float:
        """How many ``tokens`` or ``requests`` one US dollar buys."""
        if what not in ("tokens", "requests"):
            raise WeirError(f"per_dollar counts 'tokens' or 'requests', not {what!r}")
        return self.tokens_per_dollar / (1 if what == "tokens" else self.load.mean_output)

    def summary(self) -> dict[str, Any]:
        """Every figure under stable names (the JSON schema ``weir.estimate/1``), SI units and US dollars."""
        deployment = self.choice.deployment
        latencies = {name: percentiles(getattr(self.served, name)) for name in ("ttft", "tpot", "e2e")}
        return {
            "schema": SCHEMA,
            "model": self.model,
            "cluster": self.cluster.name,
            "layout": deployment.layout.name,
            "tier": deployment.tier.name,
            "load": self.load.name,
            "prefill": self.prefill,
            "batch": self.batch,
            "tokens_per_second": self.tokens_per_second,
            "tokens_per_dollar": self.tokens_per_dollar,
            "usd_per_million_tokens": self.usd_per_million_tokens,
            "usd_per_hour": self.usd_per_hour,
            **latencies,
            "joules_per_token": self.served.joules_per_token,
            "bound": self.bound,
            "limit_tokens_per_second": self.limit_tokens_per_second,
            "binds": str(self.binding),
            "helps": list(self.helps),
            "sensitivities": [
                {"parameter": s.parameter, "elasticity": s.elasticity, "tokens_per_second": s.speed}
                for s in self.sensitivities
            ],
            "devices": self.devices,
            "prices": {p.device: p.usd_per_hour for p in self.prices.prices},
            "price_book": self.prices.book,
            "notes": list(self.notes),
        }

    @property
    def helps(self) -> tuple[str, ...]:
        """What a tenth more of the most helpful numbers of the hardware would give, a sentence each."""
        return tuple(helps(self.sensitivities)) if self.sensitivities else ()

    @property
    def devices(self) -> dict[str, int]:
        """How many of each device the cluster has."""
        counts: dict[str, int] = {}
        for pool in self.cluster.pools:
            counts[pool.device.name] = counts.get(pool.device.name, 0) + pool.count
        return counts

    def frame(self) -> Any:
        """The summary as a one-row pandas DataFrame, percentiles flattened (``ttft_p95``)."""
        import pandas as pd

        return pd.DataFrame([flat(self.summary())])

    def __str__(self) -> str:
        """A few lines to read."""
        s = self.served
        where = f"{self.cluster.name} ({self.choice.deployment.layout.name})"
        rows = [
            f"{self.model} on {where}, {self.load.name}, prefill {self.prefill}",
            f"  {self.tokens_per_second:,.0f} tokens/s   {self.tokens_per_dollar:,.0f} tokens/USD"
            f"   {self.usd_per_million_tokens:.3g} USD/Mtoken",
            *(_latencies(name, percentiles(getattr(s, name))) for name in ("ttft", "tpot")),
            f"  batch {self.batch}, {s.joules_per_token:.3g} J/token, bound by {self.bound}",
            f"  {self.binding}",
            *(f"  {line}" for line in self.helps[:2]),
        ]
        return "\n".join(rows)


def _latencies(name: str, found: Mapping[str, float]) -> str:
    return f"  {name:5}" + "".join(f"  {key} {fmt(value, 's')}" for key, value in found.items())


def flat(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary with nested figures under joined names and lists left out."""
    row: dict[str, Any] = {}
    for key, value in summary.items():
        if isinstance(value, Mapping):
            row |= {f"{key}_{k}": v for k, v in value.items()}
        elif not isinstance(value, list):
            row[key] = value
    return row


def serve(
    model: Model | str | Path, on: Cluster | str | Path, *, trace: Trace | str | Path | None = None,
    prompt: int | None = None, output: int | None = None, batch: int | None = None, tpot: float | str | None = None,
    ttft: float | str | None = None, rate: float | None = None, layout: str | None = None,
    tier: Tier | str = "physical", prices: Prices | str | None = None, price: Mapping[str, str | float] | None = None,
    prefill: Prefill = "here", host: float | str = 0.0, requests: int | None = None, seed: int = 0,
    sensitive: bool = True, engine: str | None = None,
) -> Answer:  # fmt: skip
    """Serve a model on a cluster and price it.

    ``model`` is a catalogue name, the path of a ``config.json`` or a Transformer; ``on`` a cluster or its name. The
    load is a ``trace`` (name, path or value) or constant ``prompt`` and ``output`` lengths in tokens. Unless ``batch``
    is given, the largest that fits in memory and within ``tpot`` and ``ttft`` (seconds, p95) is taken, and unless
    ``layout`` is given (``tp=4,pp=2``), the best of those worth trying. ``rate`` is Poisson arrivals a second; without
    it the batch is a closed loop. ``prefill`` may be ``elsewhere``: then prompts cost nothing here.
    ``engine`` (``vllm``) schedules prompts, keeps memory and runs attention as that engine does by default; without it
    prompts are filled whole, between decode steps, and attention is the kernel that constants are fitted to.
    ``host`` seconds are added to every step, beside the engine's own.
    Raises :class:`WeirError` for what is not understood and :class:`Infeasible` for what does not fit.
    """
    resolved = read_model(model)
    where = on if isinstance(on, Cluster) else cluster(on)
    load, note = _load(trace, prompt, output)
    book = prices if isinstance(prices, Prices) else priced([where], prices, price)
    limits = {k: _seconds(v, k) for k, v in (("tpot", tpot), ("ttft", ttft))}
    chosen, rules, keeps = _engine(engine, prefill, _seconds(host, "host") or 0.0)
    terms = (tier if isinstance(tier, Tier) else _tier(tier), book.usd_per_hour(where))
    options = deployments(resolved, where, *terms, layout=layout, **keeps)
    span = lengths(load.prompt, load.output, load.weight)
    choice = best(options, span, prefill=prefill, batch=batch, limits=limits)
    rules, raised = holding(rules, load, choice.batch)
    served, choice = _run(choice, load, limits, rules, rate, requests, seed)
    step = choice.deployment.decoding(np.array([float(choice.batch)]), np.array([span.mean_context]))
    found = sensitivities(choice, span, prefill, fixed=batch is not None) if sensitive else ()
    limit = float(limited(choice, span, prefill))
    bound, binds = _bound(choice, span, prefill, step)
    strain = _strain(choice, load, served, rules, rate, seed) if sensitive else ()
    prompts = (*_first_token(chosen, where, prefill), *raised, *strain)
    notes = (*note, *_notes(choice, book, served, step), *prompts, *resolved.notes)
    return Answer(resolved.name, choice, load, served, prefill, book, bound, limit, found, notes, binds)


def _engine(name: str | None, prefill: Prefill, host: float) -> tuple[Software | None, Rules, dict[str, Any]]:
    """An engine, its rules, the memory it keeps and the host's seconds; without one prompts are filled whole."""
    if name is None:
        return None, Rules(prefill=prefill, reserve="mean"), {"host": host}
    found = software(name)
    own = found.terms | {"host": found.host + host, "flash": found.flash}
    return found, replace(found.rules, prefill=prefill), own


def limited(choice: Choice, load: Lengths, prefill: Prefill) -> Any:
    """Tokens a second of a deployment and batch with every rate at its peak."""
    ideal = choice.deployment.on(choice.deployment.cluster, _tier("limit"))
    return ideal.speed(load.mean, choice.batch, prefill) * choice.deployment.layout.replicas


def _run(
    choice: Choice, load: Trace, limits: Mapping[str, float | None], rules: Rules, rate: float | None,
    requests: int | None, seed: int,
) -> tuple[Served, Choice]:  # fmt: skip
    """The service simulated; where its p95 misses a limit that the mean met, the most users that do meet it."""
    service = choice.deployment.service()
    copies = choice.deployment.layout.replicas
    if rate is not None:
        return simulate(service, load, rate=rate / copies, requests=requests, rules=rules, seed=seed), choice
    served = simulate(service, load, concurrency=choice.batch, requests=requests, rules=rules, seed=seed)
    pairs = ((served.tpot, limits.get("tpot")), (served.ttft, limits.get("ttft")))
    if all(limit is None or not len(x) or at_percentile(x, 95) <= limit for x, limit in pairs):
        return served, choice
    tpot, ttft = limits.get("tpot"), limits.get("ttft")
    served = respecting(service, load, tpot=tpot, ttft=ttft, rules=rules, requests=requests, seed=seed)
    users = int(served.load.rsplit(" ", 1)[-1])
    return served, Choice(choice.deployment, users, served.tokens_per_second * copies)


def _bound(choice: Choice, load: Lengths, prefill: Prefill, decode: Step) -> tuple[str, Binding]:
    """What most of the time goes into: prefilling, or what binds a decode step; in short, and at length."""
    if prefill == "elsewhere":
        return f"decode: {decode.bound}", binding(decode, "decode")
    at = choice.deployment.pace(load.mean, choice.batch, prefill)
    step, whole = float(at.step[0]) / choice.batch, 1.0 / float(at.tokens_per_second[0])
    if whole < 2 * step:
        return f"decode: {decode.bound}", binding(decode, "decode")
    filling = choice.deployment.prefilling(at.together, np.array([load.mean_prompt]))
    return f"prefill: {filling.bound} ({1 - step / whole:.0%} of the time)", binding(filling, "prefill")


def _notes(choice: Choice, book: Prices, served: Served, step: Step) -> tuple[str, ...]:
    """Everything the figures rest on."""
    d = choice.deployment
    t, network = d.tier, d.cluster.network
    error = band(step, t)
    share = "what weights leave of each device" if d.of_free else "each device"
    notes = [
        _described(t, {p.device.name for p in d.cluster.pools if t.constants is None or Chip.of(p.device) is None}),
        *error.lines(),
        *energy(step, error),
        book.describe(),
        f"network: {fmt(network.bandwidth, 'B/s')} per device, {fmt(network.latency, 's')} one way; {d.cluster.source}",
        f"memory: {d.reserve:.0%} of {share} kept for activations and the engine",
        *served.notes,
    ]
    if d.host:
        notes.append(f"host: {fmt(d.host, 's')} added to every step")
    if spare := idle(d):
        notes.append(f"{spare} of {d.cluster.devices} devices are not used by this layout, but paid for")
    if odd := uneven(d.layout, d.model.decode):
        notes.append(f"uneven: {odd}; the fullest device sets the pace and needs the memory")
    doubtful = [pool.device for pool in d.cluster.pools if pool.device.unverified]
    return (*notes, *(f"{one.name}: unverified figures: {', '.join(one.unverified)}" for one in doubtful))


def _first_token(engine: Software | None, where: Cluster, prefill: Prefill) -> tuple[str, ...]:
    """How prompts are scheduled and how far off the time to first token is, where it is known."""
    if engine is not None:
        return engine.lines(frozenset(pool.device.name for pool in where.pools))
    if prefill == "elsewhere":
        return ()
    return (
        f"time to first token: no tested band for prompts filled whole; engines with one: {', '.join(engine_names())}",
    )


def _strain(choice: Choice, load: Trace, served: Served, rules: Rules, rate: float | None, seed: int) -> Iterable[str]:
    """How sharply first tokens depend on capacity, where they do; asked of engines and of arrivals alone."""
    if rate is None and rules.schedule == "whole":
        return ()
    users = choice.batch if rate is None else None
    each = None if rate is None else rate / choice.deployment.layout.replicas
    found = strained(choice.deployment.service(), load, rules, served, users=users, rate=each, seed=seed)
    return () if found is None else (str(found),)


def _described(level: Tier, plain: set[str]) -> str:
    """The tier, and on which devices it is plain fractions of peak."""
    fractions = (
        f"{fmt(level.launch, 's')} per kernel, {level.compute:.0%} of peak compute, {level.memory:.0%} of peak"
        f" bandwidth, {fmt(level.collective, 's')} per collective ({level.source})"
    )
    if level.constants is None:
        return f"tier {level.name}: {fractions}"
    text = f"tier {level.name}: one set of constants for all devices, by class of kernel (docs/accuracy.md)"
    return f"{text}; {', '.join(sorted(plain))}: {fractions}" if plain else text


def _load(given: Trace | str | Path | None, prompt: int | None, output: int | None) -> tuple[Trace, tuple[str, ...]]:
    if given is not None:
        if prompt is not None or output is not None:
            raise WeirError("give a trace, or prompt and output lengths, not both")
        return (given if isinstance(given, Trace) else trace(given)), ()
    note = () if prompt and output else (f"load: no trace given; lengths not given are {DEFAULT_LENGTHS} tokens",)
    sizes = (DEFAULT_LENGTHS[0] if prompt is None else prompt, DEFAULT_LENGTHS[1] if output is None else output)
    return constant(*sizes), note


def read_model(model: Model | str | Path) -> Model:
    """A model, read where it is a name or the path of a file."""
    if not isinstance(model, str | Path):
        return model
    from workloads.transformer import from_config

    return from_config(model)


def _tier(name: str) -> Tier:
    return tier(name)


def priced(clusters: Iterable[Cluster], book: str | None, overrides: Mapping[str, str | float] | None) -> Prices:
    """Prices of all devices of some clusters, from one book."""
    return prices([pool.device for c in clusters for pool in c.pools], book, overrides)


def _seconds(value: float | str | None, where: str) -> float | None:
    return None if value is None else si(value, "s", where)
