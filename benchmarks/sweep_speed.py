"""Sweeps: what they cost beside the bare model, rows a second into a store, a second process, and start-up times.

CPU seconds, which other work on the machine changes little; the speed-up on two processes is a ratio of wall seconds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import sim
from einsum import parse
from mappings.parallel import layout
from mappings.text import parse as read
from sim.model.spatial import evaluate
from sim.serving.deploy import Deployment
from sim.space.pareto import nondominated
from sim.space.steps import timed
from sim.space.sweep import sweep
from workloads import transformer

ROOT = Path(__file__).resolve().parents[1]
STEPS: dict[str, Any] = {"on": ["2xh100"], "batch": range(1, 301), "context": range(1000, 11_000, 100)}
POINTS = 30_000
WEIR = "import sys; from sim.cli import main; sys.exit(main())"


def nothing(x: int) -> float:
    """A model that costs nothing: what is left is overhead."""
    return float(x)


def spent(work: Callable[[], Any], runs: int = 3) -> tuple[float, float]:
    """The least CPU and wall seconds of some calls."""
    found = []
    for _ in range(runs):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found)


def bare() -> None:
    """The model alone at all of the points: one call on arrays."""
    model, where = transformer.model("llama-3-8b"), sim.cluster("2xh100")
    pools = {pool.name: pool.count for pool in where.pools}
    option = Deployment(model, where, layout(model.decode, pools), sim.tier("physical"), 0.0)
    grid = np.meshgrid(np.array(STEPS["batch"], float), np.array(STEPS["context"], float), indexing="ij")
    timed(option, "decode", *(axis.ravel() for axis in grid))


def started(*argv: str) -> float:
    """CPU seconds of a process of its own, the least of several."""
    least = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", *argv], check=True, stdout=subprocess.DEVNULL, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def overheads(folder: Path) -> None:
    """Vectorised and single points beside what the model itself costs."""
    sweep("llama-3-8b", **{**STEPS, "batch": [1]}, store=folder / "warm.db")
    model, _ = spent(bare)
    swept, _ = spent(lambda: sweep("llama-3-8b", **STEPS))
    fresh = iter(folder / f"{n}.db" for n in range(9))
    held, wall = spent(lambda: sweep("llama-3-8b", **STEPS, store=next(fresh)))
    micro = 1e6 / POINTS
    print(f"{POINTS:,} steps, bare model: {model * micro:.1f} us a point")
    print(
        f"overhead, vectorised: {(swept - model) * micro:.1f} us a point; with a store {(held - model) * micro:.1f} us"
    )
    print(f"rows into the store: {POINTS / wall:,.0f} a second of wall time, {POINTS / held:,.0f} of CPU")
    called, _ = spent(lambda: sweep(nothing, x=range(3000)))
    stored, _ = spent(lambda: sweep(nothing, x=range(3000), store=next(fresh)))
    print(f"overhead, point by point: {called / 3 * 1e3:.0f} us a point; with a store {stored / 3 * 1e3:.0f} us")


def processes() -> None:
    """The same sweep here and on two processes that are started and warm.

    Where a machine has other work, wall seconds say little: the CPU of all processes gives what two free cores would.
    """
    more = {**STEPS, "batch": range(1, 1201), "layout": ["tp=2", "tp=1,pp=2"]}
    cpu, one = spent(lambda: sweep("llama-3-8b", **more), 1)
    warm, _, _ = pooled(more, work=False)
    workers, parent, two = pooled(more, work=True)
    free = cpu / max(parent, (workers - warm) / 2)
    print(f"two processes: {one / two:.2f} times as fast here ({one:.2f} s, {two:.2f} s of wall time)")
    both = workers - warm
    print(
        f"  CPU: {cpu:.2f} s alone; {both:.2f} s of both workers, {parent:.2f} s here: {free:.2f} times on free cores"
    )


def pooled(axes: dict[str, Any], work: bool) -> tuple[float, float, float]:
    """CPU seconds of two workers, warmed up and perhaps set to work, and of this process; wall seconds of the work."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        sweep("llama-3-8b", **{**axes, "batch": range(1, 401)}, executor=pool)
        parent, wall = spent(lambda: sweep("llama-3-8b", **axes, executor=pool) if work else None, 1)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, parent, wall


def fronts() -> None:
    """Pareto fronts of a million rows, the compiler's time left out."""
    draw = np.random.default_rng(0)
    for objectives in (2, 3, 4):
        frame = pd.DataFrame(draw.random((10**6, objectives)), columns=[f"o{n}" for n in range(objectives)])
        nondominated(frame.head(30_000), list(frame))
        cpu, _ = spent(lambda: nondominated(frame, list(frame)))  # noqa: B023  called at once
        print(f"front of a million rows, {objectives} objectives: {cpu:.2f} s")
    flat = draw.random((10**6, 3))
    frame = pd.DataFrame(flat / flat.sum(axis=1, keepdims=True), columns=["a", "b", "c"])
    cpu, _ = spent(lambda: nondominated(frame, list(frame)))
    print(f"front of a million rows, 3 objectives, all of them on it: {cpu:.2f} s")


GEMM = parse("Z[m, n] = A[m, k] * B[k, n]", name="gemm", m=4096, n=4096, k=4096)
NEST = """
keep A, B, Z in dram
for m tile 64
  for n tile 64
    keep A, B, Z in buffer
    for k tile 64
      keep Z in registers
      spatial m tile 1 over columns
        spatial n tile 1 over rows
          Z on array
"""
TILES: dict[str, Any] = {f"tile.{loop}.0": range(1, 33) for loop in "mnk"}


def arrays() -> None:
    """Tile sizes of a nest on an array as axes, beside the closed form alone on arrays of them."""
    where = sim.device("fusemax_cloud")
    grid = np.meshgrid(*(np.array(sizes) for sizes in TILES.values()), indexing="ij")
    tiles = {name.removeprefix("tile."): axis.ravel() for name, axis in zip(TILES, grid, strict=True)}
    points = len(tiles["m.0"])
    model, _ = spent(lambda: evaluate(GEMM, read(NEST), where, tiles=tiles).joules)
    swept, _ = spent(lambda: sweep(GEMM, on=where, mapping=read(NEST), **TILES))
    print(
        f"{points:,} tilings of a product on an array: bare {model / points * 1e6:.1f} us a point,"
        f" overhead {(swept - model) / points * 1e6:.1f} us"
    )


def main() -> None:
    """Print the figures."""
    print(f"import sim: {started('import sim'):.3f} s; weir --help: {started(WEIR, '--help'):.3f} s")
    with tempfile.TemporaryDirectory() as folder:
        overheads(Path(folder))
    arrays()
    fronts()
    processes()


if __name__ == "__main__":
    main()
