"""How sparsity moves through a cascade: from operands to an Einsum's iteration space, and on to its output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from einsum.ops import MAPS
from einsum.sparsity import Mask, Sizes, Sparsity, density
from einsum.terms import Access, Affine, Const, Einsum, Expr, Tensor

Patterns = tuple[Sparsity, ...]


@dataclass(frozen=True, slots=True)
class Projected:
    """What is left of patterns when ranks are reduced away: a place is present if any place behind it is."""

    ranks: tuple[str, ...]
    reduced: tuple[str, ...]
    patterns: Patterns

    @property
    def drawn(self) -> bool:
        """Always: the places behind are not kept."""
        return True

    def density(self, sizes: Sizes) -> Any:
        """Exact for one pattern; independent places otherwise: ``1 - (1 - d) ** n`` with ``n`` places behind each."""
        if len(self.patterns) == 1:
            return self.patterns[0].occupied(self.ranks, sizes, sizes)
        behind: Any = 1.0
        for rank in self.reduced:
            behind = behind * sizes[rank]
        return 1.0 - (1.0 - density(self.patterns, sizes)) ** behind

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        """Places of the projection taken as independent."""
        places: Any = 1.0
        for rank in set(self.ranks) - set(keep):
            places = places * tile[rank]
        return 1.0 - (1.0 - self.density(sizes)) ** places

    def fills(self, keep: Iterable[str]) -> bool:
        """Never sure: the places are taken as independent."""
        return False

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        """Drawn with the projection's density."""
        return np.asarray(rng.random([sizes[r] for r in self.ranks]) < self.density(sizes))

    def rename(self, names: Mapping[str, str]) -> Projected:
        """The same projection over other rank names."""
        ranks, reduced = (tuple(names.get(r, r) for r in part) for part in (self.ranks, self.reduced))
        return replace(self, ranks=ranks, reduced=reduced, patterns=tuple(p.rename(names) for p in self.patterns))


def of_access(access: Access, tensors: Mapping[str, Tensor]) -> Patterns:
    """A tensor's patterns in the rank variables of one access; a computed or gathered index loses the pattern."""
    tensor = tensors[access.tensor]
    if not tensor.patterns:
        return ()
    names: dict[str, str] = {}
    for rank, index in zip(tensor.ranks, access.indices, strict=True):
        plain = index.plain if isinstance(index, Affine) else None
        if rank and plain:
            names[rank] = plain
    return tuple(p.rename(names) for p in tensor.patterns if set(p.ranks) <= set(names))


def of_expr(expr: Expr, tensors: Mapping[str, Tensor]) -> Patterns:
    """Where an expression is present; a union of unlike patterns is taken as dense (never too little work)."""
    if isinstance(expr, Const):
        return ()
    if isinstance(expr, Access):
        return of_access(expr, tensors)
    parts = [of_expr(a, tensors) for a in expr.args if not isinstance(a, Const)]
    merge = MAPS[expr.op].merge
    if not parts:
        return ()
    if merge == "left" or len(parts) == 1:
        return parts[0]
    if merge == "or":
        return parts[0] if all(p == parts[0] for p in parts) else ()
    return tuple(dict.fromkeys(p for part in parts for p in part))


def of_einsum(einsum: Einsum, tensors: Mapping[str, Tensor]) -> Patterns:
    """Where an Einsum's iteration space is present: its operands' patterns, and its output's declared ones."""
    declared = () if tensors[einsum.output.tensor].derived else of_access(einsum.output, tensors)
    return tuple(dict.fromkeys(of_expr(einsum.expr, tensors) + declared))


def _left(patterns: Patterns, einsum: Einsum) -> Patterns:
    """Patterns of the output: those over written ranks as they are, those cut by the reduction projected."""
    written, cut = set(einsum.output.ranks), set(einsum.reduced)
    whole = tuple(p for p in patterns if set(p.ranks) <= written)
    partly = tuple(p for p in patterns if set(p.ranks) & cut and not p.fills(written))
    ranks = tuple(r for r in einsum.output.ranks if any(r in p.ranks for p in partly))
    if not ranks:
        return whole
    return (*whole, Projected(ranks, tuple(r for r in einsum.reduced if any(r in p.ranks for p in partly)), partly))


def inferred(einsums: Iterable[Einsum], declared: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """A cascade's tensors, undeclared intermediates with the sparsity that follows from their Einsums."""
    tensors = {t.name: t for t in declared}
    for einsum in einsums:
        old = tensors[einsum.output.tensor]
        if old.patterns or old.kind != "stream" or None in old.ranks or einsum.operator:
            continue
        names = {i.plain: r for r, i in zip(old.ranks, einsum.output.indices, strict=True) if isinstance(i, Affine)}
        renames = {str(k): str(v) for k, v in names.items() if k and v}
        found = _left(of_einsum(einsum, tensors), einsum)
        tensors[old.name] = replace(old, patterns=tuple(p.rename(renames) for p in found), derived=bool(found))
    return tuple(tensors.values())
