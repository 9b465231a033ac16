"""A nest at some sizes and tile sizes: how its loops cut each rank up, every figure worked out once.

What is asked of a rank is asked of the loops over it above some place, a ``Path``. Legality, counts and seconds ask for
the same figures again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from math import prod
from typing import Any, TypeVar

import numpy as np

from sim.model.nests import Held, Leaf, Loop, Mapped, Tile
from sim.model.pieces import Change, Cut, States, changes, cut_up, divided, least, most, standing, total

T = TypeVar("T")
Path = tuple[Cut, ...]  # loops over one rank, outermost first: all of those above some place in the nest


@dataclass(frozen=True, eq=False)
class Sized:
    """A mapped nest at extents of ranks and at tile sizes by loop (``m.0``), numbers or arrays.

    ``only`` picks instances of loops in space by place: what enters, covers or runs is then asked of these alone.
    ``ranks`` holds what loops over a rank alone decide. Many nests at the same sizes may share it: ``names`` then says
    which of their tile sizes are the same.
    """

    mapped: Mapped
    sizes: Mapping[str, Any]
    tiles: Mapping[str, Any]
    only: Mapping[int, Any] = field(default_factory=dict)
    names: Mapping[str, Hashable] = field(default_factory=dict)
    ranks: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _known: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, mapped: Mapped, sizes: Mapping[str, Any] | None = None, tiles: Mapping[str, Any] | None = None
    ) -> Sized:
        """At the cascade's own sizes and the nest's own tile sizes, but for those that are given."""
        given = mapped.cascade.bind() if sizes is None else sizes
        return cls(mapped, _numbers(given), _numbers(tiles or {}))

    def _once(self, key: tuple[Any, ...], find: Callable[[], T]) -> T:
        """What has been found of this nest under a key, found now if it has not been."""
        return _found(self._known, key, find)

    def shared(self, key: tuple[Any, ...], find: Callable[[], T]) -> T:
        """What has been found, for any nest, under a key of names of paths."""
        return _found(self.ranks, key, find)

    def cuts(self, loops: tuple[Loop, ...]) -> Mapping[str, Path]:
        """The loops over each rank; ``loops`` are all those above some place, so that the last stands for all."""
        return self._once(("cuts", loops[-1].at if loops else 0), lambda: self._cuts(loops))

    def _cuts(self, loops: tuple[Loop, ...]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for loop in loops:
            rank, width = loop.node.rank, self.width(loop)
            path = found.get(rank, ())
            called = self.names.get(loop.key, width if isinstance(width, int) else loop.key)
            key = ("path", named(rank, path), called, loop.space, loop.at if loop.at in self.only else 0)
            name = self.ranks.setdefault(key, len(self.ranks))
            found[rank] = (*path, Cut(width, loop.space, loop.at, self.only.get(loop.at), name))
        return found

    def width(self, loop: Loop) -> Any:
        """The tile size of a loop."""
        return self.tiles.get(loop.key, loop.node.tile)

    def tile(self, held: Held, tensor: str) -> Tile:
        """How a tile of a tensor moves with ranks."""
        return self._once(("tile", held.at, tensor), lambda: self.mapped.tile(held, tensor, self.sizes))

    def divides(self, loop: Loop) -> bool:
        """Whether a loop makes more than one piece, at any design point."""
        longer = self._longest[loop.at] > self.width(loop)
        return longer if isinstance(longer, bool) else bool(np.any(longer))

    def trips(self, loop: Loop) -> Any:
        """Pieces that a loop makes of the longest piece that it is given."""
        whole, rest = divided(self._longest[loop.at], self.width(loop))
        return whole + (rest > 0)

    @cached_property
    def _longest(self) -> dict[int, Any]:
        """The longest piece of its rank that each loop is given, by its place in the nest."""
        found: dict[int, Any] = {}
        for leaf in self.mapped.leaves:
            left = dict(self.sizes)
            for loop in leaf.loops:
                found[loop.at] = left[loop.node.rank]
                left[loop.node.rank] = least(left[loop.node.rank], self.width(loop))
        return found

    def pieces(self, loops: tuple[Loop, ...]) -> Mapping[str, Any]:
        """The longest piece of each rank under some loops, all of those above some place."""
        return self._once(("pieces", loops[-1].at if loops else 0), lambda: self._pieces(loops))

    def _pieces(self, loops: tuple[Loop, ...]) -> dict[str, Any]:
        cuts = self.cuts(loops)
        return {rank: self._piece(rank, cuts.get(rank, ())) for rank in self.sizes}

    def _piece(self, rank: str, path: Path) -> Any:
        key = ("piece", named(rank, path))
        return self.shared(key, lambda: reduce(least, [cut.tile for cut in path], self.sizes[rank]))

    def states(self, rank: str, path: Path, lone: Collection[int] = ()) -> States:
        """Innermost pieces as (how many, how long); of the loops in space at ``lone``, those of instance 0 only."""
        if not path:
            return [(1, self.sizes[rank])]
        alone = tuple(i for i, cut in enumerate(path) if cut.space and cut.at in lone) if lone else ()
        key = ("states", path[-1].name, alone)
        return self.shared(key, lambda: cut_up(self.states(rank, path[:-1], lone), path[-1], len(path) - 1 in alone))

    def repeated(self, rank: str, path: Path, lone: Collection[int] = ()) -> Any:
        """Number of innermost pieces: how often something without the rank is run under loops over it."""
        return total(w for w, _ in self.states(rank, path, lone))

    def covered(self, rank: str, path: Path, lone: Collection[int] = ()) -> Any:
        """Elements of a rank run in all visits and instances; of the loops in space at ``lone``, by instance 0 only."""
        if not any(cut.space and (cut.at in lone or cut.only is not None) for cut in path):
            return self.sizes[rank]  # the pieces of a rank make up the rank
        return total(w * n for w, n in self.states(rank, path, lone))

    def run(self, leaf: Leaf, lone: frozenset[int] = frozenset()) -> Any:
        """Points of an Einsum over all visits and instances, present or not; at ``lone``, of instance 0 only."""
        return self._once(("run", leaf.at, lone), lambda: self._run(leaf, lone))

    def _run(self, leaf: Leaf, lone: frozenset[int]) -> Any:
        cuts, ranks = self.cuts(leaf.loops), leaf.einsum.ranks
        points = prod(self.covered(rank, cuts.get(rank, ()), lone) for rank in ranks)
        return points * prod(self.repeated(rank, path, lone) for rank, path in cuts.items() if rank not in ranks)

    def rounds(self, loops: tuple[Loop, ...]) -> Any:
        """How often the innermost of some loops, all of those above it, brings a new piece, at all instances."""
        key = ("rounds", loops[-1].at if loops else 0)
        return self._once(key, lambda: prod(self.repeated(rank, path) for rank, path in self.cuts(loops).items()))

    def visits(self, rank: str, path: Path) -> Any:
        """How often the loops over a rank bring a new piece, at instance 0 of those in space."""
        if not path:
            return 1
        return self.shared(("visits", path[-1].name), lambda: self.repeated(rank, path, [cut.at for cut in path]))

    def instances(self, rank: str, path: Path, among: Collection[int]) -> Any:
        """Instances of the loops in space at ``among`` that have a piece when all loops start (or they never have)."""
        apart = tuple(i for i, cut in enumerate(path) if cut.space and cut.at in among)
        key = ("instances", named(rank, path), apart)
        return self.shared(key, lambda: self._instances(rank, path, apart)) if apart else 1

    def _instances(self, rank: str, path: Path, apart: tuple[int, ...]) -> Any:
        states: States = [(1, self.sizes[rank])]
        for place, cut in enumerate(path):
            states = cut_up(states, cut, place not in apart)
        return total(w for w, _ in states)

    def moves(self, rank: str, path: Path, moved: Loop) -> Any:
        """Visits that the loops over a rank make, at instance 0, in which ``moved`` takes a step (for other ranks: in
        each of which it takes one)."""
        above = tuple(cut for cut in path if cut.at < moved.at)
        if moved.node.rank != rank:
            return self.visits(rank, above)
        upto = path[: len(above) + 1]
        key = ("moves", named(rank, upto))
        return self.shared(key, lambda: most(self.visits(rank, upto) - self.visits(rank, above), 0))

    def stands(self, rank: str, path: Path, moved: Loop) -> Any:
        """Elements of a rank that stand where they are while a loop over another takes a step, over all visits."""
        above = tuple(cut for cut in path if cut.at < moved.at)
        key = ("stands", named(rank, path), len(above))
        return self.shared(key, lambda: standing(self.states(rank, above), path[len(above) :]))

    def changes(self, rank: str, path: Path, moved: Loop) -> list[Change]:
        """How pieces of a rank change when a loop takes a step."""
        above = tuple(cut for cut in path if cut.at < moved.at)
        moving = next((cut for cut in path if cut.at == moved.at), None)
        inside = [cut for cut in path if cut.at > moved.at]
        key = ("changes", named(rank, path), len(above), moving is None)
        return self.shared(key, lambda: changes(self.states(rank, above), moving, inside))


def named(rank: str, path: Path) -> Hashable:
    """What the loops over a rank are known by, or the rank where there is none."""
    return path[-1].name if path else rank


def _found(known: dict[tuple[Any, ...], Any], key: tuple[Any, ...], find: Callable[[], T]) -> T:
    if key not in known:
        known[key] = find()
    found: T = known[key]
    return found


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain numbers as exact integers, arrays as floats (exact up to 2**53, and quicker to divide)."""
    return {
        name: value if isinstance(value, int) else int(value) if np.ndim(value) == 0 else np.asarray(value, float)
        for name, value in values.items()
    }
