"""Sparse products as cascades: ``m`` rows and ``n`` columns of the result, ``k`` summed over.

A dataflow is an order of ranks. Inner product, outer product and row by row (Gustavson) are the same sum; the outer
product writes every product down (``T``) before it adds them up. Loop order, tiles and windows are a mapping's affair
(``mappings.sparse``). ``density_a`` and ``density_b`` are those of uniform operands; a matrix in hand is given to
:func:`sim.spgemm` instead.
"""

from __future__ import annotations

from einsum.cascade import Cascade
from einsum.parse import parse

__all__ = ["bfs", "gcn", "inner", "outer", "row_wise", "spmm", "spmv", "triangles"]


def _operands(a: str, b: str, density_a: float, density_b: float) -> str:
    return f"A[{a}]: uniform({density_a})\nB[{b}]: uniform({density_b})\n"


def inner(*, rows: int, columns: int, summed: int, density_a: float = 1.0, density_b: float = 1.0) -> Cascade:
    """Sparse product by inner products: each row of A against each column of B (M N K), B held by columns."""
    text = _operands("m, k", "n, k", density_a, density_b) + "Z[m, n] = A[m, k] * B[n, k]"
    return parse(text, name="inner", dtype="fp64", m=rows, n=columns, k=summed)


def outer(*, rows: int, columns: int, summed: int, density_a: float = 1.0, density_b: float = 1.0) -> Cascade:
    """Sparse product by outer products (K M N): all products are written down, then merged row by row."""
    text = _operands("k, m", "k, n", density_a, density_b) + "T[k, m, n] = A[k, m] * B[k, n]\nZ[m, n] = T[k, m, n]"
    return parse(text, name="outer", dtype="fp64", m=rows, n=columns, k=summed)


def row_wise(*, rows: int, columns: int, summed: int, density_a: float = 1.0, density_b: float = 1.0) -> Cascade:
    """Sparse product row by row (Gustavson, M K N): a row of Z is a sum of scaled rows of B."""
    text = _operands("m, k", "k, n", density_a, density_b) + "Z[m, n] = A[m, k] * B[k, n]"
    return parse(text, name="row_wise", dtype="fp64", m=rows, n=columns, k=summed)


def spmm(*, rows: int, summed: int, features: int, density: float = 1.0) -> Cascade:
    """A sparse matrix times a dense one."""
    text = f"A[m, k]: uniform({density})\nZ[m, n] = A[m, k] * X[k, n]"
    return parse(text, name="spmm", dtype="fp64", m=rows, k=summed, n=features)


def spmv(*, rows: int, summed: int, density: float = 1.0) -> Cascade:
    """A sparse matrix times a dense vector."""
    return parse(f"A[m, k]: uniform({density})\nZ[m] = A[m, k] * X[k]", name="spmv", dtype="fp64", m=rows, k=summed)


def triangles(*, nodes: int, density: float = 1.0) -> Cascade:
    """Triangles of a graph by node, from its lower triangle L: paths of two edges that a third closes.

    B and E are L again, read in other ways: B row after row as L's entries ask for it, E beside the paths.
    """
    text = "".join(f"{tensor}: uniform({density})\n" for tensor in ("L[m, k]", "B[k, n]", "E[m, n]"))
    text += "P[m, n] = L[m, k] * B[k, n]\nC[m] = P[m, n] * E[m, n]"
    return parse(text, name="triangles", dtype="fp64", m=nodes, n=nodes, k=nodes)


def bfs(*, nodes: int, frontier: int, density: float = 1.0) -> Cascade:
    """One level of a breadth-first search: nodes reached from the frontier F that were not visited before (V)."""
    share = min(1.0, frontier / nodes)
    text = f"""
    F[m]: uniform({share})
    G[m, n]: uniform({density})
    R[n] = any[m](F[m] * G[m, n])
    N[n] = where(V[n], 0, R[n])
    """
    return parse(text, name="bfs", dtype="fp64", m=nodes, n=nodes)


def gcn(*, nodes: int, features: int, hidden: int, density: float = 1.0) -> Cascade:
    """One layer of a graph convolution: neighbours' features gathered, multiplied by weights, rectified."""
    text = f"""
    A[v, u]: uniform({density})
    W[f, g]: weight
    H[v, f] = A[v, u] * X[u, f]
    Z[v, g] = H[v, f] * W[f, g]
    Y[v, g] = relu(Z[v, g])
    """
    return parse(text, name="gcn", dtype="fp64", v=nodes, u=nodes, f=features, g=hidden)
