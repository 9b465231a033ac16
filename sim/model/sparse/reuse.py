"""Which fibres a cache still holds: least recently used, simulated request by request or by Che's approximation."""

from __future__ import annotations

import numpy as np

from sim.model.sparse.structure import Floats, Ints
from workloads.kernels.core.jit import jit


@jit
def misses(requests: Ints, sizes: Ints, capacity: int) -> Ints:
    """How often each fibre is missed by a cache of ``capacity`` bytes that holds whole fibres, the least recently used
    of which make room; a fibre larger than the cache passes through."""
    count = len(sizes)
    newer, older = np.full(count + 1, -1, np.int64), np.full(count + 1, -1, np.int64)
    newer[count], older[count] = count, count  # a ring through fibre "count", which stands for both ends
    held, missed = 0, np.zeros(count, np.int64)
    for fibre in requests:
        if newer[fibre] >= 0:  # held: taken out, to be put back as the newest
            newer[older[fibre]], older[newer[fibre]] = newer[fibre], older[fibre]
        else:
            missed[fibre] += 1
            if sizes[fibre] > capacity:
                continue
            held += sizes[fibre]
            while held > capacity:
                last = newer[count]
                newer[count] = newer[last]
                older[newer[last]] = count
                newer[last] = -1
                held -= sizes[last]
        top = older[count]
        newer[top], older[fibre] = fibre, top
        newer[fibre], older[count] = count, fibre
    return missed


def che(counts: Ints, sizes: Ints, capacity: float) -> Floats:
    """Expected misses of each fibre if its requests came at random among all: the first one, and those that come after
    the cache's characteristic time.

    Che, Tung and Wang, "Hierarchical Web Caching Systems", IEEE JSAC 20(7), 2002: ``sum of size (1 - exp(-count t))``
    is the capacity at that time.
    """
    rates, weights = counts.astype(np.float64), sizes.astype(np.float64)
    used = counts > 0
    if weights[used].sum() <= capacity:
        return used.astype(np.float64)
    low, high = 0.0, 1.0
    while _filled(rates, weights, high) < capacity:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _filled(rates, weights, middle) < capacity else (low, middle)
    hit = -np.expm1(-rates * low)
    return np.where(used, 1 + np.maximum(rates - 1, 0) * (1 - hit), 0.0)


def _filled(rates: Floats, weights: Floats, time: float) -> float:
    """Bytes of what is asked for at least once in that share of the run."""
    return float(np.sum(weights * -np.expm1(-rates * time)))
