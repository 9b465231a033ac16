"""The best nest of a stated space: every shape with every tile size, counted through the closed form in bulk."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, combinations
from math import inf, nextafter
from pathlib import Path
from typing import Any

import numpy as np

from einsum import Cascade, WeirError, hint
from mappings.tree import Branch, Keep, Nest
from sim.arch import Device
from sim.arch import device as named
from sim.mapper import bound, parts
from sim.mapper.parts import Group
from sim.mapper.shapes import Shape, shapes
from sim.mapper.sites import Values
from sim.mapper.tiles import Grid, Key, Space, front, pair, unbeaten, value
from sim.model.fit import occupancy
from sim.model.legal import check
from sim.model.sized import Sized
from sim.model.spatial import MappedEstimate, busiest, evaluate, measured, modelled

OBJECTIVES = ("time", "energy", "edp")
REFINED = 24  # best mappings of one Einsum whose tiles are refined; of several, as many fewer
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
    shapes: int  # nests with open tiles

    @property
    def value(self) -> float:
        """Seconds, joules, or their product."""
        return float(value(self.objective, self.estimate.seconds, self.estimate.joules))

    @property
    def proof(self) -> str:
        """What the search shows, in a sentence."""
        best = f"least {self.objective} of {self.mappings:,} mappings: {self.shapes:,} nests with all their tile sizes"
        off = f"{self.value / self.bound:.3g} times what no mapping can go below" if self.bound > 0 else "no bound"
        return f"{best}, the best of them refined; {off}"

    def __str__(self) -> str:
        return f"{self.estimate}\n{self.proof}\n{self.nest}"


def search(
    cascade: Cascade, device: Device | str | Path, *, objective: str = "time", space: Space | None = None,
    technology: str | float | None = None, tracked: Any = iter, **sizes: int,
) -> Found:  # fmt: skip
    """The mapping of a cascade on a device with the least ``time``, ``energy`` or product of both (``edp``).

    Einsums are grouped as neighbours; groups follow one another through the outermost memory, those of one group share
    loops and what is between them stays on chip. Every grouping is compared (where there are more than eight Einsums:
    all together and each alone) unless bounds rule it out, and in each group every nest of :mod:`sim.mapper.shapes`
    with every tile size of the ``space``. ``technology`` models the energies that the device does not state.
    ``tracked`` wraps the groups, to show progress. Raises :class:`WeirError` if nothing fits.
    """
    if objective not in OBJECTIVES:
        raise WeirError(f"unknown objective {objective!r}{hint(objective, OBJECTIVES)}")
    plain = device if isinstance(device, Device) else named(device)
    one = modelled(plain, technology)
    whole = cascade.with_sizes(**sizes)
    hunt = _Hunt(whole, one, whole.bind(), objective, space or Space())
    nest = _joined(whole, one, [p.shape.closed(p.widths, hunt.sizes) for p in hunt.best(tracked).points])
    every = parts.group(whole, tuple(e.name for e in whole.einsums))
    least = bound.seconds(every, one, hunt.sizes), bound.joules(every, one, hunt.sizes)
    made = evaluate(whole, nest, plain, hunt.sizes, technology=technology)
    return Found(objective, nest, made, float(value(objective, *least)), hunt.compared, hunt.tried)


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
class _Hunt:
    """One search: what it is for, and how much it has gone through."""

    cascade: Cascade
    device: Device
    sizes: Values
    objective: str
    space: Space
    share: int = 0  # of the mappings, for one group
    compared: int = 0
    tried: int = 0
    ranks: dict[tuple[Any, ...], Any] = field(default_factory=dict)  # what is known of loops over one rank

    def value(self, one: Point | _Chain) -> float:
        """What is to be least."""
        return float(value(self.objective, one.seconds, one.joules))

    def best(self, tracked: Any) -> _Chain:
        """The best grouping: from the first Einsum on, the unbeaten ways to come to each."""
        pieces = parts.pieces(self.cascade)
        groups = {(a, b): parts.group(self.cascade, tuple(chain(*pieces[a:b]))) for a, b in parts.spans(len(pieces))}
        self.share = self.space.mappings // len(groups)
        last = len(pieces)
        found = {(0, last): self.group(groups.pop((0, last)))}
        worth = self.worth(groups, last, min(map(self.value, found[0, last]), default=inf))
        for span in tracked(worth):
            found[span] = self.group(groups[span])
        reached: list[list[_Chain]] = [[_Chain()]]
        for stop in range(1, last + 1):
            ways = [
                one.then(p) for start in range(stop) for one in reached[start] for p in found.get((start, stop), [])
            ]
            reached.append(unbeaten(ways, self.objective))
        if not reached[-1]:
            raise WeirError(
                f"no mapping of {self.cascade.name} fits {self.device.name}: the smallest tiles are too large for a"
                " level, or what depends on itself cannot be cut"
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

    def group(self, group: Group) -> list[Point]:
        """The unbeaten mappings of one group; the best tiles of its best shapes are refined between the space's."""
        every = sorted(shapes(group, self.device, self.sizes), key=lambda s: value(self.objective, *s.least))
        likely = [s for s in every if value(self.objective, *s.least) <= 2 * value(self.objective, *every[0].least)]
        number = self.share // len(likely) // len(group.cascade.einsums)
        starts = max(REFINED // len(group.cascade.einsums), 2)
        found: list[list[Point]] = []
        values: list[float] = []  # the best of each shape, in order
        for shape in every:
            self.tried += 1
            if value(self.objective, *shape.least) >= min(values, default=inf) or (group.between and not _legal(shape)):
                continue
            most = values[starts - 1] if len(values) >= starts and self.objective != "edp" else inf
            grids = self.space.grids(shape, self.sizes, number)
            if here := unbeaten([p for grid in grids for p in self.points(shape, grid, most)], self.objective):
                found.append(here)
                insort(values, min(map(self.value, here)))
        found.sort(key=lambda here: min(map(self.value, here)))
        refined = [self.refined(p) for p in list(chain(*found))[:starts]]
        return unbeaten([*chain(*found), *refined], self.objective)

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

    def refined(self, point: Point) -> Point:
        """The same shape with other tile sizes, those of two ranks or stages at a time, as long as that helps."""
        lanes = point.shape.lanes
        lists = {key: self.space.widths(self.sizes[key[0]], lanes[key], FINE) for key in lanes}
        pairs = list(combinations(lanes, 2)) or [(key, key) for key in lanes]
        best, before, least = point, inf, value(self.objective, *point.shape.least)
        while least < self.value(best) < before:
            before = self.value(best)
            for one, other in pairs:
                grid = pair(best.widths, lists, one, other)
                better = self.points(point.shape, grid, nextafter(self.value(best), 0))
                best = min((best, *better), key=self.value)
        return best


def _least(ways: list[tuple[tuple[float, float], tuple[float, float]]]) -> tuple[float, float]:
    """Least seconds and least joules of some ways with one group more each; out of reach if there is none."""
    return min((a[0] + b[0] for a, b in ways), default=inf), min((a[1] + b[1] for a, b in ways), default=inf)


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
