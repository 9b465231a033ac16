"""Keys as they come in texts: neighbours are alike. How much so is assumed, and decides what trees and blocks find."""

from __future__ import annotations

from typing import Any

import numpy as np


def correlated(rng: np.random.Generator, *shape: int, block: int, locality: float) -> Any:
    """Standard normal keys (..., m, e) of which each ``block`` share the fraction ``locality`` of their variance.

    >>> correlated(np.random.default_rng(0), 4, 1, block=2, locality=1.0).ravel().round(2).tolist()
    [0.13, 0.13, -0.13, -0.13]
    """
    *heads, m, e = shape
    centres = rng.standard_normal((*heads, -(-m // block), e)).repeat(block, axis=-2)[..., :m, :]
    return np.sqrt(locality) * centres + np.sqrt(1 - locality) * rng.standard_normal(shape)
