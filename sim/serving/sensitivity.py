"""Which parameters an answer hangs on: the elasticity of tokens per dollar to each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf, log

from einsum import Infeasible
from sim.serving.deploy import Choice, Deployment
from sim.serving.steady import Lengths, Prefill, largest_within, steady

NUDGE = 1.1  # each parameter is raised by a tenth


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Percent by which tokens per dollar change when a parameter rises by one percent (found from a tenth)."""

    parameter: str
    elasticity: float


def sensitivities(choice: Choice, load: Lengths, prefill: Prefill, *, fixed: bool) -> tuple[Sensitivity, ...]:
    """Elasticities at the chosen layout, largest first; the batch follows memory unless it was ``fixed``."""
    base = _per_dollar(choice.deployment, load, prefill, choice.batch)
    found = []
    for name, changed in _nudged(choice.deployment):
        try:
            batch = choice.batch if fixed or "capacity" not in name else _batch(changed, choice, load)
            found.append(Sensitivity(name, log(_per_dollar(changed, load, prefill, batch) / base) / log(NUDGE)))
        except Infeasible:
            continue
    return tuple(sorted(found, key=lambda s: -abs(s.elasticity)))


def _batch(changed: Deployment, choice: Choice, load: Lengths) -> int:
    """The batch grown as much as memory now holds more of it (a limit on latency keeps its share of what fitted)."""
    most = largest_within(changed.service(), load.mean_prompt, load.mean_output)
    before = largest_within(choice.deployment.service(), load.mean_prompt, load.mean_output)
    return max(1, round(choice.batch * most / before))


def _per_dollar(deployment: Deployment, load: Lengths, prefill: Prefill, batch: int) -> float:
    at = steady(deployment.service(), load.mean_prompt, load.mean_output, batch, prefill=prefill)
    return float(at.tokens_per_dollar[0])


def _nudged(deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    """The deployment with one parameter a tenth larger, for every parameter that the model reads."""
    cluster = deployment.cluster
    for path in _paths(deployment):
        value = cluster.get(path)
        if 0 < value < inf:  # what a file leaves out cannot be nudged
            yield path, deployment.on(cluster.with_(path, value * NUDGE))
    tier = deployment.tier
    if tier.launch:
        yield "kernel launch", deployment.on(cluster, replace(tier, launch=tier.launch * NUDGE))


def _paths(deployment: Deployment) -> Iterator[str]:
    """Dotted paths of memory, matrix rates and links of each pool in use, and of the network if anything crosses it."""
    for place in deployment.layout.places:
        device = deployment.cluster.pool(place.pool).device
        yield from (f"{place.pool}.{device.memory.name}.{attribute}" for attribute in ("bandwidth", "capacity"))
        yield from (
            f"{place.pool}.{unit.name}.device_rate.mac.{dtype}"
            for unit in device.computes
            for op, dtype, _ in unit.rates
            if op == "mac"
            and dtype == device.runs_as("mac", "bf16")[0]
            and unit.name == device.runs_as("mac", "bf16")[1]
        )
        link = device.link("node")
        if link is not None and place.count > 1:
            yield from (f"{place.pool}.{link.name}.{attribute}" for attribute in ("bandwidth", "latency"))
    if len(deployment.layout.places) > 1:
        yield from ("network.bandwidth", "network.latency")
