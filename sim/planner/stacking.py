"""The least height of buffers any two of which are live at once, where starts are multiples of their alignments.

What is live at one moment is a stack. Its least height is found exactly over subsets, each with the least height to
which its buffers can be stacked: what comes next starts at the next multiple of its alignment, never lower upon a
higher stack, so that the lowest stack of a subset is the best to go on from. Where buffers are live more than once, any
two of some may meet without a moment at which all are live; they are a stack too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.planner.search import Ints, Shape, compiled, overlaps

EXACT = 20  # buffers of a stack whose orders are gone through; what else is live fills gaps as if it were liquid
MEETING = 400  # buffers among which those that meet in pairs are sought
WORK = 300_000  # buffers that this search may look at, again and again; the heaviest set found is a bound in any case
MOMENTS = 16  # of a problem that are looked at, the fullest first


def lowest(shape: Shape, live: Ints) -> int:
    """The height that some buffers take which cannot share addresses; ``live`` has the units at each moment.

    A bound on every placement, whichever buffers are looked at: those of the fullest moments, and those that meet in
    pairs.
    """
    best = int(live.max(initial=0))
    aligned = bool((shape.align > 1).any())
    if shape.begin.size > shape.size.size and shape.size.size <= MEETING:
        pairs = _heaviest(shape.size.tolist(), overlaps(shape))
        best = max(best, stacked(shape.size[pairs], shape.align[pairs]))
    if not aligned:
        return best
    owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
    for moment in np.argsort(-live, kind="stable")[:MOMENTS]:
        here = owner[(shape.begin <= moment) & (moment < shape.end)]
        if live[moment] + int((shape.align[here] - 1).sum()) > best:
            best = max(best, stacked(shape.size[here], shape.align[here]))
    return best


def _heaviest(size: list[int], meets: NDArray[np.bool_]) -> list[int]:
    """The heaviest set of buffers any two of which meet, as far as it was searched for (branch and bound)."""
    order = sorted(range(len(size)), key=lambda i: -size[i])
    near = [sum(1 << k for k, j in enumerate(order) if meets[i, j] and i != j) for i in order]
    weight = [size[i] for i in order]
    best, found, work = 0, 0, 0
    waiting = [((1 << len(order)) - 1, 0, 0)]  # those that may join, those in, and their weight
    while waiting and work < WORK:
        open_, chosen, total = waiting.pop()
        work += 1 + open_.bit_count()
        if total > best:
            best, found = total, chosen
        if not open_ or total + _most(open_, near, weight) <= best:
            continue
        first = (open_ & -open_).bit_length() - 1
        waiting.append((open_ & ~(1 << first), chosen, total))
        waiting.append((open_ & near[first], chosen | 1 << first, total + weight[first]))
    return [order[k] for k in range(len(order)) if found >> k & 1]


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
    """The least height of a stack; of more than ``EXACT`` buffers a bound: those of the finest alignments are liquid.

    All of a liquid's units may go into gaps, so that only gaps beyond them add to the sum of the sizes.
    """
    order = np.lexsort([-size, -align])
    solid, liquid = order[:EXACT], order[EXACT:]
    filled = int(size[liquid].sum())
    if int((align[solid] - 1).sum()) <= filled:
        return int(size.sum())
    gaps = height(size[solid], align[solid]) - int(size[solid].sum())
    return int(size.sum()) + max(0, gaps - filled)


@compiled
def height(size: Ints, align: Ints) -> int:
    """The least height of all orders, over subsets (Held and Karp's recurrence)."""
    n = size.size
    least = np.full(1 << n, np.int64(1) << 62, np.int64)
    least[0] = 0
    for subset in range(1 << n):
        base = least[subset]
        for i in range(n):
            if not subset >> i & 1:
                grown = subset | 1 << i
                top = (base + align[i] - 1) // align[i] * align[i] + size[i]
                if top < least[grown]:
                    least[grown] = top
    return int(least[(1 << n) - 1])
