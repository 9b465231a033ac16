"""A progress bar on stderr, for people, once something has taken two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
PATIENCE = 2.0  # seconds before a bar is shown


def tracked(items: Iterable[Item], total: int, what: str = "points") -> Iterator[Item]:
    """The items themselves; on a terminal a bar appears if they take longer than anyone waits without one."""
    if not sys.stderr.isatty():
        yield from items
        return
    start = time.monotonic()
    source = iter(items)
    for done, item in enumerate(source):
        yield item
        if time.monotonic() - start > PATIENCE:
            yield from _shown(source, total, done + 1, what)


def _shown(rest: Iterator[Item], total: int, done: int, what: str) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        for item in rest:
            yield item
            bar.advance(task)
