"""What a nest holds at each level at once, and the largest tiles with which it fits a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np

from einsum.cascade import carried
from einsum.ops import bits
from einsum.terms import Access, Affine
from mappings.tree import Branch, Keep, Nest, Temporal
from sim.arch import Device
from sim.model.nests import Held, Leaf, Mapped
from sim.model.pieces import least

Values = Mapping[str, Any]


def tile_bytes(mapped: Mapped, held: Held, tensor: str, sizes: Values, tiles: Values) -> Any:
    """Bytes of the largest tile of a tensor at one instance of a keep.

    Of a tensor that an iterative rank renews, only the values that some Einsum needs at once take room.
    """
    lengths = dict(sizes)
    for rank, cuts in mapped.cuts(held.loops, tiles).items():
        lengths[rank] = reduce(least, [c.tile for c in cuts], sizes[rank])
    elements: Any = 1
    dims = mapped.dims(held, tensor, sizes)
    for axis, (dim, extent) in enumerate(zip(dims, mapped.cascade.shape(tensor, sizes), strict=True)):
        if slots := _renewed(mapped, held, tensor, axis):
            elements = elements * slots
        elif dim is None:
            elements = elements * extent
        else:
            terms, slack = dim
            elements = elements * (1 + slack + sum(abs(c) * (lengths[r] - 1) for c, r in terms))
    return elements * bits(mapped.cascade.tensor(tensor).dtype) / 8 * (2 if held.node.double else 1)


def _renewed(mapped: Mapped, held: Held, tensor: str, axis: int) -> int:
    """Values kept of a tensor along an axis on which each replaces the one before, or 0 where all must be kept.

    They replace each other when all Einsums that move along the axis share one loop that takes single steps.
    """
    if not mapped.cascade.iterative:
        return 0
    moving = [(leaf, spread) for leaf in mapped.holders[held.at, tensor] if (spread := _spread(leaf, tensor, axis))]
    ranks = {r for leaf, _ in moving if leaf.einsum.output.tensor == tensor for r in carried(leaf.einsum)}
    if len(ranks) != 1 or not ranks <= {r for leaf, _ in moving for r in _ranks(leaf, tensor, axis)}:
        return 0
    [rank] = ranks
    steps = [{loop for loop in leaf.loops if loop.node == Temporal(rank, 1)} for leaf, _ in moving]
    return max(spread for _, spread in moving) if set.intersection(*steps) else 0


def _indices(leaf: Leaf, tensor: str, axis: int) -> Iterator[Affine]:
    """The indices with a rank by which an Einsum reaches a tensor along an axis."""
    for access in (*leaf.einsum.reads, leaf.einsum.output):
        if access.tensor == tensor and not isinstance(index := access.indices[axis], Access) and index.ranks:
            yield index


def _ranks(leaf: Leaf, tensor: str, axis: int) -> tuple[str, ...]:
    return tuple(r for index in _indices(leaf, tensor, axis) for r in index.ranks)


def _spread(leaf: Leaf, tensor: str, axis: int) -> int:
    """Places of one step along an axis that an Einsum touches at once; 0 if it does not move along it."""
    offsets = [sum(t.scale for t in index.terms if t.rank is None) for index in _indices(leaf, tensor, axis)]
    return 1 + max(offsets) - min(offsets) if offsets else 0


def occupancy(mapped: Mapped, sizes: Values, tiles: Values | None = None) -> dict[str, Any]:
    """Bytes held at one instance of each level at once: along a path, and by stages that run side by side, together."""
    held = {k.at: k for leaf in mapped.leaves for k in leaf.keeps}
    return _occupied(mapped, mapped.nest, iter(sorted(held)), held, sizes, tiles or {})


def _occupied(
    mapped: Mapped, nest: Nest, order: Iterator[int], held: Mapping[int, Held], sizes: Values, tiles: Values
) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for node in nest.nodes:
        if isinstance(node, Keep):
            keep = held[next(order)]
            for tensor in (t for t in node.tensors if (keep.at, t) in mapped.holders):
                total[node.level] = total.get(node.level, 0) + tile_bytes(mapped, keep, tensor, sizes, tiles)
        elif isinstance(node, Branch):
            below = [_occupied(mapped, child, order, held, sizes, tiles) for child in node.children]
            for level in dict.fromkeys(name for one in below for name in one):
                parts = [one.get(level, 0) for one in below]
                inside = reduce(np.maximum, parts) if node.how == "sequence" else sum(parts)
                total[level] = total.get(level, 0) + inside
    return total


def capacity(mapped: Mapped, device: Device, sizes: Values, tiles: Values) -> Iterator[str]:
    """What is kept at a level at once must fit into one instance of it."""
    capacities = {m.name: m.capacity for m in device.memories}
    for level, size in occupancy(mapped, sizes, tiles).items():
        if np.any(size > capacities.get(level, np.inf)):
            have = f"{device.name} gives it {capacities[level]:.0f}"
            yield f"mapping: {level!r} must hold {int(np.max(size))} bytes at once; {have}"


def largest(mapped: Mapped, device: Device, sizes: Values, loop: str, choices: tuple[int, ...]) -> Any:
    """The largest of ``choices`` for the tile of a loop (``p.0``) with which everything fits, problem by problem.

    The smallest choice stands where none fits; the check of the nest then says so.
    """
    capacities = {m.name: m.capacity for m in device.memories}
    depth = max(np.ndim(size) for size in sizes.values())
    tried = np.reshape(sorted(choices), (-1, *[1] * depth))  # all choices at once, on an axis of their own
    held = occupancy(mapped, sizes, {loop: tried})
    fits = [size <= capacities[level] for level, size in held.items() if level in capacities]
    shape = np.broadcast_shapes(tried.shape, *(np.shape(one) for one in fits))
    return np.max(np.where(np.all([np.broadcast_to(one, shape) for one in fits], axis=0), tried, tried[0]), axis=0)
