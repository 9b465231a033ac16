"""Counts of a mapped cascade in closed form: every action of every level, exact for imperfect factors, vectorised.

What is counted, and what a nest means, is written in ``docs/mapping.md``; :mod:`sim.model.exact` counts the same by
running the nest. Tile sizes and extents may be arrays: one call then counts many mappings, or many problem sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from einsum import Cascade
from mappings.tree import Nest
from sim.model.actions import Action, Computes, Counts
from sim.model.nests import Dim, Held, Leaf, Loop, Mapped
from sim.model.pieces import Change, Cut, changes, covered, instances, least, repeated, starts


def counts(
    cascade: Cascade,
    nest: Nest | Mapped,
    sizes: Mapping[str, Any] | None = None,
    tiles: Mapping[str, Any] | None = None,
) -> Counts:
    """All actions of one run; ``tiles`` replaces tile sizes by loop, as in ``{"m.0": array}`` for the first over m."""
    mapped = nest if isinstance(nest, Mapped) else Mapped(cascade, nest)
    at = {rank: _number(size) for rank, size in (cascade.bind() if sizes is None else sizes).items()}
    return _Counter(mapped, at, {key: _number(tile) for key, tile in (tiles or {}).items()}).count()


def _number(value: Any) -> Any:
    """A plain number as an exact integer, an array as floats (exact up to 2**53, and quicker to divide)."""
    return int(value) if np.ndim(value) == 0 else np.asarray(value, float)


@dataclass
class _Counter:
    """One counting: it holds what it has found, and the volumes that several counts share."""

    mapped: Mapped
    sizes: Mapping[str, Any]
    tiles: Mapping[str, Any]
    found: list[Action] = field(default_factory=list)
    volumes: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    moves: dict[tuple[Any, ...], list[Change]] = field(default_factory=dict)

    def count(self) -> Counts:
        """Fills once for each keep, then what each Einsum reads and writes."""
        for (at, tensor), leaves in self.mapped.holders.items():
            chain = leaves[0].chain(tensor)
            place = next(i for i, k in enumerate(chain) if k.at == at)
            if place and not any(leaf.einsum.output.tensor == tensor for leaf in leaves):
                self.fill(chain[place - 1], chain[place], tensor)
        computes = tuple(self.leaf(leaf) for leaf in self.mapped.leaves)
        return Counts(tuple(self.found), computes)

    def add(self, held: Held, tensor: str, kind: str, amount: Any) -> None:
        """One count at a keep's level."""
        self.found.append(Action(held.node.level, tensor, kind, amount))

    def fill(self, parent: Held, held: Held, tensor: str) -> None:
        """What enters a keep that is only read from."""
        self.add(held, tensor, "fills", self.entering(held, tensor))
        self.add(parent, tensor, "reads", self.entering(held, tensor, shared=_between(parent, held)))

    def leaf(self, leaf: Leaf) -> Computes:
        """What one Einsum reads from and writes to the innermost keeps, and how sums travel outwards."""
        for access in leaf.einsum.reads:
            chain = leaf.chain(access.tensor)
            below = _below(chain[-1], leaf)
            self.add(chain[-1], access.tensor, "reads", self.points(leaf, lone=_without(below, access.ranks)))
        points = self.points(leaf)
        return Computes(leaf.einsum.name, leaf.unit, points, self.written(leaf, points))

    def written(self, leaf: Leaf, points: Any) -> Any:
        """Updates, drains and re-reads of an Einsum's output along its chain; returns additions between instances."""
        tensor, ranks = leaf.einsum.output.tensor, leaf.einsum.output.ranks
        chain = leaf.chain(tensor)
        inner = chain[-1]
        updates = self.points(leaf, lone=_without(_below(inner, leaf), ranks))
        reductions = points - updates
        self.add(inner, tensor, "updates", updates)
        if leaf.einsum.reduced:
            self.add(inner, tensor, "reads", updates - self.first(leaf, inner))
        for parent, held in zip(chain[-2::-1], chain[:0:-1], strict=True):
            reductions = reductions + self.drained(leaf, parent, held)
        return reductions

    def drained(self, leaf: Leaf, parent: Held, held: Held) -> Any:
        """What leaves a keep for its parent, and what of it is read back; returns additions between instances."""
        tensor, einsum = leaf.einsum.output.tensor, leaf.einsum
        fresh = tuple(loop.node.rank for loop in leaf.loops if loop.node.rank not in einsum.ranks)
        drains = self.entering(held, tensor, fresh=fresh)
        updates = self.entering(held, tensor, fresh=fresh, shared=_between(parent, held))
        self.add(held, tensor, "drains", drains)
        self.add(parent, tensor, "updates", updates)
        if einsum.reduced:
            spread = any(loop.space and loop.node.rank in einsum.reduced for loop in _inside(parent, held))
            if spread:
                self.add(parent, tensor, "reads", updates - self.first(leaf, parent))
            else:
                again = drains - self.first(leaf, held)
                self.add(held, tensor, "fills", again)
                self.add(parent, tensor, "reads", again)
        return drains - updates

    def first(self, leaf: Leaf, held: Held) -> Any:
        """First touches at a keep: what enters the outermost keep, for every copy and every repetition below it."""
        tensor, einsum = leaf.einsum.output.tensor, leaf.einsum
        outer = leaf.chain(tensor)[0]
        fresh = tuple(loop.node.rank for loop in leaf.loops if loop.node.rank not in einsum.ranks)
        total = self.entering(outer, tensor, fresh=fresh)
        inside = [loop for loop in held.loops if loop.at > outer.at]
        cuts = self.mapped.cuts(leaf.loops, self.tiles)
        have = _ranks(self.mapped.dims(outer, tensor, self.sizes))
        for rank in dict.fromkeys(loop.node.rank for loop in inside if loop.space and loop.node.rank not in have):
            copies = [loop.at for loop in inside if loop.node.rank == rank]
            total = total * instances(self.sizes[rank], cuts[rank], copies)
        for rank in dict.fromkeys(fresh):
            above = tuple(c for c in cuts[rank] if c.at < outer.at or c.space)
            total = (
                total
                * repeated(self.sizes[rank], tuple(c for c in cuts[rank] if not c.space))
                / repeated(self.sizes[rank], tuple(c for c in above if not c.space))
            )
        return total

    def points(self, leaf: Leaf, lone: Iterable[int] = ()) -> Any:
        """Points of an Einsum over all visits and instances; of the loops in space at ``lone``, instance 0 alone."""
        cuts = self.mapped.cuts(leaf.loops, self.tiles)
        alone = frozenset(lone)
        total: Any = 1
        for rank in dict.fromkeys((*leaf.einsum.ranks, *cuts)):
            count = covered if rank in leaf.einsum.ranks else repeated
            total = total * count(self.sizes[rank], cuts.get(rank, ()), alone)
        return total

    def entering(self, held: Held, tensor: str, shared: Iterable[int] = (), fresh: tuple[str, ...] = ()) -> Any:
        """Elements new to a keep over all visits and instances, those at loops in space ``shared`` counted once."""
        key = (held.at, tensor, tuple(shared), fresh)
        if key not in self.volumes:
            self.volumes[key] = self._entering(held, self.mapped.dims(held, tensor, self.sizes), tensor, key[2], fresh)
        return self.volumes[key]

    def _entering(
        self, held: Held, dims: tuple[Dim, ...], tensor: str, shared: tuple[int, ...], fresh: tuple[str, ...]
    ) -> Any:
        cuts = self.mapped.cuts(held.loops, self.tiles)
        tile = _Tile(dims, self.mapped.cascade.shape(tensor, self.sizes))
        copies: Any = 1
        for rank, over in cuts.items():
            if rank not in tile.ranks:
                copies = copies * instances(self.sizes[rank], over, {c.at for c in over} - set(shared))
        total = self._visit(tile, cuts, None)[0]
        for loop in held.loops:
            if not loop.space:
                new, kept = self._visit(tile, cuts, loop)
                total = total + (new if loop.node.rank in fresh else new - kept)
        return copies * total

    def _visit(self, tile: _Tile, cuts: Mapping[str, tuple[Cut, ...]], moved: Loop | None) -> tuple[Any, Any]:
        """Volume of all tiles after one kind of step (or of the first visit), and of what was there before."""
        new: Any = 1
        kept: Any = 1
        lengths: dict[str, list[Change]] = {}
        for rank in dict.fromkeys((*cuts, *tile.ranks)):
            lengths[rank] = self._moves(rank, cuts.get(rank, ()), moved, lone=rank not in tile.ranks)
            if rank not in tile.ranks:
                visits = sum(c.weight for c in lengths[rank])
                new, kept = new * visits, kept * visits
        for group, axes in tile.groups:
            one, other = _volumes([lengths[r] for r in group], group, axes)
            new, kept = new * one, kept * other
        return new * tile.whole, kept * tile.whole

    def _moves(self, rank: str, cuts: tuple[Cut, ...], moved: Loop | None, lone: bool) -> list[Change]:
        """How pieces of a rank change at one kind of step."""
        key = (rank, tuple(c.at for c in cuts), moved.at if moved else None, lone)
        if key not in self.moves:
            size = self.sizes[rank]
            self.moves[key] = changes(size, cuts, moved.at, lone) if moved else starts(size, cuts, lone)
        return self.moves[key]


