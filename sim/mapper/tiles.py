"""Which tile sizes a search compares, and which of several mappings are worth keeping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import comb, prod
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from einsum import WeirError
from sim.mapper.shapes import Shape
from sim.mapper.sites import Values

Array = NDArray[np.float64]
Key = tuple[str, int]  # a rank at a stage
CHUNK = 8192  # points at once: arrays that stay in the second-level cache
HIGHEST = 20_000  # and at most
CELLS = 20 * HIGHEST  # combinations times open loops, at most
NESTS = 5_000  # of a group that are tried
LEAST = 256  # combinations of tiles of any one nest, at least


@dataclass(frozen=True, slots=True)
class Space:
    """Which mappings are compared.

    Up to ``tiles`` sizes of each rank at each level: the shortest tiles that make 1, 2, 4, 8, ... pieces (so imperfect
    factors too), thinned evenly; fewer where a group would have more than so many ``mappings``. Of a group with more
    than so many ``nests``, those that a descent from many starts comes by, as many as that.
    """

    tiles: int = 8
    mappings: int = 5_000_000
    nests: int = NESTS

    def __post_init__(self) -> None:
        for name in ("tiles", "mappings", "nests"):
            if getattr(self, name) < 1:
                raise WeirError(f"{name} {getattr(self, name)}: at least 1")

    def grids(self, shape: Shape, sizes: Values, most: int) -> Iterator[Grid]:
        """All combinations of widths for a shape (about ``most``), those of a rank not growing inwards.

        Where two widths each are still too many, neighbouring levels cut a rank alike, and in the end only the longest
        ranks are cut at all.
        """
        lanes, ranks, number = shape.lanes, tuple(r for r, _ in shape.cascade.sizes), self.tiles
        lists = self._lists(shape, sizes, number)
        while number > 2 and _combinations(lists) > min(max(most, LEAST), HIGHEST):
            number -= 1
            lists = self._lists(shape, sizes, number)
        most = min(HIGHEST, CELLS // max(len(lanes), 1))
        if _combinations(lists) <= most:
            return iter(_grids(tuple(lists.items()), ranks))
        return iter(_alike(lists, ranks, sizes, most))

    def _lists(self, shape: Shape, sizes: Values, number: int) -> dict[Key, tuple[int, ...]]:
        return {key: self.widths(sizes[key[0]], lanes, number) for key, lanes in shape.lanes.items()}

    def widths(self, extent: int, lanes: int, number: int) -> tuple[int, ...]:
        """Widths of strips to try: of all that make different numbers of pieces, ``number`` at most."""
        return _widths(-(-extent // lanes), number)


@lru_cache(maxsize=4096)
def _widths(longest: int, number: int) -> tuple[int, ...]:
    most = (longest - 1).bit_length()
    powers = {round(n * most / max(number - 1, 1)) for n in range(number)}
    between = range(most if number > most + 1 else 0)
    pieces = {2**n for n in powers} | {3 * 2**n for n in between}
    return tuple(sorted({-(-longest // min(p, longest)) for p in pieces}))


@dataclass(frozen=True)
class Grid:
    """Combinations of widths: what belongs together varies along an axis of its own, so that the arrays broadcast.

    Widths of the same name are the same in every grid. Of equals, the combination of the least ``place`` is taken.
    """

    widths: dict[Key, Any]
    names: dict[Key, Hashable]
    place: NDArray[np.int64]

    def at(self, number: int) -> dict[Key, int]:
        """The widths of one combination, counted along the axes."""
        shape = self.place.shape
        return {key: int(np.broadcast_to(one, shape).flat[number]) for key, one in self.widths.items()}


def pair(widths: dict[Key, int], lists: dict[Key, tuple[int, ...]], one: Key, other: Key) -> Grid:
    """The grid of all widths of two strips (or of one), the others as they are."""
    varied = list(dict.fromkeys((one, other)))
    axes = [_axis(lists[key], n, len(varied)) for n, key in enumerate(varied)]
    place = np.arange(prod(map(np.size, axes))).reshape([np.size(axis) for axis in axes])
    names: dict[Key, Hashable] = dict(widths)
    names |= {key: ("axis", n, len(varied), lists[key]) for n, key in enumerate(varied)}
    return Grid(widths | dict(zip(varied, axes, strict=True)), names, place)


def _axis(values: Any, number: int, axes: int) -> Any:
    return np.asarray(values).reshape([-1 if n == number else 1 for n in range(axes)])


def _combinations(lists: dict[Key, tuple[int, ...]]) -> float:
    """How many combinations there are: for each rank, multisets of its widths."""
    stages = Counter(rank for rank, _ in lists)
    widest = {rank: max(len(one) for (r, _), one in lists.items() if r == rank) for rank in stages}
    return float(prod(comb(widest[rank] + depth - 1, depth) for rank, depth in stages.items()))


@lru_cache(maxsize=128)
def _grids(given: tuple[tuple[Key, tuple[int, ...]], ...], ranks: tuple[str, ...]) -> tuple[Grid, ...]:
    """Every combination in which a rank's widths do not grow from stage to stage: an axis a rank, the longest in
    parts."""
    return tuple(_parts(dict(given), ranks))


def _alike(lists: dict[Key, tuple[int, ...]], ranks: tuple[str, ...], sizes: Values, most: int) -> Iterator[Grid]:
    """Combinations with two widths for each rank at most, ``most`` of them: stages that follow one another cut a rank
    alike, but where its strips may get shorter; ranks for which there is no room left are gone through one by one."""
    longest = sorted({rank for rank, _ in lists}, key=lambda rank: -sizes[rank])
    cut = longest[: most.bit_length() - 1]  # two combinations a rank, at least
    blocks = max(int(most ** (1 / len(cut)) + 1e-9) - 1, 1)
    firsts: dict[Key, Key] = {}
    for rank in cut:
        inwards = sorted(key for key in lists if key[0] == rank)
        size = -(-len(inwards) // blocks)
        firsts |= {key: inwards[n // size * size] for n, key in enumerate(inwards)}
    own = {key: lists[key] for key in lists if firsts.get(key) == key}
    for grid in _grids(tuple(own.items()), ranks):
        widths, names = dict[Key, Any](), dict[Key, Hashable]()
        for key, some in lists.items():
            first = firsts.get(key)
            widths[key] = np.minimum(grid.widths[first], some[-1]) if first else 1.0
            names[key] = (grid.names[first], some[-1]) if first else 1
        yield Grid(widths, names, grid.place)


def _parts(lists: dict[Key, tuple[int, ...]], ranks: tuple[str, ...]) -> Iterator[Grid]:
    along = [_falling({key: one for key, one in lists.items() if key[0] == rank}) for rank in ranks]
    lengths = [max(map(len, found.values()), default=1) for found in along]
    orders = [_order(found, lists, prod(lengths[n + 1 :])) for n, found in enumerate(along)]
    longest = lengths.index(max(lengths))
    step = max(CHUNK * lengths[longest] // prod(lengths), 1)
    for start in range(0, lengths[longest], step):
        widths, names = dict[Key, Any](), dict[Key, Hashable]()
        place: Any = np.zeros([1] * len(ranks), np.int64)
        for number, found in enumerate(along):
            piece = slice(start, start + step) if number == longest else slice(None)
            place = place + _axis(orders[number][piece], number, len(ranks))
            every = tuple((key, lists[key]) for key in found)
            for key, chosen in found.items():
                widths[key] = _axis(np.array(lists[key], float)[chosen[piece]], number, len(ranks))
                names[key] = key, every, start if number == longest else None
        yield Grid({key: widths[key] for key in lists}, names, place)


def _order(found: dict[Key, NDArray[np.int64]], lists: dict[Key, tuple[int, ...]], after: int) -> NDArray[np.int64]:
    """What each of a rank's combinations counts in the order of all: by widths, one list after another, or where such
    numbers would be too long by ranks, with so many combinations of those ``after`` it."""
    length = max(map(len, found.values()), default=1)
    if prod(map(len, lists.values())) >= 1 << 63:
        return np.arange(length) * after
    names = list(lists)
    place = np.zeros(length, np.int64)
    for key, chosen in found.items():
        place = place + chosen * prod(len(lists[k]) for k in names[names.index(key) + 1 :])
    return place


def _falling(lists: dict[Key, tuple[int, ...]]) -> dict[Key, NDArray[np.int64]]:
    """Places in the lists of a rank's widths, by stage: all combinations that do not grow inwards."""
    rows: list[tuple[int, ...]] = [()]
    outer: tuple[int, ...] = ()
    for key in (inwards := sorted(lists)):
        rows = [(*row, n) for row in rows for n, w in enumerate(lists[key]) if not row or w <= outer[row[-1]]]
        outer = lists[key]
    return dict(zip(inwards, np.array(rows, np.int64).T, strict=True))


