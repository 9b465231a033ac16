"""Counts of a mapped cascade in closed form: every action of every level, exact for imperfect factors, vectorised.

What is counted, and what a nest means, is written in ``docs/mapping.md``; :mod:`sim.model.exact` counts the same by
running the nest. Tile sizes and extents may be arrays: one call then counts many mappings, or many problem sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from einsum import Cascade
from einsum.sparsity import density
from mappings.tree import Nest
from sim.model.actions import Action, Computes, Counts
from sim.model.nests import Dim, Held, Leaf, Loop, Mapped
from sim.model.pieces import Change, Cut, changes, covered, instances, least, repeated, states

Terms = tuple[tuple[int, str], ...]  # an interval's start moves by so much with each rank


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
    copies: list[Action] = field(default_factory=list)
    volumes: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    moves: dict[tuple[Any, ...], list[Change]] = field(default_factory=dict)
    visits: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def count(self) -> Counts:
        """Fills once for each keep, then what each Einsum reads and writes."""
        for (at, tensor), leaves in self.mapped.holders.items():
            chain = leaves[0].chain(tensor)
            place = next(i for i, k in enumerate(chain) if k.at == at)
            if place and not any(leaf.einsum.output.tensor == tensor for leaf in leaves):
                self.fill(chain[place - 1], chain[place], tensor)
        computes = tuple(self.leaf(leaf) for leaf in self.mapped.leaves)
        return Counts(tuple(self.found), computes, tuple(self.copies))

    def add(self, held: Held, tensor: str, kind: str, amount: Any, behalf: Held | Leaf) -> None:
        """One count at a keep's level, made for a keep inside it or for an Einsum."""
        self.found.append(Action(held.node.level, tensor, kind, amount, behalf.at))

    def fill(self, parent: Held, held: Held, tensor: str) -> None:
        """What enters a keep that is only read from."""
        fills = self.entering(held, tensor)
        self.add(held, tensor, "fills", fills, held)
        between = _between(parent, held)
        self.sent(parent, tensor, fills, self.entering(held, tensor, shared=between) if between else fills, held)

    def sent(self, parent: Held, tensor: str, taken: Any, reads: Any, behalf: Held | Leaf) -> None:
        """Reads of a level for what is taken inside it; what is taken without a read is a copy made on the way."""
        self.add(parent, tensor, "reads", reads, behalf)
        if taken is not reads:
            self.copies.append(Action(parent.node.level, tensor, "multicasts", taken - reads, behalf.at))

    def leaf(self, leaf: Leaf) -> Computes:
        """What one Einsum reads from and writes to the innermost keeps, and how sums travel outwards."""
        points = self.points(leaf)
        for access in leaf.einsum.reads:
            chain = leaf.chain(access.tensor)
            below = _below(chain[-1], leaf)
            lone = _without(below, access.ranks)
            self.sent(chain[-1], access.tensor, points, self.points(leaf, lone=lone) if lone else points, leaf)
        return Computes(leaf.einsum.name, leaf.unit, points, self.written(leaf, points))

    def written(self, leaf: Leaf, points: Any) -> Any:
        """Updates, drains and re-reads of an Einsum's output along its chain; returns additions between instances."""
        tensor, einsum = leaf.einsum.output.tensor, leaf.einsum
        chain = leaf.chain(tensor)
        inner = chain[-1]
        summed = tuple(loop.at for loop in _below(inner, leaf) if loop.node.rank in einsum.reduced)
        updates = self.points(leaf, lone=summed)
        reductions = points - updates
        self.add(inner, tensor, "updates", updates, leaf)
        if einsum.reduced:
            self.add(inner, tensor, "reads", updates - self.begun(leaf, chain[0], inner), leaf)
        for parent, held in zip(chain[-2::-1], chain[:0:-1], strict=True):
            if self.writers(held, tensor)[0] is leaf:  # what several write is drained once
                reductions = reductions + self.drained(chain[0], parent, held, tensor)
        return reductions

    def begun(self, leaf: Leaf, outer: Held, inner: Held) -> Any:
        """Sums that an Einsum begins: an update of these reads nothing."""
        einsum, tensor = leaf.einsum, leaf.einsum.output.tensor
        first = self.first(outer, inner, tensor, leaf.loops, einsum.ranks, worked=True)
        patterns = self.mapped.cascade.tensor(tensor).patterns
        spread = any(loop.space and loop.node.rank in einsum.reduced for loop in _inside(outer, inner))
        if not (patterns and spread):
            return first
        dense = first / density(patterns, self.sizes)  # each instance begins those that its own share of points reaches
        return dense * self.chance(leaf, einsum.reduced, self._dense(leaf, frozenset()) / dense)

    def writers(self, held: Held, tensor: str) -> tuple[Leaf, ...]:
        """Runs below a keep that write a tensor."""
        return tuple(leaf for leaf in self.mapped.holders[held.at, tensor] if leaf.einsum.output.tensor == tensor)

    def made(self, held: Held, tensor: str) -> frozenset[str]:
        """Ranks of what writes a tensor below a keep: loops over others make it again."""
        return frozenset(r for leaf in self.writers(held, tensor) for r in leaf.einsum.ranks)

    def fresh(self, held: Held, tensor: str) -> tuple[str, ...]:
        """Ranks of loops above a keep that make a tensor again."""
        made = self.made(held, tensor)
        return tuple(loop.node.rank for loop in held.loops if loop.node.rank not in made)

    def drained(self, outer: Held, parent: Held, held: Held, tensor: str) -> Any:
        """What leaves a keep for its parent, and what of it is read back; returns additions between instances."""
        reduced = {r for leaf in self.writers(held, tensor) for r in leaf.einsum.reduced}
        summed = tuple(p.at for p in _inside(parent, held) if p.space and p.node.rank in reduced)
        fresh, made = self.fresh(held, tensor), self.made(held, tensor)
        drains = self.entering(held, tensor, fresh=fresh)
        updates = self.entering(held, tensor, fresh=fresh, shared=summed)
        self.add(held, tensor, "drains", drains, held)
        self.add(parent, tensor, "updates", updates, held)
        if summed:
            self.add(parent, tensor, "reads", updates - self.first(outer, parent, tensor, held.loops, made), held)
        else:
            again = drains - self.first(outer, held, tensor, held.loops, made)
            self.add(held, tensor, "fills", again, held)
            self.add(parent, tensor, "reads", again, held)
        return drains - updates

    def first(
        self, outer: Held, held: Held, tensor: str, loops: tuple[Loop, ...], made: Collection[str], worked: bool = False
    ) -> Any:
        """First touches by what is under ``loops``: what enters the outermost keep, for each copy and repetition.

        If ``worked``, only where an instance has work: without a piece for a repetition, an Einsum touches nothing.
        """
        if self.mapped.cascade.tensor(tensor).kind == "state":
            return 0
        cuts = self.mapped.cuts(loops, self.tiles)
        have = _ranks(self.mapped.dims(held, tensor, self.sizes))
        again = self.made(outer, tensor) | have
        alone = tuple(r for r in cuts if worked and r not in again)
        total = self.entering(outer, tensor, fresh=self.fresh(outer, tensor), like=held, alone=alone)
        inside = [loop for loop in held.loops if loop.at > outer.at]
        for rank in dict.fromkeys(loop.node.rank for loop in inside if loop.space and loop.node.rank not in have):
            if rank not in alone:
                copies = [loop.at for loop in inside if loop.node.rank == rank]
                total = total * instances(self.sizes[rank], cuts[rank], copies)
        for rank in dict.fromkeys(loop.node.rank for loop in loops if loop.node.rank not in made):
            timed = tuple(c for c in cuts[rank] if rank in alone or not c.space)
            above = tuple(c for c in timed if c.at < outer.at)
            total = total * repeated(self.sizes[rank], timed) // repeated(self.sizes[rank], above)
        return total

    def points(self, leaf: Leaf, lone: Iterable[int] = ()) -> Any:
        """Points of an Einsum over all visits and instances; of the loops in space at ``lone``, instance 0 alone."""
        alone = frozenset(lone)
        dense = self._dense(leaf, alone)
        patterns = self.mapped.cascade.patterns[leaf.einsum.name]
        if not patterns:
            return dense
        ranks = {loop.node.rank for loop in leaf.loops if loop.at in alone}
        return dense * self.chance(leaf, ranks, self._dense(leaf, frozenset()) / dense if ranks else 1)

    def _dense(self, leaf: Leaf, alone: frozenset[int]) -> Any:
        """Points, present or not."""
        cuts = self.mapped.cuts(leaf.loops, self.tiles)
        total: Any = 1
        for rank in dict.fromkeys((*leaf.einsum.ranks, *cuts)):
            count = covered if rank in leaf.einsum.ranks else repeated
            total = total * count(self.sizes[rank], cuts.get(rank, ()), alone)
        return total

    def chance(self, leaf: Leaf, ranks: Collection[str], places: Any) -> Any:
        """Chance that any of so many points of an Einsum is present, if they differ along these ranks.

        What has none of these ranks is there for all of the points, or for none.
        """
        patterns = self.mapped.cascade.patterns[leaf.einsum.name]
        differ = [pattern for pattern in patterns if set(pattern.ranks) & set(ranks)]
        if not differ:
            return density(patterns, self.sizes)
        common = density([pattern for pattern in patterns if pattern not in differ], self.sizes)
        return common * (1 - (1 - density(differ, self.sizes)) ** places)

    def entering(
        self,
        held: Held,
        tensor: str,
        shared: Iterable[int] = (),
        fresh: tuple[str, ...] = (),
        like: Held | None = None,
        alone: tuple[str, ...] = (),
    ) -> Any:
        """Elements new to a keep over all visits and instances, those at loops in space ``shared`` counted once.

        With ``like``, only those that enter this other keep further inwards, too; of ranks ``alone``, only where an
        instance has a piece.
        """
        shape = like or held
        key = (held.at, shape.at, tensor, tuple(shared), fresh, alone)
        if key not in self.volumes:
            dims = self.mapped.dims(shape, tensor, self.sizes)
            places = self._entering(held, dims, tensor, key[3], fresh, alone)
            patterns = self.mapped.cascade.tensor(tensor).patterns
            self.volumes[key] = places * density(patterns, self.sizes) if patterns else places
        return self.volumes[key]

    def _entering(
        self, held: Held, dims: tuple[Dim, ...], tensor: str, shared: tuple[int, ...], fresh: tuple[str, ...],
        alone: tuple[str, ...],
    ) -> Any:  # fmt: skip
        """All tiles of all visits, less what each visit finds there already."""
        cuts = self.mapped.cuts(held.loops, self.tiles)
        tile = _Tile(dims, self.mapped.cascade.shape(tensor, self.sizes))
        copies: Any = tile.whole
        for rank, over in cuts.items():
            if rank not in tile.ranks and rank not in alone:
                copies = copies * instances(self.sizes[rank], over, {c.at for c in over} - set(shared))
        total = self._volume(tile, cuts, alone)
        for loop in held.loops:
            if not loop.space and loop.node.rank not in fresh and tile.slides(loop.node.rank):
                total = total - self._kept(tile, cuts, loop, alone)
        return copies * total

    def _volume(self, tile: _Tile, cuts: Mapping[str, tuple[Cut, ...]], alone: tuple[str, ...]) -> Any:
        """Volume of the tiles of all visits and instances together."""
        total: Any = 1
        for rank, over in cuts.items():
            if rank not in tile.ranks:
                total = total * (repeated(self.sizes[rank], over) if rank in alone else self._repeated(rank, over))
        for group, axes in tile.groups:
            if tile.plain(group):
                total = total * self.sizes[group[0]]
                continue
            pieces = [[Change(w, 0, n) for w, n in states(self.sizes[r], cuts.get(r, ()))] for r in group]
            total = total * _volumes(pieces, group, axes, _length)
        return total

    def _repeated(self, rank: str, over: tuple[Cut, ...]) -> Any:
        """Visits that loops over a rank make, at instance 0 of those in space."""
        key = (rank, tuple(c.at for c in over))
        if key not in self.visits:
            self.visits[key] = repeated(self.sizes[rank], over, {c.at for c in over})
        return self.visits[key]

    def _kept(self, tile: _Tile, cuts: Mapping[str, tuple[Cut, ...]], moved: Loop, alone: tuple[str, ...]) -> Any:
        """Volume found already there, over all visits at which one loop takes a step."""
        kept: Any = 1
        for group, axes in tile.groups:
            kept = kept * _volumes([self._moves(r, cuts, moved, False) for r in group], group, axes, _overlap)
            if isinstance(kept, int) and kept == 0:
                return 0
        for rank in cuts:
            if rank not in tile.ranks:
                kept = kept * sum((c.weight for c in self._moves(rank, cuts, moved, rank not in alone)), start=0)
        return kept

    def _moves(self, rank: str, cuts: Mapping[str, tuple[Cut, ...]], moved: Loop, lone: bool) -> list[Change]:
        """How pieces of a rank change when one loop takes a step."""
        over = cuts.get(rank, ())
        key = (rank, tuple(c.at for c in over), moved.at, lone)
        if key not in self.moves:
            self.moves[key] = changes(self.sizes[rank], over, moved.at, lone)
        return self.moves[key]


