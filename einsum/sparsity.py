"""Which places of a tensor are present: how dense a pattern is, and how many of its slices are expected to be occupied.

Every pattern answers two questions in closed form, over arrays of sizes as well as over numbers:
``density(sizes)``, the expected fraction of its places that are present, and ``occupied(keep, sizes, tile)``, the
expected fraction of slices along ``keep`` that hold anything at all when the other ranks are seen through a window of
``tile`` extents. Where the present places can be listed, ``mask(sizes)`` lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Sizes = Mapping[str, Any]
Mask = NDArray[np.bool_]


@runtime_checkable
class Sparsity(Protocol):
    """A pattern over some ranks of a tensor."""

    @property
    def ranks(self) -> tuple[str, ...]:
        """The ranks it constrains."""

    def density(self, sizes: Sizes) -> Any:
        """Expected fraction of places present, from 0 to 1."""

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        """Expected fraction of slices along ``keep`` with anything in them."""

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        """One array of present places, over ``ranks`` in order (drawn with ``rng`` where the pattern is random)."""

    def rename(self, names: Mapping[str, str]) -> Sparsity:
        """The same pattern over other rank names."""

    def fills(self, keep: Iterable[str]) -> bool:
        """Whether every slice along ``keep`` is sure to hold something, whatever the sizes."""


def _dropped(ranks: Iterable[str], keep: Iterable[str], tile: Sizes) -> Any:
    """Number of places of a slice that is seen through the window."""
    places: Any = 1
    for rank in set(ranks) - set(keep):
        places = places * tile[rank]
    return places


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every place present with the same probability, independently."""

    ranks: tuple[str, ...]
    fraction: float

    def density(self, sizes: Sizes) -> Any:
        return self.fraction

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        return 1.0 - (1.0 - self.fraction) ** _dropped(self.ranks, keep, tile)

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        return rng.random([sizes[r] for r in self.ranks]) < self.fraction

    def fills(self, keep: Iterable[str]) -> bool:
        return False

    def rename(self, names: Mapping[str, str]) -> Uniform:
        return replace(self, ranks=tuple(names.get(r, r) for r in self.ranks))


def _capped_sum(start: Any, count: Any, cap: Any) -> Any:
    """Sum of ``min(n, cap)`` over ``n = start + 1 .. start + count``."""
    below = np.clip(cap - start, 0, count)  # how many n do not exceed the cap
    return below * start + below * (below + 1) / 2 + (count - below) * cap


@dataclass(frozen=True, slots=True)
class Band:
    """Key ``m`` is seen by query ``p`` if it is no later (``m <= offset + p``) and, with a window, among the newest
    ``window`` keys or the first ``sinks``. ``offset`` names the rank of keys that came before (or is empty)."""

    query: str
    key: str
    offset: str = ""
    window: int = 0  # 0: no window, plain causal
    sinks: int = 0

    @property
    def ranks(self) -> tuple[str, ...]:
        return (self.query, self.key)

    def _start(self, sizes: Sizes) -> Any:
        return sizes[self.offset] if self.offset else 0

    def density(self, sizes: Sizes) -> Any:
        queries, keys = sizes[self.query], sizes[self.key]
        cap = np.minimum(self.window + self.sinks, keys) if self.window else keys
        return _capped_sum(self._start(sizes), queries, cap) / (queries * keys)

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        kept = set(keep)
        if self.ranks[0] in kept and self.ranks[1] in kept:
            return self.density(sizes)
        if self.query in kept or self.key not in kept:
            return 1.0  # every query sees at least itself
        reach = self._start(sizes) + sizes[self.query]
        seen = np.minimum(reach, self.window + self.sinks + sizes[self.query] - 1) if self.window else reach
        return np.minimum(seen / sizes[self.key], 1.0)

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        at = self._start(sizes) + np.arange(sizes[self.query])[:, None]
        key = np.arange(sizes[self.key])[None, :]
        seen = key <= at
        return np.asarray(seen & ((key > at - self.window) | (key < self.sinks)) if self.window else seen)

    def fills(self, keep: Iterable[str]) -> bool:
        return self.key not in set(keep)

    def rename(self, names: Mapping[str, str]) -> Band:
        query, key, offset = (names.get(r, r) for r in (self.query, self.key, self.offset))
        return replace(self, query=query, key=key, offset=offset)


