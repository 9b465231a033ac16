"""Sparse products, and what uses them, on hardware: ``sim.spgemm(matrix, on="piuma_die")`` compares ways to compute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einsum import Infeasible, WeirError, hint
from einsum.cascade import Cascade
from mappings.sparse import SparseMapping, names, read
from mappings.tree import Keep
from sim.arch import Device, accelerator_names, device
from sim.model.nudged import gains
from sim.model.sparse.count import product
from sim.model.sparse.entries import entries
from sim.model.sparse.estimate import estimate
from sim.model.sparse.figures import Figures, InTurn
from sim.model.sparse.stages import stages
from sim.model.sparse.structure import Product, Structure
from sim.serving.advice import helps
from sim.serving.sensitivity import Sensitivity
from sim.units import fmt
from workloads.graphs import USERS, runs

SPGEMM = "spgemm"
HELD = ("capacity", "line", "count", "banks", "partitions")  # on which counts and shares of work hang
WORKLOADS = (SPGEMM, *USERS)
Runs = list[tuple[Product, ...]]  # of one mapping, in turn


@dataclass(frozen=True)
class Comparison:
    """One product under several mappings on one device, in the order asked for."""

    matrix: str
    device: Device
    estimates: tuple[Figures, ...]

    @property
    def best(self) -> Figures:
        """The quickest."""
        return min(self.estimates, key=lambda one: one.seconds)

    @property
    def helps(self) -> tuple[str, ...]:
        """What binds the quickest, and what a tenth more of the device's numbers would give it: counted once."""
        best = self.best
        alone = best.pace[best.bound] / best.seconds if best.seconds else 1.0
        found = gains(self.device, lambda where: best.on(where).seconds, HELD)
        said = helps((Sensitivity(path, gain, gain) for path, gain in found), "runs/s")
        return (f"{best.mapping.name} is bound by {best.bound}: alone it takes {alone:.0%} of the time", *said)

    def frame(self) -> Any:
        """A pandas DataFrame, a row a mapping."""
        import pandas as pd

        plain = [{k: v for k, v in e.summary().items() if not isinstance(v, dict)} for e in self.estimates]
        return pd.DataFrame(plain)

    def __str__(self) -> str:
        """A line a mapping, and the best."""
        lines = [
            f"{e.mapping.name:12} {fmt(e.seconds, 's'):>9} {fmt(e.joules, 'J'):>9} {fmt(e.traffic, 'B'):>9} "
            f"{e.utilisation:6.1%} balance {e.balance:.2f} bound by {e.bound}"
            for e in self.estimates
        ]
        return "\n".join([f"{self.matrix} on {self.device.name}", *lines, f"best: {self.best.mapping.name}"])


def usable(where: Device, workload: str = SPGEMM) -> tuple[str, ...]:
    """The mappings of a workload whose levels and units a device has."""
    known = (read(name) for name in names())
    return tuple(one.name for one in known if one.workload == workload and not _lacking(one, where))


def _lacking(mapping: SparseMapping, where: Device) -> list[str]:
    """Levels and units that a mapping names and a device lacks."""
    have = {m.name for m in where.memories} | {c.name for c in where.computes}
    wanted = [*mapping.via]
    for above, run in mapping.nest.paths():
        wanted += [node.level for node in above if isinstance(node, Keep)] + [run.unit]
    return [name for name in dict.fromkeys(wanted) if name not in have]


def chosen(where: Device, dataflow: str | Iterable[str], workload: str = SPGEMM) -> tuple[SparseMapping, ...]:
    """Mappings by name, path, or ``"all"`` that the device can run; raises :class:`WeirError` for any other."""
    if workload not in WORKLOADS:
        raise WeirError(f"unknown workload {workload!r:.40}{hint(workload, WORKLOADS)}")
    known = usable(where, workload)
    if dataflow == "all":
        if not known:
            able = ", ".join(name for name in accelerator_names() if usable(device(name), workload))
            raise WeirError(
                f"{where.name}: no mapping of {workload} that comes with weir runs on it; they do on {able}; or give "
                "one of your own, a .toml file, as the dataflow (docs/sparse.md)"
            )
        return tuple(read(name) for name in known)
    return tuple(_fitting(str(name), where, workload, known) for name in _listed(dataflow))


