"""The shapes of nests that a search goes through: loop orders, what is kept where, what is shared; tiles stay open.

A group of Einsums shares loops in time and space down to the last level that all their units have above them. Where an
Einsum lacks a rank, or may not share a loop (it would read a sum that is still being made), the tree parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise, product
from math import prod
from typing import Any

from einsum import Affine, Cascade, Einsum
from einsum.terms import Term
from mappings.tree import Branch, Keep, Nest, Node, Run, Spatial, Temporal
from sim.arch import Device
from sim.mapper.parts import Group
from sim.mapper.sites import Stage, Values, able, assigned, expected, full, shared, spread, stages, way
from sim.model.flow import elsewhere
from sim.model.nests import Mapped

OPEN = 1 << 50  # tiles from here on stand for what is still to be chosen
FIXED = 300  # work of counting a nest without loops
FLAT = 60  # loops around an Einsum that make each as much work again


@dataclass(frozen=True, slots=True)
class Tile:
    """An open tile: a rank cut into strips of ``width`` elements for each of ``lanes`` instances."""

    rank: str
    stage: int
    lanes: int = 1


@dataclass(frozen=True)
class Shape:
    """A nest whose open tiles are numbered from ``OPEN`` on; the tiles of a rank get shorter from stage to stage."""

    cascade: Cascade
    made: Callable[[], tuple[Nest, tuple[Tile, ...]]]  # most shapes are ruled out by what their units need
    least: tuple[float, float]  # s and J that its units need whatever the tiles

    @cached_property
    def _made(self) -> tuple[Nest, tuple[Tile, ...]]:
        return self.made()

    @property
    def nest(self) -> Nest:
        """The loops, keeps and runs."""
        return self._made[0]

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """What the open tiles stand for."""
        return self._made[1]

    @cached_property
    def mapped(self) -> Mapped:
        """The nest taken apart."""
        return Mapped(self.cascade, self.nest)

    @cached_property
    def work(self) -> int:
        """What counting it takes, in units of about 3 us: each loop around an Einsum is looked at from each other one,
        and of many loops each look takes longer."""
        loops = (len(leaf.loops) for leaf in self.mapped.leaves)
        return FIXED + sum(n**2 + n**3 // FLAT for n in loops)

    @cached_property
    def keys(self) -> dict[str, Tile]:
        """The open loops by name, as in ``m.0``."""
        loops = (loop for leaf in self.mapped.leaves for loop in leaf.loops)
        return {loop.key: self.tiles[loop.node.tile - OPEN] for loop in loops if loop.node.tile >= OPEN}

    @cached_property
    def lanes(self) -> dict[tuple[str, int], int]:
        """Instances that a strip goes over, by rank and stage."""
        return {(t.rank, t.stage): t.lanes for t in reversed(self.tiles)}

    def closed(self, chosen: dict[tuple[str, int], int], sizes: Values) -> Nest:
        """The nest with widths by rank and stage; loops of one piece are left out, for they do nothing."""
        return Nest(tuple(self._nodes(self.nest, chosen, dict(sizes))))

    def _nodes(self, nest: Nest, chosen: dict[tuple[str, int], int], left: dict[str, Any]) -> Iterator[Node]:
        for node in nest.nodes:
            if isinstance(node, Temporal | Spatial):
                tile = node.tile
                if tile >= OPEN:
                    one = self.tiles[tile - OPEN]
                    tile = chosen[one.rank, one.stage] * one.lanes
                if tile < left[node.rank]:
                    left = {**left, node.rank: tile}
                    yield replace(node, tile=int(tile))
            elif isinstance(node, Branch):
                below = (Nest(tuple(self._nodes(child, chosen, left))) for child in node.children)
                yield Branch(node.how, tuple(below))
            else:
                yield node


@dataclass(frozen=True, slots=True)
class _Step:
    """One step inwards for all Einsums of a group: a loop, or (no node) what a level keeps."""

    node: Temporal | Spatial | None
    level: str = ""
    bypass: frozenset[str] = frozenset()


@dataclass
class _Builder:
    """One shape in the making."""

    group: Group
    sizes: Values
    units: dict[str, str]
    home: str  # the level that intermediates live in
    how: str
    double: bool  # whether what is only read has two pieces
    last: str  # the innermost shared level
    own: dict[str, tuple[Stage, ...]]  # stages above a unit that others do not share
    costs: dict[str, tuple[float, float, float]]  # of each Einsum: points, s and J of one

    def tree(self, einsums: tuple[Einsum, ...], steps: tuple[_Step, ...], kept: frozenset[str]) -> tuple[Node, ...]:
        """The nodes for some Einsums from a step on."""
        if not steps:
            return self.ends(einsums, kept)
        step, rest = steps[0], steps[1:]
        if step.node is None:
            keeps, held = self.keeps(einsums, step, kept)
            return (*keeps, *self.tree(einsums, rest, kept | held))
        parts = _parts(einsums, step.node)
        if len(parts) == 1:
            return (*((step.node,) if parts[0][1] else ()), *self.tree(einsums, rest, kept))
        level = next((s.level for s in rest if s.node is None), self.last)
        across = self.across([part for part, _ in parts]) - kept
        below = tuple(
            Nest((*((step.node,) if has else ()), *self.tree(part, rest, kept | across))) for part, has in parts
        )
        return (*self.keep(across, level), Branch(self.how, below))

    def keep(self, names: frozenset[str], level: str, double: bool = False) -> tuple[Node, ...]:
        """A keep of tensors in the order of the cascade, if there are any."""
        ordered = tuple(t.name for t in self.group.cascade.tensors if t.name in names)
        return (Keep(ordered, level, double),) if ordered else ()

    def keeps(
        self, einsums: tuple[Einsum, ...], step: _Step, kept: frozenset[str]
    ) -> tuple[tuple[Node, ...], frozenset[str]]:
        """What a level keeps for some Einsums: what comes and goes, and intermediates that live here."""
        touched = _touched(einsums)
        between = frozenset(self.group.between)
        home = touched & between - kept if step.level == self.home else frozenset[str]()
        passing = touched - between - step.bypass
        reads = passing - {e.output.tensor for e in einsums} if self.double else frozenset[str]()
        nodes = (*self.keep(reads, step.level, True), *self.keep((passing - reads) | home, step.level))
        return nodes, home

    def across(self, parts: list[tuple[Einsum, ...]]) -> frozenset[str]:
        """Intermediates that more than one part touches."""
        seen = [_touched(part) for part in parts]
        return frozenset(t for t in self.group.between if sum(t in one for one in seen) > 1)

    def ends(self, einsums: tuple[Einsum, ...], kept: frozenset[str]) -> tuple[Node, ...]:
        """Each Einsum on its unit, side by side."""
        rest = self.keep(_touched(einsums) & frozenset(self.group.between) - kept, self.last)
        nests = tuple(Nest((*self.fans(e), Run(e.name, self.units[e.name]))) for e in einsums)
        return (*rest, *(nests[0].nodes if len(nests) == 1 else (Branch(self.how, nests),)))

    def fans(self, einsum: Einsum) -> tuple[Node, ...]:
        """Loops in space that only this Einsum's unit has above it, each over strips of one element an instance."""
        fans = tuple(fan for stage in self.own[self.units[einsum.name]] for fan in stage.fans)
        looped = _looped(self.group, self.sizes)
        ranks = tuple(r for r in einsum.ranks if self.sizes[r] > 1 and r not in looped)
        over = spread(einsum, fans, self.sizes, ranks)
        counts = {fan.name: fan.count for fan in fans}
        return (
            *(Temporal(rank, counts[fan]) for rank, fan in over.items()),
            *(Spatial(rank, tile=1, over=fan) for rank, fan in over.items()),
        )