def _all_missed(total: Any, chosen: Any, window: Any) -> Any:
    """Probability that ``chosen`` distinct places of ``total`` all lie outside a window (hypergeometric, exact)."""
    missed: Any = 1.0
    for i in range(int(chosen)):
        missed = missed * np.clip((total - window - i) / np.maximum(total - i, 1), 0.0, 1.0)
    return missed


SEEN = 16  # sorted groups of places in which uneven popularity is described
DRAWS = 32  # of popularity, by which places are dealt to windows


@lru_cache(maxsize=4096)
def _popular(total: int, ways: int, skew: float, spread: float) -> tuple[float, ...]:
    """Shares of all choices that fall on the places of the most chosen of ``ways`` windows, in ``SEEN`` sorted groups.

    Popularity is drawn from a density that falls with the power ``skew`` between 1 and ``spread``; the seed is fixed.
    """
    rest, rng = 1 - skew, np.random.default_rng(total * 1009 + ways)
    drawn = rng.random((DRAWS, total))
    weight = spread**drawn if abs(rest) < 1e-09 else ((spread**rest - 1) * drawn + 1) ** (1 / rest)
    shares = (weight / weight.sum(axis=1, keepdims=True))[:, : total // ways * ways].reshape(DRAWS, ways, -1)
    most = shares[np.arange(DRAWS), shares.sum(axis=2).argmax(axis=1)]
    ranked = np.sort(most, axis=None)
    return tuple(float(group.mean()) for group in np.array_split(ranked, min(SEEN, ranked.size)))


@dataclass(frozen=True, slots=True)
class PerRow:
    """Exactly ``count`` places present along ``along`` in every row (top-k routing).

    All places are equally likely; or taken in turn, so that they are equally full, where ``spread`` is 1; or some more
    often than others where it is larger: the ratio of the most to the least popular, between which their density falls
    with the power ``skew``.
    """

    rows: tuple[str, ...]
    along: str
    count: int
    skew: float = 0.0
    spread: float = 0.0

    @property
    def ranks(self) -> tuple[str, ...]:
        return (*self.rows, self.along)

    def density(self, sizes: Sizes) -> Any:
        return np.minimum(self.count / sizes[self.along], 1.0)

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        hidden = _dropped(self.rows, keep, tile)  # rows seen together through the window
        if self.along in set(keep):
            used, _ = self.crowd(sizes[self.along], sizes[self.along], hidden)
            return used.mean(axis=0) if self.spread > 1 else used[0]
        return 1.0 - _all_missed(sizes[self.along], self.count, tile[self.along]) ** hidden

    def crowd(self, total: Any, window: Any, rows: Any) -> tuple[Any, Any]:
        """For places of the most chosen window of so many: the probability that any row has them, and by how many rows
        they are then taken, sorted groups of places along an axis in front (one group where all are alike)."""
        if self.spread <= 1:
            share = np.minimum(self.count / total, 1.0)
            used = np.minimum(rows * share, 1.0) if self.spread else 1.0 - (1.0 - share) ** rows
            return np.asarray(used)[None], np.asarray(rows * share / np.maximum(used, 1e-300))[None]
        pairs = np.broadcast_arrays(np.asarray(total), np.asarray(window), np.asarray(rows, float) * 0)
        found = [
            _popular(int(t), max(1, round(t / w)), self.skew, self.spread)
            for t, w in zip(pairs[0].ravel(), pairs[1].ravel(), strict=True)
        ]
        groups = np.array([np.interp(np.linspace(0, 1, SEEN), np.linspace(0, 1, len(f)), f) for f in found])
        share = np.minimum(self.count * groups.T.reshape(SEEN, *pairs[0].shape), 1.0)
        used = 1.0 - (1.0 - share) ** rows
        return used, share * rows / np.maximum(used, 1e-300)

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        total = int(sizes[self.along])
        order = rng.random([sizes[r] for r in self.ranks])
        if self.spread == 1:  # every row goes on where the one before it ended
            rows = np.arange(order.size // total).reshape(order.shape[:-1])
            return np.asarray((np.arange(total) - rows[..., None] * self.count) % total < self.count)
        if self.spread > 1:  # exponential races, which the popular win more often
            weight = np.array(_popular(total, 1, self.skew, self.spread))
            order = -np.log1p(-order) / np.interp(np.linspace(0, 1, total), np.linspace(0, 1, len(weight)), weight)
        return np.asarray(order.argsort(axis=-1).argsort(axis=-1) < self.count)

    def fills(self, keep: Iterable[str]) -> bool:
        return self.along not in set(keep)

    def rename(self, names: Mapping[str, str]) -> PerRow:
        rows = tuple(names.get(r, r) for r in self.rows)
        return replace(self, rows=rows, along=names.get(self.along, self.along))


@dataclass(frozen=True, slots=True)
class Structured:
    """``count`` places present in every group of ``group`` along one rank (n:m sparsity)."""

    along: str
    count: int
    group: int

    @property
    def ranks(self) -> tuple[str, ...]:
        return (self.along,)

    def density(self, sizes: Sizes) -> Any:
        return self.count / self.group

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        if self.along in set(keep):
            return self.density(sizes)
        return 1.0 - _all_missed(self.group, self.count, np.minimum(tile[self.along], self.group))

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        groups = -(-sizes[self.along] // self.group)
        order = rng.random((groups, self.group)).argsort(axis=1)
        return np.asarray(order < self.count).reshape(-1)[: sizes[self.along]]

    def fills(self, keep: Iterable[str]) -> bool:
        return self.along not in set(keep)

    def rename(self, names: Mapping[str, str]) -> Structured:
        return replace(self, along=names.get(self.along, self.along))


@dataclass(frozen=True, slots=True)
class Block:
    """Whole blocks present with the same probability; ``shape`` gives the block's extent along each rank."""

    shape: tuple[tuple[str, int], ...]
    fraction: float

    @property
    def ranks(self) -> tuple[str, ...]:
        return tuple(r for r, _ in self.shape)

    def density(self, sizes: Sizes) -> Any:
        return self.fraction

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        kept = set(keep)
        blocks: Any = 1.0
        for rank, extent in self.shape:
            blocks = blocks * (1.0 if rank in kept else np.maximum(np.ceil(tile[rank] / extent), 1.0))
        return 1.0 - (1.0 - self.fraction) ** blocks

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        present: Mask = rng.random([-(-sizes[r] // n) for r, n in self.shape]) < self.fraction
        for axis, (rank, extent) in enumerate(self.shape):
            present = np.repeat(present, extent, axis=axis).take(np.arange(sizes[rank]), axis=axis)
        return present

    def fills(self, keep: Iterable[str]) -> bool:
        return False

    def rename(self, names: Mapping[str, str]) -> Block:
        return replace(self, shape=tuple((names.get(r, r), n) for r, n in self.shape))


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Row ``i`` (from 1) present with probability proportional to ``i ** -exponent``, capped at one, so that the whole
    has density ``fraction``; places of a row are independent."""

    row: str
    along: str
    fraction: float
    exponent: float

    @property
    def ranks(self) -> tuple[str, ...]:
        return (self.row, self.along)

    def rows(self, size: int) -> NDArray[np.float64]:
        """Probability of a place in each row; water-filling keeps the mean exact where the head saturates."""
        weight = np.arange(1, size + 1, dtype=float) ** -self.exponent
        capped = 0
        while True:
            rest = (self.fraction * size - capped) / weight[capped:].sum() if capped < size else 0.0
            probability = np.minimum(weight * rest, 1.0)
            probability[:capped] = 1.0
            full = int((probability >= 1.0).sum())
            if full <= capped:
                return probability
            capped = full

    def density(self, sizes: Sizes) -> Any:
        return self.fraction

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        kept = set(keep)
        if self.row in kept and self.along in kept:
            return self.fraction
        if self.row in kept:
            return _over(lambda n, t: (1 - (1 - self.rows(n)) ** t).mean(), sizes[self.row], tile[self.along])
        missed = _over(lambda n, t: (1 - self.rows(n)).prod() ** (t / n), sizes[self.row], tile[self.row])
        return 1.0 - (missed if self.along in kept else missed ** tile[self.along])

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        return rng.random((sizes[self.row], sizes[self.along])) < self.rows(sizes[self.row])[:, None]

    def fills(self, keep: Iterable[str]) -> bool:
        return False

    def rename(self, names: Mapping[str, str]) -> PowerLaw:
        return replace(self, row=names.get(self.row, self.row), along=names.get(self.along, self.along))


def _over(fn: Any, size: Any, tile: Any) -> Any:
    """``fn(size, tile)`` for numbers, or point by point over arrays of them."""
    if np.ndim(size) == 0 and np.ndim(tile) == 0:
        return float(fn(int(size), tile))
    flat = np.broadcast(size, tile)
    return np.array([fn(int(n), t) for n, t in flat]).reshape(flat.shape)


@dataclass(frozen=True)
class Actual:
    """A matrix in hand, as coordinates: every count is exact for the whole matrix."""

    row: str
    along: str
    shape: tuple[int, int]
    coords: tuple[bytes, bytes]  # int64 row and column of every place, as raw bytes so that the value hashes

    @classmethod
    def of(cls, matrix: Any, row: str, along: str) -> Actual:
        """From a scipy sparse matrix (explicit zeros count as present) or a dense array."""
        coo = matrix.tocoo() if hasattr(matrix, "tocoo") else None
        rows, cols = (coo.row, coo.col) if coo is not None else np.nonzero(matrix)
        places = np.unique(np.stack([rows, cols]).astype(np.int64), axis=1)
        return cls(row, along, (int(matrix.shape[0]), int(matrix.shape[1])), (places[0].tobytes(), places[1].tobytes()))

    @property
    def ranks(self) -> tuple[str, ...]:
        return (self.row, self.along)

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of every present place."""
        return np.frombuffer(self.coords[0], np.int64), np.frombuffer(self.coords[1], np.int64)

    def density(self, sizes: Sizes) -> Any:
        return len(self.places[0]) / (self.shape[0] * self.shape[1])

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        kept = [r in set(keep) for r in self.ranks]
        windows = [1 if k else int(tile[r]) for k, r in zip(kept, self.ranks, strict=True)]
        grid = [-(-n // w) for n, w in zip(self.shape, windows, strict=True)]
        cells = (self.places[0] // windows[0]) * grid[1] + self.places[1] // windows[1]
        return len(np.unique(cells)) / (grid[0] * grid[1])

    def mask(self, sizes: Sizes, rng: np.random.Generator) -> Mask:
        present = np.zeros(self.shape, bool)
        present[self.places] = True
        return present

    def fills(self, keep: Iterable[str]) -> bool:
        return False

    def rename(self, names: Mapping[str, str]) -> Actual:
        return replace(self, row=names.get(self.row, self.row), along=names.get(self.along, self.along))


def density(patterns: Iterable[Sparsity], sizes: Sizes) -> Any:
    """Expected fraction present under independent patterns together."""
    product: Any = 1.0
    for pattern in patterns:
        product = product * pattern.density(sizes)
    return product


def occupied(patterns: Iterable[Sparsity], keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
    """Expected fraction of slices along ``keep`` with anything in them, under independent patterns together."""
    product: Any = 1.0
    for pattern in patterns:
        product = product * pattern.occupied(tuple(keep), sizes, tile)
    return product
