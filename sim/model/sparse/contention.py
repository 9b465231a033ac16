"""Queues at one memory channel, first come first served: threads behind one another, and behind an engine.

What is found by iteration is one operation to NumPy (a ufunc), so that whoever follows numbers sees one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Requests:
    """Lines that someone asks one channel for, and how many requests he has in flight."""

    lines: Any
    flight: Any


def queued(alone: Any, threads: Requests, service: Any) -> Any:
    """Seconds of threads that would take ``alone`` if none ever waited for another's line.

    Mean values of a closed network (Reiser and Lavenberg, J. ACM 27(2), 1980): a request finds what the other threads
    have there on average, the line being served half done. Lines take equally long and so queue less than mean values
    say: the answer lies midway between those and no queue at all. It matters where threads ask for about as much as the
    channel gives.
    """
    if not threads.lines or not service or threads.flight <= 1:
        return alone
    return _QUEUE(alone, threads.lines, threads.flight, service)


def queue(alone: float, lines: float, flight: float, service: float) -> float:
    """The same of plain numbers, where there is something to wait for."""
    between, others = flight * alone / lines, (flight - 1) / flight
    low, high = 0.0, service * flight
    for _ in range(60):
        wait = (low + high) / 2
        rate = flight / (between + wait)
        found = others * rate * (service + wait) - others * rate * service / 2
        low, high = (wait, high) if service * found > wait else (low, wait)
    bound = max(alone, lines * service)
    return (bound + max(bound, alone * (between + low) / between)) / 2


def contended(alone: Any, threads: Requests, engine: Requests, service: Any, latency: Any) -> Any:
    """Seconds until threads are done that would take ``alone`` by themselves, while an engine moves its lines.

    While the engine is at work, a request waits behind all that are queued: with ``t`` and ``e`` requests a second of
    the two, it takes ``R = service (t R + e R)`` in the queue, ``t = threads / (between requests + R)`` and
    ``e = engine / (latency + R)`` (mean values of a closed network). The threads go on alone when the engine is done.
    """
    if not threads.lines or not engine.lines or not service:
        return alone
    return _CONTENTION(alone, threads.lines, threads.flight, engine.lines, engine.flight, service, latency)


def contention(
    alone: float, lines: float, flight: float, its_lines: float, its_flight: float, service: float, latency: float
) -> float:
    """The same of plain numbers, where both ask for lines."""
    between = flight * alone / lines  # of one thread, its own line's service among it
    low, high = 0.0, service * (flight + its_flight)
    for _ in range(60):
        waits = (low + high) / 2
        rate = flight / (between + waits) + its_flight / (latency + service + waits)
        low, high = (waits, high) if rate > 1 / service else (low, waits)
    theirs, its = flight / (between + high), its_flight / (latency + service + high)
    together = min(its_lines / its, lines / theirs)
    left = lines - together * theirs
    return together + left * alone / lines


_QUEUE: Any = np.frompyfunc(queue, 4, 1)
_CONTENTION: Any = np.frompyfunc(contention, 7, 1)
