"""What cascades that use sparse products are given of one matrix: tensors by name, run by run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint

LEVELS = 1000  # of a search that are run at most

Tensors = dict[str, Any]  # scipy matrices by tensor; a vector has one column


def runs(workload: str, a: Any, *, source: int = 0) -> list[Tensors]:
    """The tensors of each run of a workload of :mod:`workloads.sparse` on a matrix; a search is a run each level.

    Raises :class:`WeirError` for unknown workloads, graphs that are not square, and a source outside the graph.
    """
    if workload not in USERS:
        raise WeirError(f"unknown workload {workload!r:.40}{hint(workload, USERS)}")
    return list(USERS[workload](a, source))


def _alone(a: Any, source: int) -> Iterator[Tensors]:
    """The matrix itself; what it multiplies is dense."""
    yield {"A": a}


def _layer(a: Any, source: int) -> Iterator[Tensors]:
    _square(a, "gcn")
    yield {"A": a}


def _triangles(a: Any, source: int) -> Iterator[Tensors]:
    """Each edge once, from the higher node to the lower, whichever way it is given."""
    from scipy import sparse

    _square(a, "triangles")
    either = abs(a) + abs(a).T
    lower = sparse.csr_array(sparse.tril(either, -1, format="csr"))
    yield dict.fromkeys(("L", "B", "E"), lower)


def _search(a: Any, source: int) -> Iterator[Tensors]:
    """Frontiers of a breadth-first search, and the nodes that each reaches first."""
    _square(a, "bfs")
    if not 0 <= source < a.shape[0]:
        raise WeirError(f"bfs: source {source} is no node of 0 to {a.shape[0] - 1}")
    seen, frontier = np.zeros(a.shape[0], bool), np.array([source])
    seen[source] = True
    for _ in range(LEVELS):
        reached = np.unique(a[frontier].indices)
        fresh = reached[~seen[reached]]
        yield {"F": _column(frontier, a.shape[0]), "G": a, "N": _column(fresh, a.shape[0])}
        if not len(fresh):
            return
        seen[fresh] = True
        frontier = fresh
    raise WeirError(f"bfs: more than {LEVELS} levels from node {source}; choose a source nearer the middle")


def _column(nodes: Any, count: int) -> Any:
    from scipy import sparse

    return sparse.csr_array((np.ones(len(nodes)), (nodes, np.zeros(len(nodes), np.int64))), shape=(count, 1))


def _square(a: Any, workload: str) -> None:
    if a.shape[0] != a.shape[1]:
        raise WeirError(f"{workload}: the matrix is {a.shape[0]} x {a.shape[1]}; a graph's is square")


USERS: dict[str, Callable[[Any, int], Iterator[Tensors]]] = {
    "spmv": _alone,
    "spmm": _alone,
    "triangles": _triangles,
    "bfs": _search,
    "gcn": _layer,
}
