"""Placing buffers one after another, without looking back: first fit, best fit and skyline.

Kernels only, for the placements that a search starts from, and for traces too large to search.
"""

from __future__ import annotations

import numpy as np

from sim.planner.kernel import Ints, Shape, compiled, inside

BLOCKS = 256  # stretches of time in which what a broken-off pass leaves is piled up


@compiled
def fit(shape: Shape, order: Ints, best: bool, stop: Ints) -> Ints:
    """Each buffer in the order given, at the lowest offset where it fits, or in the tightest hole (``best``).

    Soon after another thread has set ``stop[0]`` what is left is put on top of the rest: quickly, not lowly.
    """
    n = order.size
    offset, end = np.zeros(n, np.int64), np.zeros(n, np.int64)
    first, last = shape.begin[shape.at[:-1]], shape.end[shape.at[1:] - 1]
    placed = np.empty(n, np.int64)  # in the order of their offsets
    for count, i in enumerate(order):
        if stop[0]:
            _pile(shape, order, count, offset)
            break
        offset[i] = _hole(shape, placed, count, first, last, offset, end, i, best)
        end[i] = offset[i] + shape.size[i]
        k = _slot(placed, count, offset, offset[i])
        for m in range(count, k, -1):
            placed[m] = placed[m - 1]
        placed[k] = i
    return offset


@inside
def _hole(
    shape: Shape, placed: Ints, count: int, first: Ints, last: Ints, offset: Ints, end: Ints, i: int, best: bool
) -> int:  # fmt: skip
    """The lowest offset where a buffer fits among those placed, or that of the tightest hole (``best``)."""
    size, align, low, high = shape.size[i], shape.align[i], first[i], last[i]
    top, tightest, found = np.int64(0), np.int64(1) << 62, np.int64(-1)
    for k in range(count):
        j = placed[k]
        if first[j] >= high or low >= last[j] or not _together(shape, i, j):
            continue
        hole = top + (-top) % align
        if offset[j] - hole >= size and offset[j] - top < tightest:
            tightest, found = offset[j] - top, hole
            if not best:
                break
        top = max(top, end[j])
    return int(found if found >= 0 else top + (-top) % align)


@inside
def _pile(shape: Shape, order: Ints, placed: int, offset: Ints) -> None:
    """Put those from a place in the order on top of those before, which are placed; time is in few stretches."""
    blocks = min(shape.moments, BLOCKS)
    outline = np.zeros(blocks, np.int64)
    for k in range(order.size):
        i = order[k]
        low = shape.begin[shape.at[i]] * blocks // shape.moments
        high = (shape.end[shape.at[i + 1] - 1] - 1) * blocks // shape.moments + 1
        top = outline[low:high].max()
        if k >= placed:
            offset[i] = top + (-top) % shape.align[i]
        outline[low:high] = max(top, offset[i] + shape.size[i])


@inside
def _slot(placed: Ints, count: int, offset: Ints, value: int) -> int:
    """Where in the sorted list an offset goes."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if offset[placed[middle]] < value:
            low = middle + 1
        else:
            high = middle
    return low


@inside
def _together(shape: Shape, i: int, j: int) -> bool:
    """Whether two buffers whose first and last moments overlap are ever live at once."""
    if shape.at[i + 1] - shape.at[i] == 1 and shape.at[j + 1] - shape.at[j] == 1:
        return True
    for k in range(shape.at[i], shape.at[i + 1]):
        for m in range(shape.at[j], shape.at[j + 1]):
            if shape.begin[k] < shape.end[m] and shape.begin[m] < shape.end[k]:
                return True
    return False


@compiled
def skyline(shape: Shape, order: Ints, stop: Ints) -> Ints:
    """Fill the lowest valley of the outline with the first buffer in the order that fits between its slopes.

    Buffers with gaps count as live throughout. Nothing is returned soon after another thread has set ``stop[0]``.
    """
    n = order.size
    offset = np.zeros(n, np.int64)
    first, last = shape.begin[shape.at[:-1]], shape.end[shape.at[1:] - 1]
    outline = np.zeros(shape.moments, np.int64)
    waiting = order.copy()
    count = n
    while count > 0:
        if stop[0]:
            return offset[:0]
        left, right = _valley(outline)
        ground, chosen = outline[left], 0
        while chosen < count and not (left <= first[waiting[chosen]] and last[waiting[chosen]] <= right):
            chosen += 1
        if chosen == count:  # nobody fits: fill up to the lower slope
            before = outline[left - 1] if left > 0 else np.int64(1) << 62
            after = outline[right] if right < shape.moments else np.int64(1) << 62
            outline[left:right] = min(before, after)
            continue
        i = waiting[chosen]
        count -= 1
        for k in range(chosen, count):
            waiting[k] = waiting[k + 1]
        offset[i] = ground + (-ground) % shape.align[i]
        outline[first[i] : last[i]] = offset[i] + shape.size[i]
    return offset


@inside
def _valley(outline: Ints) -> tuple[int, int]:
    """Where the lowest stretch of an outline begins and ends, the first of those that are as low."""
    left = 0
    for s in range(outline.size):
        if outline[s] < outline[left]:
            left = s
    right = left
    while right < outline.size and outline[right] == outline[left]:
        right += 1
    return left, right