class _Tile:
    """A tile's dimensions in groups of ranks that move together, and the volume of the dimensions that never move."""

    def __init__(self, dims: tuple[Dim, ...], shape: tuple[Any, ...]) -> None:
        self.ranks = _ranks(dims)
        self.whole: Any = 1
        groups: list[tuple[set[str], list[tuple[tuple[tuple[Any, str], ...], int]]]] = []
        for dim, extent in zip(dims, shape, strict=True):
            if dim is None:
                self.whole = self.whole * extent
                continue
            ranks, axes = {r for _, r in dim[0]}, [dim]
            for other in [g for g in groups if g[0] & ranks]:
                groups.remove(other)
                ranks, axes = ranks | other[0], other[1] + axes
            groups.append((ranks, axes))
        self.groups = [(tuple(sorted(ranks)), axes) for ranks, axes in groups]


def _volumes(lists: list[list[Change]], group: tuple[str, ...], axes: Any) -> tuple[Any, Any]:
    """Summed volume of the new boxes of a group of ranks, and of their overlap with the old ones."""
    new: Any = 0
    kept: Any = 0
    for states in product(*lists):
        weight: Any = 1
        for state in states:
            weight = weight * state.weight
        by = dict(zip(group, states, strict=True))
        box, both = weight, weight
        for terms, slack in axes:
            length, overlap = _box(terms, slack, by)
            box, both = box * length, both * overlap
        new, kept = new + box, kept + both
    return new, kept


