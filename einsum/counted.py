"""Patterns with so many places present in every row or group: top-k routing, n:m sparsity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from einsum.sparsity import Mask, Sizes, dropped

SEEN = 16  # sorted groups of places in which uneven popularity is described
DRAWS = 32  # of popularity, by which places are dealt to windows


def _all_missed(total: Any, chosen: Any, window: Any) -> Any:
    """Probability that ``chosen`` distinct places of ``total`` all lie outside a window (hypergeometric, exact)."""
    missed: Any = 1.0
    for i in range(int(chosen)):
        missed = missed * np.clip((total - window - i) / np.maximum(total - i, 1), 0.0, 1.0)
    return missed


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

    @property
    def drawn(self) -> bool:
        return self.spread != 1

    def density(self, sizes: Sizes) -> Any:
        return np.minimum(self.count / sizes[self.along], 1.0)

    def occupied(self, keep: Iterable[str], sizes: Sizes, tile: Sizes) -> Any:
        hidden = dropped(self.rows, keep, tile)  # rows seen together through the window
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

    @property
    def drawn(self) -> bool:
        return True

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
