"""A search for a placement below a given height that decides where least can be chosen, for packings without waste.

What is placed makes an outline over time. A *valley* is a stretch of it with higher ground on both sides: only what is
live within it can lie on its floor. The search picks the moment in a valley with the fewest choices of who lies there
on the floor, or that nobody does and the floor is as high as somebody could lie next. In a tight packing most are
forced. When nothing fits at a moment, those decisions are to blame that keep what remains as high as it has to be for
that: each buffer rests on one column of the outline, at a moment of its own. Others are skipped on the way back
(conflict-directed backjumping, Prosser 1993). Of many buffers that are live for long, few are to blame.

The placement with the least sum of offsets is never cut off: each buffer in it rests on another, and of two with the
same live intervals, one right upon the other, the smaller is below. Kernels only; they call none of another file (see
``kernel``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.planner.kernel import FAR, FOUND, IMPOSSIBLE, UNDECIDED, Ints, Shape, alike, compiled, inside, members

# Columns of a frame: the moment decided; choices in the pool, from, to and next; trail.
(MOMENT, CHOICE_AT, CHOICE_END, CHOICE, TRAIL) = range(5)
FRAME = 5
DEEP = 16_384  # floors raised at most, one upon the other: room for the blame of each decision is set aside
# Rows of ``now``; decisions up to DEPTH may be to blame.
TRAILED, NODES, LEFT, CHANGED_FROM, CHANGED_TO, DEPTH, WEIGHED = range(7)


class _State(NamedTuple):
    outline: Ints  # (moments) nothing that remains lies lower
    remains: Ints  # (moments) the sizes of what remains
    under: Ints  # (moments) the decision on top, -1 for none
    decided: Ints  # (n) the decision that placed each
    low: Ints  # (n) the lowest offset left to each
    offset: Ints  # (n) -1 where not placed yet
    rank: Ints  # (n) place in the ordering
    alike: Ints  # (n) the same number for the same live intervals
    at: Ints  # (moments + 1): what is live at moment s is by[at[s]] to by[at[s + 1]]
    first: (
        Ints  # (moments) before by[first[s]] what is placed, the last one last; from there what remains, in any order
    )
    by: Ints
    frames: Ints  # (depth, FRAME)
    pool: Ints  # buffers, or a height above FAR that the outline is raised to
    trail: Ints  # (changes, 2): buffer and its low, or n + moment and outline, or n + moments + moment and under
    now: Ints
    blame: Ints  # (moments) how often nothing fitted then
    column: Ints  # (moments, words) which decisions are live then, a bit each
    why: Ints  # (depth, words) the decisions to blame for what failed under a frame
    failed: Ints  # (words)


def place(
    shape: Shape, table: NDArray[np.bool_], rank: Ints, capacity: int, limit: int, blame: Ints, weighed: bool,
    stop: Ints,
) -> tuple[int, int, Ints]:  # fmt: skip
    """FOUND with offsets, IMPOSSIBLE, or UNDECIDED after ``limit`` choices; and how many choices were made.

    ``rank`` is each buffer's place in the ordering, ``blame`` counts by moment how often nothing fitted there; what is
    blamed much is decided early if ``weighed``. UNDECIDED also soon after another thread has set ``stop[0]``.
    """
    n, moments = shape.size.size, shape.moments
    at, by = members(shape)
    depth, room = n + min(8 * moments, DEEP) + 8, 2 * by.size + int(np.count_nonzero(table)) + 64 * (n + moments)
    remains = np.add.reduceat(np.append(shape.size[by], 0), at[:-1]) * (at[1:] > at[:-1]) if moments else at[:-1]
    now = np.array([0, 0, n, 0, moments, -1, weighed], np.int64)
    words = depth // 64 + 1
    state = _State(
        np.zeros(moments, np.int64), remains, np.full(moments, -1, np.int64), np.zeros(n, np.int64),
        np.zeros(n, np.int64), np.full(n, -1, np.int64), rank, alike(shape), at, at[:-1].copy(), by,
        np.zeros((depth, FRAME), np.int64), np.empty(room, np.int64), np.empty((room, 2), np.int64), now, blame,
        np.zeros((moments, words), np.int64), np.zeros((depth, words), np.int64), np.zeros(words, np.int64),
    )  # fmt: skip
    return _run(shape, table, state, capacity, limit, stop), int(now[NODES]), state.offset


@compiled
def _run(shape: Shape, table: NDArray[np.bool_], state: _State, capacity: int, limit: int, stop: Ints) -> int:
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
            state.now[DEPTH] = depth
            fits = _list(shape, table, state, depth, _pick(shape, state, capacity), capacity)
        if not fits:
            depth = _back(shape, table, state, depth, capacity)
            if depth < 0:
                return IMPOSSIBLE
        if state.now[NODES] >= limit or stop[0]:
            return UNDECIDED
        state.now[DEPTH] = depth
        _take(shape, table, state, state.frames[depth])


@inside
def _bounded(shape: Shape, state: _State, capacity: int) -> bool:
    """Whether what remains can be stacked at each changed moment; else what keeps it so high is to blame."""
    by = state.by
    for s in range(state.now[CHANGED_FROM], state.now[CHANGED_TO]):
        start, stop = state.first[s], state.at[s + 1]
        for k in range(start + 1, stop):
            i, m, low = by[k], k, state.low[by[k]]
            while m > start and state.low[by[m - 1]] > low:
                by[m] = by[m - 1]
                m -= 1
            by[m] = i
        top, least, first = state.outline[s], state.outline[s], start
        for k in range(start, stop):
            i = by[k]
            if state.low[i] > top:
                top = least = state.low[i]
                first = k
            top += shape.size[i]
            if top > capacity:
                state.blame[s] += 1
                state.failed[:] = 0
                for m in range(first, k + 1):
                    _because(shape, state, by[m], least - (top - capacity - 1))
                return False
    return True


@inside
def _below(height: int, align: int) -> int:
    """The highest multiple that is below a height: what is higher is aligned to no less than the height."""
    return (height - 1) // align * align


@inside
def _because(shape: Shape, state: _State, i: int, height: int) -> None:
    """Blame what keeps a buffer at or above a height: what is placed at the one of its moments decided first."""
    if height <= 0:
        return
    below, best, earliest = _below(height, shape.align[i]), -1, int(FAR)
    for interval in range(shape.at[i], shape.at[i + 1]):
        for m in range(shape.begin[interval], shape.end[interval]):
            if state.outline[m] > below and state.under[m] < earliest:
                best, earliest = m, state.under[m]
    for w in range(state.now[DEPTH] // 64 + 1):
        state.failed[w] |= state.column[best, w]


@inside
def _failed(shape: Shape, state: _State, s: int) -> None:
    """Who may lie on the floor at a moment: blame what is placed then, and what keeps others higher."""
    floor = state.outline[s]
    state.failed[:] = state.column[s]
    for i in state.by[state.first[s] : state.at[s + 1]]:
        if state.low[i] > floor:
            _because(shape, state, i, floor + 1)


@inside
def _pick(shape: Shape, state: _State, capacity: int) -> int:
    """The moment in a valley with the fewest choices (for its blame, if that is weighed), there the lowest."""
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
                if state.now[WEIGHED] and 1 < choices < FAR >> 13:
                    choices = (choices << 12) // (4 + state.blame[s]) + 2
                better = choices < fewest or (choices == fewest and outline[s] < outline[best])
                if better or (choices == fewest and outline[s] == outline[best] and state.blame[s] > state.blame[best]):
                    best, fewest = s, choices
        start = stop
    return best


@inside
def _choices(shape: Shape, state: _State, s: int, capacity: int) -> int:
    """How many may come next on the floor at a moment, or that nobody does; FAR where that is not yet to be asked."""
    floor, count = state.outline[s], 0
    for i in state.by[state.first[s] : state.at[s + 1]]:
        if state.low[i] == floor:
            count += 1
            if shape.at[i + 1] - shape.at[i] > 1 and not _flat(shape, state, i, floor):
                return int(FAR - 1)
    return int(count + (capacity - floor > state.remains[s]))


@inside
def _flat(shape: Shape, state: _State, i: int, floor: int) -> bool:
    """Whether a buffer with gaps would leave nothing below it."""
    for interval in range(shape.at[i], shape.at[i + 1]):
        if (state.outline[shape.begin[interval] : shape.end[interval]] < floor).any():
            return False
    return True


@inside
def _list(shape: Shape, table: NDArray[np.bool_], state: _State, depth: int, s: int, capacity: int) -> bool:
    """List the choices at a moment, by the ordering; last, that nobody lies there yet. False if there are none."""
    frame, pool, floor = state.frames[depth], state.pool, state.outline[s]
    start = state.frames[depth - 1, CHOICE_END] if depth > 0 else 0
    stop, spare = start, capacity - floor - state.remains[s]
    for i in state.by[state.first[s] : state.at[s + 1]]:
        if state.low[i] == floor and not _redundant(shape, state, s, i, start, stop):
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
    state.why[depth, : depth // 64 + 1] = 0
    state.blame[s] += stop == start
    return bool(stop > start)


@inside
def _redundant(shape: Shape, state: _State, s: int, i: int, start: int, stop: int) -> bool:
    """Whether another choice is as good: one of the same kind and size, or the order of two of a kind the other way."""
    size, j = shape.size[i], np.int64(-1)
    if state.under[s] >= 0:
        j = state.pool[state.frames[state.under[s], CHOICE] - 1]
    if 0 <= j < FAR and state.alike[j] == state.alike[i] and shape.align[i] == shape.align[j] == 1:
        touches = state.offset[j] + shape.size[j] == state.low[i]
        if touches and (size < shape.size[j] or (size == shape.size[j] and i < j)):
            return True
    for j in state.pool[start:stop]:
        if state.alike[j] == state.alike[i] and shape.size[j] == size and shape.align[j] == shape.align[i]:
            return True
    return False


@inside
def _next_floor(shape: Shape, table: NDArray[np.bool_], state: _State, s: int) -> int:
    """The lowest that anything can lie at a moment if not on its floor; what that depends on may be to blame."""
    floor, level = state.outline[s], FAR
    for i in state.by[state.first[s] : state.at[s + 1]]:
        if state.low[i] > floor:
            level = min(level, state.low[i])
            continue
        for j in range(shape.size.size):
            if table[i, j] and state.offset[j] < 0:
                end = state.low[j] + shape.size[j]
                end += (-end) % shape.align[i]
                if end < level and not _live(shape, j, s):
                    level = end
    return int(level)


@inside
def _why(shape: Shape, table: NDArray[np.bool_], state: _State, s: int, capacity: int) -> None:
    """Blame what makes the choices at a moment those that there are."""
    floor = state.outline[s]
    spare = capacity - floor - state.remains[s]
    _failed(shape, state, s)
    if spare <= 0:
        return
    level = min(_next_floor(shape, table, state, s), floor + spare + 1)
    for i in state.by[state.first[s] : state.at[s + 1]]:
        if state.low[i] > floor:
            _because(shape, state, i, level)
            continue
        for j in range(shape.size.size):  # what it may rest upon
            if table[i, j] and not _live(shape, j, s):
                if state.offset[j] < 0:
                    _because(shape, state, j, _below(level, shape.align[i]) + 1 - shape.size[j])
                else:
                    d = state.decided[j]
                    state.failed[d // 64] |= np.int64(1) << (d % 64)


@inside
def _live(shape: Shape, j: int, s: int) -> bool:
    found = False
    for interval in range(shape.at[j], shape.at[j + 1]):
        found = found or shape.begin[interval] <= s < shape.end[interval]
    return bool(found)


@inside
def _back(shape: Shape, table: NDArray[np.bool_], state: _State, depth: int, capacity: int) -> int:
    """Undo choices up to one that is to blame and has another after it; its depth, or -1."""
    while depth >= 0:
        frame, word, bit = state.frames[depth], depth // 64, np.int64(1) << (depth % 64)
        untried = frame[CHOICE] == frame[CHOICE_AT]
        if not untried:
            _undo(shape, state, frame, state.pool[frame[CHOICE] - 1], depth)
        if untried or state.failed[word] & bit:
            state.failed[word] &= ~bit
            if not untried:
                state.why[depth, : word + 1] |= state.failed[: word + 1]
            if frame[CHOICE] < frame[CHOICE_END]:
                return depth
            state.now[DEPTH] = depth - 1
            _why(shape, table, state, frame[MOMENT], capacity)
            state.failed[: word + 1] |= state.why[depth, : word + 1]
        depth -= 1
    return depth


@inside
def _undo(shape: Shape, state: _State, frame: Ints, chosen: int, depth: int) -> None:
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
    word, bit = depth // 64, np.int64(1) << (depth % 64)
    if chosen >= FAR:
        state.column[frame[MOMENT], word] &= ~bit
    if chosen < FAR:
        state.offset[chosen] = -1
        state.now[LEFT] += 1
        for interval in range(shape.at[chosen], shape.at[chosen + 1]):
            for s in range(shape.begin[interval], shape.end[interval]):
                state.remains[s] += shape.size[chosen]
                state.first[s] -= 1
                state.column[s, word] &= ~bit


@inside
def _take(shape: Shape, table: NDArray[np.bool_], state: _State, frame: Ints) -> None:
    """Make the next choice of a frame."""
    chosen, s, now = state.pool[frame[CHOICE]], frame[MOMENT], state.now
    frame[CHOICE] += 1
    now[NODES] += 1
    now[CHANGED_FROM], now[CHANGED_TO] = s, s + 1
    word, bit = now[DEPTH] // 64, np.int64(1) << (now[DEPTH] % 64)
    if chosen >= FAR:
        _change(state, shape.size.size + s, state.outline, s, chosen - FAR)
        _change(state, shape.size.size + shape.moments + s, state.under, s, now[DEPTH])
        state.column[s, word] |= bit
        for k in range(state.first[s], state.at[s + 1]):
            _lift(shape, state, state.by[k], chosen - FAR)
        return
    end = state.low[chosen] + shape.size[chosen]
    state.offset[chosen], state.decided[chosen] = state.low[chosen], now[DEPTH]
    now[LEFT] -= 1
    for interval in range(shape.at[chosen], shape.at[chosen + 1]):
        for m in range(shape.begin[interval], shape.end[interval]):
            _change(state, shape.size.size + m, state.outline, m, end)
            _change(state, shape.size.size + shape.moments + m, state.under, m, now[DEPTH])
            state.remains[m] -= shape.size[chosen]
            _withdraw(state.by, state.first, m, chosen)
            state.column[m, word] |= bit
    for j in range(shape.size.size):
        if table[chosen, j]:
            _lift(shape, state, j, end)


@inside
def _withdraw(by: Ints, first: Ints, s: int, i: int) -> None:
    """Put one that remains at a moment behind those placed; taking it back is one step of ``first``."""
    k, held = first[s], i
    while by[k] != i:
        by[k], held = held, by[k]
        k += 1
    by[k] = held
    first[s] += 1


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
        state.now[CHANGED_FROM] = min(state.now[CHANGED_FROM], shape.begin[shape.at[j]])
        state.now[CHANGED_TO] = max(state.now[CHANGED_TO], shape.end[shape.at[j + 1] - 1])
