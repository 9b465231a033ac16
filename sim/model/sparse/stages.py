"""A cascade over matrices in hand, Einsum by Einsum: what each multiplies or goes through, and what that leaves.

A vector is a matrix of one column. An input that nobody gives is dense. Results that a later Einsum reads are worked
out place by place, so that its counts, too, are those of matrices in hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from einsum import Access, Call, Cascade, Einsum, WeirError, hint
from sim.model.sparse.entries import entries
from sim.model.sparse.structure import Entries, Ints, Product, Structure
from workloads.matrices.bounds import fits

MEETS = ("mul", "where")  # maps that are evaluated only where all their operands hold something


def axes(first: Einsum, last: Einsum) -> tuple[str, str, str]:
    """Rows and columns of a result and what is summed by the Einsum that begins it; "" for what there is none of."""
    out = last.output.ranks
    summed = next((rank for rank in first.ranks if rank not in out), "")
    if len(out) == 1:
        return (out[0], "", summed) if out[0] in first.reads[0].ranks else ("", out[0], summed)
    return (out[0], out[1], summed) if out else ("", "", summed)


def left(access: Access, rows: str, columns: str) -> bool:
    """Whether an operand of a product is the one whose rows are the result's."""
    return rows in access.ranks or (not rows and columns not in access.ranks)


def stages(
    cascade: Cascade, given: Mapping[str, Structure], sizes: Mapping[str, int], how: str = "exact", name: str = ""
) -> tuple[Product, ...]:
    """What each Einsum of a cascade does with the structures given; extents that none of them has are in ``sizes``.

    The structure of a result may be given, too, and is then believed. Raises :class:`WeirError` for extents that are
    missing or contradict each other and for Einsums that are neither a product of two matrices nor go through places.
    """
    extents = _extents(cascade, given, sizes)
    have = {tensor: _dense(cascade, tensor, extents) for tensor in cascade.inputs if tensor not in given} | dict(given)
    found = []
    for first, last in _groups(cascade):
        made = _product if _multiplies(first) else _through
        one, result = made(cascade, first, last, have, how)
        found.append(Product(one.operands, one.a, one.b, one.entries, name, _names(first, last), one.points))
        if result is not None:
            have.setdefault(last.output.tensor, result)
    return tuple(found)


def _names(first: Einsum, last: Einsum) -> tuple[str, ...]:
    return tuple(dict.fromkeys((first.name, last.name)))


def _extents(cascade: Cascade, given: Mapping[str, Structure], sizes: Mapping[str, int]) -> dict[str, int]:
    """The extent of every rank, from the matrices that have it."""
    known = {tensor.name: tensor for tensor in cascade.tensors}
    for tensor in given:
        if tensor not in known:
            raise WeirError(f"{cascade.name}: no tensor {tensor!r:.40}{hint(tensor, known)}")
    for rank in sizes:
        if rank not in cascade.ranks:
            raise WeirError(f"{cascade.name}: no rank {rank!r:.40}{hint(rank, cascade.ranks)}")
    found = dict(sizes)
    for tensor, structure in given.items():
        for rank, extent in zip([r for r in known[tensor].ranks if r], structure.shape, strict=False):
            if found.setdefault(rank, extent) != extent:
                raise WeirError(f"{cascade.name}: {tensor} has {extent} along {rank}, others have {found[rank]}")
    for rank in cascade.ranks:
        if rank not in found:
            raise WeirError(f"{cascade.name}: no matrix has rank {rank!r}; give its size, as {rank}=64")
    return found


def _dense(cascade: Cascade, tensor: str, extents: Mapping[str, int]) -> Structure:
    shape = [extents[rank] for rank in cascade.tensor(tensor).ranks if rank]
    if len(shape) > 2:
        raise WeirError(f"{cascade.name}: {tensor} has {len(shape)} ranks; a matrix has two")
    rows, columns = (*shape, 1, 1)[:2]
    fits(tensor, rows, columns, rows * columns)
    return Structure.full(rows, columns)


def _groups(cascade: Cascade) -> Iterator[tuple[Einsum, Einsum]]:
    """Einsums by what they make: alone, or all products written down together with their sum."""
    left = list(cascade.einsums)
    while left:
        first = left.pop(0)
        last = left.pop(0) if len(first.output.ranks) > 2 and left else first
        if last is not first and last.inputs != (first.output.tensor,):
            raise WeirError(
                f"{cascade.name}: {first.output.tensor} is a matrix of matrices that {last.name} does not sum"
            )
        yield first, last


def _multiplies(einsum: Einsum) -> bool:
    """Whether it sums over what two operands of different ranks share."""
    ranks = [set(access.ranks) for access in einsum.reads]
    return len(ranks) == 2 and ranks[0] != ranks[1] and bool(ranks[0] & ranks[1])


