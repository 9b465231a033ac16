"""A search for a placement below a given height that decides where least can be chosen, for packings without waste.

What is placed makes an outline over time. A *valley* is a stretch of it with higher ground on both sides: only what is
live within it can lie on its floor. The search picks the moment in a valley with the fewest choices of who lies there
on the floor, or that nobody does and the floor is as high as somebody could lie next. In a tight packing most are
forced. Decisions in one valley are made without regard to others, so when nothing fits at a moment those that cannot be
to blame, elsewhere in time, are skipped on the way back (conflict-directed backjumping, Prosser 1993).

The placement with the least sum of offsets is never cut off: each buffer in it rests on another, and of two with the
same live intervals, one right upon the other, the smaller is below. Kernels only; they call none of another file (see
``search``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.planner.search import FAR, FOUND, IMPOSSIBLE, UNDECIDED, Ints, Shape, compiled, inside

# Columns of a frame: the moment decided; choices in the pool, from, to and next; trail; the moments that are to blame.
(MOMENT, CHOICE_AT, CHOICE_END, CHOICE, TRAIL, BLAMED_FROM, BLAMED_TO) = range(7)
FRAME = 7
TRAILED, NODES, LEFT, CHANGED_FROM, CHANGED_TO, FAILED_FROM, FAILED_TO = range(7)  # rows of ``now``


class _State(NamedTuple):
    outline: Ints  # (moments) nothing that remains lies lower
    remains: Ints  # (moments) the sizes of what remains
    under: Ints  # (moments) what lies on top, -1 for nothing
    low: Ints  # (n) the lowest offset left to each
    offset: Ints  # (n) -1 where not placed yet
    rank: Ints  # (n) place in the ordering
    alike: Ints  # (n) the same number for the same live intervals
    at: Ints  # (moments + 1): what is live at moment s is by[at[s]] to by[at[s + 1]], in any order
    by: Ints
    frames: Ints  # (depth, FRAME)
    pool: Ints  # buffers, or a height above FAR that the outline is raised to
    trail: Ints  # (changes, 2): buffer and its low, or n + moment and outline, or n + moments + moment and under
    now: Ints
    blame: Ints  # (moments) how often nothing fitted then


def place(
    shape: Shape, table: NDArray[np.bool_], rank: Ints, capacity: int, limit: int, blame: Ints
) -> tuple[int, int, Ints]:
    """FOUND with offsets, IMPOSSIBLE, or UNDECIDED after ``limit`` choices; and how many choices were made.

    ``rank`` is each buffer's place in the ordering, ``blame`` counts by moment how often nothing fitted there.
    """
    n, moments = shape.size.size, shape.moments
    at, by = _members(shape)
    depth, room = n + 8 * moments + 8, 2 * by.size + int(np.count_nonzero(table)) + 64 * (n + moments)
    remains = np.add.reduceat(np.append(shape.size[by], 0), at[:-1]) * (at[1:] > at[:-1]) if moments else at[:-1]
    now = np.array([0, 0, n, 0, moments, 0, 0])
    state = _State(
        np.zeros(moments, np.int64), remains, np.full(moments, -1, np.int64), np.zeros(n, np.int64),
        np.full(n, -1, np.int64), rank, _alike(shape), at, by, np.zeros((depth, FRAME), np.int64),
        np.empty(room, np.int64), np.empty((room, 2), np.int64), now, blame,
    )  # fmt: skip
    return _run(shape, table, state, capacity, limit), int(now[NODES]), state.offset


def _members(shape: Shape) -> tuple[Ints, Ints]:
    """What is live at each moment."""
    owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
    length = shape.end - shape.begin
    starts = np.repeat(shape.begin - np.cumsum(length) + length, length)
    moments, who = starts + np.arange(length.sum()), np.repeat(owner, length)
    order = np.argsort(moments, kind="stable")
    return np.searchsorted(moments[order], np.arange(shape.moments + 1)).astype(np.int64), who[order]


def _alike(shape: Shape) -> Ints:
    """A number for each set of live intervals."""
    numbers: dict[bytes, int] = {}
    spans = np.stack([shape.begin, shape.end], 1)
    keys = (spans[a:b].tobytes() for a, b in zip(shape.at[:-1], shape.at[1:], strict=True))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


@compiled
def _run(shape: Shape, table: NDArray[np.bool_], state: _State, capacity: int, limit: int) -> int:
    depth, last = -1, state.frames.shape[0] - 1
    enough = state.trail.shape[0] - 2 * shape.size.size - 2 * shape.moments - 4
    while True:
        fits = _bounded(shape, state, capacity)
        if fits and state.now[LEFT] == 0:
            return FOUND
        if fits:
            depth += 1
            if depth == last or state.now[TRAILED] > enough or (depth and state.frames[depth - 1, CHOICE_END] > enough):
                return UNDECIDED  # no room for that many changes of floors
            fits = _list(shape, table, state, depth, _pick(shape, state, capacity), capacity)
            depth -= not fits
        if not fits:
            depth = _back(shape, state, depth)
            if depth < 0:
                return IMPOSSIBLE
        if state.now[NODES] >= limit:
            return UNDECIDED
        _take(shape, table, state, state.frames[depth])


@inside
def _first(shape: Shape, i: int) -> int:
    return int(shape.begin[shape.at[i]])


@inside
def _last(shape: Shape, i: int) -> int:
    return int(shape.end[shape.at[i + 1] - 1])


@inside
def _bounded(shape: Shape, state: _State, capacity: int) -> bool:
    """Whether what remains can be stacked at each changed moment; else what is live at that moment is to blame."""
    by = state.by
    for s in range(state.now[CHANGED_FROM], state.now[CHANGED_TO]):
        start, stop = state.at[s], state.at[s + 1]
        for k in range(start + 1, stop):
            i, m = by[k], k
            while m > start and state.low[by[m - 1]] > state.low[i]:
                by[m] = by[m - 1]
                m -= 1
            by[m] = i
        top = state.outline[s]
        for k in range(start, stop):
            i = by[k]
            if state.offset[i] < 0:
                top = max(top, state.low[i]) + shape.size[i]
        if top > capacity and state.remains[s] > 0:
            state.blame[s] += 1
            _failed(shape, state, s)
            return False
    return True


@inside
def _failed(shape: Shape, state: _State, s: int) -> None:
    """Nothing fits at a moment: whatever changed the outline under what remains live then may be the reason."""
    low, high = s, s + 1
    for k in range(state.at[s], state.at[s + 1]):
        i = state.by[k]
        if state.offset[i] < 0:
            low, high = min(low, _first(shape, i)), max(high, _last(shape, i))
    state.now[FAILED_FROM], state.now[FAILED_TO] = low, high


@inside
def _pick(shape: Shape, state: _State, capacity: int) -> int:
    """The moment in a valley with the fewest choices, there the lowest, there the most blamed."""
    outline, remains, moments = state.outline, state.remains, shape.moments
    best, fewest, start = -1, int(FAR), 0
    while start < moments:
        stop = start + 1
        if remains[start] == 0:
            start = stop
            continue
        while stop < moments and remains[stop] > 0 and outline[stop] == outline[start]:
            stop += 1
        before = start == 0 or remains[start - 1] == 0 or outline[start - 1] > outline[start]
        after = stop == moments or remains[stop] == 0 or outline[stop] > outline[start]
        if before and after:
            for s in range(start, stop):
                choices = _choices(shape, state, s, capacity)
                better = choices < fewest or (choices == fewest and outline[s] < outline[best])
                if better or (choices == fewest and outline[s] == outline[best] and state.blame[s] > state.blame[best]):
                    best, fewest = s, choices
        start = stop
    return best


@inside
def _choices(shape: Shape, state: _State, s: int, capacity: int) -> int:
    """How many may come next on the floor at a moment, or that nobody does; FAR where that is not yet to be asked."""
    floor, count = state.outline[s], 0
    for k in range(state.at[s], state.at[s + 1]):
        i = state.by[k]
        if state.offset[i] < 0 and state.low[i] == floor:
            count += 1
            if shape.at[i + 1] - shape.at[i] > 1 and not _flat(shape, state, i, floor):
                return int(FAR - 1)
    return int(count + (capacity - floor > state.remains[s]))


@inside
def _flat(shape: Shape, state: _State, i: int, floor: int) -> bool:
    """Whether a buffer with gaps would leave nothing below it."""
    for interval in range(shape.at[i], shape.at[i + 1]):
        for s in range(shape.begin[interval], shape.end[interval]):
            if state.outline[s] < floor:
                return False
    return True


@inside
def _list(shape: Shape, table: NDArray[np.bool_], state: _State, depth: int, s: int, capacity: int) -> bool:
    """List the choices at a moment, by the ordering; last, that nobody lies there yet. False if there are none."""
    frame, pool, floor = state.frames[depth], state.pool, state.outline[s]
    start = state.frames[depth - 1, CHOICE_END] if depth > 0 else 0
    _failed(shape, state, s)  # the floor and who may lie there depend on this much of the outline
    stop, spare = start, capacity - floor - state.remains[s]
    for k in range(state.at[s], state.at[s + 1]):
        i = state.by[k]
        if state.offset[i] < 0 and state.low[i] == floor and not _redundant(shape, state, s, i, start, stop):
            m = stop
            while m > start and state.rank[pool[m - 1]] > state.rank[i]:
                pool[m] = pool[m - 1]
                m -= 1
            pool[m] = i
            stop += 1
    if spare > 0:
        level = _next_floor(shape, table, state, s)
        if level - floor <= spare:
            pool[stop] = FAR + level
            stop += 1
    frame[MOMENT], frame[TRAIL] = s, state.now[TRAILED]
    frame[CHOICE_AT], frame[CHOICE], frame[CHOICE_END] = start, start, stop
    frame[BLAMED_FROM], frame[BLAMED_TO] = state.now[FAILED_FROM], state.now[FAILED_TO]
    if stop == start:
        state.blame[s] += 1
    return bool(stop > start)


@inside
def _redundant(shape: Shape, state: _State, s: int, i: int, start: int, stop: int) -> bool:
    """Whether another choice is as good: one of the same kind and size, or the order of two of a kind the other way."""
    j, size = state.under[s], shape.size[i]
    if j >= 0 and state.alike[j] == state.alike[i] and shape.align[i] == shape.align[j] == 1:
        touches = state.offset[j] + shape.size[j] == state.low[i]
        if touches and (size < shape.size[j] or (size == shape.size[j] and i < j)):
            return True
    for k in range(start, stop):
        j = state.pool[k]
        if state.alike[j] == state.alike[i] and shape.size[j] == size and shape.align[j] == shape.align[i]:
            return True
    return False


@inside
def _next_floor(shape: Shape, table: NDArray[np.bool_], state: _State, s: int) -> int:
    """The lowest that anything can lie at a moment if not on its floor; what that depends on may be to blame."""
    floor, level = state.outline[s], FAR
    for k in range(state.at[s], state.at[s + 1]):
        i = state.by[k]
        if state.offset[i] >= 0:
            continue
        if state.low[i] > floor:
            level = min(level, state.low[i])
            continue
        for j in range(shape.size.size):
            if table[i, j] and state.offset[j] < 0:
                state.now[FAILED_FROM] = min(state.now[FAILED_FROM], _first(shape, j))
                state.now[FAILED_TO] = max(state.now[FAILED_TO], _last(shape, j))
                end = state.low[j] + shape.size[j]
                end += (-end) % shape.align[i]
                if end < level and not _live(shape, j, s):
                    level = end
    return int(level)


@inside
def _live(shape: Shape, j: int, s: int) -> bool:
    found = False
    for interval in range(shape.at[j], shape.at[j + 1]):
        found = found or shape.begin[interval] <= s < shape.end[interval]
    return bool(found)


@inside
def _back(shape: Shape, state: _State, depth: int) -> int:
    """Undo choices up to one that may be to blame and has another after it; its depth, or -1."""
    now = state.now
    while depth >= 0:
        frame = state.frames[depth]
        chosen, s = state.pool[frame[CHOICE] - 1], frame[MOMENT]
        low, high = (s, s + 1) if chosen >= FAR else (_first(shape, chosen), _last(shape, chosen))
        _undo(shape, state, frame, chosen)
        if low < now[FAILED_TO] and now[FAILED_FROM] < high:
            frame[BLAMED_FROM] = min(frame[BLAMED_FROM], now[FAILED_FROM])
            frame[BLAMED_TO] = max(frame[BLAMED_TO], now[FAILED_TO])
            if frame[CHOICE] < frame[CHOICE_END]:
                return depth
            now[FAILED_FROM], now[FAILED_TO] = frame[BLAMED_FROM], frame[BLAMED_TO]
        depth -= 1
    return depth


@inside
def _undo(shape: Shape, state: _State, frame: Ints, chosen: int) -> None:
    n, moments = shape.size.size, shape.moments
    for k in range(state.now[TRAILED] - 1, frame[TRAIL] - 1, -1):
        which, value = state.trail[k, 0], state.trail[k, 1]
        if which < n:
            state.low[which] = value
        elif which < n + moments:
            state.outline[which - n] = value
        else:
            state.under[which - n - moments] = value
    state.now[TRAILED] = frame[TRAIL]
    if chosen < FAR:
        state.offset[chosen] = -1
        state.now[LEFT] += 1
        for interval in range(shape.at[chosen], shape.at[chosen + 1]):
            for s in range(shape.begin[interval], shape.end[interval]):
                state.remains[s] += shape.size[chosen]


@inside
def _take(shape: Shape, table: NDArray[np.bool_], state: _State, frame: Ints) -> None:
    """Make the next choice of a frame."""
    chosen, s = state.pool[frame[CHOICE]], frame[MOMENT]
    frame[CHOICE] += 1
    now = state.now
    now[NODES] += 1
    now[CHANGED_FROM], now[CHANGED_TO] = s, s + 1
    if chosen >= FAR:
        _change(state, shape.size.size + s, state.outline, s, chosen - FAR)
        for k in range(state.at[s], state.at[s + 1]):
            _lift(shape, state, state.by[k], chosen - FAR)
        return
    end = state.low[chosen] + shape.size[chosen]
    state.offset[chosen] = state.low[chosen]
    now[LEFT] -= 1
    for interval in range(shape.at[chosen], shape.at[chosen + 1]):
        for m in range(shape.begin[interval], shape.end[interval]):
            _change(state, shape.size.size + m, state.outline, m, end)
            _change(state, shape.size.size + shape.moments + m, state.under, m, chosen)
            state.remains[m] -= shape.size[chosen]
    for j in range(shape.size.size):
        if table[chosen, j]:
            _lift(shape, state, j, end)


@inside
def _change(state: _State, which: int, values: Ints, k: int, value: int) -> None:
    """Set a value, and remember what it was."""
    state.trail[state.now[TRAILED], 0], state.trail[state.now[TRAILED], 1] = which, values[k]
    state.now[TRAILED] += 1
    values[k] = value


@inside
def _lift(shape: Shape, state: _State, j: int, end: int) -> None:
    """Nothing of a buffer that remains is below ``end`` any more."""
    if state.offset[j] < 0 and state.low[j] < end:
        _change(state, j, state.low, j, end + (-end) % shape.align[j])
        state.now[CHANGED_FROM] = min(state.now[CHANGED_FROM], _first(shape, j))
        state.now[CHANGED_TO] = max(state.now[CHANGED_TO], _last(shape, j))
