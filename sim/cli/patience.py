"""A sign of life on stderr for whatever takes over two seconds, where a person is watching."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

DELAY = 2.0  # s before it shows


@contextmanager
def patience(doing: str, delay: float = DELAY) -> Iterator[None]:
    """Show a moving bar and the seconds gone by while the block runs, from ``delay`` seconds on."""
    if not sys.stderr.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield
        return
    import threading

    shown: list[Any] = []
    timer = threading.Timer(delay, lambda: shown.append(_start(doing)))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for bar in shown:
            bar.stop()


def _start(doing: str) -> Any:
    """A rich progress bar without an end, already running."""
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
