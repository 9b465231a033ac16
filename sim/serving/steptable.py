"""A service's step costs on a grid, built by one vectorised call each, so that a simulated step is a look-up.

Between grid points costs are interpolated linearly, which is exact where they are linear in batch and in context, as a
memory-bound or a compute-bound step is; the error left at the bends is measured at probe points and kept in ``error``.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np

from einsum.errors import WeirError
from sim.serving.service import Array, Curve

Cells = list[float]


@dataclass(slots=True)
class StepTable:
    """Cost of (count, tokens): one decode iteration, or one prefill; seconds or joules."""

    count: Array
    tokens: Cells
    values: Array  # (count, tokens)
    error: float  # largest relative interpolation error found at the probes
    rows: dict[int, Cells] = field(default_factory=dict)

    def at(self, count: int, tokens: float) -> float:
        """Cost at a whole ``count``, linear in ``tokens``; constant beyond the grid's ends."""
        row = self.rows.get(count) or self._row(count)
        grid = self.tokens
        i = min(max(bisect_right(grid, tokens), 1), len(grid) - 1)
        share = (tokens - grid[i - 1]) / (grid[i] - grid[i - 1])
        return row[i - 1] + min(max(share, 0.0), 1.0) * (row[i] - row[i - 1])

    def _row(self, count: int) -> Cells:
        """The costs at one count for all grid tokens, kept: a simulation visits few counts, many times."""
        i = int(np.clip(np.searchsorted(self.count, count), 1, len(self.count) - 1))
        low, high = self.count[i - 1], self.count[i]
        share = float(np.clip((count - low) / (high - low), 0, 1))
        row: Cells = (self.values[i - 1] + share * (self.values[i] - self.values[i - 1])).tolist()
        self.rows[count] = row
        return row


def counts(most: int, ratio: float) -> Array:
    """Every whole number to 16, then steps of ``ratio``, up to ``most`` (two points at least)."""
    far = np.geomspace(16, max(most, 17), 2 + round(np.log(max(most, 17) / 16) / np.log(ratio))).round()
    grid = np.array(sorted({*np.arange(1.0, 17).tolist(), *far.tolist()}))  # np.unique would load numpy.ma
    return np.asarray(grid[: max(2, int(np.searchsorted(grid, most)) + 1)])


def spread(low: float, high: float, ratio: float) -> Array:
    """Token counts from ``low`` to ``high`` in steps of at most ``ratio`` (two points at least)."""
    high = max(high, low + 1)
    return np.geomspace(low, high, 2 + int(np.log(high / low) / np.log(ratio)))


def measurable(values: Array, unknown: bool) -> bool:
    """Whether costs are finite and not negative; where they may be ``unknown`` (energy of a device that states no
    power), all may be NaN."""
    return (unknown and bool(np.isnan(values).all())) or bool((np.isfinite(values) & (values >= 0)).all())


def table(cost: Curve, count: Array, tokens: Array, what: str, *, unknown: bool = False) -> StepTable:
    """The costs over the grid and at the probes (centres of cells spread over it), in one call."""
    i = np.linspace(0, len(count) - 2, 8).round().astype(int)
    j = np.linspace(0, len(tokens) - 2, 8).round().astype(int)
    probe_n = np.repeat(np.floor((count[i] + count[i + 1]) / 2), len(j))
    probe_t = np.tile((tokens[j] + tokens[j + 1]) / 2, len(i))
    n = np.concatenate([np.repeat(count, len(tokens)), probe_n])
    t = np.concatenate([np.tile(tokens, len(count)), probe_t])
    values = np.asarray(cost(n, t), dtype=float)
    if values.shape != n.shape or not measurable(values, unknown):
        raise WeirError(f"the service's {what} must give one finite value of at least 0 for each batch and length")
    size = len(count) * len(tokens)
    made = StepTable(count, tokens.tolist(), values[:size].reshape(len(count), len(tokens)), 0.0)
    true = values[size:]
    off = [abs(made.at(int(a), b) - c) / c for a, b, c in zip(probe_n, probe_t, true, strict=True) if c > 0]
    made.error = max(off, default=0.0)
    return made
