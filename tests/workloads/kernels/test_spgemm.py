"""Sparse products next to SciPy's, by hand, and on what is awkward."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from workloads.kernels import spgemm
from workloads.kernels.core.bits import empty_sets, ordered
from workloads.kernels.core.csr import Csr, cuts

KERNELS = (spgemm.row_dense, spgemm.row_hash, spgemm.row_heap, spgemm.inner, spgemm.outer)
ROW_WISE = (spgemm.row_dense, spgemm.row_hash)
ALL = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
SIZE = st.sampled_from([0, 1, 2, 3, 5, 17, 64, 131])


def draw(rng: Any, rows: int, columns: int, density: float) -> Any:
    """A random matrix with its columns in order."""
    made = sparse.random_array(
        (rows, columns), density=density, format="csr", rng=rng, data_sampler=rng.standard_normal
    )
    made.sort_indices()
    return made


def csr(rows: list[list[float | None]], dtype: Any = np.float64) -> Csr:
    """A matrix from lists in which nothing is None."""
    held = [[(n, x) for n, x in enumerate(row) if x is not None] for row in rows]
    indptr = np.cumsum([0, *map(len, held)])
    columns, data = ([pair[i] for row in held for pair in row] for i in (0, 1))
    return Csr(indptr, np.array(columns, np.int32), np.array(data, dtype), (len(rows), len(rows[0])))


def lists(product: Csr) -> list[list[Any]]:
    """The way back."""
    rows: list[list[Any]] = [[None] * product.shape[1] for _ in range(product.shape[0])]
    for m in range(product.shape[0]):
        for at in range(product.indptr[m], product.indptr[m + 1]):
            rows[m][product.indices[at]] = product.data[at].item()
    return rows


def same(a: Csr, b: Csr) -> None:
    for mine, other in zip(a[:3], b[:3], strict=True):
        np.testing.assert_array_equal(mine, other)
    assert a.shape == b.shape


@ALL
@settings(max_examples=25, deadline=None)
@given(m=SIZE, k=SIZE, n=SIZE, density=st.sampled_from([0.0, 0.05, 0.5, 1.0]), seed=st.integers(0, 999))
def test_as_scipy(kernel: Callable[..., Csr], m: int, k: int, n: int, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = draw(rng, m, k, density), draw(rng, k, n, 0.3)
    theirs = sparse.csr_array(a @ b)
    theirs.sort_indices()
    for options in ({},) if kernel is spgemm.outer else ({}, {"phases": 2}):
        ours = kernel(a, b, **options)
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours.indptr, theirs.indptr)
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        np.testing.assert_allclose(ours.data, theirs.data, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(spgemm.symbolic(a, b), theirs.indptr)


@ALL
def test_by_hand(kernel: Callable[..., Csr]) -> None:
    a = csr([[1, None, 2], [None, None, None], [None, 3, None]])
    b = csr([[None, 5], [7, None], [None, 11]])
    assert lists(kernel(a, b)) == [[None, 27], [None, None], [21, None]]


@ALL
def test_shortest_paths_of_two_steps(kernel: Callable[..., Csr]) -> None:
    roads = csr([[None, 1, 10, None], [None, None, 2, 9], [None, None, None, 3], [None] * 4])
    assert lists(kernel(roads, roads, semiring="min_plus")) == [
        [None, None, 3, 10], [None, None, None, 5], [None] * 4, [None] * 4,
    ]  # fmt: skip


@ALL
def test_reachable_in_two_steps(kernel: Callable[..., Csr]) -> None:
    edges = csr([[None, True, True], [None, None, False], [None, True, None]], np.bool_)
    assert lists(kernel(edges, edges, semiring="or_and")) == [
        [None, True, False],
        [None, False, None],
        [None, None, False],
    ]


@ALL
def test_what_cancels_or_is_zero_stays_in_the_pattern(kernel: Callable[..., Csr]) -> None:
    a, b = csr([[1, -1], [0, None]]), csr([[2, None], [2, 4]])
    assert lists(kernel(a, b)) == [[0, -4], [0, None]]


@ALL
def test_nan_and_infinity_reach_only_what_is_present(kernel: Callable[..., Csr]) -> None:
    nan, inf = np.nan, np.inf
    a, b = csr([[nan, None], [None, inf], [1, 1]]), csr([[1, None], [None, 0]])
    np.testing.assert_equal(lists(kernel(a, b)), [[nan, None], [None, nan], [1, 0]])
    np.testing.assert_equal(lists(kernel(a, b, semiring="min_plus")), [[nan, None], [None, inf], [2, 1]])
    c = csr([[nan, 1], [1, nan]])
    assert np.isnan(kernel(c, csr([[1], [2]]), semiring="min_plus").data).all()


LARGE = draw(np.random.default_rng(5), 400, 500, 0.1), draw(np.random.default_rng(6), 500, 3000, 0.02)


@ALL
def test_threads_change_nothing(kernel: Callable[..., Csr]) -> None:
    alone = kernel(*LARGE)
    for threads in (2, 7):
        same(kernel(*LARGE, threads=threads), alone)
    if kernel is not spgemm.outer:
        same(kernel(*LARGE, threads=2, phases=2), alone)


@pytest.mark.parametrize("kernel", ROW_WISE)
def test_unsorted_rows_and_repeated_columns(kernel: Callable[..., Csr]) -> None:
    a, b = (m.copy() for m in LARGE)
    for matrix in (a, b):
        for start, stop in pairwise(matrix.indptr):
            matrix.indices[start:stop] = matrix.indices[start:stop][::-1].copy()
            matrix.data[start:stop] = matrix.data[start:stop][::-1].copy()
    a.has_sorted_indices = False
    same(spgemm.row_hash(*LARGE), kernel(*LARGE))
    np.testing.assert_allclose(kernel(a, b).data, kernel(*LARGE).data, atol=1e-12)
    twice = Csr(np.array([0, 2]), np.array([0, 0]), np.array([2.0, 3.0]), (1, 1))
    assert lists(kernel(twice, csr([[7]]))) == [[35]]


@pytest.mark.parametrize("kernel", ROW_WISE)
def test_unsorted_products_hold_the_same(kernel: Callable[..., Csr]) -> None:
    loose, tight = kernel(*LARGE, sort=False), kernel(*LARGE)
    assert not np.array_equal(loose.indices, tight.indices)
    again = sparse.csr_array((loose.data, loose.indices, loose.indptr), shape=loose.shape)
    again.sort_indices()
    same(Csr(again.indptr, again.indices, again.data, tight.shape), tight)


def test_either_index_type_and_read_only_arrays() -> None:
    a, b = LARGE
    wide = [Csr(m.indptr.astype(np.int64), m.indices.astype(np.int64), m.data, m.shape) for m in (a, b)]
    for array in (x for m in wide for x in m[:3]):
        array.flags.writeable = False
    same(spgemm.row_dense(*wide), spgemm.row_dense(a, b))
    assert spgemm.row_dense(*wide).indices.dtype == np.int32


def test_a_product_is_scipys_to_take() -> None:
    z = spgemm.row_dense(*LARGE)
    np.testing.assert_allclose(sparse.csr_array((z.data, z.indices, z.indptr), shape=z.shape).toarray(),
                               LARGE[0].toarray() @ LARGE[1].toarray(), atol=1e-12)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(below=st.sampled_from([1, 63, 64, 65, 4096, 4097, 70_000]), count=st.integers(0, 200), seed=st.integers(0, 99))
def test_numbers_in_order(below: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    some = rng.choice(below, min(count, below), replace=False).astype(np.uint32)
    sets = empty_sets(below)
    numbers = some.copy()
    ordered(numbers, np.uint64(len(some)), *sets)
    np.testing.assert_array_equal(numbers, np.sort(some))
    assert not any(s.any() for s in sets)


def test_work_is_cut_evenly() -> None:
    effort = np.concatenate([[0], np.cumsum(np.full(1000, 1000))])
    np.testing.assert_array_equal(np.diff(cuts(effort, 2)), np.full(8, 125))
    assert cuts(effort, 1).tolist() == [0, 1000]
    assert cuts(effort // 1000, 2).tolist() == [0, 1000]  # too little to share


A, B = csr([[1, 2], [3, None]]), csr([[1, None, 4], [None, 5, None]])
TRUE = csr([[True]], np.bool_)
BAD: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: spgemm.row_dense(np.ones((2, 2)), B),
        "row_dense: a is a ndarray, expected a CSR matrix with indptr, indices",
    ),
    (lambda: spgemm.row_dense(A, sparse.csc_array(np.eye(2))), "row_dense: b is a csc, expected a CSR matrix"),
    (lambda: spgemm.inner(B, A), "inner: b has shape (2, 2), expected 3 rows as a of (2, 3) has columns"),
    (
        lambda: spgemm.row_hash(A, A._replace(data=A.data.astype(np.float32))),
        "row_hash: b.data holds float32, expected float64",
    ),
    (
        lambda: spgemm.outer(A._replace(data=np.arange(3)), B),
        "outer: a.data holds <i8, expected bool or float32 or float64",
    ),
    (lambda: spgemm.outer(A, B, semiring="or_and"), "outer: a.data holds float64, expected bool for or_and"),
    (lambda: spgemm.inner(TRUE, TRUE), "inner: a.data holds bool, expected float32 or float64 for plus_times"),
    (
        lambda: spgemm.inner(A, B, semiring="max_plus"),
        "inner: semiring is 'max_plus', expected one of plus_times, min_plus, or_and",
    ),
    (lambda: spgemm.row_dense(A, B, threads=0), "row_dense: threads is 0, expected a whole number from 1"),
    (lambda: spgemm.row_dense(A, B, phases=3), "row_dense: phases is 3, expected a whole number from 1 to 2"),
    (
        lambda: spgemm.symbolic(A._replace(indptr=[0, 1, 3]), B),
        "symbolic: a.indptr is a list, expected an array of one rank",
    ),
    (lambda: spgemm.symbolic(A._replace(indptr=A.indptr[None]), B), "symbolic: a.indptr is an array of shape (1, 3)"),
    (
        lambda: spgemm.symbolic(A._replace(indptr=A.indptr.astype(float)), B),
        "symbolic: a.indptr holds <f8, expected int32 or int64",
    ),
    (lambda: spgemm.symbolic(A._replace(data=A.data.astype(">f8")), B), "symbolic: a.data holds >f8, expected"),
    (
        lambda: spgemm.row_heap(A._replace(indptr=A.indptr[:2]), B),
        "row_heap: a.indptr of shape (2,) does not rise from 0 over 2",
    ),
    (
        lambda: spgemm.row_heap(A._replace(indptr=np.array([0, 3, 2])), B),
        "row_heap: a.indptr of shape (3,) does not rise",
    ),
    (
        lambda: spgemm.row_heap(A._replace(indptr=np.array([1, 2, 3])), B),
        "row_heap: a.indptr of shape (3,) does not rise",
    ),
    (
        lambda: spgemm.row_heap(A._replace(data=A.data[:2]), B),
        "row_heap: a.indices has shape (3,) and a.data (2,), expected (3,)",
    ),
    (
        lambda: spgemm.row_dense(A._replace(indices=np.array([0, 2, 0])), B),
        "row_dense: a.indices reaches from 0 to 2, expected 0 to 1",
    ),
    (
        lambda: spgemm.row_dense(A._replace(indices=np.array([0, -1, 0])), B),
        "row_dense: a.indices reaches from -1 to 0",
    ),
    (lambda: spgemm.row_dense(A._replace(shape=(-1, 2)), B), "row_dense: a has shape (-1, 2), expected sizes from 0"),
    (
        lambda: spgemm.row_dense(A._replace(shape=(2, 2**40)), B),
        "row_dense: a has shape (2, 1099511627776), expected sizes",
    ),
    (
        lambda: spgemm.row_dense(A._replace(data=np.ones(6)[::2]), B),
        "row_dense: a.data has strides (16,), expected a contiguous",
    ),
    (
        lambda: spgemm.inner(A._replace(indices=np.array([1, 0, 0])), B),
        "inner: row 0 of a has columns [1, 0], expected them in rising order",
    ),
    (
        lambda: spgemm.row_heap(A, B._replace(indices=np.array([2, 0, 1]))),
        "row_heap: row 0 of b has columns [2, 0], expected",
    ),
    (
        lambda: spgemm.outer(A, B._replace(indices=np.array([0, 0, 1]))),
        "outer: row 0 of b has columns [0, 0], expected",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_refused_in_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        call()
    assert "\n" not in str(refused.value)
