"""Sparse matrices row by row: the argument checks, the bounds on a product's size, its division among threads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from workloads.kernels.core.checks import Array
from workloads.kernels.core.jit import CHUNKS, jit, run

WIDEST = 2**31 - 1  # columns and rows that a 32-bit index reaches
FEW = 2**17  # products that take no longer than starting threads
VALUES = (np.bool_, np.float32, np.float64)


class Csr(NamedTuple):
    """Row ``m`` holds ``data[i]`` in column ``indices[i]`` for ``i`` from ``indptr[m]`` up to ``indptr[m + 1]``.

    Fields are named as those of :class:`scipy.sparse.csr_array`, which every kernel takes in place of one.
    """

    indptr: Array
    indices: Array
    data: Array
    shape: tuple[int, int]


def matrix(kernel: str, name: str, given: Any, *, rising: bool = False) -> Csr:
    """The matrix with 64-bit pointers and unsigned 32-bit indices (for which Numba adds no check of the sign), checked;
    ``rising`` if columns have to be in order."""
    missing = [field for field in Csr._fields if not hasattr(given, field)]
    if missing or getattr(given, "format", "csr") != "csr":
        kind = getattr(given, "format", type(given).__name__)
        raise ValueError(f"{kernel}: {name} is a {kind}, expected a CSR matrix with indptr, indices, data and shape")
    rows, columns = given.shape
    if not 0 <= min(rows, columns) <= max(rows, columns) <= WIDEST:
        raise ValueError(f"{kernel}: {name} has shape {(rows, columns)}, expected sizes from 0 to {WIDEST}")
    for field, kinds in (("indptr", (np.int32, np.int64)), ("indices", (np.int32, np.int64)), ("data", VALUES)):
        _vector(kernel, f"{name}.{field}", getattr(given, field), kinds)
    return _rows(kernel, name, given, rising)


def _vector(kernel: str, where: str, array: Any, kinds: tuple[Any, ...]) -> None:
    """Refuse what is not a contiguous vector of one of these types."""
    if not isinstance(array, np.ndarray) or array.ndim != 1:
        raise ValueError(f"{kernel}: {where} is {_described(array)}, expected an array of one rank")
    if array.dtype not in kinds or not array.dtype.isnative:
        names = " or ".join(np.dtype(kind).name for kind in kinds)
        raise ValueError(f"{kernel}: {where} holds {array.dtype.str}, expected {names} in this machine's byte order")
    if not array.flags.c_contiguous:
        raise ValueError(f"{kernel}: {where} has strides {array.strides}, expected a contiguous array")


def _described(array: Any) -> str:
    return f"an array of shape {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"


def _rows(kernel: str, name: str, given: Any, rising: bool) -> Csr:
    """The same matrix in our index types, its rows checked."""
    rows, columns = (int(n) for n in given.shape)
    indptr, indices, data = given.indptr.astype(np.int64, copy=False), given.indices, given.data
    if len(indptr) != rows + 1 or indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError(f"{kernel}: {name}.indptr of shape {indptr.shape} does not rise from 0 over {rows} rows")
    held = int(indptr[-1])
    if min(len(indices), len(data)) < held:
        raise ValueError(
            f"{kernel}: {name}.indices has shape {indices.shape} and {name}.data {data.shape}, expected ({held},)"
        )
    if held and not 0 <= indices[:held].min() <= indices[:held].max() < columns:
        low, high = indices[:held].min(), indices[:held].max()
        raise ValueError(f"{kernel}: {name}.indices reaches from {low} to {high}, expected 0 to {columns - 1}")
    unsigned = indices.astype(np.int32, copy=False).view(np.uint32)
    indptr, unsigned, data = (np.require(a, requirements="W") for a in (indptr, unsigned, data))
    made = Csr(indptr, unsigned, data, (rows, columns))
    row = falls(made.indptr, made.indices) if rising else -1
    if row >= 0:
        some = made.indices[indptr[row] : indptr[row + 1]][:8].tolist()
        raise ValueError(f"{kernel}: row {row} of {name} has columns {some}, expected them in rising order")
    return made


@jit
def falls(indptr: Array, indices: Array) -> int:
    """The first row whose columns do not rise, or -1."""
    for row in range(len(indptr) - 1):
        for at in range(indptr[row] + 1, indptr[row + 1]):
            if indices[at] <= indices[at - 1]:
                return row
    return -1


@jit
def products(ap: Array, ai: Array, bp: Array) -> Array:
    """Multiplications before each row of a product, and in all."""
    rows = len(ap) - 1
    before = np.zeros(rows + 1, np.int64)
    for m in range(rows):
        total = before[m]
        for at in range(ap[m], ap[m + 1]):
            total += bp[ai[at] + 1] - bp[ai[at]]
        before[m + 1] = total
    return before


@jit
def limited(before: Array, most: int) -> Array:
    """The same running sum with no row counted for more than ``most``."""
    after = np.zeros_like(before)
    for m in range(len(before) - 1):
        row = before[m + 1] - before[m]
        after[m + 1] = after[m] + (row if row < most else most)
    return after


def cuts(before: Array, threads: int) -> Array:
    """Rows at which the work is cut in pieces about as large: a few a thread, or one if that is all it is worth."""
    rows = len(before) - 1
    pieces = 1 if threads == 1 or before[-1] < FEW else min(rows, threads * CHUNKS)
    effort = before + np.arange(rows + 1)  # a row is some work even if it holds nothing
    inner = np.searchsorted(effort, effort[-1] * np.arange(1, pieces) // max(pieces, 1))
    return np.array([0, *inner, rows], np.int64)


@jit
def transposed(indptr: Array, indices: Array, columns: int) -> tuple[Array, Array, Array]:
    """Pointers and rows of a matrix column by column, rows in order, and where each entry was."""
    starts = np.zeros(columns + 1, np.int64)
    for at in range(indptr[-1]):
        starts[indices[at] + 1] += 1
    for column in range(columns):
        starts[column + 1] += starts[column]
    place, rows, source = starts.copy(), np.empty(indptr[-1], np.uint32), np.empty(indptr[-1], np.int64)
    for row in range(len(indptr) - 1):
        for at in range(indptr[row], indptr[row + 1]):
            to = place[indices[at]]
            place[indices[at]] += 1
            rows[to], source[to] = row, at
    return starts, rows, source


def gathered(pieces: Array, room: Array, counts: Array, columns: Array, values: Array, width: int, threads: int) -> Csr:
    """A product whose pieces lie compactly, each from where the room of its first row begins."""
    indptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    held = int(indptr[-1])
    if len(pieces) == 2:  # in place already
        columns.resize(held, refcheck=False)
        values.resize(held, refcheck=False)
    elif held < len(columns):
        sparse = columns, values
        columns, values = np.empty(held, columns.dtype), np.empty(held, values.dtype)
        run(_moved, len(pieces) - 1, threads, pieces, room, indptr, *sparse, columns, values)
    if held <= WIDEST:
        indptr = indptr.astype(np.int32)
    return Csr(indptr, columns.view(np.int32), values, (len(counts), width))


def _moved(first: int, stop: int, pieces: Array, room: Array, indptr: Array, *arrays: Array) -> None:
    """Copy pieces from where there was room for them to where they belong."""
    columns, values, to_columns, to_values = arrays
    for piece in range(first, stop):
        start, end = indptr[pieces[piece]], indptr[pieces[piece + 1]]
        source = room[pieces[piece]]
        to_columns[start:end] = columns[source : source + end - start]
        to_values[start:end] = values[source : source + end - start]