class _Tile:
    """A tile's dimensions in groups of ranks that move together, and the volume of the dimensions that never move."""

    def __init__(self, dims: tuple[Dim, ...], shape: tuple[Any, ...]) -> None:
        self.ranks = _ranks(dims)
        self.whole: Any = 1
        groups: list[tuple[set[str], list[tuple[Terms, int]]]] = []
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

    def plain(self, group: tuple[str, ...]) -> bool:
        """Whether a group is one rank that indexes one dimension as it is: its pieces are the same or apart."""
        axes = next(axes for ranks, axes in self.groups if ranks == group)
        return len(group) == len(axes) == 1 and axes[0] == (((1, group[0]),), 0)

    def slides(self, rank: str) -> bool:
        """Whether anything can be kept when a loop over the rank takes a step: not along a plain dimension."""
        return not any(rank in ranks and self.plain(ranks) for ranks, _ in self.groups)


Measure = Callable[[Terms, int, Mapping[str, Change]], Any]


def _volumes(lists: list[list[Change]], group: tuple[str, ...], axes: list[tuple[Terms, int]], measure: Measure) -> Any:
    """Summed measure of the boxes of a group of ranks over all its changes."""
    total: Any = 0
    for found in product(*lists):
        by = dict(zip(group, found, strict=True))
        box: Any = 1
        for terms, slack in axes:
            box = box * measure(terms, slack, by)
        for change in found:
            box = box * change.weight
        total = total + box
    return total


