"""Arrays whose axes carry rank names and whose absent places are skipped: maps, reductions and contractions on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError
from einsum.ops import MAPS, REDUCTIONS

Array = NDArray[Any]
Ranks = tuple[str, ...]
IDENTITIES = {"add": 0.0, "sub": 0.0, "max": -np.inf, "min": np.inf}  # what an absent operand of a union stands for


@dataclass(frozen=True, slots=True)
class Ranked:
    """Values over ``ranks``; ``present`` broadcasts against them, or is ``None`` where every place is present.

    What stands at an absent place means nothing: every use fills it first.
    """

    ranks: Ranks
    data: Array
    present: NDArray[np.bool_] | None = None

    def aligned(self, ranks: Ranks) -> Ranked:
        """The same array with its axes in the order of ``ranks``, an extent of one where it lacks a rank."""
        if ranks == self.ranks:
            return self
        order = [self.ranks.index(r) for r in ranks if r in self.ranks]
        gaps = tuple(slice(None) if r in self.ranks else None for r in ranks)
        present = None if self.present is None else self.present.transpose(order)[gaps]
        return Ranked(ranks, self.data.transpose(order)[gaps], present)


@dataclass(frozen=True, slots=True)
class Space:
    """The extents of ranks, the type that arithmetic is done in, and the most bytes one array may take."""

    sizes: Mapping[str, int]
    dtype: np.dtype[Any]
    limit: float
    where: str

    def admit(self, ranks: Iterable[str]) -> None:
        """Refuse an array over ``ranks`` that would exceed the limit."""
        names = tuple(ranks)
        need = prod(int(self.sizes[r]) for r in names) * self.dtype.itemsize
        if need > self.limit:
            raise WeirError(f"{self.where}: an intermediate over ({', '.join(names)}) takes {need:.3g} bytes, "
                            f"more than the limit of {self.limit:.3g}; shrink the ranks or raise limit=")  # fmt: skip

    def number(self, array: Array) -> Array:
        """Values ready for arithmetic: integers and truth values become floats."""
        return array if array.dtype.kind == "f" else array.astype(self.dtype)

    def filled(self, array: Ranked, value: float) -> Array:
        """Numbers, with ``value`` at the absent places."""
        data = self.number(array.data)
        return data if array.present is None else np.where(array.present, data, np.asarray(value, data.dtype))


def union(parts: Iterable[Ranked]) -> Ranks:
    """The ranks of all parts, in order, once each."""
    return tuple(dict.fromkeys(r for p in parts for r in p.ranks))


def both(masks: Iterable[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    """Places present in every mask."""
    found: NDArray[np.bool_] | None = None
    for mask in masks:
        if mask is not None:
            found = mask if found is None else found & mask
    return found


def apply(op: str, args: tuple[Ranked, ...], literal: tuple[bool, ...], space: Space) -> Ranked:
    """A map at every point of its operands' ranks; where it is present, literals have no say."""
    ranks = union(args)
    space.admit(ranks)
    placed = [a.aligned(ranks) for a in args]
    merge = MAPS[op].merge
    absent = IDENTITIES.get(op) if merge != "and" else None
    values = [space.number(a.data) if absent is None else space.filled(a, absent) for a in placed]
    data = np.asarray(MAPS[op].apply(*values))
    masks = [a.present for a, fixed in zip(placed, literal, strict=True) if not fixed]
    return Ranked(ranks, space.number(data), _merged(merge, masks))


