"""A model laid out on a cluster: the bridge from the performance model to serving."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Protocol

import numpy as np

from einsum import Infeasible, Program
from mappings.layout import Layout, Place, check
from mappings.parallel import candidates, devices, prefilled
from mappings.parallel import read as read_layout
from sim.arch import Cluster, Tier
from sim.model import memory
from sim.model.step import Step, Work
from sim.serving.launches import launching
from sim.serving.retimed import retimed
from sim.serving.service import Array, Mixing, Service
from sim.serving.steady import Lengths, Pace, Prefill, largest_within, pace
from sim.units import fmt

_Key = tuple[str, bytes, bytes]  # the phase, the batches and the tokens of some steps

KEPT = 64  # counts and timings that a deployment remembers
RESERVE = 0.10  # of a device's memory, for activations and the engine itself (the default of vLLM)


class Model(Protocol):
    """What serving needs of a model: one program to fill the state from a prompt, one to extend it by a token."""

    @property
    def name(self) -> str: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def prefill(self) -> Program: ...
    @property
    def decode(self) -> Program: ...


@dataclass(frozen=True)
class Deployment:
    """One model on one cluster in one layout. ``host`` is seconds of the engine's own work in every step."""

    model: Model
    cluster: Cluster
    layout: Layout
    tier: Tier
    usd_per_hour: float
    host: float = 0.0
    reserve: float = RESERVE
    of_free: bool = False  # whether that is a share of what weights leave free, instead of the whole memory
    _works: dict[_Key, Work] = field(default_factory=dict, repr=False, compare=False)
    _was: Deployment | None = field(default=None, repr=False, compare=False)  # before the hardware was nudged
    _steps: dict[tuple[bytes | str, ...], Step] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def in_flight(self) -> int:
        """Batches in flight at once in one replica."""
        return max(self.layout.stages, self.layout.batches)

    def decoding(self, batch: Array, context: Array) -> Step:
        """One decode step of a replica with ``batch`` requests in flight at ``context`` tokens each."""
        users = np.asarray(batch, float)
        each = np.maximum(users / self.in_flight, 1.0)  # uneven batches average out
        flying = np.minimum(users, self.in_flight)
        return self._step("decode", self.model.decode, self.layout, each, np.asarray(context, float), flying, p=1)

    def prefilling(self, batch: Array, prompt: Array) -> Step:
        """One prefill of a replica: ``batch`` prompts of ``prompt`` tokens, spread over its stages."""
        laid = prefilled(self.model.prefill, self.layout)
        prompts = np.asarray(batch, float)
        each = np.maximum(prompts / laid.stages, 1.0)
        flying = np.minimum(prompts, laid.stages)
        return self._step("prefill", self.model.prefill, laid, each, np.asarray(prompt, float), flying, c=0)

    def _step(
        self, phase: str, program: Program, layout: Layout, b: Array, tokens: Array, flying: Array, **fixed: int
    ) -> Step:
        """Work is counted once for given sizes, and timed once for given devices: both are kept for a while."""
        key = (phase, b.tobytes(), tokens.tobytes())
        if len(self._works) > KEPT or len(self._steps) > KEPT:
            self._works.clear()
            self._steps.clear()
        if key not in self._works:
            sizes = {"b": b, "c": tokens, **fixed} if phase == "decode" else {"b": b, "p": tokens, **fixed}
            self._works[key] = Work.of(program, layout, **sizes)
        timed = (*key, flying.tobytes())
        if timed not in self._steps:
            self._steps[timed] = self._timed(timed, self._works[key], flying)
        return self._steps[timed]

    def _timed(self, key: tuple[bytes | str, ...], work: Work, flying: Array) -> Step:
        """The work timed here, with the seconds known from before the hardware was nudged."""
        if self._was is not None and (known := self._was._steps.get(key)):
            return retimed(known, self._was.tier, self.cluster, self.tier, self.host)
        return work.on(self.cluster, self.tier, self.host, flying)

    def on(self, cluster: Cluster, tier: Tier | None = None, usd_per_hour: float | None = None) -> Deployment:
        """The same deployment on changed hardware; what was counted is kept, since counts know no device."""
        price = self.usd_per_hour if usd_per_hour is None else usd_per_hour
        return replace(self, cluster=cluster, tier=tier or self.tier, usd_per_hour=price, _was=None)

    def nudged(self, cluster: Cluster, tier: Tier | None = None) -> Deployment:
        """The same on hardware of which little has changed: the seconds of tasks elsewhere are kept as well."""
        return replace(self.on(cluster, tier), _was=self)

    def free(self) -> dict[str, float]:
        """Bytes left for state on one device of each pool; refuses a layout whose weights do not fit."""
        held = memory.weights(self.model.decode, self.layout)
        kept = "" if self.of_free else f", of which {self.reserve:.0%} is kept for activations and the engine"
        left = {}
        for pool, size in held.items():
            device = self.cluster.pool(pool).device
            left[pool] = self._left(device.capacity, size)
            if left[pool] < 0:
                raise Infeasible(
                    f"{self.model.name} on {self.cluster.name} ({self.layout.name}): {fmt(size, 'B')} of weights on"
                    f" each device of pool {pool!r}; {device.name} has {fmt(device.capacity, 'B')}{kept}:"
                    f" {self._enough(pool)}"
                )
        return left

    def _left(self, capacity: float, weights: float) -> float:
        """Bytes for state beside weights; below 0 where they do not fit."""
        kept = self.reserve * (max(capacity - weights, 0.0) if self.of_free else capacity)
        return capacity - kept - weights

    def _enough(self, pool: str) -> str:
        """What would hold the weights: these devices, divided further, or more of them."""
        here = self.cluster.pool(pool)
        [whole] = memory.weights(self.model.decode, Layout((Place(pool, 1),))).values()
        usable = here.device.capacity * (1.0 if self.of_free else 1 - self.reserve)
        least = ceil(whole / usable)
        return "divide further" if least <= here.count else f"the model needs at least {least} of them"

    def service(self) -> Service:
        """What one replica can do, for the serving models."""
        free = self.free()
        one = memory.state(self.model.decode, self.layout, b=1000, c=1000, p=1)
        tight = max(free, key=lambda pool: float(one[pool]) / free[pool] if free[pool] > 0 else np.inf)

        def state(context: Array) -> Array:
            """Per request, from a thousand of them, so that requests divided over devices share the rounding."""
            c = np.asarray(context, float)
            held = memory.state(self.model.decode, self.layout, b=1000.0, c=np.maximum(c - 1, 0), p=1)[tight]
            return np.broadcast_to(np.asarray(held, float) / 1000, c.shape)

        def shaped(value: Any, like: Array) -> Array:
            return np.broadcast_to(value, np.shape(like))

        return Service(
            decode=self.decode_seconds,
            prefill=self.prefill_seconds,
            decode_joules=lambda b, c: shaped(self.decoding(b, c).joules, b),
            prefill_joules=lambda b, p: shaped(filled_joules(self.prefilling(b, p)), b),
            state=state,
            capacity=free[tight],
            usd_per_hour=self.usd_per_hour / self.layout.replicas,
            mixing=self._mixing() if len(self.layout.places) == 1 and self.layout.stages == 1 else None,
        )

    def decode_seconds(self, batch: Array, context: Array) -> Array:
        """Seconds of one decode iteration of a replica with ``batch`` requests in flight at ``context`` tokens each."""
        return np.broadcast_to(self.decoding(batch, context).period, np.shape(batch))

    def prefill_seconds(self, batch: Array, prompt: Array) -> Array:
        """Seconds to prefill ``batch`` prompts of ``prompt`` tokens together, on one replica."""
        return np.broadcast_to(filled(self.prefilling(batch, prompt)), np.shape(batch))

    def pace(self, load: Lengths, batch: int, prefill: Prefill) -> Pace:
        """The steady state of a replica with ``batch`` requests in flight."""
        return pace(self.decode_seconds, self.prefill_seconds, load, batch, prefill=prefill)

    def speed(self, load: Lengths, batch: int, prefill: Prefill) -> Any:
        """Tokens a second of a replica in steady state."""
        return self.pace(load, batch, prefill).tokens_per_second[0]

    def _mixing(self) -> Mixing:
        """The parts of an iteration over prompts and decoding requests, on one pool and one stage."""

        def shared(tokens: Array) -> Array:
            step = self._step("prefill", self.model.prefill, self.layout, np.ones_like(tokens), tokens, tokens, c=0)
            return np.broadcast_to(step.latency - step.attending, tokens.shape)

        def filling(prompts: Array, cached: Array, new: Array) -> Array:
            work = Work.of(self.model.prefill, self.layout, b=prompts, c=cached, p=new)
            return np.broadcast_to(work.on(self.cluster, self.tier).attending, prompts.shape)

        def decoding(batch: Array, context: Array) -> Array:
            return np.broadcast_to(self.decoding(batch, context).attending, batch.shape)

        one = Work.of(self.model.prefill, self.layout, b=1.0, c=0.0, p=2.0)
        return Mixing(shared, decoding, filling, launching(one))


