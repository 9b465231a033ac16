"""The best nest of a stated space: every shape with every tile size, counted through the closed form in bulk."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, combinations
from math import inf, nextafter
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from einsum import Cascade, WeirError, hint
from mappings.tree import Branch, Keep, Nest
from sim.arch import Device, Memory
from sim.arch import device as named
from sim.mapper import bound, parts
from sim.mapper.descent import descend
from sim.mapper.parts import Group
from sim.mapper.shapes import Family, Shape, families
from sim.mapper.sites import Values, way
from sim.mapper.tiles import NESTS, Grid, Key, Space, front, pair, unbeaten, value
from sim.model.fit import occupancy
from sim.model.legal import check
from sim.model.sized import Sized
from sim.model.spatial import MappedEstimate, busiest, evaluate, measured, modelled
from sim.units import fmt

OBJECTIVES = ("time", "energy", "edp")
REFINED = 24  # best mappings of one Einsum whose tiles are refined; of several, as many fewer
WORK = 6_000_000  # of a search, in units of Shape.work: some twenty seconds
FEWEST = 8  # nests of a group to be tried, however much work each is
LEVELS = 32  # memories above a unit
FINE = 24  # widths of each of two strips that are refined at once


@dataclass(frozen=True)
class Point:
    """One group under one shape with its tiles chosen, and what that costs."""

    shape: Shape
    widths: dict[Key, int]
    seconds: float
    joules: float


@dataclass(frozen=True)
class _Chain:
    """Groups one after another, from the first Einsum on."""

    points: tuple[Point, ...] = ()
    seconds: float = 0.0
    joules: float = 0.0

    def then(self, point: Point) -> _Chain:
        """One group more."""
        return _Chain((*self.points, point), self.seconds + point.seconds, self.joules + point.joules)


@dataclass(frozen=True)
class Found:
    """The best mapping found, and what is known about it."""

    objective: str
    nest: Nest
    estimate: MappedEstimate
    bound: float  # s, J or J s that no mapping of any kind can go below
    mappings: int  # compared, or ruled out as a whole by what their units need at least
    shapes: int  # nests with open tiles that were tried
    nests: int  # nests that there are, in the groups that were looked at

    @property
    def value(self) -> float:
        """Seconds, joules, or their product."""
        return float(value(self.objective, self.estimate.seconds, self.estimate.joules))

    @property
    def proof(self) -> str:
        """What the search shows, in a sentence."""
        part = f"{self.shapes:,} of {self.nests:,} nests, chosen by descent, with all their tile sizes"
        nests = part if self.shapes < self.nests else f"{self.shapes:,} nests with all their tile sizes"
        best = f"least {self.objective} of {self.mappings:,} mappings: {nests}"
        off = f"{self.value / self.bound:.3g} times what no mapping can go below" if self.bound > 0 else "no bound"
        return f"{best}, the best of them refined; {off}"

    def __str__(self) -> str:
        return f"{self.estimate}\n{self.proof}\n{self.nest}"


def search(
    cascade: Cascade, device: Device | str | Path, *, objective: str = "time", space: Space | None = None,
    technology: str | float | None = None, advance: Callable[[int, int], object] | None = None, **sizes: int,
) -> Found:  # fmt: skip
    """The mapping of a cascade on a device with the least ``time``, ``energy`` or product of both (``edp``).

    Einsums are grouped as neighbours; groups follow one another through the outermost memory, those of one group share
    loops and what is between them stays on chip. Every grouping is compared (where there are more than eight Einsums:
    all together and each alone) unless bounds rule it out, and in each group every nest of :mod:`sim.mapper.shapes`
    with every tile size of the ``space``; of more nests than the space allows, those that a descent comes by.
    ``technology`` models the energies that the device does not state. ``advance(done, of)`` is told of each nest, to
    show progress. Raises :class:`WeirError` if nothing fits.
    """
    if objective not in OBJECTIVES:
        raise WeirError(f"unknown objective {objective!r}{hint(objective, OBJECTIVES)}")
    plain = device if isinstance(device, Device) else named(device)
    one = modelled(plain, technology)
    whole = cascade.with_sizes(**sizes)
    _possible(whole, one)
    hunt = _Hunt(whole, one, whole.bind(), objective, space or Space(), advance or (lambda done, of: None))
    hunt.work = WORK * max(1.0, hunt.space.nests / NESTS)  # who asks for more nests than that is given time for them
    nest = _joined(whole, one, [p.shape.closed(p.widths, hunt.sizes) for p in hunt.best().points])
    every = parts.group(whole, tuple(e.name for e in whole.einsums))
    least = bound.seconds(every, one, hunt.sizes), bound.joules(every, one, hunt.sizes)
    made = evaluate(whole, nest, plain, hunt.sizes, technology=technology)
    return Found(objective, nest, made, float(value(objective, *least)), hunt.compared, hunt.tried, hunt.nests)


def _possible(cascade: Cascade, device: Device) -> None:
    """Refuse devices too deep to be searched, and cascades that the outermost memory cannot hold."""
    for unit in device.computes:
        depth = sum(isinstance(part, Memory) for part in way(device, unit.name))
        if depth > LEVELS:
            raise WeirError(
                f"{device.name} has {depth} memories above {unit.name}; nests are searched for under at most {LEVELS}"
            )
    every, room = parts.group(cascade, tuple(e.name for e in cascade.einsums)), device.memory.capacity
    held = sum(bound.moved(every, cascade.bind()))
    if held > room:
        needs = f"{fmt(held, 'B')} at least for what goes in and comes out"
        raise WeirError(f"{cascade.name} needs {needs}; {device.memory.name} of {device.name} has {fmt(room, 'B')}")


def _joined(cascade: Cascade, device: Device, nests: list[Nest]) -> Nest:
    """Groups one after another, what they hand on kept in the outermost memory."""
    if len(nests) == 1:
        return nests[0]
    firsts = [nest.nodes[0] for nest in nests]  # every shape begins with what the outermost memory keeps
    names = {t for first in firsts if isinstance(first, Keep) for t in first.tensors}
    bodies = [Nest(nest.nodes[1:]) for nest in nests]
    keep = Keep(tuple(t.name for t in cascade.tensors if t.name in names), device.memory.name)
    return Nest((keep, Branch("sequence", tuple(bodies))))


@dataclass
class _Tries:
    """The shapes of one group as they are tried."""

    hunt: _Hunt
    group: Group
    count: int  # shapes that share the mappings to be compared
    left: int = 0  # pairs of loops whose tiles may still be refined
    found: list[list[Point]] = field(default_factory=list)  # the unbeaten of each shape
    values: list[float] = field(default_factory=list)  # the best of each shape, in order

    @property
    def starts(self) -> int:
        """Mappings to be refined."""
        return max(REFINED // len(self.group.cascade.einsums), 2)

    def at(self, family: Family, place: tuple[int, ...]) -> float:
        """The best of one of a family's shapes."""
        return self.value(family.made(place))

    def value(self, shape: Shape) -> float:
        """The best of a shape; out of reach if nothing fits or what its units need is already too much."""
        hunt = self.hunt
        hunt.step()
        if value(hunt.objective, *shape.least) >= min(self.values, default=inf):
            return inf
        if self.group.between and not _legal(shape):
            return inf
        most = self.values[self.starts - 1] if len(self.values) >= self.starts and hunt.objective != "edp" else inf
        number = hunt.share // self.count // len(self.group.cascade.einsums)
        grids = hunt.space.grids(shape, hunt.sizes, number)
        here = unbeaten([p for grid in grids for p in hunt.points(shape, grid, most)], hunt.objective)
        if not here:
            return inf
        best = min(map(hunt.value, here))
        self.found.append(here)
        insort(self.values, best)
        return best


