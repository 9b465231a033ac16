"""A nest at some sizes and tile sizes: how its loops cut each rank up, every figure worked out once.

What is asked of a rank is asked of the loops over it above some place, a ``Path``. Legality, counts and seconds ask for
the same figures again and again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from math import prod
from typing import Any

import numpy as np

from sim.model.nests import Held, Leaf, Loop, Mapped, Tile
from sim.model.pieces import Change, Cut, States, changes, cut_up, divided, least, most, standing, total

Path = tuple[Cut, ...]  # loops over one rank, outermost first: all of those above some place in the nest


@dataclass(frozen=True, eq=False)
class Sized:
    """A mapped nest at extents of ranks and at tile sizes by loop (``m.0``), numbers or arrays."""

    mapped: Mapped
    sizes: Mapping[str, Any]
    tiles: Mapping[str, Any]
    _known: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    _cuts: dict[int, dict[str, Path]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, mapped: Mapped, sizes: Mapping[str, Any] | None = None, tiles: Mapping[str, Any] | None = None
    ) -> Sized:
        """At the cascade's own sizes and the nest's own tile sizes, but for those that are given."""
        given = mapped.cascade.bind() if sizes is None else sizes
        return cls(mapped, _numbers(given), _numbers(tiles or {}))

    def cuts(self, loops: tuple[Loop, ...]) -> dict[str, Path]:
        """The loops over each rank; ``loops`` are all those above some place, so that the last stands for all."""
        at = loops[-1].at if loops else 0
        if at not in self._cuts:
            found: dict[str, Path] = {}
            for loop in loops:
                cut = Cut(self.width(loop), loop.space, loop.at)
                found[loop.node.rank] = (*found.get(loop.node.rank, ()), cut)
            self._cuts[at] = found
        return self._cuts[at]

    def width(self, loop: Loop) -> Any:
        """The tile size of a loop."""
        return self.tiles.get(loop.key, loop.node.tile)

    def tile(self, held: Held, tensor: str) -> Tile:
        """How a tile of a tensor moves with ranks."""
        key = ("tile", held.at, tensor)
        if key not in self._known:
            self._known[key] = self.mapped.tile(held, tensor, self.sizes)
        found: Tile = self._known[key]
        return found

    def divides(self, loop: Loop) -> bool:
        """Whether a loop makes more than one piece, at any design point."""
        longer = self._longest[loop.at] > self.width(loop)
        return longer if isinstance(longer, bool) else bool(np.any(longer))

    def trips(self, loop: Loop) -> Any:
        """Pieces that a loop makes of the longest piece that it is given."""
        key = ("trips", loop.at)
        if key not in self._known:
            whole, rest = divided(self._longest[loop.at], self.width(loop))
            self._known[key] = whole + (rest > 0)
        return self._known[key]

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
        key = ("pieces", loops[-1].at if loops else 0)
        if key not in self._known:
            cut = {r: reduce(least, [c.tile for c in path], self.sizes[r]) for r, path in self.cuts(loops).items()}
            self._known[key] = {**self.sizes, **cut}
        found: Mapping[str, Any] = self._known[key]
        return found

    def states(self, rank: str, path: Path, lone: Collection[int] = ()) -> States:
        """Innermost pieces as (how many, how long); of the loops in space at ``lone``, those of instance 0 only."""
        if not path:
            return [(1, self.sizes[rank])]
        alone = tuple(cut.at for cut in path if cut.space and cut.at in lone) if lone else ()
        key = ("states", rank, tuple(cut.at for cut in path), alone)
        if key not in self._known:
            above = self.states(rank, path[:-1], alone)
            self._known[key] = cut_up(above, path[-1], path[-1].at in alone)
        found: States = self._known[key]
        return found

    def repeated(self, rank: str, path: Path, lone: Collection[int] = ()) -> Any:
        """Number of innermost pieces: how often something without the rank is run under loops over it."""
        return total(w for w, _ in self.states(rank, path, lone))

    def covered(self, rank: str, path: Path, lone: Collection[int] = ()) -> Any:
        """Elements of a rank run in all visits and instances; of the loops in space at ``lone``, by instance 0 only."""
        if not any(cut.space and cut.at in lone for cut in path):
            return self.sizes[rank]  # the pieces of a rank make up the rank
        return total(w * n for w, n in self.states(rank, path, lone))

    def run(self, leaf: Leaf, lone: frozenset[int] = frozenset()) -> Any:
        """Points of an Einsum over all visits and instances, present or not; at ``lone``, of instance 0 only."""
        key = ("run", leaf.at, lone)
        if key not in self._known:
            cuts = self.cuts(leaf.loops)
            total: Any = 1
            for rank in leaf.einsum.ranks:
                total = total * (self.covered(rank, cuts[rank], lone) if rank in cuts else self.sizes[rank])
            for rank in cuts:
                if rank not in leaf.einsum.ranks:
                    total = total * self.repeated(rank, cuts[rank], lone)
            self._known[key] = total
        return self._known[key]

    def rounds(self, loops: tuple[Loop, ...]) -> Any:
        """How often the innermost of some loops, all of those above it, brings a new piece, at all instances."""
        key = ("rounds", loops[-1].at if loops else 0)
        if key not in self._known:
            self._known[key] = prod(self.repeated(rank, path) for rank, path in self.cuts(loops).items())
        return self._known[key]

    def visits(self, rank: str, path: Path) -> Any:
        """How often the loops over a rank bring a new piece, at instance 0 of those in space."""
        if not path:
            return 1
        key = ("visits", rank, path[-1].at)
        if key not in self._known:
            self._known[key] = self.repeated(rank, path, [cut.at for cut in path])
        return self._known[key]

    def instances(self, rank: str, path: Path, among: Collection[int]) -> Any:
        """Instances of the loops in space at ``among`` that have a piece when all loops start (or they never have)."""
        apart = tuple(cut.at for cut in path if cut.space and cut.at in among)
        if not apart:
            return 1
        key = ("instances", rank, apart)
        if key not in self._known:
            states: States = [(1, self.sizes[rank])]
            for cut in path:
                states = cut_up(states, cut, cut.at not in apart)
            self._known[key] = total(w for w, _ in states)
        return self._known[key]

    def moves(self, rank: str, path: Path, moved: Loop) -> Any:
        """Visits that the loops over a rank make, at instance 0, in which ``moved`` takes a step (for other ranks: in
        each of which it takes one)."""
        above = tuple(cut for cut in path if cut.at < moved.at)
        if moved.node.rank != rank:
            return self.visits(rank, above)
        key = ("moves", moved.at)
        if key not in self._known:
            self._known[key] = most(self.visits(rank, path[: len(above) + 1]) - self.visits(rank, above), 0)
        return self._known[key]

    def stands(self, rank: str, path: Path, moved: Loop) -> Any:
        """Elements of a rank that stand where they are while a loop over another takes a step, over all visits."""
        above = tuple(cut for cut in path if cut.at < moved.at)
        key = ("stands", rank, path[-1].at if path else 0, len(above))
        if key not in self._known:
            self._known[key] = standing(self.states(rank, above), path[len(above) :])
        return self._known[key]

    def changes(self, rank: str, path: Path, moved: Loop) -> list[Change]:
        """How pieces of a rank change when a loop takes a step."""
        above = tuple(cut for cut in path if cut.at < moved.at)
        moving = next((cut for cut in path if cut.at == moved.at), None)
        inside = [cut for cut in path if cut.at > moved.at]
        key = ("changes", rank, path[-1].at if path else 0, len(above), moving is None)
        if key not in self._known:
            self._known[key] = changes(self.states(rank, above), moving, inside)
        found: list[Change] = self._known[key]
        return found


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain numbers as exact integers, arrays as floats (exact up to 2**53, and quicker to divide)."""
    return {
        name: value if isinstance(value, int) else int(value) if np.ndim(value) == 0 else np.asarray(value, float)
        for name, value in values.items()
    }
