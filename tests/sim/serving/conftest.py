from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sim.serving import Service
from sim.serving.service import Array


def toy(
    *,
    fixed: float = 0.01,
    each: float = 1e-5,
    token: float = 1e-8,
    prompt: float = 1e-5,
    floor: float = 0.0,
    capacity: float = 1e9,
    usd: float = 3.6,
    max_batch: int = 4096,
) -> Service:
    """Decode takes fixed + each*b + token*b*c, prefill max(floor, prompt*n*p); 100 W; a byte of state a token."""

    def decode(b: Array, c: Array) -> Array:
        return np.asarray(fixed + each * b + token * b * c)

    def prefill(n: Array, p: Array) -> Array:
        return np.asarray(np.maximum(floor, prompt * n * p))

    return Service(
        decode,
        prefill,
        lambda b, c: 100 * decode(b, c),
        lambda n, p: 100 * prefill(n, p),
        lambda c: np.asarray(c, float),
        capacity,
        usd,
        max_batch,
    )


@pytest.fixture(scope="session")
def machine() -> Callable[..., Any]:
    """The maker of toy services."""
    return toy
