"""Time of counting and modelling a sparse product the size of soc-Epinions1 squared (149 M multiplications).

``python benchmarks/spgemm_model.py [MATRIX] [--on DEVICE]``: reading 10^6 entries, symbolic counts, then each mapping
of the device, analysed once and asked again; CPU time, compilation apart. Without MATRIX, an R-MAT of like size.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from sim.arch import device
from sim.model.sparse.count import Counter, product
from sim.model.sparse.entries import exact, sampled
from sim.model.sparse.estimate import estimate
from sim.model.sparse.structure import Structure
from sim.sparse import chosen
from workloads.matrices import named, read

EPINIONS = "rmat:scale=16,draws=540000,a=0.57,b=0.19,c=0.19,d=0.05"


def spent(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its CPU seconds."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def parsing(entries: int = 10**6) -> float:
    """Least seconds of three to read a Matrix Market file of so many entries."""
    rng = np.random.default_rng(0)
    side = 200_000
    keys = np.unique(rng.integers(0, side * side, entries + entries // 100))[:entries]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.mtx"
        head = f"%%MatrixMarket matrix coordinate real general\n{side} {side} {entries}"
        table = np.c_[keys // side + 1, keys % side + 1, rng.random(entries)]
        np.savetxt(path, table, fmt="%d %d %.8f", header=head, comments="")
        return min(spent(lambda: read(path))[1] for _ in range(3))


def main() -> None:
    """Print a line each."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("matrix", nargs="?", default=EPINIONS)
    arguments.add_argument("--on", default="piuma_core")
    asked = arguments.parse_args()
    print(f"reading 10^6 entries      {parsing():8.3f} s")
    where, mappings = device(asked.on), chosen(device(asked.on), "all")
    small = Structure.of(named("rmat:scale=8,draws=2000"))
    for mapping in mappings:  # compiles
        estimate(mapping, product(mapping, small, small, exact(small, small)), where)
    a = Structure.of(named(asked.matrix))
    entries, seconds = spent(lambda: exact(a, a))
    print(f"symbolic counts           {seconds:8.3f} s  ({entries.total:,.0f} entries)")
    print(f"sampled counts            {spent(lambda: sampled(a, a))[1]:8.3f} s")
    # Running hash tables is symbolic, too: it follows from where entries are, and is done once for a matrix.
    tables = [Counter(mapping, product(mapping, a, a, entries), where) for mapping in mappings]
    _, seconds = spent(lambda: [counter.probed for counter in tables])
    print(f"hash tables               {seconds:8.3f} s")
    total = all_first = 0.0
    for mapping in mappings:
        one = product(mapping, a, a, entries)
        _, first = spent(lambda m=mapping, p=one: estimate(m, p, where))
        _, again = spent(lambda m=mapping, p=one: estimate(m, p, where))
        total, all_first = total + again, all_first + first
        print(f"{mapping.name:24}  {first:8.3f} s analysed, {again:8.3f} s asked again")
    print(f"all mappings              {all_first:8.3f} s, {total:.3f} s again")


if __name__ == "__main__":
    main()
