"""Kernels the physical tier predicts in a second, all sizes in one call: ``python benchmarks/silicon_speed.py``."""

from __future__ import annotations

import time

import numpy as np

from einsum.parse import parse
from sim.arch import device
from sim.model.estimate import estimate

GEMM = parse("W[k, n]: weight\nC[m, n] = A[m, k] * W[k, n]", name="gemm", m=1, n=1, k=1)


def main(count: int = 100_000) -> None:
    """Print matrix products a CPU second."""
    rng = np.random.default_rng(0)
    m, n, k = (2.0 ** rng.uniform(0, 13, count) for _ in range(3))
    start = time.process_time()
    seconds = estimate(GEMM, device("h100"), m=m, n=n, k=k).seconds
    spent = time.process_time() - start
    print(f"{len(seconds):,} matrix products in {spent:.2f} CPU s: {len(seconds) / spent:,.0f} a second")


if __name__ == "__main__":
    main()
