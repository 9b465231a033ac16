"""What units do besides the products themselves: merging, intersecting, probing, and the instructions of a program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from einsum import Cascade
from einsum.counts import operations, volume
from mappings.formats import ALL
from sim.arch import Compute, Device
from sim.model.nests import Leaf
from sim.model.sparse.fetch import Operand, tiles
from sim.model.sparse.structure import Ints, Product
from workloads.kernels.core.jit import jit

Operations = dict[str, float]  # by class
PAIRS = 1 << 30  # of fibres that are walked to count comparisons
BACK = ("slot", "written", "copied")  # instructions that write a window back


def points(cascade: Cascade, leaf: Leaf, product: Product) -> Operations:
    """Operations of an Einsum's points; what sums an intermediate adds only where something is there already."""
    sizes = {rank: 2 for rank, _ in cascade.sizes}
    whole = volume(leaf.einsum.ranks, sizes)
    each = {op: float(count) / float(whole) for op, count in operations(cascade, leaf.einsum, sizes).items()}
    alone = len(leaf.einsum.reads) == 1
    count = product.products - product.entries.total if alone else float(product.products)
    per_point = dict.fromkeys(each, 1.0) if alone else each
    return {op: amount * count for op, amount in per_point.items()}


def merged(product: Product, radix: int) -> float:
    """Elements through mergers of so many inputs: a row's products, once for each level of its tree."""
    runs = product.a.lengths.astype(np.float64)
    levels = np.ceil(np.log(np.maximum(runs, 1)) / np.log(radix) - 1e-12)
    return float((product.row_products * np.maximum(levels, 1)).sum())


def intersected(left: Operand, right: Operand, leaf: Leaf) -> float:
    """Comparisons of walking both fibres in step: all pairs of fibres of innermost tiles where both hold something."""
    fibres = [_fibres(left, right, leaf), _fibres(right, left, leaf)]
    wide = max(int(at.max(initial=0)) for at, _ in fibres) + 1
    number = [np.bincount(at, minlength=wide).astype(np.float64) for at, _ in fibres]
    length = [np.bincount(at, count, minlength=wide) for at, count in fibres]
    return float((length[0] * number[1] + length[1] * number[0]).sum())


def _fibres(one: Operand, other: Operand, leaf: Leaf) -> tuple[Ints, Ints]:
    """Of each fibre of an operand within an innermost tile: which tile of the shared rank it is in, and its entries."""
    shape = tiles(leaf.loops)
    shared = next(r for r in one.ranks if r in other.ranks)
    own = next(r for r in one.ranks if r != shared)
    cells = dict(
        zip((*one.ranks, ""), one.structure.cells(one.grid({shared: shape.get(shared, ALL), own: 1})), strict=True)
    )
    return cells[shared], cells[""]


def skipped(left: Operand, right: Operand, leaf: Leaf) -> float:
    """Comparisons of fibres of which each skips ahead to where the other is: one for a meeting, and one whenever it is
    the other's turn to skip (Hegde et al., MICRO 2019). If pairs are more than ``PAIRS``, of evenly chosen tiles.
    """
    sides = []
    for one, other in ((left, right), (right, left)):
        at, counts = _fibres(one, other, leaf)
        shared = one.ranks.index(next(r for r in one.ranks if r in other.ranks))
        held = one.structure if shared == 1 else one.structure.transposed
        tile = min(tiles(leaf.loops).get(one.ranks[shared], ALL), held.shape[1])
        # Fibres by tile of the shared rank: within one, row after row, each row's entries together.
        order = np.argsort(held.indices // tile, kind="stable")
        by_tile = np.argsort(at, kind="stable") if shared == 1 else np.arange(len(at))
        sides.append((held.indices[order], at[by_tile], counts[by_tile], -(-held.shape[1] // tile)))
    return _skips(sides)


def _skips(sides: list[tuple[Ints, Ints, Ints, int]]) -> float:
    """Comparisons over all pairs of fibres of one tile, or over evenly chosen tiles and scaled up."""
    wide = sides[0][3]
    first = [np.searchsorted(at, np.arange(wide + 1)) for _, at, _, _ in sides]
    starts = [np.concatenate([[0], np.cumsum(counts)]) for _, _, counts, _ in sides]
    pairs = np.diff(first[0]).astype(np.float64) * np.diff(first[1])
    step = max(1, int(-(-pairs.sum() // PAIRS)))
    chosen = np.arange(step // 2, wide, step)
    found = _skip_tiles(chosen, first[0], first[1], starts[0], starts[1], sides[0][0], sides[1][0])
    return float(found * pairs.sum() / max(pairs[chosen].sum(), 1.0))


@jit
def _skip_tiles(chosen: Ints, first: Ints, second: Ints, begin: Ints, start: Ints, ours: Ints, theirs: Ints) -> int:
    """Comparisons of every fibre of a tile with every one of the other operand's."""
    total = 0
    for tile in chosen:
        for one in range(first[tile], first[tile + 1]):
            for other in range(second[tile], second[tile + 1]):
                i, stop, j, end, turn = begin[one], begin[one + 1], start[other], start[other + 1], -1
                while i < stop and j < end:
                    here, there = ours[i], theirs[j]
                    if here == there:
                        total, turn, i, j = total + 1, -1, i + 1, j + 1
                    elif here < there:
                        total, turn, i = total + (turn != 0), 0, i + 1
                    else:
                        total, turn, j = total + (turn != 1), 1, j + 1
    return total


def instructions(given: Mapping[str, float], product: Product, probes: float, compared: float, slots: float) -> float:
    """Instructions of a program that says how many each product, probe, comparison, entry of A, row, slot scanned,
    entry written by threads and row copied by an engine takes."""
    counts = {
        "product": float(product.products),
        "probe": probes,
        "compared": compared,
        "entry": float(product.a.entries),
        "row": float(product.a.shape[0]),
        "slot": slots,
        "written": product.entries.total,
        "copied": float(product.a.shape[0]),
    }
    return sum(each * counts[name] for name, each in given.items())


def cost(device: Device, unit: Compute, needed: Operations, dtype: str) -> tuple[float, float]:
    """Seconds of one instance, were all its own, and joules; a chained unit takes as long as its slowest operation."""
    seconds, joules = 0.0, 0.0
    for op, count in needed.items():
        runner = _runner(device, unit, op)
        rate = runner.rate(op, dtype) or runner.rate("map", dtype)
        if rate is None:
            rate = device.rate(op, dtype) / device.instances(runner.name)  # which says what is missing
        seconds = max(seconds, count / rate) if unit.chained else seconds + count / rate
        joules = joules + runner.joules(op if runner.rate(op, dtype) else "map", dtype, count)
    return seconds, joules


def _runner(device: Device, unit: Compute, op: str) -> Compute:
    """The unit, or the one beside it that has an operation which it lacks."""
    beside = [one for one in device.computes if one.under == unit.under and one is not unit]
    return next((one for one in (unit, *beside) if any(kind == op for kind, _, _ in one.rates)), unit)
