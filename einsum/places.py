"""Where an access lands in an array: strided views for affine indices, index arrays for gathers and scatters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from einsum.arrays import Array, Ranked, Space, both
from einsum.errors import WeirError
from einsum.ops import REDUCTIONS
from einsum.terms import Access, Affine

Mask = NDArray[np.bool_]
Fixed = Mapping[str, int]  # ranks that are being stepped through, and where they stand


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor's values by dimension, and which places are present (``None``: all)."""

    data: Array
    present: Mask | None = None


def free(access: Access, fixed: Fixed) -> tuple[str, ...]:
    """The ranks an access moves with that are not being stepped."""
    return tuple(r for r in access.ranks if r not in fixed)


def view(array: Array, access: Access, space: Space, fixed: Fixed) -> Array:
    """The places of an affine access as one strided view, an axis per free rank (its strides in several dimensions
    added: a diagonal is a view too)."""
    ranks = free(access, fixed)
    strides = dict.fromkeys(ranks, 0)
    start: list[slice] = []
    for axis, index in enumerate(i for i in access.indices if isinstance(i, Affine)):
        at = {r: fixed.get(r, 0) for r in index.ranks}
        base = int(index.value(space.sizes, at))
        moves = [(t.rank, int(t.coefficient(space.sizes))) for t in index.terms if t.rank and t.rank not in fixed]
        steps = [c * (int(space.sizes[r]) - 1) for r, c in moves]
        low, high = base + sum(s for s in steps if s < 0), base + sum(s for s in steps if s > 0)
        if low < 0 or high >= array.shape[axis]:
            raise WeirError(f"{space.where}: {access} reaches place {low if low < 0 else high} of dimension {axis}, "
                            f"which has {array.shape[axis]} places")  # fmt: skip
        for rank, coefficient in moves:
            strides[rank] += coefficient * array.strides[axis]
        start.append(slice(base, None))
    shape = [int(space.sizes[r]) for r in ranks]
    return as_strided(array[tuple(start)], shape, [strides[r] for r in ranks])


def load(access: Access, tensors: Mapping[str, Stored], space: Space, fixed: Fixed) -> Ranked:
    """What an access reads: values and presence over its free ranks."""
    held = tensors[access.tensor]
    ranks = free(access, fixed)
    if access.indirect:
        return _gather(access, held, tensors, space, fixed)
    data = view(held.data, access, space, fixed)
    if held.present is None:
        return Ranked(ranks, data)
    seen = view(np.broadcast_to(held.present, held.data.shape), access, space, fixed)
    thin = seen[tuple(slice(0, 1) if step == 0 else slice(None) for step in seen.strides)]
    return Ranked(ranks, data, None if thin.all() else thin)


def _gather(
    access: Access, held: Stored, tensors: Mapping[str, Stored], space: Space, fixed: Fixed
) -> Ranked:  # an absent index reads nothing
    ranks = free(access, fixed)
    space.admit(ranks)
    where, shown = positions(access, held.data.shape, tensors, space, fixed)
    found = None if held.present is None else np.broadcast_to(held.present, held.data.shape)[where]
    shape = tuple(int(space.sizes[r]) for r in ranks)
    data = np.broadcast_to(held.data[where], shape)
    return Ranked(ranks, data, both((shown, found)))


def positions(
    access: Access, shape: tuple[int, ...], tensors: Mapping[str, Stored], space: Space, fixed: Fixed
) -> tuple[tuple[Array, ...], Mask | None]:
    """Index arrays of every dimension over the access's free ranks, and where the indices themselves are present."""
    ranks = free(access, fixed)
    grid = {r: np.arange(int(space.sizes[r])).reshape([-1 if r == q else 1 for q in ranks]) for r in ranks}
    found: list[Array] = []
    shown: Mask | None = None
    for axis, index in enumerate(access.indices):
        if isinstance(index, Affine):
            place = np.asarray(index.value(space.sizes, {r: fixed.get(r, grid.get(r)) for r in index.ranks}))
            _inside(place, shape[axis], access, f"dimension {axis}", space)
        else:
            inner = load(index, tensors, space, fixed).aligned(ranks)
            place = _whole_numbers(inner, index, space)
            _inside(place, shape[axis], access, str(index), space)
            shown = both((shown, inner.present))
        found.append(place.reshape([1] * (len(ranks) - place.ndim) + list(place.shape)))
    return tuple(found), shown


