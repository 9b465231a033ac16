"""What units do besides the products themselves: merging, intersecting, probing, and the instructions of a program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from einsum import Cascade
from einsum.counts import operations, volume
from sim.arch import Compute, Device
from sim.model.nests import Leaf
from sim.model.sparse.fetch import Operand, tiles
from sim.model.sparse.structure import Product

Operations = dict[str, float]  # by class
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
    shape = tiles(leaf.loops)
    shared = next(r for r in left.ranks if r in right.ranks)
    others = [next(r for r in one.ranks if r != shared) for one in (left, right)]
    grid = {shared: shape.get(shared, 1 << 62), others[0]: 1, others[1]: 1}
    fibres = []
    for one in (left, right):
        cells = dict(zip((*one.ranks, "count"), one.structure.cells(one.grid(grid)), strict=True))
        fibres.append((cells[shared], cells["count"]))
    wide = max(int(at.max(initial=0)) for at, _ in fibres) + 1
    number = [np.bincount(at, minlength=wide).astype(np.float64) for at, _ in fibres]
    length = [np.bincount(at, count, minlength=wide) for at, count in fibres]
    return float((length[0] * number[1] + length[1] * number[0]).sum())


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
        joules += runner.joules(op if runner.rate(op, dtype) else "map", dtype, count)
    return seconds, joules


def _runner(device: Device, unit: Compute, op: str) -> Compute:
    """The unit, or the one beside it that has an operation which it lacks."""
    beside = [one for one in device.computes if one.under == unit.under and one is not unit]
    return next((one for one in (unit, *beside) if any(kind == op for kind, _, _ in one.rates)), unit)
