"""One run of a whole program on a cluster: what each pool does, how long it takes, what it draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import numpy as np

from einsum import Part, Program
from einsum.counts import writes
from mappings.layout import Layout
from sim.arch import Cluster, Tier
from sim.model.task import Task
from sim.model.timing import BOUNDS, Clock, Timed, schedule
from sim.model.work import tasks


@dataclass(frozen=True)
class Work:
    """The tasks of every part of a program, before any device is asked how long they take."""

    program: Program
    layout: Layout
    parts: tuple[tuple[Part, tuple[Task, ...]], ...]
    passed: Any  # bytes handed from one pipeline stage to the next

    @classmethod
    def of(cls, program: Program, layout: Layout, **sizes: Any) -> Work:
        """Count the work of a program at the given sizes (numbers or arrays)."""
        parts, passed = [], 0.0
        for part in program.parts:
            own = {r for r, _ in part.cascade.sizes}
            at = part.cascade.bind(**{r: s for r, s in sizes.items() if r in own})
            parts.append((part, tasks(part.cascade, layout, at)))
            if layout.stages > 1 and part.times > 1:
                out = writes(part.cascade, at)
                passed = sum(s for n, s in out.items() if part.cascade.tensor(n).kind == "stream")
        return cls(program, layout, tuple(parts), passed)

    def on(self, cluster: Cluster, tier: Tier, host: float = 0.0, flying: Any = np.inf) -> Step:
        """The work timed on a cluster; ``host`` seconds are added to every step for the engine's own scheduling.

        No more than ``flying`` batches are in flight at once, whatever the layout has room for.
        """
        clock = Clock(cluster, tier, self.layout)
        rows = tuple((part, tuple(clock.time(t) for t in found)) for part, found in self.parts)
        return Step(self, cluster, rows, host, flying)


@dataclass(frozen=True)
class Step:
    """One step of one replica: ``latency`` seconds for one batch, ``period`` between steps of every batch in flight."""

    work: Work
    cluster: Cluster
    rows: tuple[tuple[Part, tuple[Timed, ...]], ...]
    host: float = 0.0
    flying: Any = np.inf

    @cached_property
    def latency(self) -> Any:
        """Seconds from a batch's start to its end: parts and layers in sequence, stages joined by transfers."""
        total: Any = self.host
        for part, timed in self.rows:
            total = total + part.times * schedule(timed)
        return total + (self.work.layout.stages - 1) * self._hop

    @cached_property
    def attending(self) -> Any:
        """Seconds of one batch's attention kernels, which requests do not share as they share the weights."""
        total: Any = 0.0
        for part, timed in self.rows:
            total = total + part.times * sum(one.seconds for one in timed if one.task.attends and one.task.products)
        return total

    @property
    def _hop(self) -> Any:
        """Seconds to hand activations to the next pipeline stage."""
        layout = self.work.layout
        if layout.stages == 1:
            return 0.0
        pool, span = self.cluster.pool(layout.places[0].pool), layout.places[0].count * layout.stages
        return pool.link(span, layout.replicas).seconds(self.work.passed)

    @cached_property
    def busy(self) -> dict[str, Any]:
        """Seconds for which each pool (its fullest stage) and the network are kept busy by one batch."""
        total: dict[str, Any] = {}
        first = self.work.layout.places[0].pool
        for part, timed in self.rows:
            for one in timed:
                share = self._share(part) if one.resource == first else float(part.times)
                total[one.resource] = total.get(one.resource, 0.0) + share * one.held
        total[first] = total.get(first, 0.0) + self.host
        return total

    def _share(self, part: Part) -> float:
        """Runs of a part that fall on the fullest stage."""
        return float(ceil(part.times / self.work.layout.stages)) if part.times > 1 else 1.0

    @property
    def in_flight(self) -> Any:
        """Batches in flight at once in one replica."""
        return np.minimum(max(self.work.layout.stages, self.work.layout.batches), self.flying)

    @cached_property
    def period(self) -> Any:
        """Seconds in which every batch in flight advances one step: no less than one batch's latency, nor than the
        busiest resource needs for all of them (the bottleneck law of closed queueing networks)."""
        period = self.latency
        for seconds in self.busy.values():
            period = np.maximum(period, self.in_flight * seconds)
        return period

    @cached_property
    def joules(self) -> Any:
        """Joules that a replica's share of all pools draws in one period for all batches in flight."""
        total: Any = 0.0
        layout = self.work.layout
        used = {place.pool: place.count for place in layout.places}
        used[layout.places[0].pool] *= layout.stages
        for pool in self.cluster.pools:
            works = used.get(pool.name, 0)
            rests = pool.count / layout.replicas - works  # devices that the layout leaves out draw their idle power
            idle = pool.device.power.idle if pool.device.power else np.nan
            total = total + works * self._joules_each(pool.name) + rests * idle * self.period
        return total

    def _joules_each(self, pool: str) -> Any:
        """One device's joules in a period: idle throughout, more while its units, memory and links work."""
        power = self.cluster.pool(pool).device.power
        if power is None:
            return np.nan
        spent: Any = power.idle * self.period
        staged = self.work.layout.stages if pool == self.work.layout.places[0].pool else 1
        for part, timed in self.rows:
            for one in timed:
                if pool in (one.task.pool, one.task.source):
                    drawn = one.link * power.link + (one.joules(power) if one.task.pool == pool else 0.0)
                    spent = spent + self.in_flight * part.times / staged * drawn
        return np.minimum(spent, power.tdp * self.period)

    @cached_property
    def shares(self) -> dict[tuple[str, str], Any]:
        """Seconds of one batch by (resource, bound), at every design point."""
        total: dict[tuple[str, str], Any] = {}
        for part, timed in self.rows:
            for one in timed:
                limits = one.limits
                for limit in np.flatnonzero(np.bincount(np.ravel(limits))):
                    key = (one.resource, BOUNDS[limit])
                    total[key] = total.get(key, 0.0) + part.times * one.seconds * (limits == limit)
        return total

    @property
    def bounds(self) -> Any:
        """The resource and the limit that take most of the step, as text at every design point."""
        shares = self.shares | ({("host", "overhead"): self.host} if self.host else {})
        latency, *rows = np.broadcast_arrays(self.latency, *self.busy.values(), *shares.values())
        busy, spent = np.stack(rows[: len(self.busy)]) * self.in_flight, np.stack(rows[len(self.busy) :])
        alone = busy.max(axis=0) >= 0.98 * latency  # one resource never waits: only it matters
        resources, first = list(self.busy), self.work.layout.places[0].pool  # which the host keeps waiting
        own = np.array([resources.index(first if r == "host" else r) for r, _ in shares])
        beside = own.reshape(-1, *[1] * latency.ndim) != busy.argmax(axis=0)
        most = np.where(alone & beside, -1.0, spent).argmax(axis=0)
        return np.array([limit if r == limit else f"{r} {limit}" for r, limit in shares])[most]

    @property
    def bound(self) -> str:
        """The resource and the limit that take most of the step, at the last design point."""
        return str(np.ravel(self.bounds)[-1])