def _whole_numbers(inner: Ranked, index: Access, space: Space) -> Array:
    """An index tensor's values as integers, zero where it is absent."""
    data = inner.data if inner.present is None else np.where(inner.present, inner.data, 0)
    if data.dtype.kind == "f":
        off = data[~np.isfinite(data) | (np.floor(data) != data)]
        if off.size:
            raise WeirError(f"{space.where}: {index.tensor} is used as an index and holds {off.flat[0]:g}; "
                            "an index must be a whole number")  # fmt: skip
    return data.astype(np.int64)


def _inside(place: Array, extent: int, access: Access, what: str, space: Space) -> None:
    off = place[(place < 0) | (place >= extent)]
    if off.size:
        raise WeirError(f"{space.where}: {access}: {what} is {off.flat[0]}, outside {access.tensor}'s {extent} places")


def injective(access: Access, space: Space, fixed: Fixed) -> bool:
    """Whether an affine access surely lands on a different place at every point: each rank moves one dimension, and
    the coefficients within a dimension are those of a mixed radix."""
    moving = [[t for t in i.terms if t.rank and t.rank not in fixed] for i in access.indices if isinstance(i, Affine)]
    names = [t.rank for terms in moving for t in terms]
    if access.indirect or len(names) != len(set(names)):
        return False
    for terms in moving:
        reach = 1
        for size, extent in sorted(
            (abs(int(t.coefficient(space.sizes))), int(space.sizes[str(t.rank)])) for t in terms
        ):
            if size < reach:
                return False
            reach = size * extent
    return True


def store(
    access: Access,
    value: Ranked,
    into: Stored,
    tensors: Mapping[str, Stored],
    reduction: str,
    space: Space,
    fixed: Fixed,
) -> None:
    """Write values in place where they are present; points that land on one place are reduced together first."""
    if not injective(access, space, fixed):
        _scatter(access, value, into, tensors, reduction, space, fixed)
        return
    where: Any = True if value.present is None else value.present
    np.copyto(view(into.data, access, space, fixed), value.data, where=where, casting="unsafe")
    if into.present is not None:
        np.copyto(view(into.present, access, space, fixed), True, where=where)


def _scatter(
    access: Access,
    value: Ranked,
    into: Stored,
    tensors: Mapping[str, Stored],
    reduction: str,
    space: Space,
    fixed: Fixed,
) -> None:
    space.admit(value.ranks)
    where, shown = positions(access, into.data.shape, tensors, space, fixed)
    shape = tuple(int(space.sizes[r]) for r in value.ranks)
    mask = both((shown, value.present))
    pick: Any = slice(None) if mask is None else np.broadcast_to(mask, shape).reshape(-1)
    flat = [np.broadcast_to(w, shape).reshape(-1)[pick] for w in where]
    cells = np.ravel_multi_index(flat, into.data.shape) if flat else np.zeros(prod(shape), np.int64)[pick]
    meaning = REDUCTIONS[reduction]
    ufunc: Any = meaning.apply
    reached, slot = np.unique(cells, return_inverse=True)
    total = np.full(len(reached), meaning.identity, space.dtype)
    ufunc.at(total, slot, space.number(np.broadcast_to(value.data, shape)).reshape(-1)[pick])
    into.data.reshape(-1)[reached] = total
    if into.present is not None:
        into.present.reshape(-1)[reached] = True
