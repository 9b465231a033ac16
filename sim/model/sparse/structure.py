"""The structure of a sparse operand: which places are present, and how many cells of a grid laid over it hold any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Grid = tuple[int, int]  # extents of a cell along rows and columns


@dataclass(frozen=True, eq=False)
class Structure:
    """A matrix without its values, row by row; columns of a row in order."""

    indptr: Ints
    indices: Ints
    shape: tuple[int, int]
    memo: dict[Any, Any] = field(default_factory=dict, repr=False)  # what was found of it, by question

    @classmethod
    def of(cls, matrix: Any) -> Structure:
        """From anything scipy makes a CSR matrix of; entries given twice are one."""
        from scipy import sparse

        made = sparse.csr_array(matrix)
        if not made.has_canonical_format:
            made = made.copy()
            made.sum_duplicates()
        shape = (int(made.shape[0]), int(made.shape[1]))
        return cls(made.indptr.astype(np.int64), made.indices.astype(np.int64), shape)

    @classmethod
    def full(cls, rows: int, columns: int) -> Structure:
        """A matrix whose places are all present."""
        return cls(np.arange(rows + 1) * columns, np.tile(np.arange(columns), rows), (rows, columns))

    @cached_property
    def dense(self) -> bool:
        """Whether every place is present."""
        return self.entries == self.shape[0] * self.shape[1]

    @property
    def entries(self) -> int:
        """Places present."""
        return len(self.indices)

    @cached_property
    def rows(self) -> Ints:
        """Row of each entry."""
        return np.repeat(np.arange(self.shape[0]), self.lengths)

    @cached_property
    def lengths(self) -> Ints:
        """Entries of each row."""
        return np.diff(self.indptr)

    @cached_property
    def heights(self) -> Ints:
        """Entries of each column."""
        return np.bincount(self.indices, minlength=self.shape[1])

    @cached_property
    def transposed(self) -> Structure:
        """Columns as rows."""
        from scipy import sparse

        turned = sparse.csr_array((np.empty(self.entries, np.bool_), self.indices, self.indptr), self.shape).tocsc()
        rows, columns = self.shape
        return Structure(turned.indptr.astype(np.int64), turned.indices.astype(np.int64), (columns, rows))

    def whole(self, grid: Grid) -> Grid:
        """The grid with no cell larger than the matrix."""
        return min(grid[0], max(self.shape[0], 1)), min(grid[1], max(self.shape[1], 1))

    def cells(self, grid: Grid) -> tuple[Ints, Ints, Ints]:
        """Row and column of each cell of a grid that holds an entry, in order, and how many it holds."""
        grid = self.whole(grid)
        if grid not in self.memo:
            across = -(-self.shape[1] // grid[1])
            keys, counts = _counted((self.rows // grid[0]) * across + self.indices // grid[1])
            self.memo[grid] = (keys // across, keys % across, counts)
        found: tuple[Ints, Ints, Ints] = self.memo[grid]
        return found

    def held(self, grid: Grid, parts: tuple[Grid, ...]) -> Floats:
        """For each cell of ``grid`` that holds an entry, how many cells of each finer grid it holds: (parts, cells)."""
        grid = self.whole(grid)
        key = (grid, parts)
        if key not in self.memo:
            self.memo[key] = np.array([self._inside(grid, part) for part in parts], np.float64)
        found: Floats = self.memo[key]
        return found

    def _inside(self, grid: Grid, part: Grid) -> Ints:
        """Cells of one finer grid in each cell of ``grid``; cells that are larger are cut down to it."""
        part = min(grid[0], part[0]), min(grid[1], part[1])
        if part == grid:
            return np.ones(len(self.cells(grid)[0]), np.int64)
        if part == (1, 1):
            return self.cells(grid)[2]
        rows, columns, _ = self.cells(part)
        if any(big < side and big % small for big, small, side in zip(grid, part, self.shape, strict=True)):
            raise WeirError(f"cells of {part[0]} x {part[1]} do not divide tiles of {grid[0]} x {grid[1]}")
        across = -(-self.shape[1] // grid[1])
        return _counted((rows * part[0] // grid[0]) * across + columns * part[1] // grid[1])[1]


def _counted(keys: Ints) -> tuple[Ints, Ints]:
    """Different keys in order, and how often each occurs; quick where they are in order already."""
    if len(keys) and (np.diff(keys) < 0).any():
        keys = np.sort(keys)
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    return keys[first], np.diff(np.concatenate([first, [len(keys)]]))


@dataclass(frozen=True)
class Entries:
    """Entries of each row of a product, and how they are known; ``spread`` is the half-width, as a fraction, of a
    confidence interval of the sum."""

    rows: Floats
    how: str  # "exact", "sampled" or "expected"
    spread: float = 0.0
    confidence: float = 1.0

    @property
    def total(self) -> float:
        """Entries of the product."""
        return float(self.rows.sum())


@dataclass(frozen=True, eq=False)
class Product:
    """A sparse product: structures by the names of their tensors, ranks by axis, and the entries of the result.

    Of a cascade of several it is one, of the ``einsums`` named. An Einsum that goes through places one by one has
    ``points`` a row, which are not those of a product.
    """

    operands: Mapping[str, Structure]  # each as its Einsum holds it, by its tensor's name; a vector has one column
    a: Structure  # (m, k)
    b: Structure  # (k, n)
    entries: Entries
    name: str = ""
    einsums: tuple[str, ...] = ()  # all of the cascade unless given
    points: Ints | None = None  # (m,)

    @cached_property
    def row_products(self) -> Ints:
        """Multiplications of each row: the lengths of the rows of B that it meets."""
        if self.points is not None:
            return self.points
        lengths = self.b.lengths[self.a.indices]
        return np.add.reduceat(np.append(lengths, 0), self.a.indptr[:-1]) * (self.a.lengths > 0)

    @cached_property
    def met(self) -> tuple[int, int]:
        """Entries of A, and those of B in rows that A has a column for; of what goes through places, the places."""
        if self.points is not None:
            return self.products, self.products
        return self.a.entries, int(self.b.lengths[self.a.heights > 0].sum())

    @property
    def products(self) -> int:
        """Multiplications."""
        return int(self.row_products.sum())

    @property
    def compression(self) -> float:
        """Multiplications per entry of the result."""
        return self.products / max(self.entries.total, 1.0)
