"""The best nest of a stated space: every shape with every tile size, counted through the closed form in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from einsum import Cascade, WeirError, hint
from mappings.tree import Branch, Keep, Nest
from sim.arch import Device
from sim.arch import device as named
from sim.mapper import bound, parts
from sim.mapper.parts import Group
from sim.mapper.shapes import Shape, shapes
from sim.mapper.sites import Values
from sim.model.fit import occupancy
from sim.model.legal import check
from sim.model.nests import Mapped
from sim.model.spatial import MappedEstimate, evaluate

OBJECTIVES = ("time", "energy", "edp")
ROUNDS = 3  # times that every open tile is tried anew
LONGEST = 1 << 12
CHUNK = 8192  # points at once: arrays that stay in the second-level cache

Array = NDArray[np.float64]
Widths = dict[tuple[str, int], int]  # of strips, by rank and stage


@dataclass(frozen=True, slots=True)
class Space:
    """Which mappings are compared.

    ``tiles`` sizes of each rank at each level: the shortest tiles that make 1, 2, ... pieces, thinned evenly over
    powers; fewer where a nest would have more than ``most`` combinations.
    """

    tiles: int = 8
    most: int = 20_000

    def widths(self, extent: int, lanes: int, number: int) -> list[int]:
        """Widths of strips to try: of all that make different numbers of pieces, ``number`` at most."""
        longest = -(-extent // lanes)
        pieces = {round(longest ** (n / max(number - 1, 1))) for n in range(number)}
        return sorted({-(-longest // p) for p in pieces})

    def all_widths(self, extent: int, lanes: int) -> Array:
        """Every width that makes another number of pieces, but for very long ranks."""
        longest = -(-extent // lanes)
        some = range(1, min(longest, LONGEST) + 1)
        return np.array(sorted({-(-longest // p) for p in some} | {w for w in some if w <= longest}), float)


@dataclass(frozen=True)
class _Point:
    """One group under one shape with its tiles chosen, and what that costs."""

    shape: Shape
    widths: Widths
    nest: Nest
    seconds: float
    joules: float


@dataclass(frozen=True)
class Found:
    """The best mapping found, and what is known about it."""

    objective: str
    nest: Nest
    estimate: MappedEstimate
    bound: float  # s, J or J s that no mapping of any kind can go below
    mappings: int  # compared
    shapes: int  # nests with open tiles
    refined: bool  # tile sizes between those of the space were better

    @property
    def value(self) -> float:
        """Seconds, joules, or their product."""
        return float(_value(self.objective, self.estimate.seconds, self.estimate.joules))

    @property
    def proof(self) -> str:
        """What the search shows, in a sentence."""
        off = f"{self.value / self.bound:.3g} times what no mapping can go below" if self.bound > 0 else "no bound"
        best = f"best of {self.mappings:,} mappings, all of a space of {self.shapes:,} nests with open tiles"
        more = ", then refined between its tile sizes" if self.refined else ""
        return f"{best}{more}; {off}"

    def __str__(self) -> str:
        return f"{self.estimate}\n{self.proof}\n{self.nest}"


def search(
    cascade: Cascade, device: Device | str | Path, *, objective: str = "time", space: Space | None = None,
    tracked: Any = iter, **sizes: int,
) -> Found:  # fmt: skip
    """The mapping of a cascade on a device with the least ``time``, ``energy`` or product of both (``edp``).

    Einsums are grouped as neighbours; groups follow one another through the outermost memory, those of one group share
    loops and what is between them stays on chip. Every grouping is compared (where there are more than eight Einsums:
    all together and each alone), and in each group every nest of :mod:`sim.mapper.shapes` with every tile size of the
    ``space``. ``tracked`` wraps the groups, to show progress. Raises :class:`WeirError` if nothing fits.
    """
    if objective not in OBJECTIVES:
        raise WeirError(f"unknown objective {objective!r}{hint(objective, OBJECTIVES)}")
    one = device if isinstance(device, Device) else named(device)
    whole = cascade.with_sizes(**sizes)
    at = whole.bind()
    hunt = _Hunt(whole, one, at, objective, space or Space())
    best = hunt.best(tracked)
    refined = [hunt.refined(point) for point in best]
    nest = _joined(whole, one, [point.nest for point in refined])
    least = bound.seconds(whole, one, at), bound.joules(whole, one, at)
    return Found(
        objective, nest, evaluate(whole, nest, one, at), _value(objective, *least), hunt.compared, hunt.tried,
        any(a is not b for a, b in zip(best, refined, strict=True)),
    )  # fmt: skip


def _value(objective: str, seconds: Any, joules: Any) -> Any:
    return {"time": seconds, "energy": joules, "edp": seconds * joules}[objective]


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
    compared: int = 0
    tried: int = 0

    def best(self, tracked: Any) -> list[_Point]:
        """The best grouping: fronts of seconds and joules, from the first Einsum on."""
        pieces = parts.pieces(self.cascade)
        fronts: dict[tuple[int, int], list[_Point]] = {}
        for start, stop in tracked(parts.spans(len(pieces))):
            fronts[start, stop] = self.front(parts.group(self.cascade, tuple(chain(*pieces[start:stop]))))
        reached: dict[int, list[tuple[float, float, list[_Point]]]] = {0: [(0.0, 0.0, [])]}
        for stop in range(1, len(pieces) + 1):
            ends = [
                (s + p.seconds, j + p.joules, [*way, p])
                for start in range(stop)
                for s, j, way in reached.get(start, [])
                for p in fronts.get((start, stop), [])
            ]
            reached[stop] = _undominated(ends, self.objective)
        if not (last := reached[len(pieces)]):
            raise WeirError(f"{self.device.name}: no mapping of {self.cascade.name} fits; the smallest tiles are too "
                            "large for a level, or its groups cannot be cut")  # fmt: skip
        return min(last, key=lambda end: _value(self.objective, end[0], end[1]))[2]

    def front(self, group: Group) -> list[_Point]:
        """The mappings of one group that no other beats in both seconds and joules (or in the one asked for)."""
        found: list[tuple[float, float, tuple[Shape, Widths]]] = []
        for shape in shapes(group, self.device, self.sizes):
            if not _legal(shape):
                continue
            self.tried += 1
            for tiles in self.tiles(shape):
                found = _undominated([*found, *self.scored(shape, tiles)], self.objective)
        return [_Point(shape, chosen, shape.closed(chosen, self.sizes), s, j) for s, j, (shape, chosen) in found]

    def tiles(self, shape: Shape) -> Iterator[dict[tuple[str, int], Array]]:
        """All combinations of widths by rank and stage, those of one rank not growing inwards, in chunks."""
        open_ = list(dict.fromkeys((t.rank, t.stage) for t in shape.tiles))
        lanes = {(t.rank, t.stage): t.lanes for t in reversed(shape.tiles)}
        number = self.space.tiles
        lists = [self.space.widths(self.sizes[r], lanes[r, s], number) for r, s in open_]
        while number > 2 and np.prod([float(len(one)) for one in lists]) > self.space.most:
            number -= 1
            lists = [self.space.widths(self.sizes[r], lanes[r, s], number) for r, s in open_]
        yield from _chunks(dict(zip(open_, lists, strict=True)))

    def scored(
        self, shape: Shape, widths: dict[tuple[str, int], Array]
    ) -> list[tuple[float, float, tuple[Shape, Widths]]]:
        """The best of some tile sizes of one shape; nothing where none fits."""
        seconds, joules, kept = self.costs(shape, widths)
        if not len(seconds):
            return []
        picked = _front(seconds, joules, self.objective)
        return [
            (float(seconds[i]), float(joules[i]), (shape, {key: int(one[i]) for key, one in kept.items()}))
            for i in picked
        ]

    def costs(
        self, shape: Shape, widths: dict[tuple[str, int], Array]
    ) -> tuple[Array, Array, dict[tuple[str, int], Array]]:
        """Seconds and joules of those tile sizes that fit, and the sizes."""
        mapped = Mapped(shape.cascade, shape.nest)
        keys = shape.keys()
        count = max([len(one) for one in widths.values()], default=1)
        self.compared += count
        tiles = {key: widths[tile.rank, tile.stage] * tile.lanes for key, tile in keys.items()}
        fits = np.broadcast_to(_fits(mapped, self.device, self.sizes, tiles), (count,))
        kept = {key: one[fits] for key, one in widths.items()}
        number = int(fits.sum())
        if not number:
            return np.empty(0), np.empty(0), kept
        some = {key: one[fits] for key, one in tiles.items()}
        made = evaluate(shape.cascade, mapped, self.device, self.sizes, some, checked=False)
        seconds, joules = (np.broadcast_to(np.asarray(v, float), (number,)) for v in (made.seconds, made.joules))
        return seconds, joules, kept

    def refined(self, point: _Point) -> _Point:
        """The same shape with any tile sizes, one rank of one stage at a time, as long as that helps."""
        best = point
        lanes = {(t.rank, t.stage): t.lanes for t in reversed(point.shape.tiles)}
        for key in [key for _ in range(ROUNDS) for key in lanes]:
            every = self.space.all_widths(self.sizes[key[0]], lanes[key])
            widths = {k: np.full(len(every), float(w)) for k, w in best.widths.items()} | {key: every}
            for seconds, joules, (_, chosen) in self.scored(point.shape, widths):
                worth = _value(self.objective, seconds, joules) < _value(self.objective, best.seconds, best.joules)
                if worth:
                    nest = point.shape.closed(chosen, self.sizes)
                    best = _Point(point.shape, chosen, nest, seconds, joules)
        return best


def _chunks(lists: dict[tuple[str, int], list[int]]) -> Iterator[dict[tuple[str, int], Array]]:
    """Every combination of widths in which a rank's do not grow from stage to stage, a chunk at a time."""
    shape = tuple(len(one) for one in lists.values())
    total = int(np.prod(shape)) if shape else 1
    for start in range(0, total, CHUNK):
        places = np.unravel_index(np.arange(start, min(start + CHUNK, total)), shape) if shape else ()
        found = {key: np.array(one, float)[at] for (key, one), at in zip(lists.items(), places, strict=True)}
        keep = np.ones(min(CHUNK, total - start), bool)
        for rank, stage in lists:
            inner = min((s for r, s in lists if r == rank and s > stage), default=0)
            if inner:
                keep &= found[rank, inner] <= found[rank, stage]
        yield {key: one[keep] for key, one in found.items()}


