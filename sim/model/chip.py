"""What kernels need to know of a graphics processor: multiprocessors and their clock, the last cache, the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from einsum import WeirError
from sim.arch import Device

Constants = Mapping[str, float]  # of one class of kernel

GONE = 1.6  # times the cache's size, of what passes in a round, at which nothing of it is kept
MOST = 0.9  # of what passes that a cache may have kept


@dataclass(frozen=True, slots=True)
class Chip:
    """What the kernels need to know of a device."""

    device: Device
    sms: float
    clock: float  # Hz, the highest
    stated: float  # Hz, at which the matrix units' peaks are stated
    sustained: float  # fraction of the clock kept while all matrix units work: midway between base and stated
    threads: float  # that one multiprocessor keeps at once
    last: float  # B that the last cache can hold
    cache: float  # B of it that it can hold of what all multiprocessors read
    bandwidth: float  # B/s
    asynchronous: bool
    apart: bool

    @classmethod
    def of(cls, device: Device) -> Chip | None:
        """The chip, or None where the device's file describes no multiprocessors."""
        sm = device.multiprocessor
        if sm is None:
            return None
        last = device.last_cache
        size, parts = (last.capacity, last.partitions) if last is not None else (0.0, 1)
        clock = sm.boost_clock or sm.clock
        kept = ((sm.base_clock or sm.clock) + sm.clock) / 2 / clock
        return cls(
            device, sms=1.0 * sm.count * device.instances(sm.name), clock=clock, stated=sm.clock, sustained=kept,
            threads=1.0 * sm.threads, last=size * (device.instances(last.name) if last is not None else 1),
            cache=size / parts, bandwidth=device.memory.rate,
            asynchronous=any(unit.asynchronous for unit in device.computes),
            apart=any(unit.apart for unit in device.computes),
        )  # fmt: skip

    def slowest(self, count: int, spread: float) -> Chip:
        """The slowest of so many boards, whose power limits leave clocks that differ by a ``spread`` (deviation).

        The largest of normal deviates is Blom's estimate (1958). Raises :class:`WeirError` where no clock is left.
        """
        if count < 2:
            return self
        from statistics import NormalDist

        deviates = NormalDist().inv_cdf((count - 0.375) / (count + 0.25))
        if spread * deviates >= 1:
            raise WeirError(f"boards.spread {spread:g}: the slowest of {count} boards would have no clock left")
        return replace(self, sustained=self.sustained * (1 - spread * deviates))

    def rate(self, dtype: str) -> float:
        """Operations per second of one multiprocessor's matrix unit at the highest clock."""
        return self.device.rate("mac", dtype) / self.sms * self.clock / self.stated

    def missed(self, size: Any, k: Constants) -> Any:
        """Fraction of bytes that comes from memory, the rest having stayed in the cache."""
        return 1 - np.clip(k["hit"] * (1 - size / max(self.cache, 1.0)), 0, MOST)

    def spilt(self, passing: Any, k: Constants) -> Any:
        """Fraction of bytes that comes from memory where so many pass before the same are needed again."""
        full = (passing / max(self.cache, 1.0) - k["edge"]) / (GONE - k["edge"])
        return np.where(passing > 0, np.clip(full, 0, 1), 1.0)

    def kept(self, used: Any) -> Any:
        """Fraction of the highest clock that the power limit leaves while matrix units work so much of the time."""
        return 1 - (1 - self.sustained) * used

    def waves(self, tiles: Any) -> Any:
        """Rounds in which the multiprocessors do so many tiles; half of the last one's empty places are refilled."""
        full = tiles / self.sms
        return np.where(full > 1, (full + np.ceil(full)) / 2, 1.0)
