"""Which places of a tensor are present: how dense a pattern is, and how many of its slices are expected to be occupied.

Every pattern answers two questions in closed form, over arrays of sizes as well as over numbers:
``density(sizes)``, the expected fraction of its places that are present, and ``occupied(keep, sizes, tile)``, the
expected fraction of slices along ``keep`` that hold anything at all when the other ranks are seen through a window of
``tile`` extents. Where the present places can be listed, ``mask(sizes)`` lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
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

    @property
    def drawn(self) -> bool:
        """Whether its places are drawn at random, and not known."""

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


def dropped(ranks: Iterable[str], keep: Iterable[str], tile: Sizes) -> Any:
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

    @property
    def drawn(self) -> bool:
        return True

    def density(self, sizes: Sizes) -> Any:
        return self.fraction

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        return 1.0 - (1.0 - self.fraction) ** dropped(self.ranks, keep, tile)

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

    @property
    def drawn(self) -> bool:
        return False

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


@dataclass(frozen=True, slots=True)
class Block:
    """Whole blocks present with the same probability; ``shape`` gives the block's extent along each rank."""

    shape: tuple[tuple[str, int], ...]
    fraction: float

    @property
    def ranks(self) -> tuple[str, ...]:
        return tuple(r for r, _ in self.shape)

    @property
    def drawn(self) -> bool:
        return True

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

    @property
    def drawn(self) -> bool:
        return True

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

    @property
    def drawn(self) -> bool:
        return False

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
