"""The least height of buffers any two of which are live at once, where starts are multiples of their alignments.

What is live at one moment is a stack. What comes next in it starts at the next multiple of its alignment, never lower
upon a higher stack, so that the lowest stack of some buffers is the best to go on from (Held and Karp's recurrence over
subsets). Only remainders matter to gaps: buffers of one alignment whose sizes leave the same remainder by the least
common multiple of all alignments are as good as each other, so that it is enough to know how many of each kind are in.
Where buffers are live more than once, any two of some may meet without a moment at which all are live; they are a stack
too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import lcm, prod
from operator import mul
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.planner.kernel import Ints, Shape, compiled, inside, overlaps

STATES = 1 << 24  # of a stack, how many of each kind are in; what else is live fills gaps as if it were liquid
BEYOND = 1 << 62  # any size: where alignments have no common multiple below, no two sizes leave the same remainder
GO = np.zeros(1, np.int64)  # nobody says stop
MEETING = 400  # buffers among which those that meet in pairs are sought
WORK = 300_000  # buffers that this search may look at, again and again; the highest stack found is a bound in any case
STACK = 300  # states of a stack that count as one look at a buffer
MOMENTS = 16  # of a problem that are looked at, the fullest first


def lowest(shape: Shape, live: Ints, stop: Ints = GO) -> int:
    """The height that some buffers take which cannot share addresses; ``live`` has the units at each moment.

    A bound on every placement, whichever buffers are looked at: those of the fullest moments, and those that meet in
    pairs. Soon after another thread has set ``stop[0]`` what is known by then.
    """
    best = int(live.max(initial=0))
    aligned, gapped = bool((shape.align > 1).any()), shape.begin.size > shape.size.size
    owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
    for moment in np.argsort(-live, kind="stable")[: MOMENTS if aligned else 0]:
        here = owner[(shape.begin <= moment) & (moment < shape.end)]
        stack = _Stack(shape.size[here], shape.align[here])
        if stack.most > best:
            best = max(best, stack.least(best, stop))
    if (aligned or gapped) and shape.size.size <= MEETING:
        best = _highest(shape.size, shape.align, overlaps(shape), best, stop)
    return best


def _highest(size: Ints, align: Ints, meets: NDArray[np.bool_], best: int, stop: Ints = GO) -> int:
    """The highest of the stacks of buffers any two of which meet, and of ``best``, as far as it was searched for.

    Bron and Kerbosch's search for the largest of such sets, with a bound: a stack is no higher than its sizes and the
    gaps that its alignments may leave.
    """
    order = np.argsort(-(size + align), kind="stable")
    weight = (size + align - 1)[order].tolist()
    table = meets[np.ix_(order, order)]
    near = [sum(1 << int(j) for j in np.flatnonzero(row)) for row in table]
    work, waiting = 0, [((1 << len(weight)) - 1, 0, 0, 0)]  # who may join, who did elsewhere, who is in, their weight
    while waiting and work < WORK and not stop[0]:
        open_, closed, chosen, total = waiting.pop()
        work += 1 + open_.bit_count()
        if total + _most(open_, near, weight) <= best:
            continue
        if open_:
            waiting += reversed(list(_joined(open_, closed, chosen, total, near, weight)))
        elif not closed:
            members = order[list(_members(chosen))]
            stack = _Stack(size[members], align[members])
            best, work = max(best, stack.least(best, stop)), work + stack.states // STACK
    return best


def _joined(
    open_: int, closed: int, chosen: int, total: int, near: list[int], weight: list[int]
) -> Iterator[tuple[int, int, int, int]]:
    """Each that may join, once; those that meet the one that meets most of them are left to come later."""
    pivot = max(_members(open_ | closed), key=lambda one: (near[one] & open_).bit_count())
    for one in _members(open_ & ~near[pivot]):
        yield open_ & near[one], closed & near[one], chosen | 1 << one, total + weight[one]
        open_, closed = open_ & ~(1 << one), closed | 1 << one


def _members(bits: int) -> Iterator[int]:
    while bits:
        one = (bits & -bits).bit_length() - 1
        yield one
        bits &= bits - 1


def _most(members: int, near: list[int], weight: list[int]) -> int:
    """At most so much of some buffers can meet: of each class in which none meet, the heaviest."""
    total = 0
    while members:
        apart, heaviest = members, 0
        while apart:
            one = (apart & -apart).bit_length() - 1
            members &= ~(1 << one)
            apart &= ~(1 << one) & ~near[one]
            heaviest = max(heaviest, weight[one])
        total += heaviest
    return total


def stacked(size: Ints, align: Ints) -> int:
    """The least height of a stack; a bound where there are too many kinds: the finest aligned are liquid."""
    return _Stack(size, align).least(0)


@dataclass(frozen=True)
class _Stack:
    """Buffers all of which are live at once; sizes are rounded up to what divides every alignment.

    Whichever is on top is spared what it was rounded up by.
    """

    size: Ints
    align: Ints

    @cached_property
    def rounded(self) -> Ints:
        fine: int = np.gcd.reduce(self.align)
        return self.size + -self.size % fine

    @cached_property
    def kinds(self) -> list[_Kind]:
        whole = min(lcm(*self.align.tolist()), BEYOND)
        return _kinds(self.rounded % whole, self.align, self.rounded - self.size, self.rounded)

    @cached_property
    def solid(self) -> list[_Kind]:
        """The kinds whose orders are gone through."""
        states = accumulate((kind.number + 1 for kind in self.kinds), mul)
        return [kind for kind, so_far in zip(self.kinds, states, strict=True) if so_far <= STATES]

    @property
    def states(self) -> int:
        """How many of each kind may be in."""
        return prod(kind.number + 1 for kind in self.solid)

    @property
    def most(self) -> int:
        """No stack is higher."""
        return int((self.size + self.align - 1).sum())

    def least(self, enough: int, stop: Ints = GO) -> int:
        """The least height, or a bound on it; where that is no more than ``enough``, perhaps any height up to there.

        All of a liquid's units may go into gaps, so that only gaps beyond them add to the sum of the sizes.
        """
        total, solid = int(self.rounded.sum()), self.solid
        remainders = sum(kind.remainder * kind.number for kind in solid)
        fields = np.array([kind[:4] for kind in solid], np.int64).reshape(-1, 4)
        gaps = height(fields, enough - total + remainders, stop) - remainders
        if len(solid) == len(self.kinds):
            return total + gaps
        filled = sum(kind.total for kind in self.kinds[len(solid) :])
        return total - int((self.rounded - self.size).max()) + max(0, gaps - filled)


class _Kind(NamedTuple):
    remainder: int  # of the size, by the least common multiple of all alignments
    align: int
    number: int
    spare: int  # the most that one of them need not have if it is on top
    total: int  # of the sizes, rounded up


def _kinds(remainder: Ints, align: Ints, spare: Ints, rounded: Ints) -> list[_Kind]:
    """Buffers that are as good as each other, the coarsest alignment first.

    Of those without a remainder, which may as well lie at the bottom, only one that would be spared most on top counts.
    """
    kinds = []
    for key in {(int(r), int(a)) for r, a in zip(remainder, align, strict=True)}:
        those = (remainder == key[0]) & (align == key[1])
        most = int(spare[those].max())
        if key[0] or most:
            kinds.append(_Kind(*key, int(those.sum()) if key[0] else 1, most, int(rounded[those].sum())))
    return sorted(kinds, key=lambda kind: (-kind.align, -kind.total, kind))


@compiled
def height(fields: Ints, enough: int, stop: Ints) -> int:  # (kinds, 4): remainder, alignment, number, spare
    """The least height of all orders of so many of each kind; that of some order if it is no more than ``enough``.

    What is below any height soon after another thread has set ``stop[0]``.
    """
    remainder, align, number, spare = fields[:, 0], fields[:, 1], fields[:, 2], fields[:, 3]
    kinds = remainder.size
    quick = _quick(remainder, align, number)
    if quick <= enough or kinds == 0:
        return quick
    step = np.append(1, np.cumprod(number + 1))
    states = step[kinds]
    least, held = np.zeros(states, np.int64), np.zeros(kinds, np.int64)
    for state in range(1, states):
        if stop[0]:
            return int(-spare.max())
        _count(held, number)
        best, last = np.int64(1) << 62, state == states - 1
        for k in range(kinds):
            if held[k]:
                top = least[state - step[k]]
                top += (-top) % align[k] + remainder[k] - (spare[k] if last else 0)
                best = min(best, top)
        least[state] = best
    return int(least[states - 1])


@inside
def _count(held: Ints, number: Ints) -> None:
    """The next of all ways to hold some of each kind."""
    k = 0
    while held[k] == number[k]:
        held[k] = 0
        k += 1
    held[k] += 1


@inside
def _quick(remainder: Ints, align: Ints, number: Ints) -> int:
    """The height if what leaves the least gap comes next, of such the coarsest."""
    left, top = number.copy(), np.int64(0)
    for _ in range(number.sum()):
        best = -1
        for k in range(left.size):
            if left[k] and (best < 0 or (-top) % align[k] < (-top) % align[best]):
                best = k
        top += (-top) % align[best] + remainder[best]
        left[best] -= 1
    return int(top)
