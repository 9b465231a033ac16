"""Sparse products row by row: how products that fall on one place are brought together.

Each function takes pieces ``first`` up to ``stop`` of the rows of ``a``; a piece is written compactly from where there
is room for its first row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.kernels.core.bits import empty_sets, ordered
from workloads.kernels.core.checks import Array
from workloads.kernels.core.jit import jit, jit_inside

# a and b: indptr, indices, data.
Out = tuple[Array, Array, Array, Array]  # room for each row; columns, values, and how many of each row were written
OFTEN = 3  # products on a place from which a branch that asks whether it is new is foreseen
_GOLDEN, _WORD = np.uint64(2654435769), np.uint64(2**32 - 1)
_NONE, _ONE = np.uint64(0), np.uint64(1)  # unsigned: Numba would check a signed index for its sign


@jit
def entries(first: int, stop: int, pieces: Array, a: Any, b: Any, width: int, counts: Array) -> None:
    (ap, ai), (bp, bi) = a, b
    last = np.full(width, -1, np.int32)  # the row that fell on a column last
    for m in range(pieces[first], pieces[stop]):
        count = 0
        for at in range(ap[m], ap[m + 1]):
            for to in range(np.uint64(bp[ai[at]]), np.uint64(bp[ai[at] + 1])):
                n = bi[to]
                count += last[n] != m
                last[n] = m
        counts[m] = count


@jit
def dense(
    first: int,
    stop: int,
    pieces: Array,
    a: Any,
    b: Any,
    add: Any,
    times: Any,
    zero: Any,
    sort: bool,
    width: int,
    out: Out,
) -> None:
    (ap, ai, av), (bp, bi, bv), (room, columns, values, counts) = a, b, out
    sums, seen, found = np.full(width, zero, av.dtype), np.zeros(width, np.uint8), np.empty(width + 1, np.uint32)
    words, tops = empty_sets(width)
    for piece in range(first, stop):
        place, often = np.uint64(room[pieces[piece]]), False
        for m in range(pieces[piece], pieces[piece + 1]):
            count = bound = _NONE
            for at in range(np.uint64(ap[m]), np.uint64(ap[m + 1])):
                k = np.uint64(ai[at])
                start, end = np.uint64(bp[k]), np.uint64(bp[k + _ONE])
                count = _scatter(start, end, av[at], bi, bv, add, times, sums, seen, found, count, often)
                bound += end - start
            if sort:
                ordered(found, count, words, tops)
            for i in range(count):
                n = found[i]
                columns[place], values[place] = n, sums[n]
                sums[n], seen[n] = zero, 0
                place += _ONE
            counts[m] = count
            often = bool(bound > OFTEN * count)  # the next row is likely to be like this one


@jit_inside
def _scatter(
    start: Any, end: Any, x: Any, bi: Array, bv: Array, add: Any, times: Any, sums: Array, seen: Array, found: Array,
    count: Any, often: bool,
) -> Any:  # fmt: skip
    """Add ``x`` times a row to the sums, and note columns not seen before."""
    if often:
        for to in range(start, end):
            n = bi[to]
            if not seen[n]:
                found[count] = n
                count += _ONE
                seen[n] = 1
            sums[n] = add(sums[n], times(x, bv[to]))
        return count
    for to in range(start, end):
        n = bi[to]
        found[count] = n  # stays only if n is new: no branch, which could not be foreseen
        count += _ONE - np.uint64(seen[n])
        seen[n] = 1
        sums[n] = add(sums[n], times(x, bv[to]))
    return count


@jit_inside
def _longest(pointers: Array, first: Any, stop: Any) -> Any:
    """The most places of any of some rows."""
    most = 0
    for m in range(first, stop):
        most = max(most, pointers[m + 1] - pointers[m])
    return most


@jit
def hashed(
    first: int,
    stop: int,
    pieces: Array,
    a: Any,
    b: Any,
    add: Any,
    times: Any,
    zero: Any,
    sort: bool,
    width: int,
    out: Out,
) -> None:
    (ap, ai, av), (bp, bi, bv), (room, columns, values, counts) = a, b, out
    most = _longest(room, pieces[first], pieces[stop])
    bits = _table_bits(most)
    keys, sums = np.full(1 << bits, -1, np.int32), np.empty(1 << bits, av.dtype)
    slots, found = np.empty(most + 1, np.uint64), np.empty(most + 1, np.uint32)
    words, tops = empty_sets(width)
    for piece in range(first, stop):
        place = room[pieces[piece]]
        for m in range(pieces[piece], pieces[piece + 1]):
            bits = _table_bits(room[m + 1] - room[m])
            count = 0
            for at in range(ap[m], ap[m + 1]):
                x = av[at]
                for to in range(np.uint64(bp[ai[at]]), np.uint64(bp[ai[at] + 1])):
                    slot = _slot(keys, bi[to], bits)
                    if keys[slot] < 0:
                        keys[slot], sums[slot] = bi[to], zero
                        slots[count] = slot
                        count += 1
                    sums[slot] = add(sums[slot], times(x, bv[to]))
            for i in range(count):
                found[i] = keys[slots[i]]
            if sort:
                ordered(found, count, words, tops)
            _written(found, count, slots, keys, sums, bits, sort, columns[place:], values[place:])
            counts[m] = count
            place += count


@jit_inside
def _written(
    found: Array, count: int, slots: Array, keys: Array, sums: Array, bits: int, sort: bool, columns: Array,
    values: Array,
) -> None:  # fmt: skip
    """Write a row's columns and their sums, and leave its slots empty."""
    for i in range(count):
        slot = _slot(keys, found[i], bits) if sort else slots[i]
        columns[i], values[i] = found[i], sums[slot]
    for i in range(count):
        keys[slots[i]] = -1


