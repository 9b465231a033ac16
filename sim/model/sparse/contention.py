"""Threads and an engine at one memory channel, first come first served: what the engine's queue adds to the threads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requests:
    """Lines that someone asks one channel for, and how many requests he has in flight."""

    lines: float
    flight: float


def contended(alone: float, threads: Requests, engine: Requests, service: float, latency: float) -> float:
    """Seconds until threads are done that would take ``alone`` by themselves, while an engine moves its lines.

    While the engine is at work, a request waits behind all that are queued: with ``t`` and ``e`` requests a second of
    the two, it takes ``R = service (t R + e R)`` in the queue, ``t = threads / (between requests + R)`` and
    ``e = engine / (latency + R)`` (mean values of a closed network). The threads go on alone when the engine is done.
    """
    if not threads.lines or not engine.lines or not service:
        return alone
    between = threads.flight * alone / threads.lines  # of one thread, its own line's service among it
    low, high = 0.0, service * (threads.flight + engine.flight)
    for _ in range(60):
        queued = (low + high) / 2
        rate = threads.flight / (between + queued) + engine.flight / (latency + service + queued)
        low, high = (queued, high) if rate > 1 / service else (low, queued)
    theirs, its = threads.flight / (between + high), engine.flight / (latency + service + high)
    together = min(engine.lines / its, threads.lines / theirs)
    left = threads.lines - together * theirs
    return together + left * alone / threads.lines
