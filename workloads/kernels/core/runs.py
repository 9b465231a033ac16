"""An outer product: all products written down, each row's as sorted runs, and the runs merged."""

from __future__ import annotations

from typing import Any

import numpy as np

from workloads.kernels.core.checks import Array
from workloads.kernels.core.jit import jit

Parts = tuple[Array, Array, Array]  # indptr, indices, data


@jit
def begins(indices: Array, count: int, bp: Array) -> Array:
    """Where the products of each entry of ``a`` begin, entries taken row by row."""
    starts = np.zeros(count + 1, np.int64)
    for at in range(count):
        starts[at + 1] = starts[at] + bp[indices[at] + 1] - bp[indices[at]]
    return starts


@jit
def multiplied(
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
def merged(
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