@jit
def _table_bits(entries: int) -> int:
    """Bits of a slot in a table at most half full."""
    bits = 1
    while (1 << bits) < 2 * entries:
        bits += 1
    return bits


@jit_inside
def _slot(keys: Array, key: Any, bits: int) -> Any:
    """Where a key is, or the free place for it: multiplicative hashing (Knuth), then the next and the next."""
    mask, wanted = np.uint64((1 << bits) - 1), np.int32(key)
    slot = ((np.uint64(key) * _GOLDEN) & _WORD) >> np.uint64(32 - bits)
    while keys[slot] >= 0 and keys[slot] != wanted:
        slot = (slot + _ONE) & mask
    return slot


@jit_inside
def _begun(chosen: Array, bp: Array, bi: Array, heap: Array, at: Array) -> Any:
    """A heap of the first columns of the rows chosen, each with the row's number; how many there are."""
    lists = 0
    for k in range(chosen.size):
        at[k] = bp[chosen[k]]
        if at[k] < bp[chosen[k] + 1]:
            heap[lists] = (np.int64(bi[at[k]]) << 32) | k
            lists += 1
    for i in range(lists // 2 - 1, -1, -1):
        _sift(heap, i, lists)
    return lists


@jit
def heaped(
    first: int,
    stop: int,
    pieces: Array,
    a: Any,
    b: Any,
    add: Any,
    times: Any,
    zero: Any,
    sort: bool,
    width: int,
    out: Out,
) -> None:
    (ap, ai, av), (bp, bi, bv), (room, columns, values, counts) = a, b, out
    most = _longest(ap, pieces[first], pieces[stop])
    heap, at = np.empty(most, np.int64), np.empty(most, np.int64)  # column and list in one number; place in the list
    for piece in range(first, stop):
        place = room[pieces[piece]]
        for m in range(pieces[piece], pieces[piece + 1]):
            start = ap[m]
            lists = _begun(ai[start : ap[m + 1]], bp, bi, heap, at)
            before, last = place, -1
            while lists:
                column, k = heap[0] >> 32, heap[0] & 0xFFFFFFFF
                if column != last:
                    columns[place], values[place] = column, zero
                    place, last = place + 1, column
                values[place - 1] = add(values[place - 1], times(av[start + k], bv[at[k]]))
                at[k] += 1
                if at[k] < bp[ai[start + k] + 1]:
                    heap[0] = (np.int64(bi[at[k]]) << 32) | k
                else:
                    lists -= 1
                    heap[0] = heap[lists]
                _sift(heap, 0, lists)
            counts[m] = place - before


@jit
def _sift(heap: Array, at: int, count: int) -> None:
    """Sink the number at ``at`` below those of its children that are smaller."""
    number = heap[at]
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= number:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = number


@jit
def met(
    first: int,
    stop: int,
    pieces: Array,
    a: Any,
    b: Any,
    add: Any,
    times: Any,
    zero: Any,
    sort: bool,
    width: int,
    out: Out,
) -> None:
    (ap, ai, av), (bp, bi, bv), (room, columns, values, counts) = a, b, out
    for piece in range(first, stop):
        place = room[pieces[piece]]
        for m in range(pieces[piece], pieces[piece + 1]):
            before = place
            for n in range(width if ap[m] < ap[m + 1] else 0):
                i, j, total, met = ap[m], bp[n], zero, False
                while i < ap[m + 1] and j < bp[n + 1]:
                    left, right = ai[i], bi[j]
                    if left == right:
                        total, met = add(total, times(av[i], bv[j])), True
                    i, j = i + (left <= right), j + (right <= left)
                if met:
                    columns[place], values[place] = n, total
                    place += 1
            counts[m] = place - before
