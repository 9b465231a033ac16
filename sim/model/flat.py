"""A nest laid flat for the exact simulator: its loops, keeps and runs in the order in which they are come upon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum import Access, Affine, Cascade, Einsum, Infeasible, WeirError, hint
from mappings.tree import Branch, Keep, Nest, Run, Spatial, Temporal

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Loop:
    """A loop over pieces of ``tile`` elements; ``trips`` is how many its longest piece has."""

    number: int
    rank: str
    tile: int
    space: bool
    trips: int


@dataclass(frozen=True, eq=False)
class Slot:
    """One tensor of one keep, under ``loops``; ``touches`` are the Einsums below with their accesses to it."""

    number: int
    tensor: str
    level: str
    loops: tuple[Loop, ...]
    parent: Slot | None
    touches: tuple[tuple[Einsum, Access], ...]

    @cached_property
    def outer(self) -> Slot:
        """The tensor's outermost keep."""
        return self.parent.outer if self.parent else self

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Ranks that the tensor has here."""
        return tuple(dict.fromkeys(r for _, access in self.touches for r in access.ranks))

    @cached_property
    def writers(self) -> tuple[Einsum, ...]:
        """Einsums below that write the tensor."""
        return tuple(dict.fromkeys(e for e, _ in self.touches if e.output.tensor == self.tensor))

    @cached_property
    def reduced(self) -> tuple[str, ...]:
        """Ranks that the writers sum away."""
        return tuple(dict.fromkeys(r for e in self.writers for r in e.reduced))

    def repeated(self, loop: Loop) -> bool:
        """Whether a loop runs in time and makes the tensor again: over a rank that what writes it here lacks."""
        return not loop.space and bool(self.writers) and all(loop.rank not in e.ranks for e in self.writers)

    @cached_property
    def between(self) -> tuple[Loop, ...]:
        """Loops between the parent and here."""
        return self.loops[len(self.parent.loops) :] if self.parent else ()


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """An Einsum on a unit, under ``loops``; ``served`` holds the innermost keep of each access, the output last."""

    number: int
    einsum: Einsum
    unit: str
    loops: tuple[Loop, ...]
    served: tuple[tuple[Access, Slot], ...]


@dataclass(frozen=True, slots=True)
class Op:
    """A step: ``begin`` or ``next`` of a loop, ``visit`` of a slot, ``run`` of a point; ``jump`` is where it began."""

    kind: str
    what: Loop | Slot | Point
    loops: tuple[Loop, ...]
    jump: int = 0


@dataclass(frozen=True)
class Present:
    """What is there of sparse tensors, and of the iteration spaces of Einsums, by name; all of those not named."""

    tensors: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    points: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(slots=True)
class Flat:
    """Everything found on a walk over the nest."""

    cascade: Cascade
    sizes: Mapping[str, int]
    fanouts: Mapping[str, int] | None
    loops: list[Loop] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    present: Present = field(default_factory=Present)


@dataclass(frozen=True, slots=True)
class _Here:
    """What is above a place in the tree: loops, each tensor's innermost slot, instances taken of each fan-out."""

    loops: tuple[Loop, ...] = ()
    chain: tuple[tuple[str, Slot], ...] = ()
    taken: tuple[tuple[str, int], ...] = ()

    def longest(self, rank: str, size: int) -> int:
        """Elements of the longest piece of a rank."""
        return min([size, *(loop.tile for loop in self.loops if loop.rank == rank)])


def flatten(cascade: Cascade, nest: Nest, sizes: Mapping[str, int], fanouts: Mapping[str, int] | None) -> Flat:
    """The nest laid flat; :class:`WeirError` for names that do not exist and tensors that are kept nowhere."""
    flat = Flat(cascade, sizes, fanouts)
    _walk(flat, nest, 0, _Here())
    return flat


def _walk(flat: Flat, nest: Nest, start: int, here: _Here) -> None:
    """The nodes of a chain from ``start`` on."""
    for at, node in enumerate(nest.nodes[start:], start):
        if isinstance(node, Keep):
            here = _keep(flat, node, nest, here)
        elif isinstance(node, Run):
            _run(flat, node, here)
        elif isinstance(node, Branch):
            for child in node.children:
                _walk(flat, child, 0, here)
        else:
            _loop(flat, node, nest, at, here)
            return


