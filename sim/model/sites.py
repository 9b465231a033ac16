"""Instances of loops in space: which there are, which ever work, and which share a transfer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from einsum import WeirError
from sim.model.flat import Ints, Loop, Slot

INSTANCES = 1 << 20


@dataclass(frozen=True, eq=False, slots=True)
class Site:
    """The instances under a list of loops, numbered with the outermost loop in space slowest."""

    number: int
    loops: tuple[Loop, ...]

    @property
    def count(self) -> int:
        """Number of instances."""
        return prod(loop.trips for loop in self.loops if loop.space)

    def radix(self) -> list[int]:
        """What to divide an instance's number by for its place in each loop."""
        return [prod(p.trips for p in self.loops[at + 1 :] if p.space) for at in range(len(self.loops))]

    def at(self, loop: Loop) -> Ints:
        """Each instance's place in a loop in space."""
        step = self.radix()[self.loops.index(loop)]
        return np.arange(self.count, dtype=np.int64) // step % loop.trips

    def numbers(self, loops: Iterable[Loop]) -> Ints:
        """For each instance, its number among the instances of only some of the loops."""
        total = np.zeros(self.count, np.int64)
        for loop in loops:
            total = total * loop.trips + self.at(loop) if loop.space else total
        return total

    def live(self, sizes: Mapping[str, int]) -> Ints:
        """Whether an instance has a piece of every rank spread over it when all loops start; if not, it never has."""
        if self.count > INSTANCES:
            raise WeirError(f"mapping: {self.count} instances are too many to simulate; at most {INSTANCES}")
        left = {loop.rank: np.full(self.count, sizes[loop.rank]) for loop in self.loops}
        for loop in self.loops:
            offset = self.at(loop) * loop.tile if loop.space else np.zeros(self.count, np.int64)
            left[loop.rank] = np.clip(left[loop.rank] - offset, 0, loop.tile)
        alive = [left[loop.rank] > 0 for loop in self.loops if loop.space]
        return np.logical_and.reduce(alive).astype(np.int64) if alive else np.ones(1, np.int64)


@dataclass(frozen=True, eq=False, slots=True)
class Port:
    """How a slot asks its parent, or an access its innermost slot.

    ``merged`` are ranks whose instances share a transfer, ``span`` the things that can be moved at once, ``marks``
    the ranks of what writes through it, if first touches matter.
    """

    site: Site
    keep: Slot
    merged: frozenset[str]
    span: int
    marks: frozenset[str] | None = None
    own: bool = False  # a keep, which has elements of its own, rather than an access

    @property
    def inside(self) -> tuple[Loop, ...]:
        """Loops between the keep and what asks."""
        return self.site.loops[len(self.keep.loops) :]

    def group(self) -> Ints:
        """For each instance, the group that it shares transfers with."""
        inside = self.inside
        return self.site.numbers(p for p in self.site.loops if not (p in inside and p.rank in self.merged))

    def marked(self) -> Ints:
        """For each instance, the instance whose first touches it makes: its own, or where it is summed, of the keep."""
        summed = any(p.space and p.rank in self.merged for p in self.inside)
        return self.site.numbers(self.keep.loops if summed or not self.own else self.site.loops)

    def repeats(self) -> tuple[Loop, ...]:
        """Loops in time that repeat the making of the tensor: each repetition has first touches of its own."""
        if self.marks is None:
            return ()
        inside = self.site.loops[len(self.keep.outer.loops) :]
        return tuple(p for p in inside if not p.space and p.rank not in self.marks)


def lacking(loops: Sequence[Loop], ranks: Iterable[str]) -> frozenset[str]:
    """Ranks of some loops that are not among ``ranks``."""
    return frozenset(loop.rank for loop in loops) - frozenset(ranks)
