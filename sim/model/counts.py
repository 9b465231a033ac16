"""Counts of a mapped cascade in closed form: every action of every level, exact for imperfect factors, vectorised.

What is counted, and what a nest means, is written in ``docs/mapping.md``; :mod:`sim.model.exact` counts the same by
running the nest. Tile sizes and extents may be arrays: one call then counts many mappings, or many problem sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

import numpy as np

from einsum import Cascade
from einsum.sparsity import density
from mappings.tree import Nest
from sim.model.actions import Action, Computes, Counts
from sim.model.nests import Group, Held, Leaf, Loop, Mapped, Terms, Tile
from sim.model.pieces import Change, least
from sim.model.sized import Path, Sized, named


def counts(
    cascade: Cascade,
    nest: Nest | Mapped,
    sizes: Mapping[str, Any] | None = None,
    tiles: Mapping[str, Any] | None = None,
) -> Counts:
    """All actions of one run; ``tiles`` replaces tile sizes by loop, as in ``{"m.0": array}`` for the first over m."""
    return counted(Sized.of(nest if isinstance(nest, Mapped) else Mapped(cascade, nest), sizes, tiles))


def counted(at: Sized) -> Counts:
    """All actions of one run at given sizes."""
    return Counter(at).count()


@dataclass
class Counter:
    """One counting: it holds what it has found, and the volumes that several counts share."""

    at: Sized
    found: list[Action] = field(default_factory=list)
    copies: list[Action] = field(default_factory=list)
    volumes: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @property
    def mapped(self) -> Mapped:
        """The nest that is counted."""
        return self.at.mapped

    @property
    def sizes(self) -> Mapping[str, Any]:
        """Extents of ranks."""
        return self.at.sizes

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
        fills, between = self.entering(held, tensor), _between(parent, held)
        self.add(held, tensor, "fills", fills, held)
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
        return dense * self.chance(leaf, einsum.reduced, self.at.run(leaf) / dense)

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
        total = self.entering(outer, tensor, fresh=self.fresh(outer, tensor), like=held)
        inside = [loop for loop in held.loops if loop.at > outer.at]
        cuts = self.at.cuts(loops)
        have = self.at.tile(held, tensor).ranks
        again = {r for r in cuts if r not in have and r not in self.made(outer, tensor)} if worked else ()
        for rank in dict.fromkeys(loop.node.rank for loop in inside if loop.space and loop.node.rank not in have):
            if rank not in again:
                copies = [loop.at for loop in inside if loop.node.rank == rank]
                total = total * self.at.instances(rank, cuts[rank], copies)
        for rank in dict.fromkeys(loop.node.rank for loop in loops if loop.node.rank not in made):
            if rank in again:
                total = total * self.at.repeated(rank, cuts[rank]) // self.visits(rank, cuts[rank], outer)
            else:
                total = total * self.repeats(rank, cuts[rank], outer)
        return total

    def visits(self, rank: str, path: Path, outer: Held) -> Any:
        """How often loops over a rank give a keep to an instance, with a piece of the rank or without."""
        above = tuple(cut for cut in path if cut.at < outer.at)
        return self.at.instances(rank, above, [cut.at for cut in above]) * self.at.visits(rank, above)

    def repeats(self, rank: str, path: Path, outer: Held) -> Any:
        """How often loops in time over a rank repeat what is under a keep, once it is there."""
        timed = tuple(cut for cut in path if not cut.space)
        above = tuple(cut for cut in timed if cut.at < outer.at)
        return self.at.repeated(rank, timed) // self.at.repeated(rank, above)

    def points(self, leaf: Leaf, lone: Iterable[int] = ()) -> Any:
        """Points of an Einsum over all visits and instances; of the loops in space at ``lone``, instance 0 alone."""
        alone = frozenset(lone)
        dense = self.at.run(leaf, alone)
        patterns = self.mapped.cascade.patterns[leaf.einsum.name]
        if not patterns:
            return dense
        ranks = {loop.node.rank for loop in leaf.loops if loop.at in alone}
        return dense * self.chance(leaf, ranks, self.at.run(leaf) / dense if ranks else 1)

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
    ) -> Any:
        """Elements new to a keep over all visits and instances, those at loops in space ``shared`` counted once.

        With ``like``, only those that enter this other keep further inwards, too.
        """
        shape, copies = like or held, tuple(shared)
        key = (held.at, shape.at, tensor, copies, fresh)
        if key not in self.volumes:
            places = self._copies(held, shape, tensor, copies) * self._new(held, shape, tensor, fresh)
            patterns = self.mapped.cascade.tensor(tensor).patterns
            self.volumes[key] = places * density(patterns, self.sizes) if patterns else places
        return self.volumes[key]

    def _copies(self, held: Held, shape: Held, tensor: str, shared: tuple[int, ...]) -> Any:
        """Instances that hold the same, those at ``shared`` counted once, times dimensions that are there whole."""
        tile, copies = self.at.tile(shape, tensor), 1
        if None in tile.dims:
            extents = self.mapped.cascade.shape(tensor, self.sizes)
            copies = prod(extent for dim, extent in zip(tile.dims, extents, strict=True) if dim is None)
        for rank, path in self.at.cuts(held.loops).items():
            if rank not in tile.ranks:
                copies = copies * self.at.instances(rank, path, [c.at for c in path if c.at not in shared])
        return copies

    def _new(self, held: Held, shape: Held, tensor: str, fresh: tuple[str, ...]) -> Any:
        """All tiles of all visits, less what each visit finds there already; copies are not told apart."""
        key = (held.at, shape.at, tensor, fresh)
        if key not in self.volumes:
            tile, cuts = self.at.tile(shape, tensor), self.at.cuts(held.loops)
            total = self._volume(tile, cuts)
            for loop in held.loops:
                if not (loop.space or loop.node.rank in fresh or loop.node.rank in tile.plain):
                    total = total - self._kept(tile, cuts, loop)
            self.volumes[key] = total
        return self.volumes[key]

    def _volume(self, tile: Tile, cuts: Mapping[str, Path]) -> Any:
        """Volume of the tiles of all visits and instances together."""
        total: Any = 1
        for rank, path in cuts.items():
            if rank not in tile.ranks:
                total = total * self.at.visits(rank, path)
        for rank in tile.plain:
            total = total * self.at.covered(rank, cuts.get(rank, ()))
        for group in tile.skew:
            total = total * self._lengths(group, cuts)
        return total

    def _kept(self, tile: Tile, cuts: Mapping[str, Path], moved: Loop) -> Any:
        """Volume found already there, over all visits at which one loop takes a step."""
        kept: Any = 1
        for rank in tile.plain:
            kept = kept * self.at.stands(rank, cuts.get(rank, ()), moved)
        for group in tile.skew:
            kept = kept * self._overlaps(group, cuts, moved)
        if isinstance(kept, int) and kept == 0:
            return 0
        for rank, path in cuts.items():
            if rank not in tile.ranks:
                kept = kept * self.at.moves(rank, path, moved)
        return kept

    def _lengths(self, group: Group, cuts: Mapping[str, Path]) -> Any:
        """Volume of all tiles along ranks that move together."""
        paths = {rank: cuts.get(rank, ()) for rank in group.ranks}
        key = ("lengths", group, *(named(r, path) for r, path in paths.items()))
        pieces = ([Change(w, 0, n) for w, n in self.at.states(r, path)] for r, path in paths.items())
        return self.at.shared(key, lambda: _volumes(list(pieces), group, _length))

    def _overlaps(self, group: Group, cuts: Mapping[str, Path], moved: Loop) -> Any:
        """Volume found already there, along ranks that move together, where one loop takes a step."""
        paths = {rank: cuts.get(rank, ()) for rank in group.ranks}
        above = (sum(cut.at < moved.at for cut in path) for path in paths.values())
        steps = moved.node.rank if moved.node.rank in paths else ""
        key = ("overlaps", group, *(named(r, path) for r, path in paths.items()), *above, steps)
        changes = (self.at.changes(r, path, moved) for r, path in paths.items())
        return self.at.shared(key, lambda: _volumes(list(changes), group, _overlap))


Measure = Callable[[Terms, int, Mapping[str, Change]], Any]


def _volumes(lists: list[list[Change]], group: Group, measure: Measure) -> Any:
    """Summed measure of the boxes of a group of ranks over all its changes."""
    total: Any = 0
    for found in product(*lists):
        by = dict(zip(group.ranks, found, strict=True))
        box: Any = 1
        for terms, slack in group.axes:
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