def filled(step: Step) -> Any:
    """Seconds until a prefill is through, its prompts in as many micro-batches as there are stages (never less than a
    prompt each): the first one's way, then one stage for each further one."""
    cut = np.minimum(step.work.layout.stages, step.flying)
    return step.latency + (cut - 1) * step.busy[step.work.layout.places[0].pool]


def filled_joules(step: Step) -> Any:
    """Joules of that prefill: the power of a full pipeline over its seconds."""
    return step.joules / step.period * filled(step)


@dataclass(frozen=True, slots=True)
class Choice:
    """A deployment with the batch at which it serves a load, and what it gives there, all replicas together."""

    deployment: Deployment
    batch: int  # requests in flight in one replica
    tokens_per_second: float


def deployments(
    model: Model, cluster: Cluster, tier: Tier, usd_per_hour: float, *, layout: str | None = None, host: float = 0.0,
    reserve: float = RESERVE, of_free: bool = False, flash: bool | None = None,
) -> Iterable[Deployment]:  # fmt: skip
    """The deployment of the layout given, or of every layout worth trying; ``flash`` is whose attention it runs."""
    pools = {p.name: p.count for p in cluster.pools}
    laid = [read_layout(layout, model.decode, pools)] if layout else candidates(model.decode, pools)
    for one in laid:
        check(one, model.decode, pools)
        laid_out = replace(one, flash=flash)
        yield Deployment(model, cluster, laid_out, tier, usd_per_hour, host, reserve, of_free)


