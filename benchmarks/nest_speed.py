"""Mapped cascades per second: the vectorised closed form over tile shapes, one nest at a time, and the exact simulator.

Run as ``python -m benchmarks.nest_speed``; figures are CPU seconds of one core, so they hold on a busy machine too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from einsum import Cascade, parse
from mappings.text import parse as read
from sim.model.counts import counts
from sim.model.nests import Mapped
from workloads import attention

CHUNK = 8192  # points counted at once: arrays that stay in the second-level cache
GEMM = """\
keep A, B, Z in dram
for m tile 64
  for n tile 64
    for k tile 64
      keep A, B, Z in buffer
      for m tile 8
        for n tile 8
          keep A, B, Z in registers
          spatial m tile 1 over rows
            spatial n tile 1 over columns
              Z on mac"""


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


def rate(
    cascade: Cascade, text: str, tiles: Callable[[np.random.Generator], dict[str, Any]], repeat: int = 12
) -> float:
    """Points counted in a CPU second."""
    mapped, rng = Mapped(cascade, read(text)), np.random.default_rng(0)
    drawn = tiles(rng)
    counts(cascade, mapped, tiles=drawn)
    start = time.process_time()
    for _ in range(repeat):
        counts(cascade, mapped, tiles=drawn)
    return repeat * CHUNK / (time.process_time() - start)


def one(cascade: Cascade, text: str, repeat: int = 50) -> float:
    """CPU seconds of one nest counted alone."""
    mapped = Mapped(cascade, read(text))
    counts(cascade, mapped)
    start = time.process_time()
    for _ in range(repeat):
        counts(cascade, mapped)
    return (time.process_time() - start) / repeat


def estimated(repeat: int = 30) -> float:
    """CPU seconds of one GEMM through the front door: read, checked, counted, timed, priced."""
    import sim

    on = sim.device("fusemax_cloud")
    text = GEMM.replace("Z on mac", "Z on array").replace("tile 8", "tile 256")
    text = text.replace("over rows", "over ROWS").replace("columns", "rows").replace("ROWS", "columns")
    start = time.process_time()
    for n in range(repeat):
        made = sim.estimate(parse("Z[m, n] = A[m, k] * B[k, n]", m=512 + n, n=512, k=512), on, mapping=text)
        assert made.seconds > 0 and made.joules > 0  # noqa: PT018 - both are worked out only when asked for
    return (time.process_time() - start) / repeat


def powers(rng: np.random.Generator, low: int, high: int) -> Any:
    """Random powers of two."""
    return 2.0 ** rng.integers(low, high, CHUNK)


def main() -> None:
    """Print the table."""
    gemm = parse("Z[m, n] = A[m, k] * B[k, n]", m=512, n=512, k=512)
    ranks = {"m.0": (5, 9), "n.0": (5, 9), "k.0": (3, 9), "m.1": (1, 5), "n.1": (1, 5)}
    perfect = rate(gemm, GEMM, lambda g: {key: powers(g, *span) for key, span in ranks.items()})
    ragged = rate(gemm, GEMM, lambda g: {key: g.integers(1, 300, CHUNK).astype(float) for key in ranks})
    once = attention.one_pass(query=4096, context=4096, head_dim=64)
    text = fused(once)
    attended = rate(once, text, lambda g: {"p.0": powers(g, 4, 12)})
    print(f"GEMM, three levels, perfect factors    {perfect:12,.0f} tile shapes/s")
    print(f"GEMM, three levels, any factors        {ragged:12,.0f} tile shapes/s")
    print(f"one-pass attention, all Einsums fused  {attended:12,.0f} tile shapes/s")
    print(f"one GEMM nest alone                    {one(gemm, GEMM) * 1e3:12.2f} ms")
    print(f"one GEMM through sim.estimate, checked {estimated() * 1e3:12.2f} ms")
    print(f"one attention nest alone               {one(once, text) * 1e3:12.2f} ms")


if __name__ == "__main__":
    main()
