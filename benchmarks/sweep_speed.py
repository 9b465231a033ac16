"""Sweeps: rows a second into the store, overhead per point, and what a second process brings. CPU and wall times."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sim.space.sweep import sweep

STEPS: dict[str, Any] = {"on": ["2xh100"], "batch": range(1, 301), "context": range(1000, 11_000, 100)}


def nothing(x: int) -> float:
    """A model that costs nothing: what is left is overhead."""
    return float(x)


def spent(work: Callable[[], Any]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        sweep("llama-3-8b", **{**STEPS, "batch": [1]}, store=Path(folder) / "warm.db")
        bare, _ = spent(lambda: sweep("llama-3-8b", **STEPS))
        held, wall = spent(lambda: sweep("llama-3-8b", **STEPS, store=Path(folder) / "a.db"))
        print(f"30,000 steps: bare {bare:.2f} s CPU; stored {held:.2f} s: {(held - bare) / 0.03:.1f} us a point")
        print(f"rows into the store: {30_000 / wall:,.0f} a second")
        called, _ = spent(lambda: sweep(nothing, x=range(3000), store=Path(folder) / "b.db"))
        print(f"single calls: {called / 3 * 1e3:.0f} us a point")
        more = {**STEPS, "batch": range(1, 601), "layout": ["tp=2", "tp=1,pp=2"]}
        _, one = spent(lambda: sweep("llama-3-8b", **more))
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            sweep("llama-3-8b", **{**STEPS, "batch": [1, 2], "context": [1, 2]}, executor=pool)
            _, two = spent(lambda: sweep("llama-3-8b", **more, executor=pool))
        print(f"two processes: {one / two:.2f} x as fast ({one:.1f} s, {two:.1f} s), once started")


if __name__ == "__main__":
    main()
