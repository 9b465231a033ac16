"""A nest taken apart: the keeps of each tensor above each Einsum, the loops above each keep, the shape of each tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from einsum import Access, Affine, Cascade, Einsum
from einsum.cascade import carried
from mappings.tree import Branch, Keep, Nest, Run, Spatial, Temporal


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop and its place among all nodes of the tree (``at``); ``key`` names it as the n-th loop over its rank."""

    node: Temporal | Spatial
    at: int
    key: str

    @property
    def space(self) -> bool:
        """Whether its pieces are on different instances."""
        return isinstance(self.node, Spatial)


@dataclass(frozen=True)
class Held:
    """One keep and the loops above it, outermost first."""

    node: Keep
    at: int
    loops: tuple[Loop, ...]


@dataclass(frozen=True)
class Leaf:
    """One Einsum run and its place: its loops, and the keeps above it, outermost first."""

    einsum: Einsum
    unit: str
    at: int
    loops: tuple[Loop, ...]
    keeps: tuple[Held, ...]

    def chain(self, tensor: str) -> tuple[Held, ...]:
        """The keeps of a tensor above this Einsum."""
        return self._chains.get(tensor, ())

    @cached_property
    def _chains(self) -> dict[str, tuple[Held, ...]]:
        found: dict[str, tuple[Held, ...]] = {}
        for held in self.keeps:
            for name in dict.fromkeys(held.node.tensors):
                found[name] = (*found.get(name, ()), held)
        return found


Terms = tuple[tuple[int, str], ...]  # an interval's start moves by so much with each rank
Moving = tuple[Terms, int]  # and the slack by which constants spread it
Dim = Moving | None  # None: the whole dimension


