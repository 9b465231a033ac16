"""Rank splitting: one rank as an outer and an inner one, ``m`` as ``m1*M0 + m0``; what is computed stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from einsum.cascade import Cascade, carried, check_sizes
from einsum.errors import WeirError, hint
from einsum.terms import Access, Affine, Call, Const, Einsum, Expr, Term

Names = Mapping[str, tuple[str, str]]  # rank -> its outer and inner part


def split(cascade: Cascade, **ranks: tuple[str, str, int]) -> Cascade:
    """The cascade with each named rank in two: ``split(c, m=("m1", "m0", 64))`` makes tiles of 64 along ``m``.

    >>> from einsum import parse
    >>> print(split(parse("Z[m] = A[m, k]", m=6, k=4), k=("k1", "k0", 2)))
    # cascade: m=6, k1=2, k0=2, k=K1*K0
    Z[m] = A[m, k1*K0 + k0]
    """
    sizes = {r: int(s) for r, s in cascade.bind().items()}
    for rank, parts in ranks.items():
        _check(cascade, rank, parts, sizes)
    names = {rank: (outer, inner) for rank, (outer, inner, _) in ranks.items()}
    new = [p for pair in names.values() for p in pair]
    if len(set(new)) < len(new):
        raise WeirError(f"{cascade.name}: the parts of split ranks must have different names, not {', '.join(new)}")
    table: list[tuple[str, int | Affine]] = []
    for rank, size in cascade.sizes:
        if rank not in ranks:
            table.append((rank, size))
            continue
        outer, inner, tile = ranks[rank]
        table += [(outer, sizes[rank] // tile), (inner, tile), (rank, Affine((Term(1, (outer, inner)),)))]
    return replace(cascade, einsums=tuple(_einsum(e, names) for e in cascade.einsums), sizes=tuple(table))


def _check(cascade: Cascade, rank: str, parts: tuple[str, str, int], sizes: Mapping[str, int]) -> None:
    """Refuse a split that is not whole, or of a rank whose order matters to what is computed."""
    where = cascade.name
    if rank not in cascade.ranks:
        raise WeirError(f"{where}: no rank {rank!r} to split{hint(rank, cascade.ranks)}")
    if not (isinstance(parts, tuple) and len(parts) == 3 and all(isinstance(p, str) for p in parts[:2])):
        raise WeirError(f"{where}: split of {rank!r} takes (outer, inner, size of inner), not {parts!r}")
    outer, inner, tile = parts
    check_sizes({inner: tile}, where)
    for name in (outer, inner):
        if not name.isidentifier() or not name.islower():
            raise WeirError(f"{where}: {name!r} cannot name a rank (a small letter, perhaps with digits)")
        if name in sizes:
            raise WeirError(f"{where}: {rank!r} cannot be split into {name!r}, which is a rank already")
    if not tile or sizes[rank] % tile:
        raise WeirError(f"{where}: {rank}={sizes[rank]} does not divide into tiles of {tile}; "
                        "an imperfect tile belongs in a mapping")  # fmt: skip
    for einsum in cascade.einsums:
        if rank in einsum.along:
            raise WeirError(f"{where}: {rank!r} cannot be split: {einsum.name} is {einsum.operator} along it")
        if rank in carried(einsum):
            raise WeirError(f"{where}: {rank!r} cannot be split: {einsum.name} is a recurrence along it")


def _einsum(einsum: Einsum, names: Names) -> Einsum:
    return replace(einsum, output=_access(einsum.output, names), expr=_expr(einsum.expr, names))


def _expr(expr: Expr, names: Names) -> Expr:
    if isinstance(expr, Call):
        return replace(expr, args=tuple(_expr(a, names) for a in expr.args))
    return expr if isinstance(expr, Const) else _access(expr, names)


def _access(access: Access, names: Names) -> Access:
    return replace(access, indices=tuple(
        _access(i, names) if isinstance(i, Access) else Affine(tuple(t for term in i.terms for t in _term(term, names)))
        for i in access.indices
    ))  # fmt: skip


def _term(term: Term, names: Names) -> tuple[Term, ...]:
    """An addend in a split rank, as one in its outer part (each step a tile) and one in its inner part."""
    if term.rank not in names:
        return (term,)
    outer, inner = names[str(term.rank)]
    return (replace(term, extents=(*term.extents, inner), rank=outer), replace(term, rank=inner))
