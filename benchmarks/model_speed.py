"""Speed of the vectorised model: phase-points a second over batch x context x sharding x device, on one core.

A phase-point is one step of one phase (decode or prefill) at one batch and context, in one layout on one cluster, with
its time, energy and what binds it; speeds are per second of CPU time. ``python -m benchmarks.model_speed`` also
recomputes a sample of the points one at a time, and fails unless both ways agree to 1e-12.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from einsum import Program
from mappings.layout import Layout
from mappings.parallel import prefilled, read
from sim.arch import Cluster, cluster, tier
from sim.model.step import Step, Work
from workloads import transformer

DEVICES = ("h100", "h20", "a100", "mi300x")
SHARDINGS = (("8x{}", "tp=8"), ("8x{}", "tp=4,pp=2"), ("8x{}", "tp=2"), ("4x{}_4xh20", "tp=4"))
PHYSICAL = tier("physical")


def places(program: Program) -> Iterator[tuple[Cluster, Layout]]:
    """Every sharding on every device."""
    for device in DEVICES:
        for on, layout in SHARDINGS:
            where = cluster(on.format(device))
            yield where, read(layout, program, {p.name: p.count for p in where.pools})


def figures(step: Step) -> tuple[Any, ...]:
    """What a sweep wants of a step: seconds, joules, and what binds."""
    return step.latency, step.period, step.joules, step.bounds


def run(program: Program, phase: str, where: Cluster, layout: Layout, batch: Any, tokens: Any) -> tuple[Any, ...]:
    """One call of the model: one point or a grid of them."""
    if phase == "decode":
        return figures(Work.of(program, layout, b=batch, p=1, c=tokens).on(where, PHYSICAL))
    return figures(Work.of(program, prefilled(program, layout), b=batch, p=tokens, c=0).on(where, PHYSICAL))


def compare(points: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]) -> float:
    """The largest relative difference between points computed one at a time and as part of a grid."""
    worst = 0.0
    for one, many in zip(points, rows, strict=True):
        *numbers, bound = (np.ravel(x)[-1] for x in one)
        *others, among = many
        assert bound == among, f"bounds differ: {bound} alone, {among} in a grid"
        for alone, found in zip(numbers, others, strict=True):
            worst = max(worst, abs(float(alone) - float(found)) / abs(float(alone)))
    return worst


def measure(model: transformer.Transformer, phase: str, batches: Any, tokens: Any, samples: int) -> None:
    """Time one phase both ways and print the speeds."""
    program = model.decode if phase == "decode" else model.prefill
    spots = list(places(program))
    b, t = (g.ravel() for g in np.meshgrid(batches, tokens, indexing="ij"))
    run(program, phase, *spots[0], b, t)
    start = time.process_time()
    grids = [run(program, phase, where, layout, b, t) for where, layout in spots]
    fast = len(spots) * len(b) / (time.process_time() - start)
    rng = np.random.default_rng(0)
    picks = [(int(rng.integers(len(spots))), int(rng.integers(len(b)))) for _ in range(samples)]
    start = time.process_time()
    points = [run(program, phase, *spots[s], float(b[i]), float(t[i])) for s, i in picks]
    slow = samples / (time.process_time() - start)
    rows = [tuple(np.broadcast_to(x, b.shape)[i] for x in grids[s]) for s, i in picks]
    worst = compare(points, rows)
    assert worst <= 1e-12, f"{phase}: one at a time and in a grid differ by {worst}"
    print(
        f"{phase:8} {len(spots) * len(b):>9,} points: {fast:>9,.0f}/s vectorised, {slow:>5,.0f}/s one at a time"
        f" ({fast / slow:,.0f}x); {samples} compared, largest relative difference {worst:.1e}"
    )


def main() -> None:
    """Measure both phases at the sizes asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="llama-3-70b")
    parser.add_argument("--batches", type=int, default=64, help="batches in the grid (1 to 1024)")
    parser.add_argument("--lengths", type=int, default=64, help="contexts or prompts in the grid (128 to 131072)")
    parser.add_argument("--samples", type=int, default=200, help="points computed one at a time")
    given = parser.parse_args()
    model = transformer.from_config(given.model)
    batches = np.unique(np.geomspace(1, 1024, given.batches).round())
    lengths = np.unique(np.geomspace(128, 131_072, given.lengths).round())
    print(
        f"{model.name}: {len(batches)} batches x {len(lengths)} lengths x {len(SHARDINGS)} shardings x {len(DEVICES)}"
    )
    for phase in ("decode", "prefill"):
        measure(model, phase, batches, lengths, given.samples)


if __name__ == "__main__":
    main()