def _merged(merge: str, masks: list[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    """Presence of a map's result, from that of the operands that are not literals."""
    if not masks:
        return None
    if merge == "left":
        return masks[0]
    if merge == "and":
        return both(masks)
    found = masks[0]
    for mask in masks[1:]:
        found = None if found is None or mask is None else found | mask
    return found


def reduce(name: str, array: Ranked, away: Iterable[str], space: Space) -> Ranked:
    """Ranks reduced away, absent places skipped; a place is present where anything behind it was."""
    axes = tuple(array.ranks.index(r) for r in away)
    if not axes:
        return array
    left = tuple(r for r in array.ranks if r not in set(away))
    reduction = REDUCTIONS[name]
    ufunc: Any = reduction.apply
    data = ufunc.reduce(space.filled(array, reduction.identity), axis=axes)
    present = None if array.present is None else np.asarray(array.present.any(axis=axes))
    return Ranked(left, space.number(np.asarray(data)), present)


def contract(factors: list[Ranked], keep: Ranks, space: Space) -> Ranked:
    """Sum of products over every rank not in ``keep``: pairwise in order, each pair one batched matrix product."""
    result = _chain([Ranked(f.ranks, space.filled(f, 0.0)) for f in factors], keep, space)
    masks = [_shown(f, f.present) for f in factors if f.present is not None]
    if not masks:
        return result
    if not np.isfinite(result.data).all():  # zero times infinity at an absent place must not count
        return _pointwise(factors, keep, space)
    counted = _chain(masks, keep, space).aligned(result.ranks)
    return Ranked(result.ranks, result.data, counted.data > 0.5)


def _shown(array: Ranked, present: NDArray[np.bool_]) -> Ranked:
    """One where present and zero where absent (single precision: a sum only has to stay positive), over the ranks
    that presence really varies with."""
    spread = [i for i, n in enumerate(present.shape) if n == array.data.shape[i]]
    thin = present.squeeze(tuple(i for i in range(present.ndim) if i not in spread))
    return Ranked(tuple(array.ranks[i] for i in spread), thin.astype(np.float32))


def _pointwise(factors: list[Ranked], keep: Ranks, space: Space) -> Ranked:
    """The contraction by its definition: every product, then the sum."""
    product = factors[0]
    for factor in factors[1:]:
        product = apply("mul", (product, factor), (False, False), space)
    return reduce("sum", product, [r for r in product.ranks if r not in keep], space)


def _chain(arrays: list[Ranked], keep: Ranks, space: Space) -> Ranked:
    """The factors multiplied in order, each rank summed away as soon as nothing later needs it."""
    first, *rest = arrays
    for at, factor in enumerate(rest):
        later = {r for f in rest[at + 1 :] for r in f.ranks} | set(keep)
        first = _pair(first, factor, later, space)
    return _summed(first, set(keep))


def _summed(array: Ranked, needed: set[str]) -> Ranked:
    """Ranks nobody needs any more, summed away."""
    axes = tuple(i for i, r in enumerate(array.ranks) if r not in needed)
    if not axes:
        return array
    return Ranked(tuple(r for r in array.ranks if r in needed), np.asarray(array.data.sum(axis=axes)))


def _pair(x: Ranked, y: Ranked, needed: set[str], space: Space) -> Ranked:
    """Product of two arrays, summed over the ranks that neither the result nor a later factor needs."""
    x, y = _summed(x, needed | set(y.ranks)), _summed(y, needed | set(x.ranks))
    shared = [r for r in x.ranks if r in y.ranks]
    away = [r for r in shared if r not in needed]
    ranks = union((x, y))
    space.admit(r for r in ranks if r not in away)
    if not away:
        return Ranked(ranks, x.aligned(ranks).data * y.aligned(ranks).data)
    batch = [r for r in shared if r in needed]
    left, right = ([r for r in z.ranks if r not in shared] for z in (x, y))
    a = _folded(x, (batch, left, away))
    b = _folded(y, (batch, away, right))
    extents = [x.data.shape[x.ranks.index(r)] for r in (*batch, *left)]
    extents += [y.data.shape[y.ranks.index(r)] for r in right]
    return Ranked((*batch, *left, *right), np.matmul(a, b).reshape(extents))


def _folded(array: Ranked, groups: tuple[list[str], ...]) -> Array:
    """The array with each group of ranks folded into one axis."""
    flat = array.data.transpose([array.ranks.index(r) for group in groups for r in group])
    extents = iter(flat.shape)
    return flat.reshape([prod(next(extents) for _ in group) for group in groups])
