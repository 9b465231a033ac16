from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import shortest_path

from einsum import WeirError
from workloads.graphs import LEVELS, runs
from workloads.matrices import named


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), draws=st.integers(20, 200), source=st.integers(0, 31))
def test_levels_are_scipys_distances(seed: int, draws: int, source: int) -> None:
    a = named(f"rmat:scale=5,draws={draws},seed={seed}")
    far = shortest_path(a, unweighted=True, indices=source)
    for level, tensors in enumerate(runs("bfs", a, source=source)):
        assert tensors["F"].nonzero()[0].tolist() == np.flatnonzero(far == level).tolist()
        assert tensors["N"].nonzero()[0].tolist() == np.flatnonzero(far == level + 1).tolist()
    assert not tensors["N"].nnz


def test_triangles_are_those_of_the_graph_without_directions() -> None:
    a = named("rmat:scale=6,draws=400")
    [tensors] = runs("triangles", a)
    lower = (tensors["L"] != 0).astype(int)
    either = (lower + lower.T).toarray()
    assert ((lower @ lower).multiply(lower)).sum() == np.trace(either @ either @ either) // 6
    assert either.sum() == 2 * lower.nnz == ((abs(a) + abs(a).T).toarray() > 0)[~np.eye(64, dtype=bool)].sum()


@pytest.mark.parametrize(
    ("workload", "shape", "source", "message"),
    [
        ("spmvv", (3, 3), 0, "unknown workload 'spmvv'; did you mean 'spmv'"),
        ("bfs", (3, 4), 0, "the matrix is 3 x 4; a graph's is square"),
        ("triangles", (3, 4), 0, "a graph's is square"),
        ("gcn", (3, 4), 0, "a graph's is square"),
        ("bfs", (3, 3), 3, "source 3 is no node of 0 to 2"),
        ("bfs", (3, 3), -1, "source -1 is no node"),
    ],
)
def test_what_is_no_graph(workload: str, shape: tuple[int, int], source: int, message: str) -> None:
    with pytest.raises(WeirError, match=message):
        runs(workload, sparse.csr_array(np.ones(shape)), source=source)


def test_a_search_that_goes_on_for_ever() -> None:
    count = LEVELS + 5
    line = sparse.csr_array(sparse.diags_array([np.ones(count - 1)], offsets=[1], shape=(count, count)))
    with pytest.raises(WeirError, match="more than 1000 levels"):
        runs("bfs", line)
