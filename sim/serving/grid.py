"""Costs on a rectangular grid of any number of axes, interpolated linearly between its points."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from einsum.errors import WeirError
from sim.serving.service import Array
from sim.serving.steptable import measurable


@dataclass(frozen=True, slots=True)
class Grid:
    """Values at every combination of the axes' points; constant beyond their ends."""

    axes: tuple[tuple[float, ...], ...]  # each rising, of two points at least
    values: Any  # nested lists, one level an axis

    def at(self, *point: float) -> float:
        """The value at a point, one number an axis."""
        return _within(self.values, self.axes, point)


def grid(cost: Callable[..., Array], *axes: Array, what: str, unknown: bool = False) -> Grid:
    """The costs at all points of the axes, in one call of ``cost`` with as many flat arrays as there are axes."""
    mesh = np.meshgrid(*axes, indexing="ij")
    values = np.asarray(cost(*(one.ravel() for one in mesh)), dtype=float)
    if values.shape != mesh[0].ravel().shape or not measurable(values, unknown):
        raise WeirError(f"the service's {what} must give one finite value of at least 0 for each point")
    return Grid(tuple(tuple(axis.tolist()) for axis in axes), values.reshape(mesh[0].shape).tolist())


def _within(values: Any, axes: Sequence[tuple[float, ...]], point: Sequence[float]) -> float:
    """Linear along the first axis, between what the other axes give at its two neighbours."""
    if not axes:
        return float(values)
    axis = axes[0]
    i = min(max(bisect_right(axis, point[0]), 1), len(axis) - 1)
    share = min(max((point[0] - axis[i - 1]) / (axis[i] - axis[i - 1]), 0.0), 1.0)
    low, high = (_within(values[j], axes[1:], point[1:]) for j in (i - 1, i))
    return low + share * (high - low)
