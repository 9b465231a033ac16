"""Sparse products on hardware: ``sim.spgemm(matrix, on="piuma_die")`` compares ways to compute one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einsum import Infeasible, WeirError, hint
from mappings.sparse import SparseMapping, names, read
from mappings.tree import Keep
from sim.arch import Device, device
from sim.model.sparse.count import product
from sim.model.sparse.entries import entries
from sim.model.sparse.estimate import SparseEstimate, estimate
from sim.model.sparse.structure import Structure
from sim.units import fmt


@dataclass(frozen=True)
class Comparison:
    """One product under several mappings on one device, in the order asked for."""

    matrix: str
    device: Device
    estimates: tuple[SparseEstimate, ...]

    @property
    def best(self) -> SparseEstimate:
        """The quickest."""
        return min(self.estimates, key=lambda one: one.seconds)

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


def usable(where: Device) -> tuple[str, ...]:
    """The mappings whose levels and units a device has."""
    return tuple(name for name in names() if not _lacking(read(name), where))


def _lacking(mapping: SparseMapping, where: Device) -> list[str]:
    """Levels and units that a mapping names and a device lacks."""
    have = {m.name for m in where.memories} | {c.name for c in where.computes}
    wanted = [*mapping.via]
    for above, run in mapping.nest.paths():
        wanted += [node.level for node in above if isinstance(node, Keep)] + [run.unit]
    return [name for name in dict.fromkeys(wanted) if name not in have]


def chosen(where: Device, dataflow: str | Iterable[str]) -> tuple[SparseMapping, ...]:
    """Mappings by name, path, or ``"all"`` that the device can run; raises :class:`WeirError` for any other."""
    known = usable(where)
    if dataflow == "all":
        if not known:
            raise WeirError(f"{where.name}: no sparse mapping fits its levels; give one of your own as a .toml file")
        return tuple(read(name) for name in known)
    found = []
    for name in [dataflow] if isinstance(dataflow, str) else dataflow:
        if not str(name).endswith(".toml") and name not in names():
            raise WeirError(f"unknown dataflow {name!r:.60}{hint(str(name), ('all', *known))}")
        mapping = read(name)
        if lacking := _lacking(mapping, where):
            raise WeirError(
                f"{mapping.name} needs {', '.join(lacking)}, which {where.name} lacks; it runs {_list(known)}"
            )
        found.append(mapping)
    return tuple(found)


def _list(known: Iterable[str]) -> str:
    return ", ".join(known) or "none that come with weir"


def spgemm(
    a: Any,
    b: Any = None,
    *,
    on: str | Path | Device,
    dataflow: str | Iterable[str] = "all",
    count: str = "exact",
    tiles: Mapping[str, int] | None = None,
    name: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """A product of scipy matrices (A times itself, or times its transpose if it is not square, unless ``b`` is given).

    ``count`` is how entries of the result are found: ``exact``, ``sampled`` or ``expected``. Raises
    :class:`WeirError` for shapes that do not meet, :class:`Infeasible` for rows that no window holds.
    """
    where = on if isinstance(on, Device) else device(on)
    mappings = chosen(where, dataflow)
    left = Structure.of(a)
    right = (left if left.shape[0] == left.shape[1] else left.transposed) if b is None else Structure.of(b)
    if left.shape[1] != right.shape[0]:
        raise WeirError(
            f"A is {left.shape[0]} x {left.shape[1]}, B {right.shape[0]} x {right.shape[1]}: they do not meet"
        )
    if left.entries == 0 or right.entries == 0:
        raise WeirError("a matrix without entries: there is nothing to multiply")
    found = entries(count, left, right)
    made: list[SparseEstimate] = []
    refused: list[Infeasible] = []
    for done, mapping in enumerate(mappings, 1):
        one = mapping.with_tiles(tiles) if tiles else mapping
        try:
            made.append(estimate(one, product(one, left, right, found, name), where))
        except Infeasible as problem:
            refused.append(problem)
        if progress is not None:
            progress(done, len(mappings))
    if not made:
        raise refused[0]
    return Comparison(name, where, tuple(made))
