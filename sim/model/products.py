"""Contractions seen as matrix products: how many, with how many rows, columns and depth, on one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from einsum import Access, Cascade, Einsum
from einsum.counted import PerRow
from einsum.counts import operations


@dataclass(frozen=True, slots=True)
class Product:
    """``copies`` independent products of ``rows`` x ``depth`` and ``depth`` x ``cols``, computed in ``dtype``.

    The columns are those of the operand that stays: a weight, or the context. Of the result's elements only ``share``
    are needed (a causal band). ``routed`` products have the rows that a router sends to each of the experts in use.
    """

    dtype: str
    copies: Any
    rows: Any
    cols: Any
    depth: Any
    share: Any
    stored: str  # type in which the operand that stays is kept
    kept: str  # the operand that stays
    lasts: bool  # it is a weight or state
    routed: bool = False
    loads: Any = ()  # rows that an expert in use gets, in sorted groups of experts along an axis in front
    tokens: Any = 0.0  # rows before they are routed
    routes: Any = 0.0  # rows after, on all devices


def product(
    cascade: Cascade, einsum: Einsum, sizes: Mapping[str, Any], local: Mapping[str, Any], dtype: str
) -> Product | None:
    """The matrix product that an Einsum is on one device's share of its ranks, or None where it is none."""
    reads = [a for a in einsum.reads if a.ranks]
    if not einsum.contraction or len(reads) < 2:
        return None
    kept = _kept(cascade, reads)
    if not einsum.matrix and (cascade.tensor(kept.tensor).kind == "stream" or _rows(cascade, einsum) > 1):
        return None  # a sum along rows
    others = {r for a in reads if a is not kept for r in a.ranks}
    out, here = set(einsum.output.ranks), set(kept.ranks)
    routing = next((p for p in cascade.patterns[einsum.name] if isinstance(p, PerRow) and p.along in here), None)
    along = {routing.along} if routing else set()
    depth = _extent((here & set(einsum.reduced)) - along, local)
    cols = _extent((here & out) - others, local)
    tensor = cascade.tensor(kept.tensor)
    what = tensor.dtype, tensor.name, tensor.kind in {"weight", "state"}
    if routing:
        tokens, experts = _extent(out - here, local), sizes[routing.along]
        used, loads = routing.crowd(experts, local[routing.along], tokens)
        copies = used.mean(axis=0) * local[routing.along] * _extent((here & out & others) - along, local)
        rows = (used * loads).mean(axis=0) / used.mean(axis=0)
        routes = tokens * np.minimum(routing.count, experts)
        return Product(dtype, copies, rows, cols, depth, 1.0, *what, True, loads, tokens, routes)
    copies, rows = _extent(here & out & others, local), _extent(out - here, local)
    macs = operations(cascade, einsum, sizes, local).get("mac", 0.0) / 2
    return Product(dtype, copies, rows, cols, depth, macs / (copies * rows * cols * depth), *what)


def _rows(cascade: Cascade, einsum: Einsum) -> int:
    """Activations that are added up along a rank of theirs."""
    streams = {a.tensor for a in einsum.reads if cascade.tensor(a.tensor).kind == "stream"}
    return sum(bool(set(cascade.tensor(n).ranks) & set(einsum.reduced)) for n in streams)


def merged(group: Sequence[Einsum], found: Sequence[tuple[Einsum, Product]]) -> tuple[Product, ...]:
    """The products of one kernel; those that are one product of stacked operands as one.

    Products that are only added up (a gradient by way of several weights) are one as deep as all of them; those that
    reduce the same operand likewise (several weights' gradients) one with the rows of all. Of one input through several
    weights the columns follow one another, which is left to who times it.
    """
    products = tuple(p for _, p in found)
    if len(found) < 2:
        return products
    first, made = products[0], {e.output.tensor for e, _ in found}
    if all(p.lasts for p in products) and any(e.adds and made <= set(e.inputs) for e in group):
        return (replace(first, depth=sum(p.depth for p in products)),)
    if not first.lasts and len({(p.kept, e.reduced) for e, p in found}) == 1:
        return (replace(first, rows=sum(p.rows for p in products)),)
    return products


def _kept(cascade: Cascade, reads: list[Access]) -> Access:
    """The operand that stays while rows pass: the weight or state, else the last one written."""
    lasting = [a for a in reads if cascade.tensor(a.tensor).kind in {"weight", "state"}]
    return (lasting or reads)[-1]


def _extent(ranks: set[str], local: Mapping[str, Any]) -> Any:
    return prod((local[r] for r in sorted(ranks)), start=1.0)
