"""Probes of the hash tables in which a window's products meet, and how its atomic updates collide.

The same table is meant as in ``workloads.kernels.spgemm.row_hash``: open addressing, linear probing, a power of two of
slots. For a window of many rows the tag is the row in the window and the column, either of them in the high bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.model.sparse.structure import Floats, Ints, Structure
from workloads.kernels.core.jit import jit, jit_inside

MOST = 1 << 21  # products, about, of the windows that are run to count their probes
CAP = 4096  # probes after which one product is counted no further


@dataclass(frozen=True, slots=True)
class Probed:
    """Mean probes of a product, the most of any, the share of products that met the cap, and the chance that two
    updates of a window fall on one place."""

    mean: float
    most: int
    capped: float
    collisions: float
    load: float  # of the fullest window


def theory(load: float) -> float:
    """Mean probes of a product that hits, at a load: ``(1 + 1 / (1 - load)) / 2`` (Knuth, TAOCP vol. 3, 6.4)."""
    return 0.5 * (1 + 1 / (1 - load))


def probes(a: Structure, b: Structure, edges: Ints, slots: int, hash_: str, tag: str, load: float = 0.5) -> Probed:
    """Probes over windows of rows, from ``slots`` (a power of two) emptied before each; if all are more than ``MOST``
    products, of evenly chosen windows. A table filled to ``load`` is written out and emptied."""
    key = ("probes", id(b), tuple(edges[:3]), len(edges), slots, hash_, tag, load)
    if key not in a.memo:
        a.memo[key] = _run(a, b, edges, slots, hash_, tag, load)
    found: Probed = a.memo[key]
    return found


def _run(a: Structure, b: Structure, edges: Ints, slots: int, hash_: str, tag: str, load: float) -> Probed:
    chosen = _chosen(a, b, edges)
    kind = ("low", "high", "multiplicative").index(hash_)
    wide, high = widths(b.shape[1], edges)
    narrow = wide + high < 31  # tags and counts of 32 bits halve what a cache has to hold
    table = np.empty((slots, 2), np.int32 if narrow else np.int64)
    steps, products, capped, squares, held, most = _probed(
        a.indptr, a.indices, b.indptr, b.indices, edges, chosen, table, kind, wide, high, tag == "column row",
        max(int(load * slots), 1),
    )  # fmt: skip
    count = max(float(products.sum()), 1.0)
    mean, missed = float(steps.sum()) / count, float(capped.sum()) / count
    met = float(squares.sum()) / count**2 * max(len(chosen), 1)
    return Probed(mean, int(most), missed, met, float(held.max(initial=0) / slots))


def _chosen(a: Structure, b: Structure, edges: Ints) -> Ints:
    """Windows to run: all, or evenly chosen ones up to the limit."""
    before = np.concatenate([[0], np.cumsum(b.lengths[a.indices])])[a.indptr]
    products = np.diff(before[edges])
    step = max(1, -(-int(products.sum()) // MOST))
    return np.arange(step // 2 if step > 1 else 0, len(products), step, dtype=np.int64)


def widths(columns: int, edges: Ints) -> tuple[int, int]:
    """Bits of a column and of a row in a window, which together are a tag."""
    return max(columns - 1, 1).bit_length(), max(int(np.diff(edges).max(initial=1)) - 1, 1).bit_length()


@jit
def tagged(row: int, column: int, wide: int, high: int, outside: bool) -> int:
    """The tag of a place in a window, the column or the row in its high bits."""
    return (column << high) | row if outside else (row << wide) | column


@jit
def slot_of(tag: int, kind: int, bits: int, width: int) -> int:
    """The first slot of a tag of ``width`` bits in a table of ``2 ** bits``."""
    if kind == 0:
        return tag & ((1 << bits) - 1)
    if kind == 1:
        return tag >> (width - bits) if width > bits else tag
    return np.int64((np.uint64(tag) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))  # type: ignore[return-value]


@jit
def _emptied(table: Ints) -> float:
    """The sum over places of the square of their updates, of a table that is empty afterwards."""
    squares = 0.0
    for slot in range(len(table)):
        if table[slot, 0] >= 0:
            squares += float(table[slot, 1]) * table[slot, 1]
            table[slot, 0] = -1
    return squares


@jit_inside
def _bits(slots: int) -> int:
    """The bits of a slot's number."""
    bits = 0
    while (1 << bits) < slots:
        bits += 1
    return bits


@jit_inside
def _walked(table: Ints, tag: int, slot: int) -> tuple[int, int]:
    """From a slot on, the first that is free or has the tag, and the probes until there (``CAP`` at most)."""
    steps = 1
    while table[slot, 0] >= 0 and table[slot, 0] != tag and steps < CAP:
        slot, steps = (slot + 1) & (len(table) - 1), steps + 1
    return slot, steps


@jit
def _probed(
    ap: Ints,
    ai: Ints,
    bp: Ints,
    bi: Ints,
    edges: Ints,
    chosen: Ints,
    table: Ints,
    kind: int,
    wide: int,
    high: int,
    outside: bool,
    room: int,
) -> tuple[Floats, Floats, Floats, Floats, Floats, int]:
    """Of each window probes, products, products given up, squares of updates a place and places; the most probes.

    A slot of the table is a tag, below 0 if it is free, and the updates of its place.
    """
    bits, most = _bits(len(table)), 0
    total, products, capped = np.zeros(len(chosen)), np.zeros(len(chosen)), np.zeros(len(chosen))
    squares, places = np.zeros(len(chosen)), np.zeros(len(chosen))
    table[:, 0] = -1
    for at, window in enumerate(chosen):
        first, held = edges[window], 0
        for m in range(first, edges[window + 1]):
            for entry in range(ap[m], ap[m + 1]):
                for j in range(bp[ai[entry]], bp[ai[entry] + 1]):
                    tag = tagged(m - first, bi[j], wide, high, outside)
                    slot, steps = _walked(table, tag, slot_of(tag, kind, bits, wide + high))
                    products[at] += 1
                    total[at] += steps
                    most = max(most, steps)
                    if table[slot, 0] == tag:
                        table[slot, 1] += 1
                        continue
                    if table[slot, 0] >= 0:  # nobody looks further than this
                        capped[at] += 1
                        continue
                    table[slot, 0], table[slot, 1] = tag, 1
                    held += 1
                    if held == room:
                        places[at], held = room, 0
                        squares[at] += _emptied(table)
        places[at] = max(places[at], held)
        squares[at] += _emptied(table)
    return total, products, capped, squares, places, most
