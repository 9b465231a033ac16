"""Refuse arguments that a kernel cannot take: ``ValueError`` naming the argument, what it is and what was expected."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Sizes = dict[str, int]


def arrays(kernel: str, **given: tuple[Any, str]) -> Sizes:
    """The extent of each rank, from arrays of one floating type whose ranks are named: ``q=(q, "b h p e")``."""
    first = next(iter(given))
    sizes: dict[str, tuple[int, str]] = {}
    for name, (array, ranks) in given.items():
        contiguous(kernel, name, array, f"({', '.join(ranks.split())})")
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{kernel}: {name} holds {array.dtype}, expected float32 or float64")
        if array.dtype != given[first][0].dtype:
            raise ValueError(f"{kernel}: {name} holds {array.dtype}, expected {given[first][0].dtype} as in {first}")
        _extents(kernel, name, array, ranks.split(), sizes)
    return {rank: extent for rank, (extent, _) in sizes.items()}


def indices(kernel: str, *, below: int | None = None, **given: tuple[Any, tuple[Any, ...]]) -> None:
    """Refuse what is not whole numbers of this shape (``...``: any extent), from 0 up to and without ``below``."""
    for name, (array, shape) in given.items():
        expected = f"({', '.join('...' if n is ... else str(n) for n in shape)}{',' * (len(shape) == 1)})"
        contiguous(kernel, name, array, expected)
        if array.dtype != np.int64:
            raise ValueError(f"{kernel}: {name} holds {array.dtype}, expected int64")
        fits = array.ndim == len(shape) and all(n in (..., m) for n, m in zip(shape, array.shape, strict=True))
        if not fits:
            raise ValueError(f"{kernel}: {name} has shape {array.shape}, expected {expected}")
        if below is not None and array.size and not 0 <= array.min() <= array.max() < below:
            raise ValueError(f"{kernel}: {name} reaches from {array.min()} to {array.max()}, expected 0 to {below - 1}")


def whole(kernel: str, *, least: int = 0, most: int = 2**31, **given: Any) -> None:
    """Refuse what is not a whole number from ``least`` to ``most``."""
    for name, value in given.items():
        fits = isinstance(value, int | np.integer) and not isinstance(value, bool) and least <= value <= most
        if not fits:
            raise ValueError(f"{kernel}: {name} is {value!r}, expected a whole number from {least} to {most}")


def bounds(kernel: str, stop: int, of: str, count: Any = ..., **given: Any) -> None:
    """Refuse what does not rise from 0 to ``stop``: where each of ``count`` groups of rows begins, and the end."""
    for name, starts in given.items():
        indices(kernel, below=stop + 1, **{name: (starts, (count if count is ... else count + 1,))})
        if not len(starts) or starts[0] != 0 or starts[-1] != stop or (np.diff(starts) < 0).any():
            shown = np.array2string(starts, max_line_width=1000, threshold=8, separator=", ")
            raise ValueError(f"{kernel}: {name} is {shown}, expected to rise from 0 to {stop}, the length of {of}")


def newest(kernel: str, queries: int, keys: int) -> None:
    """Refuse more causal queries than keys: queries are the newest of the context, which includes them."""
    if queries > keys:
        raise ValueError(f"{kernel}: q has {queries} queries and k has {keys} keys; causal expects no more queries "
                         "than keys, which include those of the queries")  # fmt: skip


def joined(array: Array, ranks: int) -> Array:
    """The same numbers with the first ``ranks`` ranks as one, and free to write to: kernels know one kind of array."""
    return np.require(array.reshape(prod(array.shape[:ranks]), *array.shape[ranks:]), requirements="W")


def contiguous(kernel: str, name: str, array: Any, expected: str) -> None:
    """Refuse what is not an array whose numbers follow each other, in this machine's byte order."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{kernel}: {name} is a {type(array).__name__}, expected an array {expected}")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{kernel}: {name} of shape {array.shape} has strides {array.strides}, expected a contiguous array "
            f"{expected}; pass numpy.ascontiguousarray({name})"
        )
    if not array.dtype.isnative:
        raise ValueError(f"{kernel}: {name} holds {array.dtype.str}, expected this machine's byte order")


def _extents(kernel: str, name: str, array: Array, ranks: list[str], sizes: dict[str, tuple[int, str]]) -> None:
    expected = f"({', '.join(ranks)})"
    if array.ndim != len(ranks):
        raise ValueError(f"{kernel}: {name} has shape {array.shape}, expected {len(ranks)} ranks {expected}")
    for rank, extent in zip(ranks, array.shape, strict=True):
        known, where = sizes.setdefault(rank, (extent, name))
        if extent != known:
            raise ValueError(f"{kernel}: {name} has shape {array.shape}, expected {expected} with {rank}={known} "
                             f"as in {where}")  # fmt: skip
