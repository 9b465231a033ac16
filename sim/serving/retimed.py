"""A step timed again on changed hardware: only the tasks that ran on what has changed.

What a task's seconds are read from is compared by value, so no list of parameters says which of them matter where.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sim.arch import Cluster, Tier
from sim.model.chip import Chip
from sim.model.step import Step
from sim.model.task import Task
from sim.model.timing import Clock


def retimed(step: Step, before: Tier, cluster: Cluster, tier: Tier, host: float) -> Step:
    """The step, timed at ``before``, as :meth:`sim.model.step.Work.on` times it on another ``cluster`` and ``tier``."""
    clock = Clock(cluster, tier, step.work.layout)
    old, new = _seen(step.cluster, before), _seen(cluster, tier)
    rows = tuple(
        (part, tuple(one if old(one.task) == new(one.task) else clock.time(one.task) for one in timed))
        for part, timed in step.rows
    )
    return replace(step, cluster=cluster, rows=rows, host=host)


def _seen(cluster: Cluster, tier: Tier) -> Callable[[Task], tuple[Any, ...]]:
    """Everything that a task's seconds are read from here, to be compared with the same elsewhere."""
    pools = {pool.name: pool for pool in cluster.pools}
    fractions = (tier.launch, tier.compute, tier.memory, tier.collective)
    # Where multiprocessors are described, kernels have their constants instead of fractions of the peak.
    described = {name: tier.constants is not None and Chip.of(p.device) is not None for name, p in pools.items()}
    levels = {name: (tier.constants, () if known else fractions) for name, known in described.items()}

    def seen(task: Task) -> tuple[Any, ...]:
        device = pools[task.pool].device
        if task.kind == "kernel":
            return (levels[task.pool], device.memories, device.computes, device.fanouts)
        if task.kind == "transfer":
            return (cluster.network, pools[task.pool].network, pools[task.source].network)
        return (tier.constants, tier.collective, pools[task.pool].link(task.reach, task.groups), device.fanouts)

    return seen
