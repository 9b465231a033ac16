"""Partial results that leave a keep and come back: loops over what is summed, outside loops over the result."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.model.nests import Loop
from sim.model.sparse.fetch import tiles
from sim.model.sparse.structure import Product, Structure


def revisited(
    product: Product, ranks: tuple[str, str, str], loops: tuple[Loop, ...], inside: tuple[Loop, ...]
) -> float:
    """Entries read back over all visits: at each, what its tile of the result holds already.

    ``loops`` are those above the keep, ``inside`` all of the Einsum's. A tile of the result is visited, for each piece
    of what is summed above the keep, if in some innermost piece both operands hold something.
    """
    sides = (*_shape(product), product.b.shape[0])
    shape, finest = tiles(loops), tiles(inside)
    high, wide, deep = (min(shape.get(r, n), n) for r, n in zip(ranks, sides, strict=True))
    grain = min(finest.get(ranks[2], deep), deep)
    total, so_far = 0.0, None
    for start in range(0, product.b.shape[0], deep):
        left, right = _columns(product.a, start, deep), _rows(product.b, start, deep)
        new = ((left @ right) != 0).astype(np.int8)
        if so_far is not None:
            total += _within(so_far, _cells(left, high, grain) @ _cells(right, grain, wide), high, wide)
            new = ((so_far + new) != 0).astype(np.int8)
        so_far = new
    return total


def _shape(product: Product) -> tuple[int, int]:
    return product.a.shape[0], product.b.shape[1]


def _matrix(structure: Structure) -> Any:
    from scipy import sparse

    ones = np.ones(structure.entries, np.int32)
    return sparse.csr_array((ones, structure.indices, structure.indptr), structure.shape)


def _columns(structure: Structure, start: int, count: int) -> Any:
    return _matrix(structure)[:, start : start + count].tocsr()


def _rows(structure: Structure, start: int, count: int) -> Any:
    return _matrix(structure)[start : start + count].tocsr()


def _cells(matrix: Any, high: int, wide: int) -> Any:
    """One for each cell of a grid that holds an entry."""
    from scipy import sparse

    held = matrix.tocoo()
    shape = (-(-matrix.shape[0] // high), -(-matrix.shape[1] // wide))
    made = sparse.csr_array((np.ones(held.nnz, np.int32), (held.row // high, held.col // wide)), shape)
    made.sum_duplicates()
    made.data[:] = 1
    return made


def _within(matrix: Any, cells: Any, high: int, wide: int) -> float:
    """Entries of a matrix that lie in cells which hold anything."""
    held = matrix.tocoo()
    present = np.zeros(cells.shape, bool)
    present[cells.nonzero()] = True
    return float(present[held.row // high, held.col // wide].sum())
