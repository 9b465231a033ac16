"""Sparse matrix times sparse matrix, in and out row by row, under any of three semirings.

The kernels differ in how they bring together the products that fall on one place: an inner product intersects, an
outer product writes all of them down and merges, and the row-wise ones (Gustavson) accumulate row by row, in an array
as wide as the row, in a hash table, or by merging sorted rows through a heap.

``phases=1`` leaves room for as many entries as a row has products; ``phases=2`` counts its entries first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from workloads.kernels.core.bits import empty_sets, ordered
from workloads.kernels.core.checks import Array, whole
from workloads.kernels.core.csr import Csr, cuts, gathered, limited, matrix, products, transposed
from workloads.kernels.core.jit import jit, jit_inside, run
from workloads.kernels.core.semirings import SEMIRINGS, Semiring

__all__ = ["inner", "outer", "row_dense", "row_hash", "row_heap", "symbolic"]

Parts = tuple[Array, Array, Array]  # indptr, indices, data
OFTEN = 3  # products on a place from which a branch that asks whether it is new is foreseen
_GOLDEN, _WORD = np.uint64(2654435769), np.uint64(2**32 - 1)
_NONE, _ONE = np.uint64(0), np.uint64(1)  # unsigned: Numba would check a signed index for its sign


def symbolic(a: Any, b: Any, *, threads: int = 1) -> Array:  # (m, k), (k, n) -> (m + 1)
    """Where each row of the product begins: how many different places its products fall on."""
    a, b, _ = _operands("symbolic", a, b, "plus_times", threads)
    return _counted(a, b, products(a.indptr, a.indices, b.indptr), threads)


def row_dense(
    a: Any, b: Any, *, semiring: str = "plus_times", sort: bool = True, phases: int = 1, threads: int = 1
) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Row by row into an array with a place for every column."""
    a, b, ring = _operands("row_dense", a, b, semiring, threads)
    return _by_rows("row_dense", _dense, a, b, ring, sort, phases, threads)


def row_hash(
    a: Any, b: Any, *, semiring: str = "plus_times", sort: bool = True, phases: int = 1, threads: int = 1
) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Row by row into a hash table at most half full, as SMASH keeps in a scratchpad."""
    a, b, ring = _operands("row_hash", a, b, semiring, threads)
    return _by_rows("row_hash", _hash, a, b, ring, sort, phases, threads)


def row_heap(
    a: Any, b: Any, *, semiring: str = "plus_times", phases: int = 1, threads: int = 1
) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Row by row, merging sorted rows of ``b`` through a heap of their next columns; a row comes out sorted."""
    a, b, ring = _operands("row_heap", a, b, semiring, threads, rising="b")
    return _by_rows("row_heap", _heap, a, b, ring, True, phases, threads)


def inner(
    a: Any, b: Any, *, semiring: str = "plus_times", phases: int = 1, threads: int = 1
) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Each row with each column, walking both in step; a row comes out sorted."""
    a, b, ring = _operands("inner", a, b, semiring, threads, rising="ab")
    starts, rows, source = transposed(b.indptr, b.indices, b.shape[1])
    columns = Csr(starts, rows, b.data[source], (b.shape[1], b.shape[0]))
    bound = products(a.indptr, a.indices, b.indptr)
    room = _room("inner", a, b, bound, phases, threads)
    meetings = np.where(np.diff(a.indptr) > 0, np.diff(a.indptr) * b.shape[1] + b.indptr[-1], 0)
    effort = np.concatenate([[0], np.cumsum(meetings)])
    return _numeric(_inner, a, columns, ring, True, room, cuts(effort, threads), b.shape[1], threads)


def outer(a: Any, b: Any, *, semiring: str = "plus_times", threads: int = 1) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Each column with each row, every product written down; then each row's sorted runs of them are merged."""
    a, b, ring = _operands("outer", a, b, semiring, threads, rising="b")
    before = products(a.indptr, a.indices, b.indptr)
    runs = _runs(a.indices, a.indptr[-1], b.indptr)  # where the products of each entry of a go
    starts, _, source = transposed(a.indptr, a.indices, a.shape[1])
    columns, values = np.empty(before[-1], np.uint32), np.empty(before[-1], a.data.dtype)
    run(_multiplied, a.shape[1], threads, starts, source, a.data, b[:3], ring.times, runs, columns, values)
    pieces, counts = cuts(before, threads), np.zeros(a.shape[0], np.int64)
    run(_merged, len(pieces) - 1, threads, pieces, a.indptr, runs, ring.add, columns, values, counts)
    return gathered(pieces, before, counts, columns, values, b.shape[1], threads)


