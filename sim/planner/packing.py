"""A problem as the arrays that placing works on: sizes in units, moments numbered, nothing that cannot matter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.planner import stacking
from sim.planner.kernel import Shape
from sim.planner.problem import Buffer, Plan, Problem, Stay

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """The buffers with bytes and live intervals; sizes, offsets and heights are in ``unit`` bytes."""

    problem: Problem
    buffers: tuple[Buffer, ...]
    unit: int
    shape: Shape
    times: tuple[float, ...]  # of the moments, and where the last ends

    @cached_property
    def live(self) -> Ints:
        """The units live at each moment; what is aligned may need more."""
        shape, change = self.shape, np.zeros(self.shape.moments + 1, np.int64)
        sizes = np.repeat(shape.size, np.diff(shape.at))
        np.add.at(change, shape.begin, sizes)
        np.add.at(change, shape.end, -sizes)
        return np.cumsum(change)[:-1]

    @cached_property
    def backward(self) -> Shape:
        """The same buffers with time running backward: the same placements are right."""
        shape = self.shape
        owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
        begin, end = shape.moments - shape.end, shape.moments - shape.begin
        order = np.lexsort([begin, owner])
        return shape._replace(begin=begin[order], end=end[order])

    @cached_property
    def bound(self) -> int:
        """No placement is lower than what is live at once takes, aligned."""
        return stacking.lowest(self.shape, self.live)

    @cached_property
    def keys(self) -> dict[str, Ints]:
        """What buffers are ordered by, in MiniMalloc's letters: width (moments), size, area, total (most live)."""
        shape = self.shape
        owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
        width = np.zeros_like(shape.size)
        np.add.at(width, owner, shape.end - shape.begin)
        return {"W": width, "Z": shape.size, "A": width * shape.size, "T": self._most(self.live)}

    def order(self, by: str, blame: NDArray[np.float64] | None = None) -> Ints:
        """The buffers by several keys, each the greatest first: ``"TWA"``; before all by the most blamed moment."""
        keys = [-self.keys[key] for key in reversed(by)]
        if blame is not None:
            keys.append(-self._most(blame))
        return np.lexsort(keys).astype(np.int64)

    def _most(self, values: NDArray[Any]) -> NDArray[Any]:
        """The greatest of values (by moment) while each buffer is live."""
        shape = self.shape
        found = np.zeros(shape.size.size, values.dtype)
        owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
        np.maximum.at(found, owner, _range_maximum(values, shape.begin, shape.end))
        return found

    def height(self, offsets: Ints) -> int:
        """The highest end."""
        return int(highest(offsets, self.shape.size))

    @property
    def fullest(self) -> tuple[float, tuple[Buffer, ...]]:
        """The first moment at which most is live, and the buffers that are."""
        if not self.live.size:
            return 0.0, ()
        when = self.times[int(self.live.argmax())]
        return when, tuple(b for b in self.buffers if any(start <= when < stop for start, stop in b.live))

    def plan(self, offsets: Ints, bound: int, method: str, seconds: float, *, proven: bool) -> Plan:
        """The plan with these offsets, those of no size at the bottom."""
        where = {b.name: int(o) * self.unit for b, o in zip(self.buffers, offsets, strict=True)}
        tier = self.problem.tiers[0].name
        stays = tuple(
            Stay(b.name, tier, start, stop, where.get(b.name, 0))
            for b in self.problem.buffers
            for start, stop in b.live
        )
        height = self.height(offsets) * self.unit
        return Plan(self.problem.name, "peak", height, bound * self.unit, proven, method, seconds, stays)


@dataclass(frozen=True)
class Laid:
    """Buffers at their offsets."""

    packing: Packing
    plan: Plan

    @property
    def problem(self) -> Problem:
        """What was asked."""
        return self.packing.problem

    @property
    def offsets(self) -> dict[str, int]:
        """Each buffer's address, in bytes."""
        return {stay.buffer: stay.offset or 0 for stay in self.plan.stays}

    def summary(self) -> dict[str, Any]:
        """The figures."""
        found = self.plan
        return {
            "height": int(found.value), "bound": int(found.bound), "proven": found.proven, "method": found.method,
            "seconds": found.seconds, "offsets": self.offsets, "notes": list(found.notes),
        }  # fmt: skip


def highest(offsets: Any, sizes: Any) -> Any:
    """Where the buffer ends that reaches highest; nothing where there is none."""
    return (offsets + sizes).max() if len(sizes) else 0


def pack(problem: Problem) -> Packing:
    """The buffers of a problem as arrays; time is numbered by where something begins or ends."""
    buffers = tuple(b for b in problem.buffers if b.size > 0 and b.live)
    unit = _unit([b.size for b in buffers], {b.align for b in buffers})
    lives = [tuple(_joined(b.live)) for b in buffers]
    spans = list(chain.from_iterable(lives))
    times = np.unique(np.array(spans, float)) if spans else np.zeros(1)
    begin, end = (np.searchsorted(times, [span[k] for span in spans]).astype(np.int64) for k in (0, 1))
    at = np.cumsum([0, *map(len, lives)]).astype(np.int64)
    size = np.array([b.size // unit for b in buffers], np.int64)
    align = np.array([max(1, b.align // unit) for b in buffers], np.int64)
    return Packing(
        problem, buffers, unit, Shape(size, align, at, begin, end, max(0, times.size - 1)), tuple(times.tolist())
    )


def _joined(live: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Intervals in order of time, those that touch made one."""
    start = stop = None
    for low, high in sorted(live):
        if start is None or stop is None:
            start, stop = low, high
        elif low <= stop:
            stop = max(stop, high)
        else:
            yield start, stop
            start, stop = low, high
    if start is not None and stop is not None:
        yield start, stop


def _unit(sizes: Sequence[int], aligns: Iterable[int]) -> int:
    """The greatest number of bytes that divides every size, and divides or is a multiple of every alignment."""
    unit, before = gcd(*sizes) or 1, 0
    while unit != before:
        before = unit
        for align in aligns:
            if unit % align:
                unit = gcd(unit, align)
    return unit


def _range_maximum(values: NDArray[Any], begin: Ints, end: Ints) -> NDArray[Any]:
    """The greatest of ``values[begin:end]`` for each pair, from a table of the greatest over powers of two."""
    if not begin.size:
        return np.zeros(0, values.dtype)
    level = np.frexp((end - begin).astype(float))[1] - 1
    table = [values]
    for step in range(int(level.max())):
        last, width = table[-1], 1 << step
        table.append(np.maximum(last[:-width], last[width:]))
    found = np.empty(begin.size, values.dtype)
    for step, row in enumerate(table):
        those = level == step
        found[those] = np.maximum(row[begin[those]], row[end[those] - (1 << step)])
    return found
