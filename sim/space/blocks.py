"""A sweep in blocks: smaller products of the same axes, worked on here or by other processes, kept as they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from sim.space.axes import Axis, held, points, size
from sim.space.columns import Coded, coded, uncoded
from sim.space.identity import digest, identity
from sim.space.progress import tracked
from sim.space.store import Store

if TYPE_CHECKING:
    import pandas as pd

Make = Callable[[Sequence[Axis], str | None], "pd.DataFrame"]
AHEAD = 4  # blocks handed to an executor for each of its workers


@dataclass(frozen=True, slots=True)
class Part:
    """A product of axes, the condition that picks from its points if not all are asked, and how many are."""

    axes: tuple[Axis, ...]
    only: str | None
    points: int


@dataclass(frozen=True)
class Sweep:
    """What is asked at every point of some axes, and how the answers are known again.

    ``make`` answers those points of a product of axes at which a condition holds (picklable, where an executor is
    used), ``most`` points at a time. ``meaning`` is what a value stands for, by axis; ``version`` and ``base`` are what
    all answers follow from besides. ``only`` is a condition on axes: where it does not hold, nothing is asked.
    """

    make: Make
    most: int
    meaning: Callable[[str, Any], Any]
    version: str
    base: str
    only: str | None = None

    def parts(self, axes: Sequence[Axis]) -> Iterator[Part]:
        """The blocks in which there is something to ask; a condition stays with those that it holds in part of."""
        for block in blocks(axes, self.most):
            asked = held(block, self.only)
            if asked is None or asked.all():
                yield Part(tuple(block), None, size(block))
            elif asked.any():
                yield Part(tuple(block), self.only, int(asked.sum()))

    def key(self, part: Part) -> bytes:
        """A hash of everything that the answers of one block follow from."""
        axes = part.axes
        parts = [self.version, self.base, *([f"where {part.only}"] if part.only else [])]
        for one in axes:
            parts += [f"axis {one.name}", *(identity(self.meaning(one.name, value)) for value in one.values)]
        return digest(*parts)


def blocks(axes: Sequence[Axis], most: int) -> Iterator[list[Axis]]:
    """Products of at most ``most`` points that together are the whole one, in its order."""
    whole = len(axes)
    while whole > 0 and prod(len(a.values) for a in axes[whole - 1 :]) <= most:
        whole -= 1
    if whole == 0:
        yield list(axes)
        return
    outer, cut, inner = axes[: whole - 1], axes[whole - 1], list(axes[whole:])
    step = max(1, most // prod(len(a.values) for a in inner))
    for point in points(outer):
        single = [Axis(name, (value,)) for name, value in point.items()]
        for start in range(0, len(cut.values), step):
            yield [*single, replace(cut, values=cut.values[start : start + step]), *inner]


def run(asked: Sweep, axes: Sequence[Axis], store: Store | None, executor: Executor | None) -> list[pd.DataFrame]:
    """The blocks' tables, in order: what the store has is not asked again, and what is new is kept at once."""
    parts = list(asked.parts(axes))
    keys = [asked.key(part) for part in parts] if store is not None else []
    known = store.known(keys) if store is not None else set()
    todo = [at for at in range(len(parts)) if store is None or keys[at] not in known]
    made = {} if store is None else {at: store.table(key) for at, key in enumerate(keys) if key in known}
    for at, frame in tracked(_answers(asked, parts, todo, executor), len(todo), "blocks of points"):
        if store is not None:
            store.add(keys[at], asked.version, frame)
        made[at] = frame
    return [made[at] for at in range(len(parts))]


def _answers(
    asked: Sweep, parts: Sequence[Part], todo: Sequence[int], executor: Executor | None
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Blocks and their tables, as they are done."""
    if executor is None:
        for at in todo:
            yield at, asked.make(parts[at].axes, parts[at].only)
        return
    flying: dict[Future[tuple[Coded, int]], int] = {}
    rest = iter(todo)
    try:
        while True:
            for at in rest:
                flying[executor.submit(_coded, asked.make, parts[at])] = at
                if len(flying) >= AHEAD * _workers(executor):
                    break
            if not flying:
                return
            for done in wait(flying, return_when=FIRST_COMPLETED).done:
                at = flying.pop(done)
                yield at, uncoded(*done.result())
    finally:
        for future in flying:
            future.cancel()


def _coded(make: Make, part: Part) -> tuple[Coded, int]:
    """A block's table for another process: texts by their places in a list are far less to send than one by one."""
    frame = make(part.axes, part.only)
    return coded(frame), len(frame)


def _workers(executor: Executor) -> int:
    return int(getattr(executor, "_max_workers", 0)) or 8  # an executor of somebody else's may not say


def done_of(asked: Sweep, axes: Sequence[Axis], store: Store) -> tuple[int, int]:
    """How many of the points a store has, and how many are asked."""
    parts = list(asked.parts(axes))
    keys = [asked.key(part) for part in parts]
    known = store.known(keys)
    done = sum(part.points for part, key in zip(parts, keys, strict=True) if key in known)
    return done, sum(part.points for part in parts)


def total(spaces: Sequence[Sequence[Axis]]) -> int:
    """Points of several products together."""
    return sum(size(axes) for axes in spaces)
