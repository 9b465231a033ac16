"""Kernels end when they are told to, and what they have found by then is kept."""

from __future__ import annotations

import signal
import threading
import time
from math import inf

import numpy as np
import pytest

from sim.planner import fit, kernel, search, valleys
from sim.planner.check import check
from sim.planner.halting import until
from sim.planner.packing import Ints, pack
from sim.planner.problem import Buffer, Problem, Tier

STOPPED = np.ones(1, np.int64)


def patient(stop: Ints) -> str:
    while not stop[0]:
        time.sleep(0.001)
    return "told"


def stairs(count: int) -> Problem:
    """Buffers that start one after another, of a few sizes, lengths and alignments."""
    buffers = tuple(Buffer(str(i), 1 + i % 3, ((i, i + 1 + i % 7),), align=1 + i % 2) for i in range(count))
    return Problem("stairs", buffers, (Tier("memory"),))


def test_a_kernel_that_ends_by_itself_is_not_told() -> None:
    assert until(lambda stop: int(stop[0]), 60) == 0


def test_a_kernel_is_told_when_the_time_is_over() -> None:
    assert until(patient, 0.01) == "told"
    assert until(patient, -inf) == "told"


def test_what_a_kernel_raises_is_raised() -> None:
    def broken(stop: Ints) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        until(broken, 60)


def test_an_interrupt_is_raised_after_what_was_found_is_kept() -> None:
    """A kernel that nobody told would never end."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    kept: list[str] = []
    ours = threading.get_ident()
    threading.Timer(0.05, signal.pthread_kill, [ours, signal.SIGINT]).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            until(patient, 1e6, kept.append)
    finally:
        signal.signal(signal.SIGINT, before)
    assert kept == ["told"]


def test_searches_that_are_told_to_stop_are_undecided_and_a_skyline_is_empty() -> None:
    shape = pack(stairs(40)).shape
    n, none = shape.size.size, np.zeros(shape.moments, np.int64)
    table, rank = kernel.overlaps(shape), np.arange(n)
    undecided = (kernel.UNDECIDED, 0)
    assert search.place(shape, table, rank, 99, 10**6, np.zeros(64, np.int64), 0, True, none, STOPPED)[:2] == undecided
    assert valleys.place(shape, table, rank, 99, 10**6, none, True, STOPPED)[:2] == undecided
    assert fit.skyline(shape, rank, STOPPED).size == 0


@pytest.mark.parametrize("count", [1, 40, 300])
def test_a_first_fit_that_is_told_to_stop_is_still_a_placement(count: int) -> None:
    packing = pack(stairs(count))
    found = fit.fit(packing.shape, np.arange(count)[::-1].copy(), False, STOPPED)
    check(packing.problem, packing.plan(found, packing.bound, "pile", 0, proven=False))
