"""A sign of life on stderr for whatever takes over two seconds, where a person is watching."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

DELAY = 2.0  # s before it shows

Advance = Callable[[int, int], None]  # told how many steps are done, and of how many


@contextmanager
def patience(doing: str, delay: float = DELAY) -> Iterator[Advance]:
    """Show a moving bar and the seconds gone by while the block runs, from ``delay`` seconds on.

    A block that knows how far it is says so by calling what it is given; otherwise the bar only moves.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield lambda done, total: None
        return
    import threading

    shown: list[Any] = []

    def advance(done: int, total: int) -> None:
        for bar in shown:
            bar.update(bar.task_ids[0], completed=done, total=total)

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