def best(
    options: Iterable[Deployment], load: Lengths, *, prefill: Prefill = "here", batch: int | None = None,
    limits: Mapping[str, float | None] | None = None,
) -> Choice:  # fmt: skip
    """The deployment that generates most tokens a second within the limits, at the largest batch that fits."""
    found: Choice | None = None
    refused: list[Infeasible] = []
    for option in options:
        try:
            choice = _serving(option, load, prefill, batch, dict(limits or {}))
        except Infeasible as error:
            refused.append(error)
            continue
        if found is None or choice.tokens_per_second > found.tokens_per_second * 1.0001:
            found = choice
    if found is None:
        nothing = Infeasible("no layout divides this model over these devices")
        raise min(refused, key=lambda error: error.miss, default=nothing)
    return found


def _serving(
    option: Deployment, load: Lengths, prefill: Prefill, batch: int | None, limits: dict[str, float | None]
) -> Choice:
    """One deployment at the batch asked for (all replicas together), or at its largest."""
    service = option.service()
    copies = option.layout.replicas
    args = (load.mean_prompt, load.mean_output)
    most = largest_within(service, *args, prefill=prefill, tpot=limits.get("tpot"), ttft=limits.get("ttft"))
    at = most if batch is None else -(-batch // copies)
    if at > most:
        raise Infeasible(
            f"{option.model.name} on {option.cluster.name} ({option.layout.name}): batch {batch} does not fit;"
            f" at most {most * copies} requests of {load.mean_context:.0f} tokens do"
        )
    return Choice(option, at, float(option.speed(load.mean, at, prefill)) * copies)


def idle(deployment: Deployment) -> int:
    """Devices of the cluster that the layout leaves unused (they are paid for all the same)."""
    return deployment.cluster.devices - devices(deployment.layout)