# -- what comes before and after


def _operands(
    kernel: str, a: Any, b: Any, semiring: str, threads: int, *, rising: str = ""
) -> tuple[Csr, Csr, Semiring]:
    """Both matrices and the semiring, checked; those named in ``rising`` need their columns in order."""
    whole(kernel, least=1, threads=threads)
    if semiring not in SEMIRINGS:
        raise ValueError(f"{kernel}: semiring is {semiring!r}, expected one of {', '.join(SEMIRINGS)}")
    ring = SEMIRINGS[semiring]
    a, b = matrix(kernel, "a", a, rising="a" in rising), matrix(kernel, "b", b, rising="b" in rising)
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"{kernel}: b has shape {b.shape}, expected {a.shape[1]} rows as a of {a.shape} has columns")
    if (a.data.dtype == np.bool_) != ring.boolean and kernel != "symbolic":
        wanted = "bool" if ring.boolean else "float32 or float64"
        raise ValueError(f"{kernel}: a.data holds {a.data.dtype}, expected {wanted} for {semiring}")
    if a.data.dtype != b.data.dtype:
        raise ValueError(f"{kernel}: b.data holds {b.data.dtype}, expected {a.data.dtype} as in a")
    return a, b, ring


def _room(kernel: str, a: Csr, b: Csr, bound: Array, phases: int, threads: int) -> Array:
    """Where each row of the product may begin: by its number of products, or by its number of entries."""
    whole(kernel, least=1, most=2, phases=phases)
    return limited(bound, b.shape[1]) if phases == 1 else _counted(a, b, bound, threads)


def _counted(a: Csr, b: Csr, bound: Array, threads: int) -> Array:
    starts, pieces = np.zeros(a.shape[0] + 1, np.int64), cuts(bound, threads)
    run(_symbolic, len(pieces) - 1, threads, pieces, a[:2], b[:2], b.shape[1], starts[1:])
    return np.cumsum(starts)


def _by_rows(
    kernel: str, rows: Callable[..., None], a: Csr, b: Csr, ring: Semiring, sort: bool, phases: int, threads: int
) -> Csr:
    bound = products(a.indptr, a.indices, b.indptr)
    room = _room(kernel, a, b, bound, phases, threads)
    return _numeric(rows, a, b, ring, bool(sort), room, cuts(bound, threads), b.shape[1], threads)


def _numeric(
    rows: Callable[..., None],
    a: Csr,
    b: Csr,
    ring: Semiring,
    sort: bool,
    room: Array,
    pieces: Array,
    width: int,
    threads: int,
) -> Csr:
    """The product, each piece of its rows written where its room begins."""
    columns, values = np.empty(room[-1], np.uint32), np.empty(room[-1], a.data.dtype)
    counts = np.zeros(a.shape[0], np.int64)
    zero = a.data.dtype.type(ring.zero)
    given = a[:3], b[:3], ring.add, ring.times, zero, sort, width
    run(rows, len(pieces) - 1, threads, pieces, *given, room, columns, values, counts)
    return gathered(pieces, room, counts, columns, values, width, threads)


# -- compiled


@jit
def _symbolic(first: int, stop: int, pieces: Array, a: Any, b: Any, width: int, counts: Array) -> None:
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
def _dense(
    first: int,
    stop: int,
    pieces: Array,
    a: Parts,
    b: Parts,
    add: Any,
    times: Any,
    zero: Any,
    sort: bool,
    width: int,
    room: Array,
    columns: Array,
    values: Array,
    counts: Array,
) -> None:
    (ap, ai, av), (bp, bi, bv) = a, b
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


@jit
def _hash(
    first: int,
    stop: int,
    pieces: Array,
    a: Parts,
    b: Parts,
    add: Any,
    times: Any,
    zero: Any,
    sort: bool,
    width: int,
    room: Array,
    columns: Array,
    values: Array,
    counts: Array,
) -> None:
    (ap, ai, av), (bp, bi, bv) = a, b
    most = 0
    for m in range(pieces[first], pieces[stop]):
        most = max(most, room[m + 1] - room[m])
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
            for i in range(count):
                slot = _slot(keys, found[i], bits) if sort else slots[i]
                columns[place + i], values[place + i] = found[i], sums[slot]
            for i in range(count):
                keys[slots[i]] = -1
            counts[m] = count
            place += count


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