def _front(seconds: Array, joules: Array, objective: str) -> list[int]:
    """Places of what nothing else beats: one for time or energy (the other breaks ties), a front for their product."""
    order = np.lexsort((joules, seconds) if objective != "energy" else (seconds, joules))
    if objective != "edp":
        return [int(order[0])]
    least = np.minimum.accumulate(joules[order])
    return [int(i) for n, i in enumerate(order) if n == 0 or joules[i] < least[n - 1]]


Ends = TypeVar("Ends")


def _undominated(ends: list[tuple[float, float, Ends]], objective: str) -> list[tuple[float, float, Ends]]:
    """Those of some (seconds, joules, anything) that nothing else beats."""
    if not ends:
        return []
    return [ends[i] for i in _front(np.array([e[0] for e in ends]), np.array([e[1] for e in ends]), objective)]


def _fits(mapped: Mapped, device: Device, sizes: Values, tiles: dict[str, Array]) -> Any:
    """Whether every level has room, by tile sizes."""
    capacities = {m.name: m.capacity for m in device.memories}
    fits: Any = True
    for level, size in occupancy(mapped, sizes, tiles).items():
        fits = fits & np.asarray(size <= capacities.get(level, inf))
    return fits


def _legal(shape: Shape) -> bool:
    """Whether values reach their readers under a shape, whatever its tiles."""
    try:
        check(shape.cascade, shape.closed({(t.rank, t.stage): 1 for t in shape.tiles}, shape.cascade.bind()))
    except WeirError:
        return False
    return True