def _touched(einsums: tuple[Einsum, ...]) -> frozenset[str]:
    return frozenset(n for e in einsums for n in (*e.inputs, e.output.tensor))


def _parts(einsums: tuple[Einsum, ...], node: Temporal | Spatial) -> list[tuple[tuple[Einsum, ...], bool]]:
    """Neighbours that share a loop, and those that it passes by."""
    found: list[tuple[tuple[Einsum, ...], bool]] = []
    for einsum in einsums:
        has = node.rank in einsum.ranks
        if found and found[-1][1] == has and (not has or _joins(found[-1][0], einsum, node.rank)):
            found[-1] = ((*found[-1][0], einsum), has)
        else:
            found.append(((einsum,), has))
    return found


def _joins(part: tuple[Einsum, ...], einsum: Einsum, rank: str) -> bool:
    """Whether an Einsum can share a loop with those before: it reads no sum in the making, and only what is made."""
    for maker in part:
        reads = [a for a in einsum.reads if a.tensor == maker.output.tensor]
        if reads and (rank in maker.reduced or any(rank in elsewhere(maker.output, a) for a in reads)):
            return False
    return True


@dataclass(frozen=True)
class Family:
    """All shapes of a group on given units: one for each combination of choices, so many along each of the ``axes``."""

    axes: tuple[int, ...]
    made: Callable[[tuple[int, ...]], Shape]

    @property
    def size(self) -> int:
        """How many there are: more than ``len`` may say, where there are many levels."""
        return prod(self.axes)

    @property
    def work(self) -> int:
        """What counting one of them takes, about."""
        return self.made((0,) * len(self.axes)).work

    def __iter__(self) -> Iterator[Shape]:
        return map(self.made, product(*map(range, self.axes)))