def _loop(flat: Flat, node: Temporal | Spatial, nest: Nest, at: int, here: _Here) -> None:
    """A loop and what is under it."""
    if node.rank not in flat.sizes:
        raise WeirError(f"mapping: {str(node)!r}: no rank {node.rank!r}{hint(node.rank, flat.sizes)}")
    space = isinstance(node, Spatial)
    longest = here.longest(node.rank, flat.sizes[node.rank])
    tile = _share(node, longest) if isinstance(node, Spatial) else node.tile
    loop = Loop(len(flat.loops), node.rank, tile, space, -(-longest // tile))
    flat.loops.append(loop)
    inside = _Here((*here.loops, loop), here.chain, here.taken)
    if isinstance(node, Spatial):
        _walk(flat, nest, at + 1, _fan(flat, node, loop, inside))
        return
    jump = len(flat.ops)
    flat.ops.append(Op("begin", loop, here.loops))
    _walk(flat, nest, at + 1, inside)
    flat.ops.append(Op("next", loop, here.loops, jump))


def _share(node: Spatial, longest: int) -> int:
    """Elements that go to each instance."""
    if node.only:
        raise WeirError(f"mapping: {str(node)!r}: 'only' is for layouts over devices; put other Einsums in a branch")
    return node.tile or -(-longest // node.ways)


def _fan(flat: Flat, node: Spatial, loop: Loop, here: _Here) -> _Here:
    """The fan-out with the loop's instances taken; refused if there are not so many."""
    if flat.fanouts is None or not node.over:
        return here
    if node.over not in flat.fanouts:
        raise WeirError(f"mapping: {str(node)!r}: no fan-out {node.over!r}{hint(node.over, flat.fanouts)}")
    taken = dict(here.taken)
    taken[node.over] = taken.get(node.over, 1) * loop.trips
    if taken[node.over] > flat.fanouts[node.over]:
        raise Infeasible(
            f"mapping: {str(node)!r} needs {taken[node.over]} instances of {node.over!r}; "
            f"there are {flat.fanouts[node.over]}: take longer tiles"
        )
    return _Here(here.loops, here.chain, tuple(taken.items()))


def _touches(flat: Flat, nest: Nest, tensor: str) -> Iterator[tuple[Einsum, Access]]:
    """Every access of the Einsums in a nest to a tensor."""
    for run in nest.runs:
        einsum = flat.cascade.einsum(run.einsum)
        for access in (einsum.output, *einsum.reads):
            if access.tensor == tensor:
                yield einsum, access


def _keep(flat: Flat, node: Keep, nest: Nest, here: _Here) -> _Here:
    """Slots for those tensors of a keep that something below touches."""
    chain = dict(here.chain)
    for tensor in node.tensors:
        flat.cascade.tensor(tensor)
        if touches := tuple(_touches(flat, nest, tensor)):
            slot = Slot(len(flat.slots), tensor, node.level, here.loops, chain.get(tensor), touches)
            flat.slots.append(slot)
            flat.ops.append(Op("visit", slot, here.loops))
            chain[tensor] = slot
    return _Here(here.loops, tuple(chain.items()), here.taken)


def _run(flat: Flat, node: Run, here: _Here) -> None:
    """An Einsum with the keeps that serve its accesses."""
    einsum = flat.cascade.einsum(node.einsum)
    chain = dict(here.chain)
    for access in (*einsum.reads, einsum.output):
        if access.tensor not in chain:
            raise WeirError(
                f"mapping: {einsum.name} touches {access.tensor}, which is kept nowhere above it; "
                f"add 'keep {access.tensor} in LEVEL'"
            )
    if not all(isinstance(index, Affine) for index in einsum.output.indices):
        raise WeirError(
            f"mapping: {einsum.output} is placed by another tensor's values, which only a run on data knows"
        )
    served = tuple((a, chain[a.tensor]) for a in (*dict.fromkeys(einsum.reads), einsum.output))
    point = Point(len(flat.points), einsum, node.unit, here.loops, served)
    flat.points.append(point)
    flat.ops.append(Op("run", point, here.loops))


def terms(index: Affine, sizes: Mapping[str, Any]) -> tuple[dict[str, int], int]:
    """The factor of each rank in an index, and its constant."""
    factors: dict[str, int] = {}
    constant = 0
    for term in index.terms:
        factor = int(term.coefficient(sizes))
        if term.rank is None:
            constant += factor
        else:
            factors[term.rank] = factors.get(term.rank, 0) + factor
    return factors, constant


def intervals(slot: Slot, cascade: Cascade, sizes: Mapping[str, int]) -> list[tuple[dict[str, int], int, int]]:
    """For each dimension, the factors of the ranks that move its interval, and the interval's ends at the origin."""
    found: list[tuple[dict[str, int], int, int]] = []
    for axis, extent in enumerate(cascade.shape(slot.tensor, sizes)):
        whole: tuple[dict[str, int], int, int] = ({}, 0, int(extent) - 1)
        indices = [access.indices[axis] for _, access in slot.touches]
        affine = [terms(i, sizes) for i in indices if isinstance(i, Affine)]
        same = len(affine) == len(indices) and affine[0][0] and all(a[0] == affine[0][0] for a in affine)
        constants = [a[1] for a in affine]
        found.append((affine[0][0], min(constants), max(constants)) if same else whole)
    return found or [({}, 0, 0)]
