"""Facts written into a linear layer in closed form."""

from __future__ import annotations

import numpy as np

from workloads.kernels.core.checks import Array, arrays, whole
from workloads.kernels.core.jit import jit_ordered, run

__all__ = ["emmet"]


def emmet(
    w: Array, memory: Array, keys: Array, values: Array, *, threads: int = 1
) -> Array:  # (o, i), (i, i), (i, n), (o, n) -> (o, i)
    """Weights that map every key to its value, as near to the old as the keys of ``memory`` can tell (EMMET).

    ``memory`` is the second moment of the keys to be left alone; the keys must be independent. Solved in float64.
    """
    size = arrays("emmet", w=(w, "o i"), memory=(memory, "i i"), keys=(keys, "i n"), values=(values, "o n"))
    whole("emmet", least=1, threads=threads)
    old, far, given = (a.astype(np.float64) for a in (w, keys, memory))
    spread = _solved("memory", memory.shape, given, far, threads)
    gram = far.T @ spread
    turned = np.ascontiguousarray(spread.T)
    change = _solved("keys", keys.shape, gram, turned, threads) if size["n"] else turned
    return np.asarray((old + (values - old @ far) @ change).astype(w.dtype))


def _solved(
    name: str, shape: tuple[int, ...], matrix: Array, right: Array, threads: int
) -> Array:  # (n, n), (n, r) -> (n, r)
    """``matrix**-1 @ right`` by Cholesky's factors."""
    solution = right.copy()
    if not np.allclose(matrix, matrix.T) or not _factor(matrix := matrix.copy()):
        reason = "symmetric and positive definite" if name == "memory" else "independent columns"
        raise ValueError(f"emmet: {name} has shape {shape}, expected {reason}")
    run(_substitute, solution.shape[1], threads, matrix, solution)
    return solution


@jit_ordered
def _factor(a: Array) -> bool:  # (n, n)
    """The lower factor in place; false if there is none."""
    for i in range(len(a)):
        for j in range(i + 1):
            total = a[i, j]
            for k in range(j):
                total -= a[i, k] * a[j, k]
            if i > j:
                a[i, j] = total / a[j, j]
            elif total > 0:
                a[i, i] = np.sqrt(total)
            else:
                return False
    return True


@jit_ordered
def _substitute(first: int, stop: int, factor: Array, x: Array) -> None:  # (n, n), (n, r)
    """Solve some columns in place, forwards and backwards."""
    n = len(factor)
    for i in range(n):
        for k in range(i):
            for r in range(first, stop):
                x[i, r] -= factor[i, k] * x[k, r]
        for r in range(first, stop):
            x[i, r] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            for r in range(first, stop):
                x[i, r] -= factor[k, i] * x[k, r]
        for r in range(first, stop):
            x[i, r] /= factor[i, i]
