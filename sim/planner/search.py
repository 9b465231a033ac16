"""The search for a placement below a given height, after MiniMalloc (Moffitt, doi 10.1145/3623278.3624752, 2023).

Buffers are placed one after another at offsets that never decrease, each as low as what lies below it allows: any
placement can be pressed down into such a one. Of all placements within the capacity, the one with the least sum of
offsets is never cut off, whence the rules:

* *order*: of two at one offset, the one earlier in the ordering goes first; a buffer that was passed over has to wait
  until something is put below it;
* *dominance*: nothing is placed at or above the end that another could have where it would lie now;
* *bound*: stacking what remains at a moment from each one's lowest offset must end below the capacity;
* *no waste*: where what remains would just fill a moment from its lowest offset up, somebody has to lie there, so that
  nothing higher comes before;
* *components*: where no remaining buffer is live across a moment, the parts before and after are placed on their own;
* *memory*: parts that were found impossible are recognised by a hash of what remains and how low it can go.

Kernels only: arrays in, arrays out, no recursion (a frame for each part being worked on). They call none of another
file (see ``kernel``); some are long, for one pass over what remains costs less than two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.planner.kernel import FAR, FOUND, IMPOSSIBLE, UNDECIDED, Ints, Shape, compiled, inside

# Columns of a frame. MEMBER, CHOICE, PART: places in the pool, from and to; PART holds the ends of the parts.
(MEMBER_AT, MEMBER_END, CHOICE_AT, CHOICE_END, CHOICE, PART_AT, PART_END, PART, TRAIL) = range(9)
(FLOOR, LAST, KEY, CHECK) = range(9, 13)  # offset and place in the order of the last one placed; hashes
FRAME = 13
# Rows of ``now``: pool and trail in use; choices made, and of them taken back; start of hashes.
POOL, TRAILED, NODES, BACK, SALT = range(5)
ENTER, NEXT, DONE, FAILED = range(4)  # what the machine does next


class _State(NamedTuple):
    low: Ints  # (n) the lowest offset that those placed leave to each
    offset: Ints  # (n) -1 where not placed yet
    rank: Ints  # (n) place in the ordering
    at: Ints  # (n + 1): who is live with buffer i is near[at[i]] to near[at[i + 1]], the smallest first
    near: Ints
    frames: Ints  # (n + 2, FRAME)
    pool: Ints
    trail: Ints  # (pairs, 2) which low was changed, and what it was
    now: Ints
    keys: Ints  # (n) the lowest that each can lie, by the last look at it
    tops: Ints  # (moments) scratch, zero between uses
    total: Ints  # (moments) scratch, zero between uses
    floor: Ints  # (moments) scratch
    cross: Ints  # (moments + 1) scratch, zero between uses
    memory: Ints  # hashes of impossible parts: a power of two of them
    blame: Ints  # (moments) how often something did not fit then


def place(
    shape: Shape, table: NDArray[np.bool_], rank: Ints, capacity: int, limit: int, memory: Ints, salt: int,
    lowest_first: bool, blame: Ints, stop: Ints,
) -> tuple[int, int, Ints]:  # fmt: skip
    """FOUND with offsets, IMPOSSIBLE, or UNDECIDED when ``limit`` choices were taken back; and how many were made.

    ``rank`` is each buffer's place in the ordering, ``memory`` a power of two of zeros (or what a call before with the
    same ordering and ``salt`` left), ``blame`` counts by moment how often what remained did not fit there.
    UNDECIDED also soon after another thread has set ``stop[0]``.
    """
    n, moments = shape.size.size, shape.moments
    at, near = _near(shape, table)
    room = 3 * (n + 2) * (n + 4) // 2 + 8 * n + 2 * moments + 64
    keys, tops, total, floor = (np.zeros(length, np.int64) for length in (n, moments, moments, moments))
    state = _State(
        np.zeros(n, np.int64), np.full(n, -1, np.int64), rank, at, near, np.zeros((n + 2, FRAME), np.int64),
        np.empty(room, np.int64), np.empty((near.size // 2 + n + 1, 2), np.int64), np.zeros(5, np.int64), keys, tops,
        total, floor, np.zeros(moments + 1, np.int64), memory, blame,
    )  # fmt: skip
    state.pool[rank] = np.arange(n)
    state.now[POOL], state.now[SALT] = n, salt
    state.frames[0, MEMBER_END] = n
    state.frames[0, LAST] = -1
    return _run(shape, table, state, capacity, limit, lowest_first, stop), int(state.now[NODES]), state.offset


def _near(shape: Shape, table: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Who is live with each, the smallest first."""
    order = np.argsort(shape.size, kind="stable")
    at = np.append(0, np.cumsum(np.count_nonzero(table, 1)))
    return at.astype(np.int64), order[np.nonzero(table[:, order])[1]]