@jit
def _heap(
    first: int,
    stop: int,
    pieces: Array,
    a: Parts,
    b: Parts,
    add: Any,
    times: Any,
    zero: Any,
    sort: bool,
    width: int,
    room: Array,
    columns: Array,
    values: Array,
    counts: Array,
) -> None:
    (ap, ai, av), (bp, bi, bv) = a, b
    most = 0
    for m in range(pieces[first], pieces[stop]):
        most = max(most, ap[m + 1] - ap[m])
    heap, at = np.empty(most, np.int64), np.empty(most, np.int64)  # column and list in one number; place in the list
    for piece in range(first, stop):
        place = room[pieces[piece]]
        for m in range(pieces[piece], pieces[piece + 1]):
            start, lists = ap[m], 0
            for k in range(ap[m + 1] - start):
                at[k] = bp[ai[start + k]]
                if at[k] < bp[ai[start + k] + 1]:
                    heap[lists] = (np.int64(bi[at[k]]) << 32) | k
                    lists += 1
            for i in range(lists // 2 - 1, -1, -1):
                _sift(heap, i, lists)
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
def _inner(
    first: int,
    stop: int,
    pieces: Array,
    a: Parts,
    b: Parts,
    add: Any,
    times: Any,
    zero: Any,
    sort: bool,
    width: int,
    room: Array,
    columns: Array,
    values: Array,
    counts: Array,
) -> None:
    (ap, ai, av), (bp, bi, bv) = a, b
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


@jit
def _runs(indices: Array, count: int, bp: Array) -> Array:
    """Where the products of each entry of ``a`` begin, entries taken row by row."""
    starts = np.zeros(count + 1, np.int64)
    for at in range(count):
        starts[at + 1] = starts[at] + bp[indices[at] + 1] - bp[indices[at]]
    return starts


@jit
def _multiplied(
    first: int, stop: int, starts: Array, source: Array, av: Array, b: Parts, times: Any, runs: Array, columns: Array,
    values: Array,
) -> None:  # fmt: skip
    """Each column of ``a`` with the row of ``b``."""
    bp, bi, bv = b
    for k in range(first, stop):
        for i in range(starts[k], starts[k + 1]):
            entry = source[i]
            to = runs[entry]
            for j in range(bp[k], bp[k + 1]):
                columns[to], values[to] = bi[j], times(av[entry], bv[j])
                to += 1


@jit
def _merged(
    first: int, stop: int, pieces: Array, ap: Array, runs: Array, add: Any, columns: Array, values: Array, counts: Array
) -> None:
    """Merge the runs of each row two by two until one is left, and pack what is left."""
    most = entries = 0
    for m in range(pieces[first], pieces[stop]):
        most, entries = max(most, runs[ap[m + 1]] - runs[ap[m]]), max(entries, ap[m + 1] - ap[m])
    ends = np.empty(entries + 1, np.int64)
    one = np.empty(most, np.uint32), np.empty(most, values.dtype)
    other = np.empty(most, np.uint32), np.empty(most, values.dtype)
    for piece in range(first, stop):
        place = runs[ap[pieces[piece]]]
        for m in range(pieces[piece], pieces[piece + 1]):
            lists, start = ap[m + 1] - ap[m], runs[ap[m]]
            for i in range(lists + 1):
                ends[i] = runs[ap[m] + i] - start
            for i in range(ends[lists]):
                one[0][i], one[1][i] = columns[start + i], values[start + i]
            while lists > 1:
                lists = _round(one, other, ends, lists, add)
                one, other = other, one
            for i in range(ends[lists]):
                columns[place + i], values[place + i] = one[0][i], one[1][i]
            counts[m] = ends[lists]
            place += ends[lists]


@jit
def _round(source: Any, target: Any, ends: Array, lists: int, add: Any) -> int:
    """Merge each list with the next, and count the lists that remain; an odd one is copied."""
    (columns, values), (to_columns, to_values) = source, target
    to = merged = 0
    for pair in range(0, lists, 2):
        i, middle = ends[pair], ends[pair + 1]
        j, end = middle, ends[min(pair + 2, lists)]
        ends[merged] = to
        while i < middle or j < end:
            left = j >= end or (i < middle and columns[i] <= columns[j])
            right = i >= middle or (j < end and columns[j] <= columns[i])
            to_columns[to] = columns[i] if left else columns[j]
            if left and right:
                to_values[to] = add(values[i], values[j])
            else:
                to_values[to] = values[i] if left else values[j]
            i, j, to = i + left, j + right, to + 1
        merged += 1
    ends[merged] = to
    return merged
