"""Time of the sparse products next to SciPy's and, where MKL is installed, to its.

``python benchmarks/kernels_spgemm.py [FILE.npz | FILE.mtx | FOLDER ...] [--every]``: each matrix times itself (times
its transpose if it is not square), in double precision; without files, matrices of our own: uniform, R-MAT, banded.
SciPy and MKL leave columns unsorted, so the kernels do too; the sorted column is next to SciPy with ``sort_indices``.
One thread is timed by the least CPU time of several calls; several by the least wall-clock time, which means something
only on an idle machine. Elsewhere ``path/2`` says what two threads could reach: CPU time of what only one thread does,
and of the pieces of work handed to two threads in turn, measured one after another (so memory is not contended for).
The last column is the speed of that path over one thread's. ``--every`` adds the inner and outer products and the heap,
which are slower by far. MKL is reached through ``sparse_dot_mkl``; ``MKL_RT`` is the path of its library where that is
not found.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before NumPy starts its own

import importlib.util
import operator
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy import io, sparse

sys.path.insert(0, str(Path(__file__).parents[1]))

from workloads.kernels import spgemm
from workloads.kernels.core import csr

Run = Callable[[Any, Any], Any]


def uniform(size: int, entries: int, *, seed: int) -> Any:
    """Every place as likely as any other."""
    rng = np.random.default_rng(seed)
    return _matrix(rng.integers(0, size, entries), rng.integers(0, size, entries), size, rng)


def r_mat(scale: int, entries: int, *, seed: int, corners: tuple[float, ...] = (0.57, 0.19, 0.19, 0.05)) -> Any:
    """A power-law graph: each entry falls into one of four quarters, again and again (Graph500's probabilities)."""
    rng = np.random.default_rng(seed)
    quarters = rng.choice(4, p=corners, size=(entries, scale))
    powers = 1 << np.arange(scale)
    return _matrix((quarters >> 1) @ powers, (quarters & 1) @ powers, 1 << scale, rng)


def banded(size: int, width: int, *, seed: int) -> Any:
    """Every place within ``width`` of the diagonal."""
    offsets = range(-width, width + 1)
    rng = np.random.default_rng(seed)
    return sparse.csr_array(sparse.diags_array([rng.random(size - abs(i)) for i in offsets], offsets=list(offsets)))


def _matrix(rows: Any, columns: Any, size: int, rng: Any) -> Any:
    made = sparse.csr_array((rng.random(len(rows)), (rows, columns)), shape=(size, size))
    made.sum_duplicates()
    return made


def matrices(paths: list[str]) -> Iterator[tuple[str, Any]]:
    """From files, or drawn."""
    if not paths:
        yield "uniform 16K x 16", uniform(2**14, 2**18, seed=0)
        yield "uniform 64K x 4", uniform(2**16, 2**18, seed=1)
        yield "r-mat 12", r_mat(12, 2**16, seed=2)
        yield "r-mat 14 mild", r_mat(14, 2**18, seed=3, corners=(0.4726, 0.1126, 0.1126, 0.3022))
        yield "banded 16K x 17", banded(2**14, 8, seed=4)
    for path in (Path(p) for p in paths):
        for file in sorted(path.glob("*.npz")) + sorted(path.glob("*.mtx")) if path.is_dir() else [path]:
            held = io.mmread(file) if file.suffix == ".mtx" else sparse.load_npz(file)
            made = sparse.csr_array(held).astype(np.float64)
            made.sum_duplicates()
            yield file.stem, made


def sorted_scipy(a: Any, b: Any) -> Any:
    """SciPy's product with its columns in order."""
    product = a @ b
    product.sort_indices()
    return product


@cache
def loaded() -> Any:
    """The wrapper of MKL; None, said in one line, where it or the library is not there."""
    found = importlib.util.find_spec("sparse_dot_mkl")
    if found and found.origin:  # pip puts the library where the wrapper does not look
        for place in Path(found.origin).parents[3].glob("libmkl_rt.so*"):
            os.environ.setdefault("MKL_RT", str(place))
    try:
        import sparse_dot_mkl
    except ImportError:
        print("MKL is not installed, so SciPy alone is compared with: pip install sparse-dot-mkl mkl")
        return None
    return sparse_dot_mkl


def mkl(threads: int) -> dict[str, Run]:
    """MKL's product, if it is there."""
    sparse_dot_mkl = loaded()
    if sparse_dot_mkl is None:
        return {}

    def run(a: Any, b: Any) -> Any:
        sparse_dot_mkl.mkl_set_num_threads(threads)
        return sparse_dot_mkl.dot_product_mkl(a, b)

    return {f"mkl/{threads}": run}


def path(threads: int, a: Any, b: Any, record: list[float]) -> None:
    """Multiply with pieces of work one after another, noting the seconds of a path through ``threads`` of them."""
    saved = 0.0

    def one_by_one(kernel: Callable[..., None], items: int, _: int, *args: Any) -> None:
        nonlocal saved
        busy = [0.0] * threads
        for item in range(items):
            start = time.process_time()
            kernel(item, item + 1, *args)
            free = busy.index(min(busy))
            busy[free] += time.process_time() - start
        saved += sum(busy) - max(busy)

    with patch.object(spgemm, "run", one_by_one), patch.object(csr, "run", one_by_one):
        start = time.process_time()
        spgemm.row_dense(a, b, sort=False, threads=threads)
        record.append(time.process_time() - start - saved)


def least_path(a: Any, b: Any, threads: int = 2, seconds: float = 0.4) -> float:
    """Least seconds of a path of several."""
    record: list[float] = []
    while len(record) < 7 or (sum(record) < seconds and len(record) < 300):
        path(threads, a, b, record)
    return min(record)


def runs(every: bool) -> dict[str, Run]:
    """What is timed, as name/threads."""
    ours: dict[str, Run] = {
        "dense/1": partial(spgemm.row_dense, sort=False),
        "hash/1": partial(spgemm.row_hash, sort=False),
        "sorted/1": spgemm.row_dense,
        "symbolic/1": spgemm.symbolic,
        "dense/2": partial(spgemm.row_dense, sort=False, threads=2),
        "hash/2": partial(spgemm.row_hash, sort=False, threads=2),
    }
    slow: dict[str, Run] = {"heap/1": spgemm.row_heap, "outer/1": spgemm.outer, "inner/1": spgemm.inner}
    return {**mkl(1), **mkl(2), **ours, **(slow if every else {})}


def least(call: Callable[[], Any], threads: int, seconds: float = 0.6) -> float:
    """Least seconds of one call, after one to warm up: CPU time of one thread, wall-clock time of several."""
    clock = time.process_time if threads == 1 else time.perf_counter
    call()
    times: list[float] = []
    while len(times) < 7 or (sum(times) < seconds and len(times) < 300):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def main(arguments: list[str]) -> None:
    """One line a matrix, and the geometric means of the ratios."""
    contestants = runs("--every" in arguments)
    ratios: dict[str, list[float]] = {name: [] for name in contestants}
    ratios |= {"path/2": [], "path: /1": []}
    columns = "".join(f"{name:>12}" for name in ratios)
    print(f"times SciPy's speed (sorted: SciPy's with sort_indices)\n{'':18}{'products':>10}{'scipy ms':>10}{columns}")
    for name, a in matrices([p for p in arguments if not p.startswith("-")]):
        b = a if a.shape[0] == a.shape[1] else sparse.csr_array(a.T)
        plain, tidy = least(partial(operator.matmul, a, b), 1), least(partial(sorted_scipy, a, b), 1)
        for kind, run in contestants.items():
            spent = least(partial(run, a, b), int(kind[-1]))
            ratios[kind].append((tidy if kind.startswith("sorted") else plain) / spent)
        ratios["path/2"].append(plain / least_path(a, b))
        ratios["path: /1"].append(ratios["path/2"][-1] / ratios["dense/1"][-1])
        products = int(np.diff(b.indptr)[a.indices].sum())
        shown = "".join(f"{r[-1]:12.2f}" for r in ratios.values())
        print(f"{name:18}{products / 1e6:9.2f}M{plain * 1e3:10.2f}{shown}", flush=True)
    means = "".join(f"{np.exp(np.mean(np.log(r))):12.2f}" for r in ratios.values())
    print(f"{'geometric mean':18}{'':20}{means}")


if __name__ == "__main__":
    main(sys.argv[1:])
