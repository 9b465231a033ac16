"""What enters a keep of a sparse operand: fibres and tiles, in the order that loops over present places ask for them.

A visit of the loops above a keep takes place where both operands hold something in their cells. Loops over ranks that
the operand lacks ask for its cells again: a level that is told what to hold keeps the last one; one that replaces the
least recently used keeps what fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mappings.formats import ALL, Format
from sim.arch import Memory
from sim.model.nests import Loop
from sim.model.sparse.reuse import che, misses
from sim.model.sparse.structure import Floats, Grid, Ints, Structure

MOST = 8_000_000  # visits that a cache's content is followed over one by one; beyond, closed forms
SOME = 200_000  # as many where only the last tile is held, which repeats seldom
LRU = "lru"


@dataclass(frozen=True)
class Operand:
    """A matrix as an Einsum reads it: its ranks, its structure over them, and how it is stored."""

    name: str
    ranks: tuple[str, str]
    structure: Structure
    format: Format

    def grid(self, tiles: dict[str, int]) -> Grid:
        """Extents of a cell, given tile sizes by rank."""
        return self.structure.whole((tiles.get(self.ranks[0], ALL), tiles.get(self.ranks[1], ALL)))

    def parts(self, grid: Grid) -> Floats:
        """What each cell of a grid holds of each part of the format: (parts, cells)."""
        first, second = self.ranks
        extents: list[Grid] = [
            (dict(part.cell).get(first, 1), dict(part.cell).get(second, 1)) for part in self.format.parts
        ]
        return self.structure.held(grid, tuple(extents))

    def bytes(self, parts: Floats) -> Floats:
        """Bytes of each cell."""
        made: Floats = np.array([part.size for part in self.format.parts]) @ parts
        return made


@dataclass(frozen=True)
class Fetched:
    """What entered a keep: how many of each part, in how many requests, and how many bytes of whole lines."""

    parts: Floats
    requests: float
    transferred: float
    how: (
        str  # "streamed", "kept", "lru", "che", or "each visit" where too many to see which find their tile still there
    )


def tiles(loops: tuple[Loop, ...]) -> dict[str, int]:
    """The finest tile of each rank that is looped over."""
    found: dict[str, int] = {}
    for loop in loops:
        found[loop.node.rank] = min(loop.node.tile or 1, found.get(loop.node.rank, ALL))
    return found


def fetch(own: Operand, other: Operand, loops: tuple[Loop, ...], level: Memory, parent: Memory, copies: int) -> Fetched:
    """What enters a keep of ``own`` under ``loops`` over the ranks of both; ``copies`` instances share the capacity
    that they have together."""
    while loops and (loops[-1].node.rank not in own.ranks or _scanned(own, loops)):
        loops = loops[:-1]  # what is held stays the same, or is read in one go
    shape = tiles(loops)
    grid = own.grid(shape)
    held = own.parts(grid)
    size = own.bytes(held)
    again = [loop for loop in loops if loop.node.rank not in own.ranks]
    visits = _visits(own, other, loops, shape, grid)
    if not again:
        return _made(own, held, np.minimum(visits, 1), size, parent, False, "streamed")
    shared = [rank for rank in own.ranks if rank in other.ranks and rank in shape]
    lru = level.replacement == LRU
    capacity = level.capacity * copies
    if not shared or visits.sum() > (MOST if lru else SOME):
        times, how = _repeated(own, loops, grid, visits, size, capacity if lru else 0.0, bool(shared))
    else:
        requests = sequence(own, other, loops, shape, grid)
        if lru:
            times, how = misses(requests, np.ceil(size).astype(np.int64), _whole(capacity)).astype(np.float64), LRU
        else:
            times, how = _changes(requests, len(size)), "kept"
    return _made(own, held, times, size, parent, True, how)


def _scanned(own: Operand, loops: tuple[Loop, ...]) -> bool:
    """Whether the innermost loop steps through one fibre, which is read whole to find what meets the other operand."""
    last = loops[-1].node
    return last.rank == own.ranks[1] and last.tile == 1


def _whole(capacity: float) -> int:
    return int(min(capacity, ALL))


def _made(own: Operand, held: Floats, times: Floats, size: Floats, parent: Memory, gather: bool, how: str) -> Fetched:
    """Totals over cells fetched so many times; what is gathered fills its lines up, what is streamed does not."""
    parts = held @ times
    if not gather:
        for place, part in enumerate(own.format.parts):
            if part.every:
                parts[place] = np.prod(
                    [-(-n // min(e, n)) for n, e in zip(own.structure.shape, part.extents(own.ranks), strict=True)]
                )
    moved = float(parts @ np.array([part.size for part in own.format.parts]))
    if gather and parent.line:
        each = np.zeros(len(size))
        for part, count in zip(own.format.parts, held, strict=True):
            run = part.size * count
            # Cells of a dense tensor that fit lines evenly begin where a line does.
            even = own.structure.dense and not ((run % parent.line) * (parent.line % np.maximum(run, 1))).any()
            each += lines(run, parent.line if even else part.size, parent.line)
        moved = float(each @ times)
    return Fetched(parts, float(times.sum()), moved, how)


def lines(size: Floats, grain: float, line: float) -> Floats:
    """Expected bytes of whole lines that a run of items touches, beginning at any item of a line."""
    if grain >= line:
        return np.ceil(size / line) * line
    return np.where(size > 0, size + line - min(grain, line), 0.0)


def _visits(own: Operand, other: Operand, loops: tuple[Loop, ...], shape: dict[str, int], grid: Grid) -> Floats:
    """How many visits each cell of ``own`` gets: cells of ``other`` that meet it, along the ranks looped over."""
    rows, columns, _ = own.structure.cells(grid)
    cells = dict(zip(own.ranks, (rows, columns), strict=True))
    facing = other.structure.cells(other.grid(shape))
    shared = next((r for r in own.ranks if r in other.ranks), None)
    if shared is None or shared not in shape:
        return np.full(len(rows), float(len(facing[0])))
    meets = facing[other.ranks.index(shared)]
    counts = np.bincount(meets, minlength=int(cells[shared].max(initial=0)) + 1)
    made: Floats = counts[cells[shared]].astype(np.float64)
    return made


def sequence(own: Operand, other: Operand, loops: tuple[Loop, ...], shape: dict[str, int], grid: Grid) -> Ints:
    """Which cell of ``own`` each visit asks for, in the order of the loops."""
    shared = next(r for r in own.ranks if r in other.ranks)
    cells = dict(zip(own.ranks, own.structure.cells(grid)[:2], strict=True))
    facing = dict(zip(other.ranks, other.structure.cells(other.grid(shape))[:2], strict=True))
    order = np.argsort(cells[shared], kind="stable")
    starts = np.searchsorted(cells[shared][order], np.arange(int(facing[shared].max(initial=0)) + 2))
    many = starts[facing[shared] + 1] - starts[facing[shared]]
    place = np.repeat(starts[facing[shared]] - np.cumsum(many) + many, many) + np.arange(many.sum())
    ours = order[place]
    at = {rank: np.repeat(cell, many) for rank, cell in facing.items()} | {r: c[ours] for r, c in cells.items()}
    made: Ints = ours[_in_order(at, loops, shape)]
    return made


def _in_order(at: dict[str, Ints], loops: tuple[Loop, ...], shape: dict[str, int]) -> Ints | slice:
    """The order in which loops reach visits."""
    digits = [at[loop.node.rank] * shape[loop.node.rank] // (loop.node.tile or 1) for loop in loops]
    key = np.zeros(len(digits[0]), np.int64)
    for digit in digits:
        width = int(digit.max(initial=0)) + 1
        if int(key.max(initial=0)) > 2**62 // width:
            return np.lexsort(digits[::-1])
        key = key * width + digit
    return slice(None) if not (np.diff(key) < 0).any() else np.argsort(key, kind="stable")


def _changes(requests: Ints, count: int) -> Floats:
    """Times each cell is asked for when the one asked for before was another."""
    new = requests[np.concatenate([[True], requests[1:] != requests[:-1]])] if len(requests) else requests
    return np.bincount(new, minlength=count).astype(np.float64)


def _repeated(
    own: Operand, loops: tuple[Loop, ...], grid: Grid, visits: Floats, size: Floats, capacity: float, shared: bool
) -> tuple[Floats, str]:
    """Fetches where every cell is asked for in turn, again and again; or by Che's approximation where visits are too
    many to list. A group that the loops outside the repetition leave together is held if it fits, and never if not."""
    if shared and capacity:
        return che(visits.astype(np.int64), np.ceil(size).astype(np.int64), capacity), "che"
    if shared:
        return visits, "each visit"
    outside = 0
    while loops[outside].node.rank in own.ranks:
        outside += 1
    cells = dict(zip(own.ranks, own.structure.cells(grid)[:2], strict=True))
    group = np.zeros(len(size), np.int64)
    for loop in loops[:outside]:
        finest = grid[own.ranks.index(loop.node.rank)]
        digit = cells[loop.node.rank] * finest // (loop.node.tile or 1)
        group = group * (int(digit.max(initial=0)) + 1) + digit
    _, back, members = np.unique(group, return_inverse=True, return_counts=True)
    fits = (np.bincount(back, size) <= capacity) | (members == 1)
    return np.where(fits[back], np.minimum(visits, 1), visits), LRU if capacity else "kept"
