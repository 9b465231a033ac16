"""Queues at one memory channel, first come first served: threads behind one another, and behind an engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requests:
    """Lines that someone asks one channel for, and how many requests he has in flight."""

    lines: float
    flight: float


def queued(alone: float, threads: Requests, service: float) -> float:
    """Seconds of threads that would take ``alone`` if none ever waited for another's line.

    Mean values of a closed network (Reiser and Lavenberg, J. ACM 27(2), 1980): a request finds what the other threads
    have there on average, the line being served half done. Lines take equally long and so queue less than mean values
    say: the answer lies midway between those and no queue at all. It matters where threads ask for about as much as the
    channel gives.
    """
    if not threads.lines or not service or threads.flight <= 1:
        return alone
    between, others = threads.flight * alone / threads.lines, (threads.flight - 1) / threads.flight
    low, high = 0.0, service * threads.flight
    for _ in range(60):
        wait = (low + high) / 2
        rate = threads.flight / (between + wait)
        found = others * rate * (service + wait) - others * rate * service / 2
        low, high = (wait, high) if service * found > wait else (low, wait)
    bound = max(alone, threads.lines * service)
    return (bound + max(bound, alone * (between + low) / between)) / 2


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
