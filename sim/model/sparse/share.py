"""How evenly rows fall on threads: by numbers in a row, one after another in turn, or to whoever is free."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from einsum.errors import WeirError
from sim.model.sparse.heap import sunk
from sim.model.sparse.structure import Floats, Ints
from workloads.kernels.core.jit import jit


def loads(work: Floats | Ints, edges: Ints, workers: int, share: str) -> Floats:
    """Work of each worker over windows of rows (``edges``); a window is finished before the next is begun: (windows,
    workers)."""
    given = work.astype(np.float64)
    if share == "contiguous":
        return np.stack([_summed(given[a:b], _blocks(b - a, workers), workers) for a, b in _pairs(edges)])
    if share == "cyclic":
        return np.stack([_summed(given[a:b], np.arange(b - a) % workers, workers) for a, b in _pairs(edges)])
    if share != "dynamic":
        raise WeirError(f"unknown way to share rows: {share!r:.40}")
    return _polled(given, edges.astype(np.int64), workers)


def efficiency(found: Floats, share: str, groups: int = 1) -> float:
    """Work over what all workers could have done until the last was finished, from the loads of one group.

    ``groups`` of workers (cores with a table each) take windows side by side, each window shared out within one group.
    """
    total = float(found.sum())
    last = _last(found.max(axis=1), share, groups)
    return total / (found.shape[1] * groups * last) if last else 1.0


def _last(each: Floats, share: str, groups: int) -> float:
    """When the last window is done, each taking so long, several groups side by side."""
    return float(each.sum() if groups == 1 else loads(each, np.array([0, len(each)]), groups, share).max())


def spans(found: Floats, share: str, groups: int, busy: float, serial: float) -> float:
    """Seconds until all windows are done, from the loads of one group.

    ``busy`` is what units need if all are at work, ``serial`` what all workers take together if nobody is in another's
    way. While a window's other work is done, its busiest worker is as slow as the rest; then it goes on unhindered.
    """
    total, workers = float(found.sum()), found.shape[1] * groups
    if total == 0:
        return busy
    whole, most = found.sum(axis=1), found.max(axis=1)
    fair = max(busy, serial / workers)
    slowed = max(1.0, busy * workers / serial) if serial else 1.0
    others = (whole - most) / total * fair * groups
    each = np.maximum(whole / total * fair * groups, others + np.maximum(most / total * serial - others / slowed, 0))
    return _last(each, share, groups)


def _pairs(edges: Ints) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in pairwise(edges)]


def _blocks(count: int, workers: int) -> Ints:
    """Worker of each row where rows are dealt out in blocks as large as the first."""
    return np.arange(count) // block(count, workers)


def _summed(work: Floats, to: Ints, workers: int) -> Floats:
    return np.bincount(to, work, minlength=workers).astype(np.float64)


@jit
def block(count: int, workers: int) -> int:
    """Rows of a worker's block where they are dealt out beforehand."""
    return max((count + workers - 1) // workers, 1)


@jit
def _polled(work: Floats, edges: Ints, workers: int) -> Floats:
    """Each row to the worker that is free first, through a heap of their work so far."""
    found = np.zeros((len(edges) - 1, workers))
    for window in range(len(edges) - 1):
        heap, who = np.zeros(workers), np.arange(workers)
        for row in range(edges[window], edges[window + 1]):
            found[window, who[0]] += work[row]
            sunk(heap, who, workers, heap[0] + work[row], who[0])
    return found