def families(group: Group, device: Device, sizes: Values) -> list[Family]:
    """Every shape of a group, by the units that its Einsums run on."""
    einsums = group.cascade.einsums
    if len(einsums) == 1:
        units: list[tuple[str, ...]] = [(unit,) for unit in able(group.cascade, einsums[0], device, sizes)]
    else:
        units = [assigned(group.cascade, device, sizes, frozenset(_looped(group, sizes)))]
    return [_family(group, device, sizes, chosen) for chosen in units]


def _family(group: Group, device: Device, sizes: Values, units: tuple[str, ...]) -> Family:
    """Shapes with Einsums on these units: second pieces or none, homes of intermediates, ends, steps, plans."""
    trunk = shared(device, units)
    outer, *inside = stages(trunk)
    levels = [stage.level for stage in inside if stage.level] or [outer.level]
    own = {unit: stages(way(device, unit)[len(trunk) :]) for unit in units}
    plans = [_plans(group, sizes, stage, at) for at, stage in enumerate(inside, 1)]
    hows = ("sequence",) if len(units) == 1 else ("interleave", "sequence")
    homes = levels if group.between else levels[:1]
    steps = range(1, 1 + (len(inside) if group.cascade.iterative else 1))
    by_name = {e.name: unit for e, unit in zip(group.cascade.einsums, units, strict=True)}
    costs = {e.name: _cost(group, e, device, sizes, by_name[e.name]) for e in group.cascade.einsums}
    choices: tuple[Sequence[Any], ...] = ((True, False), homes, hows, steps, *plans)

    def made(at: tuple[int, ...]) -> Shape:
        double, home, how, iterated, *plan = (some[n] for some, n in zip(choices, at, strict=True))
        build = _Builder(group, sizes, by_name, home, how, double, levels[-1], own, costs)
        return Shape(group.cascade, partial(_nest, build, outer, tuple(plan), iterated), _least(build, tuple(plan)))

    return Family(tuple(map(len, choices)), made)