class Costed(Protocol):
    """Something with seconds and joules."""

    @property
    def seconds(self) -> float:
        """Wall seconds."""
        ...

    @property
    def joules(self) -> float:
        """Joules of all components."""
        ...


One = TypeVar("One", bound=Costed)


def value(objective: str, seconds: Any, joules: Any) -> Any:
    """What is to be least: seconds (``time``), joules (``energy``), or their product (``edp``)."""
    return {"time": seconds, "energy": joules, "edp": seconds * joules}[objective]


def front(seconds: Array, joules: Array, objective: str, place: Any = None) -> list[int]:
    """Places of what nothing else beats: one for time or energy (the other breaks ties), a front for their product.

    What is alike in both stands in the order of ``place``, or as it comes.
    """
    keys = (joules, seconds) if objective != "energy" else (seconds, joules)
    order = np.lexsort(keys if place is None else (place, *keys))
    if objective != "edp":
        return [int(order[0])]
    least = np.minimum.accumulate(joules[order])
    return [int(i) for n, i in enumerate(order) if n == 0 or joules[i] < least[n - 1]]


def unbeaten(some: list[One], objective: str) -> list[One]:
    """Those of some mappings that nothing else beats."""
    if not some:
        return []
    return [some[i] for i in front(np.array([e.seconds for e in some]), np.array([e.joules for e in some]), objective)]
