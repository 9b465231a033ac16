"""Which parameters an answer hangs on: the elasticity of tokens per dollar to each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf, log

from sim.serving.deploy import Choice, Deployment
from sim.serving.steady import Lengths, Prefill, largest_batch

NUDGE = 1.1  # each parameter is raised by a tenth


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a parameter raised by a tenth does to tokens a second and tokens per dollar (relative changes).

    ``elasticity`` is the percent by which tokens per dollar change for one percent.
    """

    parameter: str
    speed: float
    per_dollar: float

    @property
    def elasticity(self) -> float:
        """Percent of tokens per dollar for one percent of the parameter, as a power law through both points."""
        return log(1 + self.per_dollar) / log(NUDGE)


def sensitivities(choice: Choice, load: Lengths, prefill: Prefill, *, fixed: bool) -> tuple[Sensitivity, ...]:
    """Elasticities at the chosen layout, largest first; the batch follows memory unless it was ``fixed``.

    No parameter is a price: tokens per dollar change as tokens a second do.
    """
    mean = load.mean
    before = choice.deployment.speed(mean, choice.batch, prefill)
    holds = _holds(choice.deployment)
    found = []
    for name, changed in _nudged(choice.deployment):
        batch = _batch(changed, choice, mean) if name in holds and not fixed else choice.batch
        same = name in holds and batch == choice.batch  # what a memory could hold besides makes nothing faster
        change = 0.0 if same else float(changed.speed(mean, batch, prefill) / before) - 1
        found.append(Sensitivity(name, change, change))
    return tuple(sorted(found, key=lambda s: -abs(s.elasticity)))


def _batch(changed: Deployment, choice: Choice, mean: Lengths) -> int:
    """The batch grown as much as memory now holds more of it (a limit on latency keeps its share of what fitted)."""
    most, before = (largest_batch(d.service(), mean.prompt, mean.output) for d in (changed, choice.deployment))
    return max(1, round(choice.batch * most / before))


def _nudged(deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    """The deployment with one parameter a tenth larger, for every parameter that the model reads."""
    cluster = deployment.cluster
    for path in _paths(deployment):
        value = cluster.get(path)
        if 0 < value < inf:  # what a file leaves out cannot be nudged
            yield path, deployment.nudged(cluster.with_(path, value * NUDGE))
    tier = deployment.tier
    if tier.launch:
        yield "kernel launch", deployment.nudged(cluster, replace(tier, launch=tier.launch * NUDGE))


def _networks(deployment: Deployment) -> Iterator[str]:
    """Paths of the networks in use: between pools, and between nodes that a replica of the model is on."""
    layout, cluster = deployment.layout, deployment.cluster
    if len(layout.places) > 1:
        yield "network"
    for place in layout.places:
        pool = cluster.pool(place.pool)
        span = layout.devices(pool.name) // layout.replicas
        if span == 1 or pool.link(span, layout.replicas) != pool.network:
            continue
        own = pool.device.link("network")
        if own is not None:
            yield f"{pool.name}.{own.name}"
        elif len(layout.places) == 1:
            yield "network"


def _holds(deployment: Deployment) -> frozenset[str]:
    """Dotted paths of the capacities that decide how many requests fit."""
    pools = (deployment.cluster.pool(place.pool) for place in deployment.layout.places)
    return frozenset(f"{pool.name}.{pool.device.memory.name}.capacity" for pool in pools)


def _dtypes(deployment: Deployment) -> dict[str, dict[str, None]]:
    """Data types that are multiplied in each pool, of all steps counted so far."""
    found: dict[str, dict[str, None]] = {}
    for work in deployment._works.values():
        for _, tasks in work.parts:
            for task in tasks:
                found.setdefault(task.pool, {}).update({dtype: None for op, dtype, _ in task.ops if op == "mac"})
    return found


def _paths(deployment: Deployment) -> Iterator[str]:
    """Dotted paths of memories, matrix rates and links of each pool in use, and of the network where it is used."""
    dtypes = _dtypes(deployment)
    for place in deployment.layout.places:
        device = deployment.cluster.pool(place.pool).device
        yield from (f"{place.pool}.{device.memory.name}.{attribute}" for attribute in ("bandwidth", "capacity"))
        yield from (f"{place.pool}.{m.name}.capacity" for m in device.memories if m.under == device.memory.name)
        runs = dict.fromkeys(device.runs_as("mac", dtype) for dtype in dtypes.get(place.pool, ()))
        yield from (f"{place.pool}.{unit}.device_rate.mac.{dtype}" for dtype, unit in runs)
        link = device.link("node")
        if link is not None and place.count > 1:
            yield from (f"{place.pool}.{link.name}.{attribute}" for attribute in ("bandwidth", "latency"))
    yield from (f"{name}.{attribute}" for name in _networks(deployment) for attribute in ("bandwidth", "latency"))
