"""Seconds of each task on real components: the sum over kernels, the maximum inside one.

A fused kernel takes its launch, then the longest of what its units and its memory need, each at the fraction of its
peak that the tier says is achieved. Ideal seconds (at full rate) are kept beside, for utilisation and energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mappings.layout import Layout
from sim.arch import Cluster, Tier, bits
from sim.arch.components import Power
from sim.model import physical
from sim.model.chip import Chip
from sim.model.collectives import achieved, collective
from sim.model.task import Ops, Task

BOUNDS = ("compute", "memory", "launch", "collective", "network")


@dataclass(frozen=True, slots=True)
class Timed:
    """One task with its wall seconds, its ideal seconds of compute, memory and link, and what bounds it."""

    task: Task
    seconds: Any
    compute: Any = 0.0  # ideal seconds of the busiest unit at its peak rate
    memory: Any = 0.0  # ideal seconds of the outermost memory at its peak bandwidth
    link: Any = 0.0  # ideal seconds of the link at its bandwidth
    launch: Any = 0.0  # fixed seconds, however small the task
    algorithm: str = ""
    switched: Any = 0.0  # seconds of compute with values of 16 bits or more in whole instructions: its energy's measure

    @property
    def held(self) -> Any:
        """Seconds for which its resource can do nothing else: a message in flight does not hold the link."""
        return self.seconds - self.launch if self.task.kind == "transfer" else self.seconds

    def joules(self, power: Power) -> Any:
        """Joules that a kernel draws beyond idling: while it runs at all, for what it computes, and for what it moves.

        A collective draws for its link alone, which the step counts at both ends.
        """
        if self.task.kind != "kernel":
            return 0.0
        return self.seconds * power.active + self.switched * power.compute + self.memory * power.memory

    @property
    def resource(self) -> str:
        """What it keeps busy: its pool, or the network towards a pool (links carry both directions at once)."""
        return f"network to {self.task.pool}" if self.task.kind == "transfer" else self.task.pool

    @property
    def limits(self) -> Any:
        """What takes longest in it at every design point, as a place in ``BOUNDS``."""
        if self.task.kind != "kernel":
            return BOUNDS.index("network" if self.task.kind == "transfer" else "collective")
        longest = np.where(self.memory > self.compute, BOUNDS.index("memory"), BOUNDS.index("compute"))
        return np.where(self.launch > self.seconds - self.launch, BOUNDS.index("launch"), longest)

    @property
    def bound(self) -> str:
        """What takes longest in it, at the last design point."""
        return BOUNDS[int(np.ravel(self.limits)[-1])]

    @property
    def ideal(self) -> Any:
        """Seconds at the physical limit: no launch, every rate at its peak."""
        return np.maximum(np.maximum(self.compute, self.memory), self.link)


class Clock:
    """Times tasks on one cluster at one tier; rates are looked up once per pool, class and type.

    Of devices that wait for one another, as many as the ``layout`` says, the slowest is timed.
    """

    def __init__(self, cluster: Cluster, tier: Tier, layout: Layout | None = None) -> None:
        self.cluster, self.tier, self.layout = cluster, tier, layout
        self._rates: dict[tuple[str, str, str], tuple[str, float]] = {}
        self._constants = tier.constants.table() if tier.constants is not None else None
        self._chips: dict[str, Chip | None] = {}

    def time(self, task: Task) -> Timed:
        """The task's seconds here."""
        if task.kind == "kernel":
            return self._kernel(task)
        return self._transfer(task) if task.kind == "transfer" else self._collective(task)

    def _rate(self, pool: str, op: str, dtype: str) -> tuple[str, float]:
        key = (pool, op, dtype)  # two pools may hold devices of one name with different numbers
        if key not in self._rates:
            device = self.cluster.pool(pool).device
            self._rates[key] = (device.runs_as(op, dtype)[1], device.rate(op, dtype))
        return self._rates[key]

    def _kernel(self, task: Task) -> Timed:
        device = self.cluster.pool(task.pool).device
        compute = self._slowest(task, task.ops)
        chip = self._chip(task.pool)
        switched = self._slowest(task, _switched(task, chip))
        memory = device.memory.seconds(task.size)
        if chip is not None and self._constants is not None:
            launch = physical.launched(task, chip, self._constants)
            least = launch + compute  # the slowest unit at its peak, also where it is not a matrix unit
            seconds = np.maximum(physical.seconds(task, chip, self._constants), least)
            return Timed(task, seconds, compute, memory, launch=launch, switched=switched)
        work = np.maximum(compute / self.tier.compute, memory / self.tier.memory)
        return Timed(task, self.tier.launch + work, compute, memory, launch=self.tier.launch, switched=switched)

    def _slowest(self, task: Task, ops: Ops) -> Any:
        """Seconds at full rate of the unit that is busiest with some operations."""
        units: dict[str, Any] = {}
        for op, dtype, count in ops:
            unit, rate = self._rate(task.pool, op, dtype)
            units[unit] = units.get(unit, 0.0) + count / rate
        compute: Any = 0.0
        for seconds in units.values():
            compute = np.maximum(compute, seconds)
        return compute

    def _chip(self, pool: str) -> Chip | None:
        if self._constants is None:
            return None
        if pool not in self._chips:
            chip, among = Chip.of(self.cluster.pool(pool).device), self._together(pool)
            self._chips[pool] = chip and chip.slowest(among, self._constants["boards"]["spread"])
        return self._chips[pool]

    def _together(self, pool: str) -> int:
        """Devices that wait for one another at a pool."""
        if self.layout is None:
            return 1
        return self.layout.together or self.layout.at(pool).count

    def _collective(self, task: Task) -> Timed:
        link = self.cluster.pool(task.pool).link(task.reach, task.groups)
        seconds, algorithm = collective(task.kind, task.size, task.ways, link.bandwidth, link.latency)
        moving, _ = collective(task.kind, task.size, task.ways, link.bandwidth, 0.0)
        chip = self._chip(task.pool)
        if chip is not None and self._constants is not None and link.scope != "network":
            k = self._constants["collective"]
            seconds, algorithm = achieved(task.kind, task.size, task.ways, link, k, chip.clock, task.shot)
            return Timed(task, seconds, link=moving, launch=k["shot"] / chip.clock, algorithm=algorithm)
        fixed = self.tier.collective
        return Timed(task, seconds + fixed, link=moving, launch=fixed, algorithm=algorithm)

    def _transfer(self, task: Task) -> Timed:
        """Receivers take their bytes at once; senders share the sending of all that is received."""
        network = self.cluster.network
        into = self.cluster.pool(task.pool).network.bandwidth
        out = self.cluster.pool(task.source).network.bandwidth
        seconds = np.maximum(task.size / into, task.size * task.receivers / (task.senders * out))
        return Timed(task, network.latency + seconds, link=seconds, launch=network.latency, algorithm="direct")


def _switched(task: Task, chip: Chip | None) -> Ops:
    """Its operations as their energy counts them: on 16 bits or more, and those of whole matrix instructions."""
    filled = physical.filled(task, chip) if chip is not None else 1.0
    wide = ((op, dtype if bits(dtype) >= 16 else "bf16", count) for op, dtype, count in task.ops)
    return tuple((op, dtype, count * filled if op == "mac" else count) for op, dtype, count in wide)


def schedule(timed: tuple[Timed, ...]) -> Any:
    """Seconds until the last task ends; in program order, each starts when its inputs and its resource are ready."""
    free: dict[str, Any] = {}
    ends: list[Any] = []
    for one in timed:
        start = free.get(one.resource, 0.0)
        for before in one.task.after:
            start = np.maximum(start, ends[before])
        ends.append(start + one.seconds)
        free[one.resource] = start + one.held
    total: Any = 0.0
    for end in ends:
        total = np.maximum(total, end)
    return total
