"""The interpreter's contractions against NumPy's einsum and opt_einsum: ``python benchmarks/interpret.py``.

Prints seconds and the ratio to ours; every result is compared before it is timed. On a shared machine the threads of
the matrix library get in each other's way: set ``OPENBLAS_NUM_THREADS=1`` for figures that repeat.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import opt_einsum

from einsum import interpret, parse

CASES: dict[str, tuple[str, str, dict[str, int]]] = {
    "matmul": ("Z[m, n] = A[m, k] * B[k, n]", "mk,kn->mn", {"m": 512, "k": 512, "n": 512}),
    "scores": ("S[b, h, m, p] = Q[b, h, e, p] * K[b, h, e, m]", "bhep,bhem->bhmp",
               {"b": 2, "h": 8, "e": 64, "m": 256, "p": 256}),
    "decode": ("A[b, h, f] = S[b, h, m] * V[b, h, f, m]", "bhm,bhfm->bhf", {"b": 4, "h": 8, "m": 2048, "f": 64}),
    "chain": ("Z[m, o] = A[m, k] * B[k, n] * C[n, o]", "mk,kn,no->mo", {"m": 128, "k": 128, "n": 128, "o": 128}),
}  # fmt: skip


def seconds(run: Callable[[], Any], budget: float = 0.5) -> float:
    """The best of as many runs as fit the budget, and at least two."""
    best, end = float("inf"), perf_counter() + budget
    runs = 0
    while runs < 2 or perf_counter() < end:
        start = perf_counter()
        run()
        best, runs = min(best, perf_counter() - start), runs + 1
    return best


def main() -> None:
    """Print one row a case."""
    rng = np.random.default_rng(0)
    print(f"{'case':8}  {'interpret':>11}  {'np.einsum':>11}  {'ratio':>6}  {'opt_einsum':>11}  {'ratio':>6}")
    for name, (text, spec, sizes) in CASES.items():
        cascade = parse(text, **sizes)
        tensors = {n: rng.normal(size=cascade.shape(n)) for n in cascade.inputs}
        arrays = list(tensors.values())
        runs = (
            lambda c=cascade, t=tensors: interpret(c, t)[c.outputs[0]],
            lambda s=spec, a=arrays: np.einsum(s, *a),
            lambda s=spec, a=arrays: opt_einsum.contract(s, *a),
        )
        ours, *others = [run() for run in runs]
        for other in others:
            np.testing.assert_allclose(ours, other, rtol=1e-10, atol=1e-10)
        mine, plain, best = map(seconds, runs)
        print(f"{name:8}  {mine:9.6f} s  {plain:9.6f} s  {plain / mine:6.1f}  {best:9.6f} s  {best / mine:6.1f}")


if __name__ == "__main__":
    main()