@compiled
def _run(
    shape: Shape, table: NDArray[np.bool_], state: _State, capacity: int, limit: int, lowest_first: bool, stop: Ints
) -> int:
    if not _bounded(shape, state, state.frames[0], capacity):
        return IMPOSSIBLE
    depth, doing = 0, ENTER
    while depth >= 0:
        frame = state.frames[depth]
        if doing == ENTER:
            if state.now[BACK] >= limit or stop[0]:
                return UNDECIDED
            doing = NEXT if _enter(shape, state, frame, capacity, lowest_first) else FAILED
            depth -= doing == FAILED
        elif doing == FAILED:
            _undo(state, frame)
            doing = NEXT
        elif doing == DONE:  # with one part: on to the next, if there is one
            frame[PART] += 1
            if frame[PART] < frame[PART_END]:
                _open_part(state, depth)
                doing, depth = ENTER, depth + 1
            else:
                depth -= 1
        elif frame[CHOICE] == frame[CHOICE_END]:
            state.memory[frame[KEY] & (state.memory.size - 1)] = frame[CHECK]
            doing, depth = FAILED, depth - 1
        elif _choose(shape, table, state, frame, capacity):
            doing = DONE
    return FOUND if doing == DONE else IMPOSSIBLE


@inside
def _open_part(state: _State, depth: int) -> None:
    """The frame for the part of the time that comes next."""
    frame, inner = state.frames[depth], state.frames[depth + 1]
    part, one = frame[PART], state.pool[frame[CHOICE] - 1]
    inner[MEMBER_AT] = frame[CHOICE_END] if part == frame[PART_AT] else state.pool[part - 1]
    inner[MEMBER_END] = state.pool[part]
    inner[FLOOR], inner[LAST] = state.offset[one], state.rank[one]
    state.now[POOL] = frame[PART_END]


@inside
def _eligible(low: int, rank: int, floor: int, last: int) -> bool:
    """Whether a buffer may come next: it was not passed over."""
    return low > floor or (low == floor and rank > last)


@inside
def _lifted(shape: Shape, state: _State, floor: int, i: int) -> int:
    """The lowest offset of a buffer that was passed over: on top of something that is yet to be placed below it."""
    support, size = FAR, shape.size
    for k in range(state.at[i], state.at[i + 1]):
        j = state.near[k]
        if floor + size[j] >= support:
            break
        if state.offset[j] < 0:
            support = min(support, max(state.low[j], floor) + size[j])
    low = max(state.low[i], support)
    return int(low + (-low) % shape.align[i])


@inside
def _bounded(shape: Shape, state: _State, frame: Ints, capacity: int) -> bool:
    """Whether what remains can be stacked below the capacity at each moment, from each one's lowest offset."""
    start, stop, floor, last = frame[MEMBER_AT], frame[MEMBER_END], frame[FLOOR], frame[LAST]
    pool, keys = state.pool, state.keys
    for k in range(start, stop):
        i = pool[k]
        key = state.low[i]
        if not _eligible(key, state.rank[i], floor, last):
            key = _lifted(shape, state, floor, i)
        if key + shape.size[i] > capacity:
            state.blame[shape.begin[shape.at[i]]] += 1
            return False
        keys[i] = key
    for k in range(start + 1, stop):
        i, m = pool[k], k
        key = keys[i]
        while m > start and keys[pool[m - 1]] > key:
            pool[m] = pool[m - 1]
            m -= 1
        pool[m] = i
    return _stacked(shape, state, start, stop, capacity)


@inside
def _stacked(shape: Shape, state: _State, start: int, stop: int, capacity: int) -> bool:
    """Stack some by their keys, which are in order."""
    fits, tops, low, high = True, state.tops, shape.moments, 0
    for k in range(start, stop):
        i = state.pool[k]
        key, size = state.keys[i], shape.size[i]
        for interval in range(shape.at[i], shape.at[i + 1]):
            for s in range(shape.begin[interval], shape.end[interval]):
                tops[s] = max(tops[s], key) + size
                if tops[s] > capacity:
                    fits = False
                    state.blame[s] += 1
        low, high = min(low, shape.begin[shape.at[i]]), max(high, shape.end[shape.at[i + 1] - 1])
        if not fits:
            break
    for s in range(low, high):
        tops[s] = 0
    return fits


