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

from workloads.kernels.core.checks import Array, whole
from workloads.kernels.core.csr import Csr, cuts, gathered, limited, matrix, products, transposed
from workloads.kernels.core.jit import run
from workloads.kernels.core.rows import dense, entries, hashed, heaped, met
from workloads.kernels.core.runs import begins, merged, multiplied
from workloads.kernels.core.semirings import SEMIRINGS, Semiring

__all__ = ["inner", "outer", "row_dense", "row_hash", "row_heap", "symbolic"]


def symbolic(a: Any, b: Any, *, threads: int = 1) -> Array:  # (m, k), (k, n) -> (m + 1)
    """Where each row of the product begins: how many different places its products fall on."""
    a, b, _ = _operands("symbolic", a, b, "plus_times", threads)
    return _counted(a, b, products(a.indptr, a.indices, b.indptr), threads)


def row_dense(
    a: Any, b: Any, *, semiring: str = "plus_times", sort: bool = True, phases: int = 1, threads: int = 1
) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Row by row into an array with a place for every column."""
    a, b, ring = _operands("row_dense", a, b, semiring, threads)
    return _by_rows("row_dense", dense, a, b, ring, sort, phases, threads)


def row_hash(
    a: Any, b: Any, *, semiring: str = "plus_times", sort: bool = True, phases: int = 1, threads: int = 1
) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Row by row into a hash table at most half full, as SMASH keeps in a scratchpad."""
    a, b, ring = _operands("row_hash", a, b, semiring, threads)
    return _by_rows("row_hash", hashed, a, b, ring, sort, phases, threads)


def row_heap(
    a: Any, b: Any, *, semiring: str = "plus_times", phases: int = 1, threads: int = 1
) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Row by row, merging sorted rows of ``b`` through a heap of their next columns; a row comes out sorted."""
    a, b, ring = _operands("row_heap", a, b, semiring, threads, rising="b")
    return _by_rows("row_heap", heaped, a, b, ring, True, phases, threads)


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
    return _numeric(met, a, columns, ring, True, room, cuts(effort, threads), b.shape[1], threads)


def outer(a: Any, b: Any, *, semiring: str = "plus_times", threads: int = 1) -> Csr:  # (m, k), (k, n) -> (m, n)
    """Each column with each row, every product written down; then each row's sorted runs of them are merged."""
    a, b, ring = _operands("outer", a, b, semiring, threads, rising="b")
    before = products(a.indptr, a.indices, b.indptr)
    runs = begins(a.indices, a.indptr[-1], b.indptr)  # where the products of each entry of a go
    starts, _, source = transposed(a.indptr, a.indices, a.shape[1])
    columns, values = np.empty(before[-1], np.uint32), np.empty(before[-1], a.data.dtype)
    run(multiplied, a.shape[1], threads, starts, source, a.data, b[:3], ring.times, runs, columns, values)
    pieces, counts = cuts(before, threads), np.zeros(a.shape[0], np.int64)
    run(merged, len(pieces) - 1, threads, pieces, a.indptr, runs, ring.add, columns, values, counts)
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
    run(entries, len(pieces) - 1, threads, pieces, a[:2], b[:2], b.shape[1], starts[1:])
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
    run(rows, len(pieces) - 1, threads, pieces, *given, (room, columns, values, counts))
    return gathered(pieces, room, counts, columns, values, width, threads)
