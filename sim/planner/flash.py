"""Networks read from flash as their neurons are needed: a window of recent tokens stays, rows and columns are bundled.

A neuron of a feed-forward network is a row of every matrix it stands in. Those active in the last ``window`` tokens are
resident; a new token loads what it needs beyond them. LLM in a flash (arXiv 2312.11514), sections 3 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError
from sim.arch.components import Memory
from sim.planner.shape import Shape


@dataclass(frozen=True, slots=True)
class Reading:
    """What one token makes flash read: ``loaded`` bytes in requests of ``chunk``, ``resident`` bytes held in memory."""

    loaded: float
    resident: float
    chunk: float
    rate: float  # B/s

    @property
    def seconds(self) -> float:
        """Seconds to read it."""
        return self.loaded / self.rate


def reading(model: Shape, flash: Memory, *, resident: float, loaded: float, bundle: int = 1) -> Reading:
    """A token that finds everything but the network in memory, and ``resident`` of its neurons (fractions).

    It loads ``loaded`` of them, each as requests of ``bundle`` rows of the model's width: one by one, or all that
    belong to a neuron stored together.
    """
    for name, share in (("resident", resident), ("loaded", loaded)):
        if not 0 <= share <= 1:
            raise WeirError(f"{name} is {share:g}; it is a fraction of the network's neurons")
    if bundle < 1:
        raise WeirError(f"bundle is {bundle}; at least one row is read at a time")
    network = model.network * model.layers
    always = model.weight * model.layers + model.tables - network
    chunk = bundle * model.stream
    return Reading(loaded * network, always + resident * network, chunk, flash.scattered(chunk))


def streamed(size: float, flash: Memory) -> Reading:
    """All of ``size`` bytes read from end to end for every token."""
    return Reading(size, 0.0, size, flash.rate)


def windowed(active: float, window: int) -> tuple[float, float]:
    """The fractions resident and loaded when each token uses each neuron with probability ``active``, independently.

    Resident are those used by any of the last ``window`` tokens, s(k) = 1 - (1 - a)^k; loaded s(k + 1) - s(k).
    """
    if not 0 <= active <= 1 or window < 0:
        raise WeirError(f"a window of {window} tokens, {active:g} of the neurons active: not a window and a fraction")
    idle = (1 - active) ** window
    return 1 - idle, active * idle


def replayed(used: NDArray[np.bool_], window: int) -> tuple[float, float]:
    """The fractions resident and loaded on a trace of neurons ``used`` (tokens, neurons), replayed token by token.

    Means over the tokens after the first ``window``.
    """
    tokens, neurons = used.shape
    if not 0 <= window < tokens:
        raise WeirError(f"a window of {window} tokens on a trace of {tokens}; it must be shorter")
    counts = np.zeros(neurons, np.int64)
    resident, loaded = 0, 0
    for now in range(tokens):
        if now >= window:
            resident += int(np.count_nonzero(counts))
            loaded += int(np.count_nonzero(used[now] & (counts == 0)))
        counts += used[now]
        if now >= window:
            counts -= used[now - window]
    seen = (tokens - window) * neurons
    return resident / seen, loaded / seen
