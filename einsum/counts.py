"""What a cascade costs whatever it runs on: operations by class, elements touched, bytes moved at least, intensity.

Every function is exact arithmetic on extents, so it takes arrays of extents as readily as numbers. ``local`` gives the
extents of one shard where a rank is divided over devices; densities always follow from the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from einsum.cascade import Cascade
from einsum.ops import MAPS, OPERATORS, REDUCTIONS, bits
from einsum.patterns import of_access, of_expr
from einsum.sparsity import density, occupied
from einsum.terms import Access, Affine, Call, Const, Einsum, Expr, Sizes, ranks_of

Counts = dict[str, Any]  # operation class -> number of operations (a multiply-accumulate is two)


def points(cascade: Cascade, expr: Expr, einsum: Einsum, sizes: Sizes, local: Sizes) -> Any:
    """Places at which an expression is evaluated: its own ranks, thinned by what is absent there."""
    patterns = of_expr(expr, cascade._tensors)
    ranks = ranks_of(expr)
    shaped = tuple(p for p in cascade.patterns[einsum.name] if set(p.ranks) <= set(ranks))
    return volume(ranks, local) * density(dict.fromkeys((*patterns, *shaped)), sizes)


def volume(ranks: tuple[str, ...], sizes: Sizes) -> Any:
    """Product of the extents of ranks."""
    total: Any = 1
    for rank in ranks:
        total = total * sizes[rank]
    return total


def operations(cascade: Cascade, einsum: Einsum, sizes: Sizes, local: Sizes | None = None) -> Counts:
    """Operations by class that one Einsum performs; a gather or scatter costs a look-up or an atomic per element."""
    at = sizes if local is None else local
    counts: Counts = {}
    for expr in _calls(einsum.expr):
        mac = einsum.contraction and expr is einsum.expr
        cost = (("mac", 2),) if mac else MAPS[expr.op].cost
        where = points(cascade, expr, einsum, sizes, at)
        for kind, each in cost:
            counts[kind] = counts.get(kind, 0) + each * where
    kind, count = _gathering(cascade, einsum, sizes, at)
    if kind:
        counts[kind] = counts.get(kind, 0) + count
    for access in (a for a in einsum.reads if a.indirect):
        counts["lookup"] = counts.get("lookup", 0) + volume(access.ranks, at)
    if einsum.output.indirect:
        counts["atomic"] = counts.get("atomic", 0) + volume(einsum.ranks, at)
    return counts


def _calls(expr: Expr) -> Iterator[Call]:
    if isinstance(expr, Call):
        yield expr
        for arg in expr.args:
            yield from _calls(arg)


def _gathering(cascade: Cascade, einsum: Einsum, sizes: Sizes, local: Sizes) -> tuple[str, Any]:
    """Operations that reduce many points to one (or order them), other than a contraction's own adds."""
    whole = points(cascade, einsum.expr, einsum, sizes, local)
    if einsum.operator:
        rank = local[einsum.along[0]]
        kept = local[einsum.along[1]] if len(einsum.along) > 1 else 1
        each = {"linear": 1, "scan": 1, "sort": np.log2(np.maximum(rank, 2)), "heap": np.log2(np.maximum(kept, 2))}
        cost = OPERATORS[einsum.operator].cost
        return ("add" if cost == "scan" else "compare"), whole * each[cost]
    if not einsum.reduced or einsum.contraction:
        return "", 0
    return REDUCTIONS[einsum.reduction].cost, whole


def flops(counts: Counts) -> Any:
    """All operations together, a multiply-accumulate counted as two."""
    return sum(counts.values())


def touched(cascade: Cascade, access: Access, einsum: Einsum, sizes: Sizes, local: Sizes | None = None) -> Any:
    """Elements of a tensor that an Einsum reads or writes through one access, each counted once."""
    at = sizes if local is None else local
    places: Any = 1
    for axis, index in enumerate(access.indices):
        if isinstance(index, Affine):
            places = places * _span(index, at)
        else:
            extent = cascade.shape(access.tensor, sizes)[axis]
            places = places * extent * (1.0 - (1.0 - 1.0 / extent) ** volume(index.ranks, at))
    patterns = cascade.patterns[einsum.name]
    seen = tuple(p for p in patterns if set(p.ranks) & set(einsum.ranks))
    own = of_access(access, cascade._tensors)
    return places * occupied(dict.fromkeys((*seen, *own)), access.ranks, sizes, at)


def _span(index: Affine, sizes: Sizes) -> Any:
    """Distinct positions that an index takes: its reach, or the number of points if they are fewer."""
    reach: Any = 1
    moves: Any = 1
    for term in index.terms:
        if term.rank:
            reach = reach + np.abs(term.coefficient(sizes)) * (sizes[term.rank] - 1)
            moves = moves * sizes[term.rank]
    return reach if len(index.terms) == 1 and index.terms[0].scale == 1 else np.minimum(reach, moves)


def footprint(cascade: Cascade, name: str, sizes: Sizes | None = None) -> Any:
    """Bytes of a tensor's present values."""
    at = cascade.bind() if sizes is None else sizes
    tensor = cascade.tensor(name)
    return cascade.elements(name, at) * density(tensor.patterns, at) * bits(tensor.dtype) / 8


def reads(cascade: Cascade, sizes: Sizes | None = None) -> dict[str, Any]:
    """Bytes of each input that must be read at least once."""
    at = cascade.bind() if sizes is None else sizes
    found: dict[str, Any] = {}
    for einsum in cascade.einsums:
        for access in einsum.reads:
            if access.tensor in cascade.inputs:
                size = touched(cascade, access, einsum, at) * bits(cascade.tensor(access.tensor).dtype) / 8
                found[access.tensor] = np.maximum(found.get(access.tensor, 0), size)
    return found


def writes(cascade: Cascade, sizes: Sizes | None = None) -> dict[str, Any]:
    """Bytes of each output that must be written once."""
    at = cascade.bind() if sizes is None else sizes
    found: dict[str, Any] = {}
    for einsum in cascade.einsums:
        name = einsum.output.tensor
        if name in cascade.outputs:
            size = touched(cascade, einsum.output, einsum, at) * bits(cascade.tensor(name).dtype) / 8
            found[name] = found.get(name, 0) + size
    return found


def traffic(cascade: Cascade, sizes: Sizes | None = None) -> Any:
    """The algorithmic minimum of bytes moved: every input read once, every output written once, nothing spilled."""
    return sum(reads(cascade, sizes).values()) + sum(writes(cascade, sizes).values())


def total_operations(cascade: Cascade, sizes: Sizes | None = None) -> Counts:
    """Operations by class of the whole cascade."""
    at = cascade.bind() if sizes is None else sizes
    total: Counts = {}
    for einsum in cascade.einsums:
        for kind, count in operations(cascade, einsum, at).items():
            total[kind] = total.get(kind, 0) + count
    return total


def intensity(cascade: Cascade, sizes: Sizes | None = None) -> Any:
    """Arithmetic intensity: operations per byte of minimum traffic."""
    return flops(total_operations(cascade, sizes)) / traffic(cascade, sizes)


def constants(einsum: Einsum) -> bool:
    """Whether an Einsum only sets initial values."""
    return isinstance(einsum.expr, Const)


def parameters(cascade: Cascade) -> int:
    """Number of weight values, present or absent."""
    return sum(int(cascade.elements(t.name)) for t in cascade.tensors if t.kind == "weight")
