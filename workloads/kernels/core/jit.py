"""How kernels are compiled and run on threads.

Nothing is cached on disk: Numba's cache does not notice that an imported helper changed. Work is shared out to plain
threads that hold no lock rather than to ``prange``, whose runtimes abort a process that was forked or that calls from
two threads. Every item of work is computed in the same way whichever thread takes it, so results do not depend on
``threads`` at all.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

CHUNKS = 4  # pieces of work per thread, so that uneven ones even out


def jit(function: F) -> F:
    """Compile on first call; sums may be reordered, but infinities and NaN keep their meaning."""
    flags = {"contract", "reassoc", "nsz", "arcp"}
    compiled: Any = numba.njit(nogil=True, error_model="numpy", fastmath=flags)(function)
    return cast(F, compiled)


def jit_inside(function: F) -> F:
    """As :func:`jit`, and always made part of its caller: for what is called in an inner loop with many arrays."""
    flags = {"contract", "reassoc", "nsz", "arcp"}
    compiled: Any = numba.njit(nogil=True, error_model="numpy", fastmath=flags, forceinline=True)(function)
    return cast(F, compiled)


def jit_ordered(function: F) -> F:
    """Compile on first call, every sum in the order written; a multiply and its add may still fuse."""
    compiled: Any = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    return cast(F, compiled)


def run(kernel: Callable[..., None], items: int, threads: int, *args: Any) -> None:
    """Call ``kernel(start, stop, *args)`` on ranges that together cover ``items``."""

    def piece(bounds: tuple[int, int]) -> None:
        with np.errstate(all="ignore"):  # matters only where kernels run uncompiled
            kernel(*bounds, *args)

    if threads == 1 or items <= 1:
        piece((0, items))
        return
    count = min(items, threads * CHUNKS)
    edges = [items * i // count for i in range(count + 1)]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(piece, pairwise(edges)):
            pass


def spread(function: Callable[..., tuple[Any, ...]], threads: int, *arrays: Any) -> tuple[Any, ...]:
    """``function`` of equal shares of the arrays' first rank, each on a thread; the results joined along theirs."""
    rows = len(arrays[0])
    count = min(rows, threads)
    if count <= 1:
        return function(*arrays)
    edges = [rows * i // count for i in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        parts = pool.map(lambda at: function(*(a[slice(*at)] for a in arrays)), pairwise(edges))
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
