"""Hops of a mapped cascade's words on the wires of fan-outs, for devices that state the wires' topology.

What each instance takes is the closed form's own count of that instance; what instances share crosses a link once. The
tests follow every word of the exact simulator link by link.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum import WeirError
from sim.arch import Compute, Device, Fanout, Memory
from sim.model.actions import Carried
from sim.model.counts import Counter
from sim.model.nests import Held, Leaf, Loop
from sim.model.sized import Sized

Ints = NDArray[np.int64]
Words = NDArray[np.float64]
LIMIT = 1 << 20  # instances


@dataclass(frozen=True, slots=True)
class _Move:
    """Elements of a tensor on their way between a keep and what is inside it."""

    tensor: str
    outer: str  # a level
    inner: str  # a level or unit
    loops: tuple[Loop, ...]  # in space, between the two
    merged: frozenset[str]  # ranks whose instances share a word
    words: Callable[[Counter], Any]  # of each instance
    at: int
    outwards: bool = False
    exact: bool = True


@dataclass(frozen=True, slots=True)
class _Spread:
    """What the instances of a move take: their places in each loop, and words."""

    move: _Move
    trips: tuple[int, ...]
    places: Ints  # loop x instance
    words: Words

    def number(self, chosen: Callable[[Loop], bool]) -> Ints:
        """Each instance's number among those of some loops, the outermost slowest."""
        total = np.zeros(self.words.size, np.int64)
        for loop, trips, places in zip(self.move.loops, self.trips, self.places, strict=True):
            total = total * trips + places if chosen(loop) else total
        return total

    @property
    def nested(self) -> bool:
        """Whether what one instance of those that share words takes is part of what another takes."""
        ranks = {p.node.rank for p, n in zip(self.move.loops, self.trips, strict=True) if n > 1} & self.move.merged
        if len(ranks) < 2:
            return True
        alike = self.number(lambda loop: loop.node.rank not in self.move.merged)
        top = np.zeros(alike.max() + 1)
        np.maximum.at(top, alike, self.words)
        return bool(((self.words == top[alike]) | (self.words == 0)).all())


def carried(at: Sized, device: Device) -> tuple[Carried, ...]:
    """Words, hops and way on every fan-out with a topology; each design point is counted by itself."""
    if not any(fan.topology for fan in device.fanouts):
        return ()
    given = {**{("sizes", k): v for k, v in at.sizes.items()}, **{("tiles", k): v for k, v in at.tiles.items()}}
    shape = np.broadcast_shapes(*map(np.shape, given.values()))
    if not shape:
        return tuple(_carried(at, device))
    wide = {key: np.broadcast_to(value, shape) for key, value in given.items()}
    points = []
    for place in np.ndindex(shape):
        here = [{k: int(v[place]) for (kind, k), v in wide.items() if kind == one} for one in ("sizes", "tiles")]
        points.append(tuple(_carried(Sized.of(at.mapped, *here), device)))
    return tuple(_stacked(rows, shape) for rows in zip(*points, strict=True))


def _stacked(rows: tuple[Carried, ...], shape: tuple[int, ...]) -> Carried:
    """One move at all design points."""
    words, hops, pitches = (np.reshape([getattr(r, n) for r in rows], shape) for n in ("words", "hops", "pitches"))
    exact = all(row.exact for row in rows)
    return replace(rows[0], words=words, hops=hops, pitches=pitches, exact=exact)


def _carried(at: Sized, device: Device) -> Iterator[Carried]:
    """What moves on the wires at one design point; of sparse operands, who shares which words is not known."""
    above, cascade = _fans_above(device), at.mapped.cascade
    dense = not any(cascade.patterns.values()) and not any(t.patterns for t in cascade.tensors)
    for move in _moves(at):
        between = tuple(fan for fan in above[move.inner] if fan not in above[move.outer])
        if not any(fan.topology for fan in between):
            continue
        spread = _spread(at, move)
        for number, fan in enumerate(between):
            if fan.topology:
                outside = {one.name for one in between[:number]}
                found = _crossed(spread, fan, outside)
                yield found if dense else replace(found, exact=False)


