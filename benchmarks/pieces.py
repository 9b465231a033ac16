"""CPU seconds of the pieces that a question is answered from, best of five, in this process.

python benchmarks/pieces.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from sim.serving.trace import read
from sim.space.pareto import pareto
from workloads import config, transformer


def model() -> object:
    """llama-3-70b from its name to its program, nothing remembered."""
    for remembered in (config._bundled, transformer._cascades, transformer._program):
        remembered.cache_clear()
    return transformer.model("llama-3-70b").program()


def front() -> object:
    """The Pareto front of 10^6 random points of two objectives."""
    return pareto(POINTS, minimise=["a", "b"])


def trace() -> object:
    """20,000 requests in the Azure format."""
    return read(TRACE)


def clocked(piece: Callable[[], object]) -> float:
    """CPU seconds of one call, the best of five after a first that is not counted."""
    piece()
    return min(_once(piece) for _ in range(5))


def _once(piece: Callable[[], object]) -> float:
    start = time.process_time()
    piece()
    return time.process_time() - start


if __name__ == "__main__":
    POINTS = pd.DataFrame(np.random.default_rng(0).random((1_000_000, 2)), columns=["a", "b"])
    with tempfile.TemporaryDirectory() as folder:
        TRACE = Path(folder) / "big.csv"
        row = "2023-11-16 18:15:46.6805900,374,44\n"
        TRACE.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + row * 20_000)
        for piece in (model, front, trace):
            print(f"{clocked(piece):8.4f} s  {(piece.__doc__ or '').strip()}")