@inside
def _enter(shape: Shape, state: _State, frame: Ints, capacity: int, lowest_first: bool) -> bool:
    """Look at a part: False if it cannot be placed, else its choices are listed in the order to try them."""
    key, check = _hashes(state, frame)
    frame[KEY], frame[CHECK] = key, check
    if state.memory[key & (state.memory.size - 1)] == check:
        return False
    most, rank = _no_waste(shape, state, frame, capacity)
    for k in range(frame[MEMBER_AT], frame[MEMBER_END]):
        i = state.pool[k]
        dominated = int(state.low[i] + shape.size[i] - 1)
        if dominated < most:
            most, rank = dominated, int(FAR)  # the rank was for the offset that is now too high
    top, floor, last = state.now[POOL], frame[FLOOR], frame[LAST]
    frame[CHOICE_AT] = frame[CHOICE] = top
    for k in range(frame[MEMBER_AT], frame[MEMBER_END]):
        i = state.pool[k]
        low, place = state.low[i], state.rank[i]
        before = low < most or (low == most and place <= rank)
        if before and _eligible(low, place, floor, last):
            m = top
            while m > frame[CHOICE_AT] and _before(state, i, state.pool[m - 1], lowest_first):
                state.pool[m] = state.pool[m - 1]
                m -= 1
            state.pool[m] = i
            top += 1
    frame[CHOICE_END] = state.now[POOL] = top
    return True


@inside
def _no_waste(shape: Shape, state: _State, frame: Ints, capacity: int) -> tuple[int, int]:
    """The highest offset, and there the last place in the ordering, that the next buffer may have.

    The members are in order of their keys since the bound was looked at.
    """
    total, floor, latest, low, high = state.total, state.floor, state.tops, shape.moments, 0
    lowest, last = frame[FLOOR], frame[LAST]
    for k in range(frame[MEMBER_AT], frame[MEMBER_END]):
        i = state.pool[k]
        key, size = state.keys[i], shape.size[i]
        rank = state.rank[i]
        if not _eligible(state.low[i], rank, lowest, last):
            rank = FAR
        for interval in range(shape.at[i], shape.at[i + 1]):
            for s in range(shape.begin[interval], shape.end[interval]):
                if total[s] == 0:
                    floor[s] = key
                if key == floor[s]:
                    latest[s] = max(latest[s], rank)
                total[s] += size
        low, high = min(low, shape.begin[shape.at[i]]), max(high, shape.end[shape.at[i + 1] - 1])
    most, rank = FAR, FAR
    for s in range(low, high):
        highest = capacity - total[s]
        place = latest[s] if floor[s] == highest else FAR
        if total[s] > 0 and (highest < most or (highest == most and place < rank)):
            most, rank = highest, place
        total[s] = latest[s] = 0
    return int(most), int(rank)


@inside
def _before(state: _State, i: int, j: int, lowest_first: bool) -> bool:
    if lowest_first and state.low[i] != state.low[j]:
        return bool(state.low[i] < state.low[j])
    return bool(state.rank[i] < state.rank[j])