def _fans_above(device: Device) -> Mapping[str, tuple[Fanout, ...]]:
    """Fan-outs above each component, the outermost first."""
    fans = {fan.name: fan for fan in device.fanouts}
    parts: tuple[Memory | Fanout | Compute, ...] = (*device.memories, *device.fanouts, *device.computes)
    parents = {part.name: part.under for part in parts}
    found: dict[str, tuple[Fanout, ...]] = {}
    for name, above in parents.items():
        path, place = list[Fanout](), above
        while place:
            path = [fans[place], *path] if place in fans else path
            place = parents[place]
        found[name] = tuple(path)
    return found


def _spread(at: Sized, move: _Move) -> _Spread:
    """The instances of a move, each with the words that it takes."""
    trips = tuple(int(at.trips(loop)) for loop in move.loops)
    if prod(trips) > LIMIT:
        cure = "leave the topology of their fan-outs out"
        raise WeirError(f"hops to {prod(trips)} instances are too many to count; at most {LIMIT}: {cure}")
    places = np.indices(trips, np.int64).reshape(len(trips), prod(trips))
    only = {loop.at: row for loop, row in zip(move.loops, places, strict=True)}
    words = move.words(Counter(replace(at, only=only, ranks={}, _known={})))
    return _Spread(move, trips, places, np.broadcast_to(np.asarray(words, float), (prod(trips),)))


def _crossed(spread: _Spread, fan: Fanout, outside: set[str]) -> Carried:
    """What of a move crosses the links of one fan-out; its copies are told apart by the loops ``outside`` it."""
    move = spread.move
    alone = fan.topology == "bus" and move.outwards  # a bus adds nothing on the way
    stream = spread.number(
        lambda p: p.node.rank not in move.merged or _over(p) in outside or (alone and _over(p) == fan.name)
    )
    at = spread.number(lambda p: _over(p) == fan.name)
    order = np.lexsort((at, stream))
    stream, at, taken = stream[order], at[order], spread.words[order]
    hops, pitches = crossings(fan, stream, at, taken)
    words = _together(taken, stream)
    return Carried(
        fan.name, move.tensor, move.outwards, words, hops, pitches, move.at, move.exact and spread.nested
    )  # fmt: skip


def _over(loop: Loop) -> str:
    return getattr(loop.node, "over", "")


def crossings(fan: Fanout, stream: Ints, at: Ints, words: Words) -> tuple[float, float]:
    """Links crossed by words to copies ``at``, those of a stream shared, and the way in pitches.

    A bus is one wire along all copies. A chain passes from copy to copy, and begins at the first. A mesh passes down
    the first column of the rows of :attr:`Fanout.sides`, then along a row. A binary tree's links are half as long as
    what they join is wide.
    """
    if fan.topology == "bus":
        hops = _together(words, stream)
        return hops, fan.count * hops
    if fan.topology == "tree":
        heights = range(max((fan.count - 1).bit_length(), 1))
        levels = [_together(words, stream, at >> height) for height in heights]
        return sum(levels), sum(2.0**height / 2 * level for height, level in zip(heights, levels, strict=True))
    hops = _together(words, stream)
    if fan.topology == "chain":
        hops += _along(words, at, stream)
    else:
        row, column = np.divmod(at, fan.sides[1])
        hops += _along(words, row, stream) + _along(words, column, stream, row)
    return hops, hops


def _together(words: Words, *keys: Ints) -> float:
    """Words of all groups with equal keys, sorted, each group's as many as the one that takes most."""
    return float(np.maximum.reduceat(words, np.flatnonzero(_begins(*keys))).sum())


def _along(words: Words, place: Ints, *keys: Ints) -> float:
    """Links crossed along a line by all groups with equal keys: each link carries the most of what is behind it."""
    order = np.lexsort((-place, *reversed(keys)))
    place, group = place[order], np.cumsum(_begins(*(key[order] for key in keys)))
    values, rank = np.unique(words[order], return_inverse=True)
    above = group * len(values)  # so that the greatest so far begins anew with each group
    most = values[np.maximum.accumulate(rank + above) - above]
    nearer = np.where(np.diff(group, append=-1) == 0, np.append(place[1:], 0), 0)
    return float((most * (place - nearer)).sum())


