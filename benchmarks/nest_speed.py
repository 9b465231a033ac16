"""Mapped cascades per second: the closed form over many tile shapes, one mapping at a time, and next to the simulator.

Run as ``python -m benchmarks.nest_speed``. Figures are CPU seconds of one core, the least of five runs, so they hold on
a busy machine too. No mapping is evaluated twice but where the table says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from time import process_time
from typing import Any

import numpy as np

import sim
from einsum import Cascade, parse
from mappings.attention_arrays import interleaved
from mappings.text import parse as read
from mappings.tree import Nest
from sim.model.counts import counts
from sim.model.exact import simulate
from sim.model.nests import Mapped
from workloads import attention

CHUNK = 8192  # points counted at once: arrays that stay in the second-level cache
MATMUL = "Z[m, n] = A[m, k] * B[k, n]"
GEMM = """\
keep A, B, Z in dram
for m tile {m}
  for n tile {n}
    for k tile {k}
      keep A, B, Z in buffer
      for m tile 8
        for n tile 8
          keep A, B, Z in registers
          spatial m tile 1 over columns
            spatial n tile 1 over rows
              Z on array"""


def gemm(m: int = 64, n: int = 64, k: int = 64) -> str:
    """The nest of three levels with these outer tiles."""
    return GEMM.format(m=m, n=n, k=k)


def fused(cascade: Cascade) -> str:
    """The one-pass cascade fused under queries and blocks of keys, everything between in the buffer."""
    outer = ", ".join(t for t in (*cascade.inputs, *cascade.outputs))
    inner = ", ".join(t.name for t in cascade.tensors if t.name not in {*cascade.inputs, *cascade.outputs})
    start = [e for e in cascade.einsums if "m1" not in e.ranks and not e.inputs]
    body = [e for e in cascade.einsums if "m1" in e.ranks]
    last = [e for e in cascade.einsums if e not in start and e not in body]
    lines = [f"keep {outer} in dram", "for p tile 64", f"  keep {outer}, {inner} in buffer", "  sequence"]
    lines += [f"    {e.name} on alu" for e in start]
    lines += ["    for m1 tile 1", "      sequence", *(f"        {e.name} on alu" for e in body)]
    return "\n".join([*lines, *(f"    {e.name} on alu" for e in last)])


def best(run: Callable[[], object], repeat: int, times: int = 5) -> float:
    """CPU seconds of one run: the least mean of some series of ``repeat``."""
    spent = []
    for _ in range(times):
        start = process_time()
        for _ in range(repeat):
            run()
        spent.append(process_time() - start)
    return min(spent) / repeat


def rate(cascade: Cascade, text: str, tiles: dict[str, Any]) -> float:
    """Points counted in a CPU second, all of ``tiles`` at once."""
    mapped = Mapped(cascade, read(text))
    counts(cascade, mapped, tiles=tiles)
    return CHUNK / best(lambda: counts(cascade, mapped, tiles=tiles), repeat=12)


def powers(rng: np.random.Generator, low: int, high: int) -> Any:
    """Random powers of two."""
    return 2.0 ** rng.integers(low, high, CHUNK)


def bulk() -> Iterator[tuple[str, float]]:
    """Points a second with many tile shapes at once."""
    rng = np.random.default_rng(0)
    matmul = parse(MATMUL, m=512, n=512, k=512)
    ranks = {"m.0": (5, 9), "n.0": (5, 9), "k.0": (3, 9), "m.1": (1, 5), "n.1": (1, 5)}
    perfect = {loop: powers(rng, *span) for loop, span in ranks.items()}
    ragged = {loop: rng.integers(1, 300, CHUNK).astype(float) for loop in ranks}
    once = attention.one_pass(query=4096, context=4096, head_dim=64)
    yield "GEMM, three levels, perfect factors", rate(matmul, gemm(), perfect)
    yield "GEMM, three levels, any factors", rate(matmul, gemm(), ragged)
    yield "one-pass attention, all Einsums fused", rate(once, fused(once), {"p.0": powers(rng, 4, 12)})


Made = Iterator[tuple[Cascade | Callable[[], Cascade], Nest | str]]


def through(made: Made, repeat: int) -> float:
    """CPU seconds of one mapping through the front door: read if it is text, checked, counted, timed, priced."""
    on = sim.device("fusemax_cloud")
    given = [next(made) for _ in range(5 * repeat + 1)]

    def run() -> None:
        cascade, nest = given.pop()
        found = sim.estimate(cascade if isinstance(cascade, Cascade) else cascade(), on, mapping=nest)
        assert found.seconds > 0 and found.joules > 0  # noqa: PT018 - both are worked out only when asked for

    run()  # what a device is asked once
    return best(run, repeat)


def matmuls(text: bool) -> Made:
    """Products of ever other sizes under ever other tiles, read already or as text."""
    rng = np.random.default_rng(0)
    for size in count(400):
        nest = gemm(*(int(tile) for tile in rng.integers(8, 64, 3)))
        cascade = partial(parse, MATMUL, m=size, n=512, k=512)
        yield (cascade, nest) if text else (cascade(), read(nest))


def attentions() -> Made:
    """FuseMax at ever other lengths under ever other blocks."""
    rng = np.random.default_rng(0)
    for block in rng.permutation(np.arange(256, 4096)):
        cascade = attention.one_pass(batch=64, heads=12, query=int(rng.integers(4096, 9000)), context=4096, head_dim=64)
        yield cascade, interleaved(block=int(block))


def again() -> Made:
    """One product under one nest, always the same."""
    one = parse(MATMUL, m=512, n=512, k=512), read(gemm())
    while True:
        yield one


def alone() -> Iterator[tuple[str, float]]:
    """CPU seconds of one mapping at a time."""
    yield "GEMM, other sizes and tiles each time", through(matmuls(text=False), 40)
    yield "GEMM, cascade and nest read from text", through(matmuls(text=True), 40)
    yield "GEMM, the same again", through(again(), 40)
    yield "FuseMax (15 Einsums), others each time", through(attentions(), 10)


def proven() -> Iterator[tuple[str, float, float, int]]:
    """CPU seconds of the simulator (compiled before) and of the closed form on the same nests, and points run."""
    for size in (16, 64, 256):
        yield compared(parse(MATMUL, m=size, n=size, k=size), f"GEMM of {size} x {size} x {size}", gemm())
    for length in (64, 512):
        once = attention.one_pass(query=length, context=length, head_dim=16, block=16)
        yield compared(once, f"one-pass attention, {length} x {length}", fused(once))


def compared(cascade: Cascade, name: str, text: str) -> tuple[str, float, float, int]:
    """One nest both ways; they must count the same."""
    nest = read(text)
    assert simulate(cascade, nest).table() == counts(cascade, nest).table()
    slow = best(lambda: simulate(cascade, nest), repeat=1, times=2)
    quick = best(lambda: counts(cascade, nest), repeat=10)
    return name, slow, quick, sum(int(c.points) for c in counts(cascade, nest).computes)


def main() -> None:
    """Print the three tables."""
    print("Closed form, many tile shapes at once")
    for name, found in bulk():
        print(f"  {name:38} {found:12,.0f} tile shapes/s")
    print("One mapping through sim.estimate, checked")
    for name, found in alone():
        print(f"  {name:38} {found * 1e3:12.2f} ms")
    print("Exact simulator and closed form, the nest taken apart anew")
    for name, slow, quick, points in proven():
        print(f"  {name:38} {slow * 1e3:9.1f} ms {quick * 1e3:6.2f} ms {slow / quick:9,.0f}x {points:12,} points")


if __name__ == "__main__":
    main()
