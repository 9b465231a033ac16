"""Sparse cascades against scipy: every dataflow, and what uses a product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse as scipy_sparse

from einsum import interpret
from workloads import sparse
from workloads.kernels import spgemm


def drawn(rows: int, columns: int, seed: int, density: float = 0.3) -> Any:
    rng = np.random.default_rng(seed)
    made = scipy_sparse.random_array((rows, columns), density=density, rng=rng, format="csr")
    return scipy_sparse.csr_array(made)


@settings(deadline=None, max_examples=15)
@given(m=st.integers(1, 7), k=st.integers(1, 7), n=st.integers(1, 7), seed=st.integers(0, 999))
def test_every_dataflow_and_kernel_is_scipys_product(m: int, k: int, n: int, seed: int) -> None:
    a, b = drawn(m, k, seed), drawn(k, n, seed + 1)
    want = (a @ b).toarray()
    da, db = a.toarray(), b.toarray()
    sizes = {"rows": m, "columns": n, "summed": k}
    np.testing.assert_allclose(interpret(sparse.inner(**sizes), {"A": da, "B": db.T})["Z"], want, atol=1e-12)
    np.testing.assert_allclose(interpret(sparse.outer(**sizes), {"A": da.T, "B": db})["Z"], want, atol=1e-12)
    np.testing.assert_allclose(interpret(sparse.row_wise(**sizes), {"A": da, "B": db})["Z"], want, atol=1e-12)
    for kernel in (spgemm.inner, spgemm.outer, spgemm.row_hash):
        made = kernel(a, b)
        whole = scipy_sparse.csr_array((made.data, made.indices, made.indptr), made.shape)
        np.testing.assert_allclose(whole.toarray(), want, atol=1e-12)


def test_consumers() -> None:
    a = drawn(6, 6, 3)
    x, v = np.arange(18.0).reshape(6, 3), np.arange(6.0)
    made = interpret(sparse.spmm(rows=6, summed=6, features=3), {"A": a.toarray(), "X": x})
    np.testing.assert_allclose(made["Z"], a @ x)
    np.testing.assert_allclose(interpret(sparse.spmv(rows=6, summed=6), {"A": a.toarray(), "X": v})["Z"], a @ v)
    w = np.random.default_rng(0).normal(size=(3, 2))
    layer = interpret(sparse.gcn(nodes=6, features=3, hidden=2), {"A": a.toarray(), "X": x, "W": w})
    np.testing.assert_allclose(layer["Y"], np.maximum(a @ x @ w, 0))


def test_triangles_of_a_complete_graph() -> None:
    lower = np.tril(np.ones((5, 5)), -1)
    assert interpret(sparse.triangles(nodes=5), dict.fromkeys("LBE", lower))["C"].sum() == 10


def test_one_level_of_a_breadth_first_search() -> None:
    edges = np.zeros((4, 4))
    edges[0, 1] = edges[0, 2] = edges[1, 3] = edges[2, 0] = 1
    visited = np.array([1.0, 0, 0, 0])
    frontier = np.ma.array(visited, mask=visited == 0)
    made = interpret(sparse.bfs(nodes=4, frontier=1), {"F": frontier, "G": scipy_sparse.csr_array(edges), "V": visited})
    assert [bool(n) for n in np.nan_to_num(made["N"])] == [False, True, True, False]


@pytest.mark.parametrize("build", [sparse.inner, sparse.outer, sparse.row_wise])
def test_densities_scale_the_work(build: Any) -> None:
    from einsum.counts import total_operations

    full = total_operations(build(rows=8, columns=8, summed=8))
    half = total_operations(build(rows=8, columns=8, summed=8, density_a=0.5, density_b=0.5))
    key = "mac" if "mac" in full else "mul"
    assert half[key] == pytest.approx(full[key] / 4)