def _as(access: Access, structure: Structure, ranks: tuple[str, ...]) -> Structure:
    """A structure held as an access has it, with its ranks in another order."""
    own = (*access.ranks, "")[:2]
    return structure if own == ranks else structure.transposed


def _product(
    cascade: Cascade, first: Einsum, last: Einsum, have: Mapping[str, Structure], how: str
) -> tuple[Product, Structure | None]:
    rows, columns, summed = axes(first, last)
    wanted = {(rows, summed), (summed, columns)}
    sides: dict[str, Structure] = {}
    for access in first.reads:
        here = (
            (rows, summed) if rows in access.ranks or (not rows and columns not in access.ranks) else (summed, columns)
        )
        sides["a" if here == (rows, summed) else "b"] = _as(access, have[access.tensor], here)
    if len(sides) < 2 or {r for access in first.reads for r in access.ranks} - {r for w in wanted for r in w}:
        raise WeirError(f"{cascade.name}: {first} is no product of two matrices")
    a, b = sides["a"], sides["b"]
    found = entries(how, a, b)
    operands = {access.tensor: have[access.tensor] for access in first.reads}
    made = Product(operands, a, b, found)
    later = cascade.einsums[cascade.einsums.index(last) + 1 :]
    needed = last.output.tensor not in have and any(last.output.tensor in one.inputs for one in later)
    if not needed:
        return made, None
    result = _multiplied(last.output.tensor, a, b, found)
    return made, result if rows else result.transposed  # a vector is a column


def _multiplied(tensor: str, a: Structure, b: Structure, found: Entries) -> Structure:
    """Where a product holds something."""
    shape = a.shape[0], b.shape[1]
    fits(tensor, *shape, int(found.total))
    if b.dense:
        lengths = np.where(a.lengths > 0, b.shape[1], 0)
        filled = int(np.count_nonzero(lengths))
        return Structure(np.concatenate([[0], np.cumsum(lengths)]), np.tile(np.arange(b.shape[1]), filled), shape)
    from scipy import sparse

    first, second = (sparse.csr_array((np.ones(s.entries, np.int32), s.indices, s.indptr), s.shape) for s in (a, b))
    return Structure.of(first @ second)


def _through(
    cascade: Cascade, first: Einsum, last: Einsum, have: Mapping[str, Structure], how: str
) -> tuple[Product, Structure | None]:
    """Places gone through one by one: those at which every operand holds something."""
    ranks = (*first.reads[0].ranks, "")[:2]
    if any({*access.ranks} != {*first.reads[0].ranks} for access in first.reads) or len(first.reads[0].ranks) > 2:
        raise WeirError(f"{cascade.name}: {first}: operands of different ranks that are not multiplied")
    if len(first.reads) > 1 and not (isinstance(first.expr, Call) and first.expr.op in MEETS):
        raise WeirError(f"{cascade.name}: {first}: only {' and '.join(MEETS)} go through two sparse operands")
    sides = [_as(access, have[access.tensor], ranks) for access in first.reads]
    met = _met(sides)
    operands = {access.tensor: have[access.tensor] for access in first.reads}
    rows, columns, _ = axes(first, last)
    result = have.get(last.output.tensor) or _kept(met, ranks, (rows, columns))
    along = met if rows in ("", ranks[0]) else met.transposed
    other = sides[-1] if along is met else sides[-1].transposed
    held = Entries(result.lengths.astype(np.float64), "exact")
    return Product(operands, along, other, held, points=along.lengths), result


def _met(sides: list[Structure]) -> Structure:
    """Places that all structures have."""
    shape = sides[0].shape
    fewest, *others = sorted(sides, key=lambda side: side.entries)
    keys: Ints = fewest.rows * shape[1] + fewest.indices
    for side in others:
        if not side.dense:
            keys = np.intersect1d(keys, side.rows * shape[1] + side.indices, assume_unique=True)
    lengths = np.bincount(keys // shape[1], minlength=shape[0])
    return Structure(np.concatenate([[0], np.cumsum(lengths)]), keys % shape[1], shape)


def _kept(met: Structure, ranks: tuple[str, ...], out: tuple[str, str]) -> Structure:
    """What is left of places when a rank that is not written is summed over."""
    if out == ranks:
        return met
    if out == ranks[::-1]:
        return met.transposed
    filled = (met.lengths if out[0] == ranks[0] else met.heights) > 0
    return Structure(np.concatenate([[0], np.cumsum(filled)]), np.zeros(int(filled.sum()), np.int64), (len(filled), 1))
