"""What serving needs to know of a model on a cluster, and nothing more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError

Array = NDArray[np.float64]
Curve = Callable[[Array, Array], Array]


@dataclass(frozen=True, slots=True)
class Mixing:
    """An iteration over prompts and decoding requests together, in seconds of its parts; vectorised.

    Everything but attention is shared: it depends on the iteration's tokens alone, whoever they belong to.
    """

    shared: Callable[[Array], Array]  # tokens -> seconds of all but attention
    decoding: Curve  # (requests in flight, their mean context in tokens) -> seconds of their attention
    filling: Callable[[Array, Array, Array], Array]  # (prompts, tokens of each cached, new) -> seconds of theirs
    launching: float = 0.0  # seconds of the host for an iteration's kernels, one by one


@dataclass(frozen=True, slots=True)
class Service:
    """Times, energies and request memory of a model on a cluster; every callable is vectorised over numpy arrays."""

    decode: Curve  # (requests in flight, their mean context in tokens) -> seconds of one decode iteration
    prefill: Curve  # (prompts, tokens of each) -> seconds to prefill them together
    decode_joules: Curve
    prefill_joules: Curve
    state: Callable[[Array], Array]  # tokens of context -> bytes of KV cache a request holds, on the tightest pool
    capacity: float  # bytes for state on that pool, net of weights and reserve
    usd_per_hour: float
    max_batch: int = 4096  # requests in flight the engine allows
    mixing: Mixing | None = None  # None: prompts and decoding never share an iteration here

    def __post_init__(self) -> None:
        """Refuse the numbers that would make every later answer meaningless."""
        if math.isnan(self.capacity) or self.capacity < 0:
            raise WeirError(f"service capacity is {self.capacity} bytes; it must not be negative or NaN")
        if not (math.isfinite(self.usd_per_hour) and self.usd_per_hour >= 0):
            raise WeirError(f"service price is {self.usd_per_hour} USD/h; it must be finite and not negative")
        if self.max_batch < 1:
            raise WeirError(f"service max_batch is {self.max_batch}; at least one request must be allowed")