@dataclass
class _Hunt:
    """One search: what it is for, and how much it has gone through."""

    cascade: Cascade
    device: Device
    sizes: Values
    objective: str
    space: Space
    advance: Callable[[int, int], object]
    share: int = 0  # of the mappings, for one group
    work: float = WORK  # for all groups
    due: int = 1  # groups to be gone through, of which each may take its share of the work
    compared: int = 0
    tried: int = 0
    nests: int = 0  # there are in the groups gone through so far
    ahead: int = 0  # to be tried at most, in the groups known to be gone through
    ranks: dict[tuple[Any, ...], Any] = field(default_factory=dict)  # what is known of loops over one rank

    def value(self, one: Point | _Chain) -> float:
        """What is to be least."""
        return float(value(self.objective, one.seconds, one.joules))

    def step(self) -> None:
        """One nest more is tried."""
        self.tried += 1
        self.advance(self.tried, max(self.ahead, self.tried))

    def best(self) -> _Chain:
        """The best grouping: from the first Einsum on, the unbeaten ways to come to each."""
        pieces = parts.pieces(self.cascade)
        groups = {(a, b): parts.group(self.cascade, tuple(chain(*pieces[a:b]))) for a, b in parts.spans(len(pieces))}
        self.share = self.space.mappings // len(groups)
        last, self.due = len(pieces), 1 + (len(groups) > 1)  # one, and all others together
        found = {(0, last): self.group(*self.shapes(groups.pop((0, last))))}
        worth = self.worth(groups, last, min(map(self.value, found[0, last]), default=inf))
        self.due = len(worth)
        for span, shapes in {span: self.shapes(groups[span]) for span in worth}.items():
            found[span] = self.group(*shapes)
        reached: list[list[_Chain]] = [[_Chain()]]
        for stop in range(1, last + 1):
            ways = [
                one.then(p) for start in range(stop) for one in reached[start] for p in found.get((start, stop), [])
            ]
            reached.append(unbeaten(ways, self.objective))
        if not reached[-1]:
            some = f"none of {self.tried:,} nests of {self.cascade.name} that were tried, of {self.nests:,}, fits"
            none = f"no mapping of {self.cascade.name} fits" if self.tried == self.nests else some
            raise WeirError(
                f"{none} {self.device.name}: the smallest tiles are too large for a level, or what depends on itself"
                " cannot be cut"
            )
        return min(reached[-1], key=self.value)

    def worth(self, groups: dict[tuple[int, int], Group], last: int, best: float) -> list[tuple[int, int]]:
        """Groups that lie on a way whose bounds, summed, leave room to be better than ``best``."""
        bounds = {
            span: (bound.seconds(group, self.device, self.sizes), bound.joules(group, self.device, self.sizes))
            for span, group in groups.items()
        }
        before, after = [(0.0, 0.0)], {last: (0.0, 0.0)}
        for stop in range(1, last + 1):
            before.append(_least([(before[a], one) for (a, b), one in bounds.items() if b == stop]))
        for start in reversed(range(last)):
            after[start] = _least([(after[b], one) for (a, b), one in bounds.items() if a == start])
        found = []
        for (start, stop), (seconds, joules) in bounds.items():
            ends = before[start], after[stop]
            least = seconds + sum(e[0] for e in ends), joules + sum(e[1] for e in ends)
            if value(self.objective, *least) < best:
                found.append((start, stop))
        return found

    def shapes(self, group: Group) -> tuple[Group, list[Family], int]:
        """A group with its shapes, which are now known to lie ahead, and how many of them its share of the work is for;
        half of it is for refining them."""
        every = families(group, self.device, self.sizes)
        number = sum(family.size for family in every)
        steps = max(int(self.work / self.due / 2 / max(family.work for family in every)), FEWEST)
        self.nests += number
        self.ahead += min(number, steps, self.space.nests)
        return group, every, steps

    def group(self, group: Group, every: list[Family], steps: int) -> list[Point]:
        """The unbeaten mappings of one group; the best tiles of its best shapes are refined between the space's."""
        number, most = sum(family.size for family in every), min(steps, self.space.nests)
        tries = self.all(group, every) if number <= most else self.some(group, every, most)
        found = sorted(tries.found, key=lambda here: min(map(self.value, here)))
        tries.left = steps
        refined = [self.refined(p, tries) for p in list(chain(*found))[: tries.starts]]
        return unbeaten([*chain(*found), *refined], self.objective)

    def all(self, group: Group, every: list[Family]) -> _Tries:
        """Every shape of a group, those first whose units need least."""
        ordered = sorted(chain(*every), key=lambda s: value(self.objective, *s.least))
        likely = sum(value(self.objective, *s.least) <= 2 * value(self.objective, *ordered[0].least) for s in ordered)
        tries = _Tries(self, group, likely)
        for shape in ordered:
            tries.value(shape)
        return tries

    def some(self, group: Group, every: list[Family], most: int) -> _Tries:
        """At most so many shapes, where a descent comes by; on each choice of units as many."""
        least = bound.seconds(group, self.device, self.sizes), bound.joules(group, self.device, self.sizes)
        enough = value(self.objective, *least) * (1 + 1e-12)
        tries, left = _Tries(self, group, most), most
        for after, family in enumerate(ordered := sorted(every, key=attrgetter("size"))):
            share = -(-left // (len(ordered) - after))
            left -= descend(family.axes, partial(tries.at, family), share, enough)
        return tries

    def points(self, shape: Shape, grid: Grid, most: float = inf) -> Iterable[Point]:
        """The unbeaten of some tile sizes of one shape; of those that cost more than ``most`` by what their units need
        alone, none."""
        at = self.sized(shape, grid)
        self.compared += grid.place.size
        fits = np.broadcast_to(_fits(at, self.device), grid.place.shape)
        if most < inf:
            fits = fits & (value(self.objective, busiest(at, self.device), shape.least[1]) <= most)
        if not fits.any():
            return
        made = measured(at, self.device)
        seconds, joules = (np.broadcast_to(np.asarray(v, float), fits.shape)[fits] for v in (made.seconds, made.joules))
        numbers = np.flatnonzero(fits)
        for i in front(seconds, joules, self.objective, grid.place[fits]):
            yield Point(shape, grid.at(int(numbers[i])), float(seconds[i]), float(joules[i]))

    def sized(self, shape: Shape, grid: Grid) -> Sized:
        """A shape at the tile sizes of a grid; what is found of ranks serves all shapes."""
        keys = {key: ((tile.rank, tile.stage), tile.lanes) for key, tile in shape.keys.items()}
        tiles = {key: grid.widths[strip] * lanes for key, (strip, lanes) in keys.items()}
        names = {key: (grid.names[strip], lanes) for key, (strip, lanes) in keys.items()}
        return Sized(shape.mapped, self.sizes, tiles, names=names, ranks=self.ranks)

    def refined(self, point: Point, tries: _Tries) -> Point:
        """The same shape with other tile sizes, those of two ranks or stages at a time, as long as that helps and work
        is left for it."""
        lanes = point.shape.lanes
        lists = {key: self.space.widths(self.sizes[key[0]], lanes[key], FINE) for key in lanes}
        pairs = list(combinations(lanes, 2)) or [(key, key) for key in lanes]
        if len(pairs) > tries.left:
            pairs = [(one, other) for one, other in pairs if _near(one, other)]
        best, before, least = point, inf, value(self.objective, *point.shape.least)
        while least < self.value(best) < before:
            before = self.value(best)
            for one, other in pairs[: tries.left]:
                tries.left -= 1
                grid = pair(best.widths, lists, one, other)
                better = self.points(point.shape, grid, nextafter(self.value(best), 0))
                best = min((best, *better), key=self.value)
        return best


def _least(ways: list[tuple[tuple[float, float], tuple[float, float]]]) -> tuple[float, float]:
    """Least seconds and least joules of some ways with one group more each; out of reach if there is none."""
    return min((a[0] + b[0] for a, b in ways), default=inf), min((a[1] + b[1] for a, b in ways), default=inf)


def _near(one: Key, other: Key) -> bool:
    """Whether two strips are at one stage, or of one rank at stages that follow one another."""
    return one[1] == other[1] or (one[0] == other[0] and abs(one[1] - other[1]) == 1)


def _fits(at: Sized, device: Device) -> Any:
    """Whether every level has room, by tile sizes."""
    capacities = {m.name: m.capacity for m in device.memories}
    fits: Any = True
    for level, size in occupancy(at).items():
        fits = fits & np.asarray(size <= capacities.get(level, inf))
    return fits


def _legal(shape: Shape) -> bool:
    """Whether values reach their readers under a shape, whatever its tiles."""
    try:
        check(shape.cascade, shape.closed(dict.fromkeys(shape.lanes, 1), shape.cascade.bind()))
    except WeirError:
        return False
    return True