def _box(terms: tuple[tuple[Any, str], ...], slack: int, by: Mapping[str, Change]) -> tuple[Any, Any]:
    """Length of the new interval along one dimension, and of its overlap with the old one."""
    if len(terms) == 1 and not slack and terms[0][0] == 1:  # pieces of one rank are the same or apart
        change = by[terms[0][1]]
        same = isinstance(change.shift, int) and change.shift == 0
        return change.new, least(change.old, change.new) if same else 0
    old: Any = 1 + slack
    new: Any = 1 + slack
    start: Any = 0  # of the new interval relative to the old one
    there: Any = True
    before: Any = True
    for factor, rank in terms:
        change = by[rank]
        old = old + abs(factor) * (change.old - 1)
        new = new + abs(factor) * (change.new - 1)
        start = start + (factor * change.shift if factor > 0 else factor * (change.shift + change.new - change.old))
        there, before = there & (change.new > 0), before & (change.old > 0)
    new, old = np.where(there, new, 0), np.where(there & before, old, 0)
    overlap = np.minimum(old, start + new) - np.maximum(0, start)
    return new, np.where(old > 0, np.maximum(overlap, 0), 0)


def _ranks(dims: tuple[Dim, ...]) -> frozenset[str]:
    return frozenset(r for dim in dims if dim for _, r in dim[0])


def _inside(parent: Held, held: Held) -> tuple[Loop, ...]:
    """Loops between two keeps of a chain."""
    return held.loops[len(parent.loops) :]


def _between(parent: Held, held: Held) -> tuple[int, ...]:
    """Loops in space between two keeps."""
    return tuple(loop.at for loop in _inside(parent, held) if loop.space)


def _below(held: Held, leaf: Leaf) -> tuple[Loop, ...]:
    """Loops in space between a keep and a unit."""
    return tuple(loop for loop in leaf.loops[len(held.loops) :] if loop.space)


def _without(loops: Iterable[Loop], ranks: tuple[str, ...]) -> tuple[int, ...]:
    """Loops over ranks that a tensor does not have."""
    return tuple(loop.at for loop in loops if loop.node.rank not in ranks)