def _length(terms: Terms, slack: int, by: Mapping[str, Change]) -> Any:
    """Length of the new interval along one dimension; nothing where a rank has no piece."""
    length: Any = 1 + slack
    there: Any = True
    for factor, rank in terms:
        length = length + abs(factor) * (by[rank].new - 1)
        there = there & (by[rank].new > 0)
    return length * there


def _overlap(terms: Terms, slack: int, by: Mapping[str, Change]) -> Any:
    """Length of what the new interval shares with the old one."""
    if len(terms) == 1 and not slack and terms[0][0] == 1:  # pieces of one rank are the same or apart
        change = by[terms[0][1]]
        still = isinstance(change.shift, int) and change.shift == 0
        return least(change.old, change.new) * (change.barred == 0) if still else 0
    old: Any = 1 + slack
    start: Any = 0  # of the new interval relative to the old one
    before: Any = True
    for factor, rank in terms:
        change = by[rank]
        old = old + abs(factor) * (change.old - 1)
        start = start + (factor * change.shift if factor > 0 else factor * (change.shift + change.new - change.old))
        before = before & (change.old > 0) & (change.barred == 0)
    new = _length(terms, slack, by)
    return np.maximum(np.minimum(old, start + new) - np.maximum(0, start), 0) * before * (new > 0)


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
