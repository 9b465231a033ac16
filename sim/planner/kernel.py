"""What the kernels of placing share: buffers as arrays, how functions are compiled, and who is live with whom.

Kernels are kept on disk, so those of one file call none of another: Numba's cache would not notice that such a one
changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., object])

FOUND, IMPOSSIBLE, UNDECIDED = 1, 0, -1
FAR = np.int64(1) << 62  # higher than any offset


class Shape(NamedTuple):
    """Buffers as the kernels see them: sizes in units, moments numbered; live over ``begin[k]`` to ``end[k]``."""

    size: Ints  # (n)
    align: Ints  # (n)
    at: Ints  # (n + 1): the intervals of buffer i are at[i] to at[i + 1]
    begin: Ints  # (intervals)
    end: Ints  # (intervals)
    moments: int


def compiled(function: F) -> F:
    """The function as machine code, kept for the next process where a folder for it can be written."""
    return _compiled(function, inside=False)


def inside(function: F) -> F:
    """As :func:`compiled`, for what kernels alone call: no way in from Python, which would be most of the work, and no
    call, for which each array of a state would be handed over with all its strides."""
    return _compiled(function, inside=True)


def _compiled(function: F, *, inside: bool) -> F:
    options: dict[str, Any] = {
        "error_model": "numpy",
        "nogil": True,
        "no_cpython_wrapper": inside,
        "no_cfunc_wrapper": inside,
        "forceinline": inside,
    }
    try:
        return cast(F, njit(cache=not inside, **options)(function))
    except RuntimeError:  # nowhere to keep it
        return cast(F, njit(cache=False, **options)(function))


@compiled
def overlaps(shape: Shape) -> NDArray[np.bool_]:  # (n, n)
    """Which buffers are live at once."""
    n = shape.size.size
    table = np.zeros((n, n), np.bool_)
    for i in range(n):
        for j in range(i):
            table[i, j] = table[j, i] = _meet(shape, i, j)
    return table


@inside
def _meet(shape: Shape, i: int, j: int) -> bool:
    for k in range(shape.at[i], shape.at[i + 1]):
        for m in range(shape.at[j], shape.at[j + 1]):
            if shape.begin[k] < shape.end[m] and shape.begin[m] < shape.end[k]:
                return True
    return False


def members(shape: Shape) -> tuple[Ints, Ints]:
    """What is live at each moment."""
    owner = np.repeat(np.arange(shape.size.size), np.diff(shape.at))
    length = shape.end - shape.begin
    starts = np.repeat(shape.begin - np.cumsum(length) + length, length)
    moments, who = starts + np.arange(length.sum()), np.repeat(owner, length)
    order = np.argsort(moments, kind="stable")
    return np.searchsorted(moments[order], np.arange(shape.moments + 1)).astype(np.int64), who[order]


def alike(shape: Shape) -> Ints:
    """A number for each set of live intervals."""
    numbers: dict[bytes, int] = {}
    spans = np.stack([shape.begin, shape.end], 1)
    keys = (spans[a:b].tobytes() for a, b in zip(shape.at[:-1], shape.at[1:], strict=True))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
