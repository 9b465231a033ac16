"""Dataflows of spatial arrays: what stays in the array, what streams through it, and how a layer is cut to fit.

The products are ``Z[m, n] = A[m, k] * B[k, n]`` over a grid of ``rows`` x ``columns``; a convolution is
``O[n, g, m, e, f] = I[n, g, c, U * e + r, U * f + s] * W[g, m, c, r, s]`` (images, groups, filters, output rows and
columns, channels, filter rows and columns). Tiles are given as numbers; ``sim.model`` takes arrays of them by the name
of the loop, so that one nest is counted for many arrays or layers at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from einsum.errors import WeirError
from mappings.tree import Keep, Nest, Node, Run, Spatial, Temporal

__all__ = ["Grid", "RowStationary", "input_stationary", "output_stationary", "row_stationary", "weight_stationary"]


@dataclass(frozen=True, slots=True)
class Grid:
    """An array of units in rows and columns, and the levels that feed it, by name."""

    rows: int
    columns: int
    memory: str = "dram"
    buffer: str = "buffer"
    register: str = "register"
    unit: str = "pe"
    row: str = "rows"
    column: str = "columns"

    def __post_init__(self) -> None:
        _positive("grid", rows=self.rows, columns=self.columns)


def _positive(where: str, **sizes: int) -> None:
    """Refuse what cannot be a tile or a count."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size < 1 << 60:
            raise WeirError(f"{where}: {name}={size!r} must be a whole number of 1 or more")


def output_stationary(grid: Grid, *, double: bool = False) -> Nest:
    """Each unit sums one element of Z: m over rows, n over columns; A and B stream in. Tiles: ``m.0``, ``n.0``."""
    return _product(grid, "m", "n", "Z", double)


def weight_stationary(grid: Grid, *, double: bool = False, fifo: str = "") -> Nest:
    """Each unit holds one element of B: k over rows (summed on the way), n over columns; A streams in. Tiles: ``k.0``,
    ``n.0``. With ``double``, the next weights are handed on while the last ones are in use.

    Where there is a ``fifo``, weights come through it from memory tile by tile, while A and Z never leave the buffer.
    """
    if not fifo:
        return _product(grid, "k", "n", "B", double)
    outer = (Keep(("B",), grid.memory), Keep(("A", "Z"), grid.buffer))
    return Nest((*outer, *_tiled(grid, "k", "n"), Keep(("B",), fifo, True), *_spread(grid, "k", "n", "B", double)))


def input_stationary(grid: Grid, *, double: bool = False) -> Nest:
    """Each unit holds one element of A: k over rows (summed on the way), m over columns; B streams in. Tiles: ``k.0``,
    ``m.0``."""
    return _product(grid, "k", "m", "A", double)


def _product(grid: Grid, down: str, across: str, stays: str, double: bool) -> Nest:
    """A product whose operand ``stays`` has a rank over the rows and a rank over the columns."""
    every = ("A", "B", "Z")
    outer = (Keep(every, grid.memory), Keep(every, grid.buffer))
    return Nest((*outer, *_tiled(grid, down, across), *_spread(grid, down, across, stays, double)))


def _tiled(grid: Grid, down: str, across: str) -> tuple[Node, ...]:
    """Tiles of the size of the array, one after another."""
    return Temporal(down, grid.rows), Temporal(across, grid.columns)


def _spread(grid: Grid, down: str, across: str, stays: str, double: bool) -> tuple[Node, ...]:
    """One tile over rows and columns; each unit holds its element of what stays."""
    over = (Spatial(down, tile=1, over=grid.row), Spatial(across, tile=1, over=grid.column))
    return (*over, Keep((stays,), grid.register, double), Run("Z", grid.unit))


@dataclass(frozen=True, slots=True)
class RowStationary:
    """How a row-stationary array is given a convolution, in the letters of the Eyeriss paper (JSSC 2017, table II).

    A *pass* takes ``q * r`` channels of ``p * t`` filters over ``e`` rows of output of ``n`` images; psums of ``m``
    filters stay in the global buffer while their channels go by.
    """

    taps: int  # filter rows: units in a column of a set
    m: int
    n: int
    e: int
    p: int
    q: int
    r: int = 1
    t: int = 1

    def __post_init__(self) -> None:
        _positive("row stationary", **{name: getattr(self, name) for name in self.__slots__})

    @property
    def units(self) -> int:
        """Units at work: sets of one column of filter rows for each row of output."""
        return self.taps * self.e * self.r * self.t


def row_stationary(shape: RowStationary, *, unit: str = "pe", over: str = "pes") -> Nest:
    """Rows of filters stay in the units; rows of images go by diagonally, rows of sums upwards.

    Levels: ``dram``; ``glb_psum``, ``glb_ifmap``, ``glb_filter``; ``gin`` (what the input network holds for all units
    at once: a window of the image); ``filter``, ``ifmap`` and ``psum`` in each unit. Tiles, outermost first: ``n.0``,
    ``g.0``, ``m.0``, ``e.0``, ``c.0``, ``m.1``.
    """
    blocks: tuple[Node, ...] = (
        Keep(("I", "W", "O"), "dram"),
        *_loops(n=shape.n, g=1, m=shape.m, e=shape.e),
        Keep(("O",), "glb_psum"),
        *_loops(c=shape.q * shape.r),
        Keep(("I",), "glb_ifmap"),
        *_loops(m=shape.p * shape.t),
        Keep(("W",), "glb_filter"),
        *_loops(n=1, f=1),
        Keep(("I",), "gin", double=True),
    )
    shares = {"r": 1, "e": 1, "m": shape.p, "c": shape.q}
    spread = tuple(Spatial(rank, tile=tile, over=over) for rank, tile in shares.items())
    held = (Keep(("W",), "filter"), Keep(("I",), "ifmap", double=True), Keep(("O",), "psum"))
    return Nest((*blocks, *spread, *held, Run("O", unit)))


def _loops(**tiles: int) -> Iterable[Temporal]:
    return (Temporal(rank, tile) for rank, tile in tiles.items())
