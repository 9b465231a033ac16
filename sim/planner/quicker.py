"""What would help a training iteration: one number of the hardware a tenth better, or another layout where it does not
fit, each computed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from einsum import WeirError
from sim.planner.iteration import Iteration
from sim.planner.parallel import Setting
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


def roomier(found: Iteration) -> Iterator[str]:
    """Layouts that fit where this one does not, as options of ``weir train``: with one choice changed, then several."""
    s = found.setting
    ways: dict[str, dict[str, Any]] = {
        "--recompute full": {"recompute": "full"},
        "--distributed-optimiser": {"sharded": True},
        "--sequence-parallel": {"spread": True},
        f"--tp {2 * s.tensor}": {"tensor": 2 * s.tensor},
        f"--pp {2 * s.stages}": {"stages": 2 * s.stages},
    }
    if fit := [name for name, change in ways.items() if _fits(s, change)]:
        yield from fit
    elif _fits(s, {"recompute": "full", "sharded": True, "spread": s.tensor > 1}):
        parallel = " --sequence-parallel" * (s.tensor > 1)
        yield f"--recompute full --distributed-optimiser{parallel}"


def _fits(setting: Setting, change: Mapping[str, Any]) -> bool:
    """Whether a setting with some choices changed goes round and fits."""
    try:
        return not Iteration(replace(setting, **change)).reason
    except WeirError:
        return False  # it does not go round


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
