"""Probes of the hash tables in which a window's products meet, and how its atomic updates collide.

The same table is meant as in ``workloads.kernels.spgemm.row_hash``: open addressing, linear probing, a power of two of
slots. For a window of many rows the tag is the row in the window and the column, either of them in the high bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.model.sparse.structure import Ints, Structure
from workloads.kernels.core.jit import jit

MOST = 1 << 21  # products of the windows that are run to count their probes
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


def probes(a: Structure, b: Structure, edges: Ints, slots: int, hash_: str, tag: str) -> Probed:
    """Probes over windows of rows, from ``slots`` (a power of two) emptied before each; if all are more than ``MOST``
    products, evenly chosen windows."""
    key = ("probes", id(b), tuple(edges[:3]), len(edges), slots, hash_, tag)
    if key not in a.memo:
        a.memo[key] = _run(a, b, edges, slots, hash_, tag)
    found: Probed = a.memo[key]
    return found


def _run(a: Structure, b: Structure, edges: Ints, slots: int, hash_: str, tag: str) -> Probed:
    chosen = _chosen(a, b, edges)
    kind = ("low", "high", "multiplicative").index(hash_)
    wide = max(int(b.shape[1]) - 1, 1).bit_length()
    high = max(int(np.diff(edges).max(initial=1)) - 1, 1).bit_length()
    found = _probed(
        a.indptr, a.indices, b.indptr, b.indices, edges, chosen, slots, kind, wide, high, tag == "column row"
    )
    total, products, most, capped, squares, load = found
    collisions = squares / products**2 * max(len(chosen), 1) if products else 0.0
    return Probed(total / max(products, 1), int(most), capped / max(products, 1), float(collisions), float(load))


def _chosen(a: Structure, b: Structure, edges: Ints) -> Ints:
    """Windows to run: all, or evenly chosen ones up to the limit."""
    before = np.concatenate([[0], np.cumsum(b.lengths[a.indices])])[a.indptr]
    products = np.diff(before[edges])
    step = max(1, -(-int(products.sum()) // MOST))
    return np.arange(step // 2 if step > 1 else 0, len(products), step, dtype=np.int64)


@jit
def _slot(tag: int, kind: int, bits: int, width: int) -> int:
    """The first slot of a tag of ``width`` bits in a table of ``2 ** bits``."""
    if kind == 0:
        return tag & ((1 << bits) - 1)
    if kind == 1:
        return tag >> (width - bits) if width > bits else tag
    return np.int64((np.uint64(tag) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))  # type: ignore[return-value]


@jit
def _probed(
    ap: Ints,
    ai: Ints,
    bp: Ints,
    bi: Ints,
    edges: Ints,
    chosen: Ints,
    slots: int,
    kind: int,
    wide: int,
    high: int,
    outside: bool,
) -> tuple[float, float, float, float, float, float]:
    bits = 0
    while (1 << bits) < slots:
        bits += 1
    tags, counts = np.full(slots, -1, np.int64), np.zeros(slots, np.int64)
    total, products, most, capped, squares, load = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for window in chosen:
        first, held = edges[window], 0
        tags[:] = -1
        counts[:] = 0
        for m in range(first, edges[window + 1]):
            for at in range(ap[m], ap[m + 1]):
                for j in range(bp[ai[at]], bp[ai[at] + 1]):
                    tag = (bi[j] << high) | (m - first) if outside else ((m - first) << wide) | bi[j]
                    slot, steps = _slot(tag, kind, bits, wide + high), 1
                    while tags[slot] >= 0 and tags[slot] != tag and steps < CAP:
                        slot, steps = (slot + 1) & (slots - 1), steps + 1
                    products += 1
                    total += steps
                    most = max(most, float(steps))
                    if tags[slot] == tag:
                        counts[slot] += 1
                    elif tags[slot] < 0 and held < slots - 1:
                        tags[slot], counts[slot] = tag, 1
                        held += 1
                    else:
                        capped += 1
        load = max(load, held / slots)
        for slot in range(slots):
            squares += float(counts[slot]) * counts[slot]
    return total, products, most, capped, squares, load
