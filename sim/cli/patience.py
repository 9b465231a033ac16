"""A sign of life on stderr for whatever takes over two seconds, where a person is watching."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, Protocol

from sim.units import fmt

DELAY = 2.0  # s before it shows


class Advance(Protocol):
    """Told how many steps are done, of how many, and what is being done."""

    def __call__(self, done: int, total: int, now: str = "") -> None: ...


@contextmanager
def patience(doing: str, delay: float = DELAY) -> Iterator[Advance]:
    """Show a moving bar and the seconds gone by while the block runs, from ``delay`` seconds on.

    A block that knows how far it is says so by calling what it is given; otherwise the bar only moves.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield _silent
        return
    import threading

    shown: list[Any] = []

    def advance(done: int, total: int, now: str = "") -> None:
        what = f"{doing}, {now}" if now else doing
        for bar in shown:
            bar.update(bar.task_ids[0], completed=done, total=total, description=what)

    timer = threading.Timer(delay, lambda: shown.append(_start(doing)))
    timer.daemon = True
    timer.start()
    try:
        yield advance
    finally:
        timer.cancel()
        timer.join()
        for bar in shown:
            bar.stop()


def _silent(done: int, total: int, now: str = "") -> None:
    """Nobody is watching."""


def _start(doing: str) -> Any:
    """A rich progress bar, already running, its end not known yet."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task(doing, total=None)
    bar.start()
    return bar


class progressing:  # noqa: N801  used as a word
    """The best value and its bound on stderr, on one line, where a person is watching."""

    def __init__(self, what: str = "height", unit: str = "B") -> None:
        self.what, self.unit = what, unit

    def __enter__(self) -> Callable[[float, float, float], None] | None:
        self.shown = False
        return self._tell if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" else None

    def _tell(self, seconds: float, height: float, bound: float) -> None:
        gap = 1 - bound / height if 0 < height < inf else 1.0
        found, least = fmt(height, self.unit), fmt(max(bound, 0), self.unit)
        line = f"{seconds:6.1f} s  {self.what} {found}  bound {least}  gap {gap:.2%}"
        print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
        self.shown = True

    def __exit__(self, *_: object) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
