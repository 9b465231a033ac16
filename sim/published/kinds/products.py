"""Sparse products on published accelerators: traffic, times and counts from cascade, mapping and device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import ceil
from typing import Any

from einsum import WeirError, hint, parse
from mappings.sparse import read
from mappings.text import parse as nest
from sim.arch import device
from sim.model.sparse.count import product
from sim.model.sparse.entries import exact
from sim.model.sparse.estimate import SparseEstimate, estimate
from sim.model.sparse.structure import Structure
from sim.model.spatial import evaluate
from sim.published.calls import number, table, text
from sim.published.matrices import matrix
from workloads.matrices import named

__all__ = [
    "compared",
    "counted",
    "dense",
    "energy",
    "instructions",
    "mean_deviation",
    "mean_energy",
    "ratio",
    "smash",
    "time",
    "traffic",
    "uniform",
]

COUNTS = ("entries", "multiplies", "result")


@lru_cache(maxsize=8)
def _square(name: str) -> tuple[Structure, Any]:
    """A matrix's structure and the entries of its square."""
    made = Structure.of(matrix(name))
    return made, exact(made, made)


def _run(inputs: Mapping[str, Any], name: str, accelerator: str) -> SparseEstimate:
    """A matrix times itself on an accelerator, with the tiles that its authors chose for that matrix."""
    sizes = table(inputs, "tiles", name) if accelerator == "extensor" else {}
    return _cached(name, accelerator, tuple((loop, int(size)) for loop, size in sizes.items()))


@lru_cache(maxsize=32)
def _cached(name: str, accelerator: str, tiles: tuple[tuple[str, int], ...]) -> SparseEstimate:
    a, entries = _square(name)
    mapping = read(accelerator).with_tiles(dict(tiles))
    return estimate(mapping, product(mapping, a, a, entries, name), device(accelerator))


def counted(inputs: Mapping[str, Any], *, matrix: str, what: str) -> float:
    """Entries of a matrix, multiplications of its square, entries of its square."""
    a, entries = _square(matrix)
    if what not in COUNTS:
        raise WeirError(f"unknown count {what!r}{hint(what, COUNTS)}")
    multiplies = float(a.lengths[a.indices].sum())
    found: dict[str, float] = {"entries": float(a.entries), "multiplies": multiplies, "result": entries.total}
    return found[what]


def traffic(inputs: Mapping[str, Any], *, matrix: str, accelerator: str, tensor: str) -> float:
    """Megabytes moved of a tensor; ``partial`` is what of the result is read back and written again, ``final`` the rest
    of the result, ``total`` everything."""
    found = _run(inputs, matrix, accelerator)
    back = found.counted.moved("dram", "Z", "reads")
    if tensor == "total":
        return found.traffic / 1e6
    if tensor == "partial":
        return 2 * back / 1e6
    if tensor == "final":
        return (found.counted.moved("dram", "Z", "updates") - back) / 1e6
    if tensor not in found.tensors:
        raise WeirError(f"unknown tensor {tensor!r}{hint(tensor, (*found.tensors, 'total', 'partial', 'final'))}")
    return found.counted.moved("dram", tensor) / 1e6


def time(inputs: Mapping[str, Any], *, matrix: str, accelerator: str) -> float:
    """Microseconds of a matrix times itself."""
    return float(_run(inputs, matrix, accelerator).seconds) * 1e6


def energy(inputs: Mapping[str, Any], *, matrix: str, accelerator: str) -> float:
    """Millijoules of a matrix times itself."""
    return _run(inputs, matrix, accelerator).joules * 1e3


def compared(inputs: Mapping[str, Any], *, matrix: str, accelerator: str) -> float:
    """Pairs of coordinates that are compared."""
    return sum(unit.operations.get("compare", 0.0) for unit in _run(inputs, matrix, accelerator).units)


def mean_deviation(inputs: Mapping[str, Any], *, accelerator: str) -> float:
    """Per cent by which ours differ from the reported times, either way, on average over matrices."""
    return _mean(inputs, "reported", accelerator, lambda found: found.seconds * 1e9)


def mean_energy(inputs: Mapping[str, Any], *, accelerator: str) -> float:
    """Per cent by which ours differ from the reported energies, either way, on average over matrices."""
    return _mean(inputs, "energy", accelerator, lambda found: found.joules * 1e3)


def _mean(inputs: Mapping[str, Any], what: str, accelerator: str, ours: Callable[[SparseEstimate], float]) -> float:
    theirs = table(inputs, what, accelerator)
    off = [abs(ours(_run(inputs, m, accelerator)) / number(inputs, what, accelerator, m) - 1) for m in theirs]
    return 100 * sum(off) / len(off)


def uniform(inputs: Mapping[str, Any], *, dimension: int, density: float) -> float:
    """Milliseconds of the square of a uniform matrix by outer products on OuterSPACE."""
    a = Structure.of(named(f"uniform:n={dimension},density={density}"))
    mapping = read("outerspace")
    return float(estimate(mapping, product(mapping, a, a, exact(a, a)), device("outerspace")).seconds) * 1e3


WIDTH = 128  # of SIGMA's groups, and of the vectors that its network delivers
ELEMENTS = 16384  # processing elements
STATIONARY = """
keep A, B in sram
keep Z in accumulators
for k tile 128
  for m tile {rows}
    keep A in elements double
    for n tile 1
      keep B in elements double
      keep Z in elements
      Z on pe
"""


def dense(inputs: Mapping[str, Any], *, m: int, n: int, k: int) -> float:
    """Nanoseconds of a product on SIGMA: as many entries of A as there are elements stay, vectors of B go by."""
    whole = ceil(k / WIDTH) * WIDTH  # a vector is as wide as the network, however few of it are used
    held = number(inputs, "density") * k / whole
    rows = min(m, max(1, int(ELEMENTS / (held * WIDTH))))
    cascade = parse(
        f"A[m, k]: uniform({held})\nZ[m, n] = A[m, k] * B[k, n]", name="gemm", dtype="fp32", m=m, n=n, k=whole
    )
    found = evaluate(cascade, nest(STATIONARY.format(rows=rows)), device("sigma"))
    return float(found.seconds) * 1e9


@lru_cache(maxsize=8)
def _smash(version: int, drawn: str) -> SparseEstimate:
    a = Structure.of(named(drawn))
    mapping = read(f"smash_v{version}")
    return estimate(mapping, product(mapping, a, a, exact(a, a), "stand-in"), device("piuma_core"))


def smash(inputs: Mapping[str, Any], *, version: int, what: str) -> float:
    """Of one version on the stand-in: ``milliseconds``, per cent of bandwidth ``used``, or ``gigabytes``."""
    found = _smash(version, text(inputs, "matrix"))
    known = {"milliseconds": found.seconds * 1e3, "used": 100 * found.utilisation, "gigabytes": found.traffic / 1e9}
    if what not in known:
        raise WeirError(f"unknown figure {what!r}{hint(what, known)}")
    return float(known[what])


def instructions(inputs: Mapping[str, Any], *, version: int) -> float:
    """Instructions of one version for each multiplication."""
    found = _smash(version, text(inputs, "matrix"))
    return found.operations / found.product.products


def ratio(inputs: Mapping[str, Any], *, first: int, second: int, what: str) -> float:
    """A figure of one version over that of another."""
    return smash(inputs, version=first, what=what) / smash(inputs, version=second, what=what)