def _begins(*keys: Ints) -> NDArray[np.bool_]:
    """Where, along sorted keys, another group begins."""
    found = np.ones(keys[0].size, bool)
    found[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return found


def _moves(at: Sized) -> Iterator[_Move]:
    """Everything on its way: between keeps, and between keeps and units."""
    mapped = at.mapped
    for (place, tensor), leaves in mapped.holders.items():
        chain = leaves[0].chain(tensor)
        number = next(i for i, held in enumerate(chain) if held.at == place)
        if number:
            yield from _between_keeps(at, chain[0], chain[number - 1], chain[number], tensor)
    for leaf in mapped.leaves:
        yield from _of_leaf(leaf)


def _spaced(loops: tuple[Loop, ...], above: Held) -> tuple[Loop, ...]:
    """Loops in space of these below a keep."""
    return tuple(loop for loop in loops[len(above.loops) :] if loop.space)


def _of_leaf(leaf: Leaf) -> Iterator[_Move]:
    """Operands of an Einsum's points, and what updates its output, which is added up where it is kept."""
    for access in leaf.einsum.reads:
        keep = leaf.chain(access.tensor)[-1]
        loops = _spaced(leaf.loops, keep)
        merged = frozenset(p.node.rank for p in loops) - frozenset(access.ranks)
        yield _Move(access.tensor, keep.node.level, leaf.unit, loops, merged, lambda c: c.points(leaf), leaf.at)
    tensor, reduced = leaf.einsum.output.tensor, frozenset(leaf.einsum.reduced)
    keep = leaf.chain(tensor)[-1]
    loops = _spaced(leaf.loops, keep)
    yield _Move(tensor, keep.node.level, leaf.unit, loops, reduced, lambda c: c.points(leaf), leaf.at, outwards=True)


def _between_keeps(at: Sized, outer: Held, parent: Held, held: Held, tensor: str) -> Iterator[_Move]:
    """Fills of what is read; drains of what is written, and what of it is read back where nothing is added between."""
    loops = _spaced(held.loops, parent)
    ends = (tensor, parent.node.level, held.node.level, loops)
    writers = Counter(at).writers(held, tensor)
    if not writers:
        merged = frozenset(p.node.rank for p in loops) - at.tile(held, tensor).ranks
        yield _Move(*ends, merged, lambda c: c.entering(held, tensor), held.at)
        return
    reduced = frozenset(rank for leaf in writers for rank in leaf.einsum.reduced)
    fresh = Counter(at).fresh(held, tensor)
    yield _Move(*ends, reduced, lambda c: c.entering(held, tensor, fresh=fresh), held.at, outwards=True)
    if not reduced & {p.node.rank for p in loops}:
        back = _again(at, outer, held, tensor)
        yield _Move(*ends, frozenset(), back[0], held.at, exact=back[1])


def _again(at: Sized, outer: Held, held: Held, tensor: str) -> tuple[Callable[[Counter], Any], bool]:
    """Sums that each instance reads back: its drains less its part of the first touches.

    Its part of the tensor is exact where that is kept once for all; otherwise it is taken to be its part of the drains.
    """
    whole = Counter(at)
    fresh, made = whole.fresh(held, tensor), whole.made(held, tensor)
    drains, first = whole.entering(held, tensor, fresh=fresh), whole.first(outer, held, tensor, held.loops, made)
    tile = at.tile(held, tensor)
    direct = not outer.loops and not tile.skew

    def words(one: Counter) -> Any:
        mine = one.entering(held, tensor, fresh=fresh)
        if not direct:
            return mine * ((drains - first) / drains if drains else 0)
        return mine - first * _part(one.at, held, tile.plain) / _part(at, held, tile.plain)

    return words, direct or drains == first


def _part(at: Sized, held: Held, plain: frozenset[str]) -> Any:
    """Elements of the tensor below a keep, once for each instance between that holds them."""
    cuts = at.cuts(held.loops)
    held_ = prod((at.covered(rank, cuts.get(rank, ())) for rank in plain), start=1)
    others = (at.instances(r, path, [c.at for c in path]) for r, path in cuts.items() if r not in plain)
    return held_ * prod(others, start=1)