@dataclass(frozen=True, slots=True)
class Group:
    """Ranks of a tile that move together, and the dimensions that they move."""

    ranks: tuple[str, ...]
    axes: tuple[Moving, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """How a tile of a tensor moves with ranks, dimension by dimension."""

    dims: tuple[Dim, ...]
    plain: frozenset[str]  # ranks each of which indexes one dimension as it is: their pieces are the same or apart
    skew: tuple[Group, ...]  # the other ranks that move it
    ranks: frozenset[str]  # all that move it

    @classmethod
    def of(cls, dims: tuple[Dim, ...]) -> Tile:
        """The tile with its ranks sorted out."""
        moving = [dim for dim in dims if dim]
        ranks = [r for terms, _ in moving for _, r in terms]
        alone = [dim for dim in moving if dim == (((1, dim[0][0][1]),), 0) and ranks.count(dim[0][0][1]) == 1]
        skew = _groups([dim for dim in moving if dim not in alone])
        return cls(dims, frozenset(terms[0][1] for terms, _ in alone), tuple(skew), frozenset(ranks))


def _groups(dims: list[Moving]) -> list[Group]:
    """Dimensions with a rank in common together."""
    found: list[Group] = []
    for moving in dims:
        ranks = {r for _, r in moving[0]}
        joined = [g for g in found if not ranks.isdisjoint(g.ranks)]
        found = [g for g in found if g not in joined]
        every = ranks.union(*(g.ranks for g in joined))
        found.append(Group(tuple(sorted(every)), (*(axis for g in joined for axis in g.axes), moving)))
    return found


@dataclass(frozen=True)
class Mapped:
    """A cascade under a nest, ready to be counted at any sizes and tile sizes."""

    cascade: Cascade
    nest: Nest

    @cached_property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every run in program order."""
        numbers = _Numbers()
        return tuple(_leaves(self.cascade, self.nest, (), (), numbers))

    @cached_property
    def holders(self) -> dict[tuple[int, str], tuple[Leaf, ...]]:
        """For each keep and tensor, the runs below that touch it."""
        found: dict[tuple[int, str], tuple[Leaf, ...]] = {}
        for leaf in self.leaves:
            touched = {*leaf.einsum.inputs, leaf.einsum.output.tensor}
            for held in leaf.keeps:
                for name in (t for t in dict.fromkeys(held.node.tensors) if t in touched):  # in the order written
                    found[held.at, name] = (*found.get((held.at, name), ()), leaf)
        return found

    @cached_property
    def renewed(self) -> frozenset[str]:
        """Tensors of which some Einsum makes each place from the one before."""
        return frozenset(leaf.einsum.output.tensor for leaf in self.leaves if any(carried(leaf.einsum)))

    def tile(self, held: Held, tensor: str, sizes: Mapping[str, Any]) -> Tile:
        """How a tile of a tensor moves with ranks, dimension by dimension, as all runs below the keep touch it."""
        leaves = self.holders[held.at, tensor]
        key = tensor, tuple(leaf.at for leaf in leaves)
        if key in self._tiles:
            return self._tiles[key]
        indices = [a.indices for leaf in leaves for a in _touching(leaf.einsum, tensor)]
        found = Tile.of(tuple(_dim(axis, sizes) for axis in zip(*indices, strict=True)))
        if not any(isinstance(i, Affine) and _sized(i) for every in indices for i in every):
            self._tiles[key] = found  # the same at all sizes
        return found

    @cached_property
    def _tiles(self) -> dict[tuple[str, tuple[int, ...]], Tile]:
        return {}


@lru_cache(maxsize=256)
def taken_apart(cascade: Cascade, nest: Nest) -> Mapped:
    """A cascade under a nest; what was found out about it stays known, so that it is quick to count again."""
    return Mapped(cascade, nest)


class _Numbers:
    """Places of nodes in the tree, and of loops among those over the same rank."""

    def __init__(self) -> None:
        self.next, self.ranks = 0, dict[str, int]()

    def place(self) -> int:
        """The next node's place."""
        self.next += 1
        return self.next

    def key(self, rank: str) -> str:
        """The next loop over a rank, by name: ``m.0``, ``m.1``, ..."""
        self.ranks[rank] = self.ranks.get(rank, -1) + 1
        return f"{rank}.{self.ranks[rank]}"


def _leaves(
    cascade: Cascade, nest: Nest, loops: tuple[Loop, ...], keeps: tuple[Held, ...], numbers: _Numbers
) -> Iterator[Leaf]:
    for node in nest.nodes:
        at = numbers.place()
        if isinstance(node, Temporal | Spatial):
            loops = (*loops, Loop(node, at, numbers.key(node.rank)))
        elif isinstance(node, Keep):
            keeps = (*keeps, Held(node, at, loops))
        elif isinstance(node, Run):
            yield Leaf(cascade.einsum(node.einsum), node.unit, at, loops, keeps)
        elif isinstance(node, Branch):
            for child in node.children:
                yield from _leaves(cascade, child, loops, keeps, numbers)


def _touching(einsum: Einsum, tensor: str) -> list[Access]:
    return [a for a in (*einsum.reads, einsum.output) if a.tensor == tensor]


def _sized(index: Affine) -> bool:
    """Whether the extents of ranks are part of an index."""
    return not index.plain and any(t.extents for t in index.terms)


def _dim(indices: tuple[Affine | Access, ...], sizes: Mapping[str, Any]) -> Dim:
    """One dimension under several accesses: the ranks that move it, and how far constants spread it."""
    shapes: set[Terms] = set()
    offsets: list[int] = []
    for index in indices:
        if isinstance(index, Affine) and index.plain:
            shapes.add(((1, index.plain),))
            offsets.append(0)
            continue
        if isinstance(index, Access) or any(t.rank is None and t.extents for t in index.terms):
            return None
        shapes.add(tuple(sorted((int(t.coefficient(sizes)), t.rank) for t in index.terms if t.rank)))
        offsets.append(sum(t.scale for t in index.terms if t.rank is None))
    [first, *others] = shapes
    return None if others or not first else (first, max(offsets) - min(offsets))
