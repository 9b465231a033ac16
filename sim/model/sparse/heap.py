"""A heap of who is free when, for Numba: two arrays, times and whoever they belong to."""

from __future__ import annotations

from sim.model.sparse.structure import Floats, Ints
from workloads.kernels.core.jit import jit


@jit
def pushed(heap: Floats, who: Ints, size: int, time: float, one: int) -> int:
    """One more, and how many there are then."""
    at = size
    while at > 0 and heap[(at - 1) // 2] > time:
        heap[at], who[at] = heap[(at - 1) // 2], who[(at - 1) // 2]
        at = (at - 1) // 2
    heap[at], who[at] = time, one
    return size + 1


@jit
def sunk(heap: Floats, who: Ints, size: int, time: float, one: int) -> None:
    """In place of the first, one that is later: it sinks to where it belongs."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= time:
            break
        heap[at], who[at] = heap[child], who[child]
        at = child
    heap[at], who[at] = time, one


@jit
def popped(heap: Floats, who: Ints, size: int) -> int:
    """Without the first, which the caller has read: how many there are then."""
    sunk(heap, who, size - 1, heap[size - 1], who[size - 1])
    return size - 1