def _listed(dataflow: str | Iterable[str]) -> Iterable[str]:
    return [dataflow] if isinstance(dataflow, str) else dataflow


def _fitting(name: str, where: Device, workload: str, known: tuple[str, ...]) -> SparseMapping:
    """One mapping, of this workload and on this device."""
    if not name.endswith(".toml") and name not in names():
        raise WeirError(f"unknown dataflow {name!r:.60}{hint(name, ('all', *known))}")
    mapping = read(name)
    if mapping.workload != workload:
        raise WeirError(f"{mapping.name} computes {mapping.workload}, not {workload}; {where.name} has {_list(known)}")
    if lacking := _lacking(mapping, where):
        raise WeirError(f"{mapping.name} needs {', '.join(lacking)}, which {where.name} lacks; it runs {_list(known)}")
    return mapping


def _list(known: Iterable[str]) -> str:
    return ", ".join(known) or "none that come with weir"


def spgemm(
    a: Any,
    b: Any = None,
    *,
    on: str | Path | Device,
    dataflow: str | Iterable[str] = "all",
    workload: str = SPGEMM,
    sizes: Mapping[str, int] | None = None,
    source: int = 0,
    count: str = "exact",
    tiles: Mapping[str, int] | None = None,
    name: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """A product of scipy matrices (A times itself, or times its transpose if it is not square, unless ``b`` is given).

    Of another ``workload`` (spmv, spmm, triangles, bfs or gcn) ``a`` is the sparse matrix, ``sizes`` are extents that
    it does not have (``{"n": 64}`` columns of a dense operand), ``source`` is where a search begins. ``count`` is how
    entries of results are found: ``exact``, ``sampled`` or ``expected``. Raises :class:`WeirError` for shapes that do
    not meet, :class:`Infeasible` for rows that no window holds.
    """
    where = on if isinstance(on, Device) else device(on)
    mappings = chosen(where, dataflow, workload)
    if workload != SPGEMM and b is not None:
        raise WeirError(f"{workload} has one sparse matrix; its other operands are dense")
    work = _product(a, b, count, name) if workload == SPGEMM else _users(workload, a, sizes or {}, source, count, name)
    made: list[Figures] = []
    refused: list[Infeasible] = []
    for done, mapping in enumerate(mappings, 1):
        one = mapping.with_tiles(tiles) if tiles else mapping
        try:
            each = tuple(estimate(one, products, where) for products in work(one))
            made.append(each[0] if len(each) == 1 else InTurn(each))
        except Infeasible as problem:
            refused.append(problem)
        if progress is not None:
            progress(done, len(mappings))
    if not made:
        raise refused[0]
    return Comparison(name or f"a matrix of {a.shape[0]:,} x {a.shape[1]:,}", where, tuple(made))


def _product(a: Any, b: Any, count: str, name: str) -> Callable[[SparseMapping], Runs]:
    """The product of two matrices, as each mapping holds them."""
    left = Structure.of(a)
    right = (left if left.shape[0] == left.shape[1] else left.transposed) if b is None else Structure.of(b)
    if left.shape[1] != right.shape[0]:
        raise WeirError(
            f"A is {left.shape[0]} x {left.shape[1]}, B {right.shape[0]} x {right.shape[1]}: they do not meet"
        )
    if left.entries == 0 or right.entries == 0:
        raise WeirError("a matrix without entries: there is nothing to multiply")
    found = entries(count, left, right)
    return lambda mapping: [(product(mapping, left, right, found, name),)]


def _users(
    workload: str, a: Any, sizes: Mapping[str, int], source: int, count: str, name: str
) -> Callable[[SparseMapping], Runs]:
    """What else a matrix is used for, run by run; mappings of one cascade share what was found out."""
    if a.nnz == 0:
        raise WeirError("a matrix without entries: there is nothing to do")
    every = runs(workload, a, source=source)
    known = {id(matrix): matrix for tensors in every for matrix in tensors.values()}
    structures = {key: Structure.of(matrix) for key, matrix in known.items()}
    given = [{tensor: structures[id(matrix)] for tensor, matrix in tensors.items()} for tensors in every]
    found: dict[Cascade, Runs] = {}

    def work(mapping: SparseMapping) -> Runs:
        if mapping.cascade not in found:
            found[mapping.cascade] = [stages(mapping.cascade, each, sizes, count, name) for each in given]
        return found[mapping.cascade]

    return work
