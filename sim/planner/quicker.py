"""What a training iteration would gain from quicker hardware, computed again with one number a tenth better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from sim.planner.iteration import Iteration
from sim.serving.advice import helps
from sim.serving.sensitivity import NUDGE, Sensitivity

Gains = Iterable[tuple[str, float]]


def said(gains: Gains, what: str) -> Iterator[str]:
    """Numbers and what a tenth more of each gives (a fraction of ``what``) in words."""
    return helps((Sensitivity(name, gain, gain) for name, gain in gains), what)


def iterated(found: Iteration) -> Iterator[str]:
    """The largest term of an iteration; then quicker memory, products and links, divided and ordered as it is."""
    yield f"{found.bound}: {dict(found.terms)[found.bound] / found.seconds:.0%} of an iteration, the largest term"
    yield from said(_rates(found), "tokens/s in this layout")


def _rates(found: Iteration) -> Gains:
    own = found.setting.cluster
    for path in _paths(found):
        quicker = replace(found.setting, cluster=own.with_(path, own.get(path) * NUDGE))
        yield path, found.seconds / Iteration(quicker).seconds - 1


def _paths(found: Iteration) -> Iterator[str]:
    """Dotted paths of the rates that an iteration uses."""
    s = found.setting
    [pool] = s.cluster.pools
    device, link = pool.device, pool.device.link("node")
    yield f"{pool.name}.{device.memory.name}.bandwidth"
    yield f"{pool.name}.{device.runs_as('mac', 'bf16')[1]}.device_rate.mac.bf16"
    if link is not None and s.cluster.devices > 1:
        yield f"{pool.name}.{link.name}.bandwidth"
    if s.cluster.devices > pool.node_size:
        yield "network.bandwidth"
