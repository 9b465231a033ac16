"""Pairs of an addition and a multiplication, with the value that changes nothing when added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from workloads.kernels.core.jit import jit


class Semiring(NamedTuple):
    """``add`` gathers what ``times`` makes of a pair, starting from ``zero``; ``boolean`` if over truth values."""

    add: Callable[[Any, Any], Any]
    times: Callable[[Any, Any], Any]
    zero: float
    boolean: bool = False


@jit
def plus(x: Any, y: Any) -> Any:
    """The sum."""
    return x + y


@jit
def product(x: Any, y: Any) -> Any:
    """The product."""
    return x * y


@jit
def least(x: Any, y: Any) -> Any:
    """The smaller, or NaN if either is."""
    return x if x < y or x != x else y


@jit
def either(x: Any, y: Any) -> Any:
    """Whether any is true."""
    return x or y


@jit
def both(x: Any, y: Any) -> Any:
    """Whether both are true."""
    return x and y


SEMIRINGS = {
    "plus_times": Semiring(plus, product, 0.0),
    "min_plus": Semiring(least, plus, np.inf),
    "or_and": Semiring(either, both, 0.0, boolean=True),
}