@inside
def _mixed(value: np.uint64) -> np.uint64:
    """Scattered bits (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@inside
def _hashes(state: _State, frame: Ints) -> tuple[int, int]:
    """Two hashes of what decides whether a part can be placed: who, how low, and who was passed over."""
    one = np.uint64(state.now[SALT])
    two, floor, last = one, frame[FLOOR], frame[LAST]
    for k in range(frame[MEMBER_AT], frame[MEMBER_END]):
        i = state.pool[k]
        low = state.low[i]
        word = np.uint64(2 * low + (1 if _eligible(low, state.rank[i], floor, last) else 0))
        bits = _mixed(_mixed(np.uint64(i) + np.uint64(0x9E3779B97F4A7C15)) ^ word)
        one += bits
        two += _mixed(bits + np.uint64(0x632BE59BD9B4E019))
    return int(one >> np.uint64(1)), int(two >> np.uint64(1)) | 1


@inside
def _choose(shape: Shape, table: NDArray[np.bool_], state: _State, frame: Ints, capacity: int) -> bool:
    """Place the next choice; list the parts that remain. False, and undone, if they cannot fit."""
    one = state.pool[frame[CHOICE]]
    frame[CHOICE] += 1
    state.now[NODES] += 1
    frame[TRAIL] = state.now[TRAILED]
    state.now[POOL] = frame[CHOICE_END]
    state.offset[one] = state.low[one]
    left = _lift(shape, table, state, frame, one)
    rest = state.frames[-1]  # what remains as one part, for the bound
    rest[MEMBER_AT], rest[MEMBER_END] = frame[CHOICE_END], left
    rest[FLOOR], rest[LAST] = state.low[one], state.rank[one]
    if not _bounded(shape, state, rest, capacity):
        _undo_one(state, frame, one)
        return False
    _divide(shape, state, frame, left)
    return True


@inside
def _lift(shape: Shape, table: NDArray[np.bool_], state: _State, frame: Ints, one: int) -> int:
    """List the members that remain behind the choices, those that meet the one above it; where the list ends."""
    end, trailed, left = state.low[one] + shape.size[one], state.now[TRAILED], frame[CHOICE_END]
    for k in range(frame[MEMBER_AT], frame[MEMBER_END]):
        i = state.pool[k]
        if i == one:
            continue
        state.pool[left] = i
        left += 1
        if table[one, i] and state.low[i] < end:
            state.trail[trailed, 0], state.trail[trailed, 1] = i, state.low[i]
            trailed += 1
            state.low[i] = end + (-end) % shape.align[i]
    state.now[TRAILED] = trailed
    return int(left)


@inside
def _undo_one(state: _State, frame: Ints, one: int) -> None:
    state.offset[one] = -1
    state.now[BACK] += 1
    for k in range(state.now[TRAILED] - 1, frame[TRAIL] - 1, -1):
        state.low[state.trail[k, 0]] = state.trail[k, 1]
    state.now[TRAILED] = frame[TRAIL]


@inside
def _undo(state: _State, frame: Ints) -> None:
    """Take back the choice last made, and all that was placed after it."""
    _undo_one(state, frame, state.pool[frame[CHOICE] - 1])
    for k in range(frame[CHOICE_END], frame[PART_AT]):
        state.offset[state.pool[k]] = -1


@inside
def _divide(shape: Shape, state: _State, frame: Ints, left: int) -> None:
    """Order what remains by the parts of time that nothing crosses; the ends of the parts follow in the pool."""
    start, cross, pool = frame[CHOICE_END], state.cross, state.pool
    low, high, parts = _number_parts(shape, state, start, left)
    frame[PART_AT], frame[PART_END], frame[PART] = left, left + parts, left - 1
    for part in range(parts):
        pool[left + part] = 0
    for k in range(start, left):
        pool[left + cross[shape.begin[shape.at[pool[k]]]]] += 1
    _sort_by_part(shape, state, start, left, parts)
    end, kept = start, 0
    for part in range(parts):  # moments without a buffer make parts of their own, which are dropped
        end += pool[left + part]
        if pool[left + part] > 0:
            pool[left + kept] = end
            kept += 1
    frame[PART_END] = left + kept
    for s in range(low, high + 1):
        cross[s] = 0


@inside
def _number_parts(shape: Shape, state: _State, start: int, left: int) -> tuple[int, int, int]:
    """Let ``cross`` say which part each moment is in; the first and the last moment, and how many parts."""
    cross, low, high = state.cross, shape.moments, 0
    for k in range(start, left):
        i = state.pool[k]
        begin, end = shape.begin[shape.at[i]], shape.end[shape.at[i + 1] - 1]
        cross[begin + 1] += 1
        cross[end] -= 1
        low, high = min(low, begin), max(high, end)
    parts, crossing = 0, 0
    for s in range(low, high):
        crossing += cross[s]
        parts += crossing == 0
        cross[s] = parts - 1
    return low, high, parts


@inside
def _sort_by_part(shape: Shape, state: _State, start: int, left: int, parts: int) -> None:
    """A counting sort by the part that ``cross`` says each buffer is in; the pool behind the parts is scratch."""
    pool, cross = state.pool, state.cross
    slots, copy = left + parts, left + 2 * parts
    slot = start
    for part in range(parts):
        pool[slots + part] = slot
        slot += pool[left + part]
    for k in range(left - start):
        pool[copy + k] = pool[start + k]
    for k in range(left - start):
        i = pool[copy + k]
        part = cross[shape.begin[shape.at[i]]]
        pool[pool[slots + part]] = i
        pool[slots + part] += 1