def _cost(group: Group, einsum: Einsum, device: Device, sizes: Values, unit: str) -> tuple[float, float, float]:
    """Points of an Einsum; seconds and joules of each on a unit."""
    return expected(group.cascade, einsum, sizes), *able(group.cascade, einsum, device, sizes)[unit]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a group goes through a stage: its loops from the outside in, ranks over fan-outs, what passes by."""

    stage: Stage
    at: int
    order: tuple[str, ...]
    over: tuple[str, ...]
    singly: tuple[str, ...]  # ranks gone through one by one, outside all other loops
    bypass: frozenset[str] = frozenset()


def _plans(group: Group, sizes: Values, stage: Stage, at: int) -> list[_Plan]:
    """Every order worth having; every rank over every fan-out; each tensor kept, or one or all passing by."""
    cascade = group.cascade
    ranks = tuple(r for r in _common(cascade, sizes) if r not in cascade.iterative)
    first = cascade.einsums[0]
    overs = full(first, stage.fans, sizes, ranks) if stage.fans else [()]
    found = []
    for over in overs:
        single = [r for r in _everywhere(group, ranks) if r not in over]  # nothing is used again from step to step
        steady = tuple(r for r in ranks if r not in single)
        outer = tuple(single) if at == 1 else ()
        if not stage.level:
            found.append(_Plan(stage, at, tuple(r for r in steady if r in over), over, outer))
            continue
        orders = _orders(group, steady, sizes)
        every = frozenset(group.ends)
        some = [_Plan(stage, at, order, over, outer, past) for order, past in product(orders, _bypasses(group))]
        if not group.between:  # loops before a level that keeps nothing do nothing
            idle = _Plan(stage, at, tuple(r for r in steady if r in over), over, outer, every)
            some = [*(plan for plan in some if plan.bypass != every), idle]
        found += some
    return found


def _common(cascade: Cascade, sizes: Values) -> tuple[str, ...]:
    """Ranks that all Einsums have and that can be divided."""
    common = set.intersection(*(set(e.ranks) for e in cascade.einsums))
    return tuple(r for r, _ in cascade.sizes if r in common and sizes[r] > 1)


def _looped(group: Group, sizes: Values) -> tuple[str, ...]:
    """Ranks gone through one by one: iterative ones, and those that every tensor has."""
    return (*group.cascade.iterative, *_everywhere(group, _common(group.cascade, sizes)))


def _everywhere(group: Group, ranks: tuple[str, ...]) -> list[str]:
    """Ranks that every tensor has, on its own."""
    accesses = [a for e in group.cascade.einsums for a in (*e.reads, e.output)]
    return [r for r in ranks if all(any(i == Affine((Term(1, (), r),)) for i in a.indices) for a in accesses)]


def _orders(group: Group, ranks: tuple[str, ...], sizes: Values) -> list[tuple[str, ...]]:
    """For each tensor, an order that leaves it in place longest: the longest rank that it lacks comes innermost."""
    accesses = [a for e in group.cascade.einsums for a in (*e.reads, e.output)]
    lacking = [[r for r in ranks if r not in a.ranks] for a in accesses]
    inner = dict.fromkeys(max(some, key=lambda r: sizes[r]) for some in lacking if some)
    return [(*(r for r in ranks if r != last), last) for last in inner] or [ranks]


def _bypasses(group: Group) -> list[frozenset[str]]:
    """What passes a level by: nothing, everything, or any one tensor of a single Einsum."""
    alone = [frozenset({t}) for t in group.ends] if len(group.cascade.einsums) == 1 else []
    return list(dict.fromkeys([frozenset[str](), *alone, frozenset(group.ends)]))


def _nest(build: _Builder, outer: Stage, plan: tuple[_Plan, ...], iterated: int) -> tuple[Nest, tuple[Tile, ...]]:
    """The nest that follows from a plan for each stage, iterative ranks looped over in one of them, and its tiles."""
    tiles: list[Tile] = []
    steps: list[_Step] = []
    cascade = build.group.cascade
    for one in plan:
        steps += _loops(one, tiles)
        if one.at == iterated:
            steps += [_Step(Temporal(rank, 1)) for rank in cascade.iterative if build.sizes[rank] > 1]
        if one.stage.level == build.last:
            steps += _partial(build, one, tiles)
        if one.stage.level:
            steps.append(_Step(None, one.stage.level, one.bypass))
    lone = frozenset(build.group.between) if build.last == outer.level else frozenset[str]()
    body = build.tree(cascade.einsums, tuple(steps), lone)
    nest = Nest((*build.keep(frozenset(build.group.ends) | lone, outer.level), *body))
    return nest, tuple(tiles)


def _least(build: _Builder, plan: tuple[_Plan, ...]) -> tuple[float, float]:
    """Seconds of the busiest unit with its fan-outs as full as they can be, and joules of all operations."""
    sizes = build.sizes
    given = {rank: fan.count for one in plan for rank, fan in zip(one.over, one.stage.fans, strict=True) if rank}
    busy: dict[str, float] = {}
    joules = 0.0
    for einsum in build.group.cascade.einsums:
        unit = build.units[einsum.name]
        points, each, energy = build.costs[einsum.name]
        own = tuple(fan for stage in build.own[unit] for fan in stage.fans)
        whole = prod(fan.count for fan in own) * prod(min(sizes[r], n) for r, n in given.items() if r in einsum.ranks)
        busy[unit] = busy.get(unit, 0.0) + points / whole * each
        joules += points * energy
    return max(busy.values()), joules


def _loops(plan: _Plan, tiles: list[Tile]) -> Iterator[_Step]:
    """Loops in time over the strips of a stage, then those in space over what each instance has of a strip."""
    fans = {rank: fan for rank, fan in zip(plan.over, plan.stage.fans, strict=True) if rank}
    yield from (_Step(Temporal(rank, 1)) for rank in plan.singly)
    for rank in plan.order:
        lanes = fans[rank].count if rank in fans else 1
        yield _Step(Temporal(rank, _open(tiles, Tile(rank, plan.at, lanes)) if plan.stage.level else lanes))
    for rank, fan in fans.items():
        width = _open(tiles, Tile(rank, plan.at)) if plan.stage.level else 1
        yield _Step(Spatial(rank, tile=width, over=fan.name))


def _open(tiles: list[Tile], tile: Tile) -> int:
    """A number that stands for an open tile."""
    tiles.append(tile)
    return OPEN + len(tiles) - 1


def _partial(build: _Builder, plan: _Plan, tiles: list[Tile]) -> Iterator[_Step]:
    """Loops, at the innermost shared level, over ranks that only some neighbours share."""
    cascade = build.group.cascade
    for rank in (r for r, _ in cascade.sizes if r in cascade.ranks and build.sizes[r] > 1):
        some = any(rank in b.ranks and _joins((a,), b, rank) for a, b in pairwise(cascade.einsums) if rank in a.ranks)
        if some and not all(rank in e.ranks for e in cascade.einsums) and rank not in cascade.iterative:
            yield _Step(Temporal(rank, _open(tiles, Tile(rank, plan.at))))
