"""Sparse products, each against its dataflow's cascade under every semiring; the pattern is a product of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from einsum import Cascade, parse
from sim.numerics.draw import Draw, Pair, Row, Tensors
from workloads.kernels import spgemm
from workloads.kernels.core.csr import Csr

PRODUCTS = {
    "plus_times": "Z[m, n] = A[m, k] * B[k, n]",
    "min_plus": "Z[m, n] = min[k](A[m, k] * one(B[k, n]) + one(A[m, k]) * B[k, n])",
    "or_and": "Z[m, n] = any[k](A[m, k] * B[k, n])",
}
OUTER = "T[k, m, n] = A[m, k] * B[k, n]\nZ[m, n] = T[k, m, n]"
PATTERN = "Z[m, n] = any[k](one(A[m, k]) * one(B[k, n]))"
COUNTS = "T[m, n] = any[k](one(A[m, k]) * one(B[k, n]))\nS[m, l] = T[m, n] * L[m, l]\nZ[l] = S[m, l]"


def operands(d: Draw, boolean: bool = False) -> Tensors:
    """Two matrices with some places absent: few, many or none of them, and whole rows and columns."""
    sizes = (d.m, d.p + d.e), (d.p + d.e, 5 * d.e + d.r)
    return {name: _holey(d, shape, boolean) for name, shape in zip("AB", sizes, strict=True)}


def _holey(d: Draw, shape: tuple[int, int], boolean: bool) -> Any:
    """A masked matrix; entries that are present may well be zero."""
    present = d.rng.random(shape) < d.rng.choice([0.02, 0.2, 0.7, 1.0])
    present &= (d.rng.random(shape[0]) < 0.8)[:, None] & (d.rng.random(shape[1]) < 0.8)
    values = d.rng.random(shape) < 0.5 if boolean else d.values(*shape)
    return np.ma.array(values, mask=~present)


def compressed(matrix: Any) -> Csr:
    """What is present, row by row."""
    present = ~np.ma.getmaskarray(matrix)
    rows, columns = (np.ascontiguousarray(at) for at in np.nonzero(present))
    indptr = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return Csr(indptr, columns, matrix.data[rows, columns], matrix.shape)


def dense(product: Csr) -> tuple[Any, Any]:
    """The values in their places, and ones in the same."""
    values, pattern = np.zeros(product.shape, product.data.dtype), np.zeros(product.shape)
    rows = np.repeat(np.arange(product.shape[0]), np.diff(product.indptr))
    values[rows, product.indices], pattern[rows, product.indices] = product.data, 1
    return values, pattern


def cascade(text: str, tensors: Tensors) -> Cascade:
    """The cascade at the sizes of two operands."""
    (m, k), (_, n) = tensors["A"].shape, tensors["B"].shape
    return parse(text, m=m, k=k, n=n)


def product(kernel: Callable[..., Csr], text: str, **options: Any) -> Callable[[Draw], Iterator[Pair]]:
    """Cases of one kernel: values and pattern under each semiring."""

    def cases(d: Draw) -> Iterator[Pair]:
        for semiring, meaning in PRODUCTS.items():
            t = operands(d, semiring == "or_and")
            given = (compressed(t[name]) for name in "AB")
            values, pattern = dense(d.run(kernel, *given, semiring=semiring, **options))
            yield values.astype(d.dtype), cascade(text if semiring == "plus_times" else meaning, t), t, "Z"
            yield pattern.astype(d.dtype), cascade(PATTERN, t), t, "Z"

    return cases


def symbolic(d: Draw) -> Iterator[Pair]:
    """Where rows begin: entries in the rows before, summed by a lower triangle."""
    t = operands(d)
    (m, k), n = t["A"].shape, t["B"].shape[1]
    starts = d.run(spgemm.symbolic, compressed(t["A"]), compressed(t["B"]))
    before = {"L": np.tri(m + 1, m, -1).T}
    yield starts.astype(d.dtype), parse(COUNTS, m=m, k=k, n=n, l=m + 1), t | before, "Z"


ROWS = {
    "spgemm.inner": Row(product(spgemm.inner, PRODUCTS["plus_times"])),
    "spgemm.outer": Row(product(spgemm.outer, OUTER)),
    "spgemm.row_dense": Row(product(spgemm.row_dense, PRODUCTS["plus_times"])),
    "spgemm.row_hash": Row(product(spgemm.row_hash, PRODUCTS["plus_times"], sort=False, phases=2)),
    "spgemm.row_heap": Row(product(spgemm.row_heap, PRODUCTS["plus_times"], phases=2)),
    "spgemm.symbolic": Row(symbolic),
}
