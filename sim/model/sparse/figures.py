"""What a sparse computation comes to: seconds, joules and bytes by component, of one run or of several in a row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mappings.sparse import SparseMapping
from sim.arch import Device, Memory
from sim.model.actions import Counts
from sim.model.sparse.count import SparseCounts
from sim.model.sparse.hashing import Probed
from sim.model.sparse.structure import Floats, Product
from sim.units import fmt


class Figures(ABC):
    """Figures of a mapped cascade over matrices in hand."""

    mapping: SparseMapping
    device: Device
    products: tuple[Product, ...]  # of each sum of products, and of what goes through places, in order
    counted: SparseCounts
    probed: Probed | None
    thread_loads: Floats | None  # work of each worker of the first loop in space, or of one of their groups

    @property
    @abstractmethod
    def seconds(self) -> float:
        """Wall seconds."""

    @property
    @abstractmethod
    def joules_by(self) -> Mapping[str, float]:
        """Joules of each level and unit, and ``idle`` for the time it takes."""

    @property
    @abstractmethod
    def pace(self) -> Mapping[str, float]:
        """Seconds that each component alone would take."""

    @property
    @abstractmethod
    def compulsory(self) -> float:
        """Bytes if whatever is needed of each input were read once and each output written once."""

    @property
    @abstractmethod
    def balance(self) -> float:
        """Share of their time that workers have rows to work on."""

    @property
    @abstractmethod
    def operations(self) -> float:
        """Operations of all units."""

    @abstractmethod
    def on(self, device: Device) -> Figures:
        """The same run on a device of other rates, latencies and energies: nothing is counted again."""

    @property
    def product(self) -> Product:
        """The first product."""
        return self.products[0]

    @property
    def multiplies(self) -> int:
        """Multiplications of all products."""
        return sum(one.products for one in self.products if one.points is None)

    @property
    def made(self) -> float:
        """Entries of the last result."""
        return self.products[-1].entries.total

    @property
    def joules(self) -> float:
        """Joules of all components together."""
        return sum(self.joules_by.values())

    @property
    def bound(self) -> str:
        """The component that sets the pace."""
        return max(self.pace, key=lambda name: self.pace[name])

    @property
    def outer(self) -> Memory:
        """The outermost level that the nest keeps anything in."""
        names = {m.level for m in self.counted.moves}
        return next(m for m in self.device.memories if m.name in names)

    @property
    def traffic(self) -> float:
        """Bytes moved at the outermost level."""
        return self.counted.moved(self.outer.name)

    @property
    def utilisation(self) -> float:
        """Share of the outermost level's bandwidth that is used over the run."""
        whole = self.outer.bandwidth * self.device.instances(self.outer.name)
        return self.traffic / self.seconds / whole if self.seconds else 0.0

    @property
    def tensors(self) -> tuple[str, ...]:
        """Tensors that the outermost level holds."""
        return tuple(dict.fromkeys(m.tensor for m in self.counted.moves if m.level == self.outer.name))

    def summary(self) -> dict[str, Any]:
        """Plain values under stable names."""
        last = self.products[-1].entries
        return {
            "mapping": self.mapping.name, "device": self.device.name, "matrix": self.product.name,
            "seconds": self.seconds, "joules": self.joules, "bound": self.bound, "bytes": self.traffic,
            "compulsory": self.compulsory, "utilisation": self.utilisation, "balance": self.balance,
            "multiplies": self.multiplies, "entries": self.made, "entries_how": last.how,
            "entries_spread": last.spread,
            "operations": self.operations, "pace": dict(self.pace),
            "probes": self.probed.mean if self.probed else None,
            "joules_by": dict(self.joules_by),
            "tensors": {t: self.counted.moved(self.outer.name, t) for t in self.tensors},
        }  # fmt: skip

    def frame(self) -> Any:
        """A pandas DataFrame of all moves, a row each level, tensor and kind."""
        import pandas as pd

        rows = [(m.level, m.tensor, m.kind, m.size, m.requests) for m in self.counted.moves]
        made = pd.DataFrame(rows, columns=["level", "tensor", "kind", "bytes", "requests"])
        return made.groupby(["level", "tensor", "kind"], sort=False, as_index=False).sum()

    def __str__(self) -> str:
        """A table to read."""
        head = f"{self.mapping.name} on {self.device.name}: {fmt(self.seconds, 's')}, {fmt(self.joules, 'J')}"
        lines = [f"{head}, bound by {self.bound}"]
        lines += [f"  {name:12} {fmt(seconds, 's'):>10}" for name, seconds in self.pace.items()]
        lines += [f"  {t:12} {fmt(self.counted.moved(self.outer.name, t), 'B'):>10}" for t in self.tensors]
        return "\n".join(lines)


@dataclass(frozen=True)
class InTurn(Figures):
    """Runs of one mapping on one device, each begun when the one before has ended, as levels of a search are."""

    runs: tuple[Figures, ...]

    def on(self, device: Device) -> InTurn:
        """The same runs on a device of other rates."""
        return InTurn(tuple(run.on(device) for run in self.runs))

    @property
    def mapping(self) -> SparseMapping:  # type: ignore[override]
        """The mapping of all."""
        return self.runs[0].mapping

    @property
    def device(self) -> Device:  # type: ignore[override]
        """The device of all."""
        return self.runs[0].device

    @property
    def probed(self) -> Probed | None:  # type: ignore[override]
        """Probes of the first run that has any."""
        return next((run.probed for run in self.runs if run.probed), None)

    @cached_property
    def products(self) -> tuple[Product, ...]:  # type: ignore[override]
        """Those of all runs."""
        return tuple(one for run in self.runs for one in run.products)

    @cached_property
    def counted(self) -> SparseCounts:  # type: ignore[override]
        """All that is moved."""
        each = [run.counted for run in self.runs]
        return gathered(each)

    @cached_property
    def thread_loads(self) -> Floats | None:  # type: ignore[override]
        """Work of each worker over all runs."""
        found = [run.thread_loads for run in self.runs if run.thread_loads is not None]
        return sum(found[1:], found[0]) if found else None

    @property
    def made(self) -> float:
        """Entries of the last result of each run."""
        return sum(run.made for run in self.runs)

    @property
    def seconds(self) -> float:
        """Wall seconds of all."""
        return sum(run.seconds for run in self.runs)

    @property
    def joules_by(self) -> Mapping[str, float]:
        """Joules of each component."""
        return _summed([run.joules_by for run in self.runs])

    @property
    def pace(self) -> Mapping[str, float]:
        """Seconds of each component."""
        return _summed([run.pace for run in self.runs])

    @property
    def compulsory(self) -> float:
        """Bytes if each run read its inputs once and wrote its outputs once."""
        return sum(run.compulsory for run in self.runs)

    @property
    def balance(self) -> float:
        """Share of their time that workers have something to work on, by the time that runs take."""
        return sum(run.balance * run.seconds for run in self.runs) / self.seconds if self.seconds else 1.0

    @property
    def operations(self) -> float:
        """Operations of all."""
        return sum(run.operations for run in self.runs)


def gathered(each: list[SparseCounts]) -> SparseCounts:
    """Several counts as one."""
    counts = Counts(
        tuple(action for one in each for action in one.counts.actions),
        tuple(compute for one in each for compute in one.counts.computes),
    )
    return SparseCounts(
        counts, tuple(m for one in each for m in one.moves), tuple(f for one in each for f in one.fetched)
    )


def _summed(each: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(one.get(name, 0.0) for one in each) for name in dict.fromkeys(n for one in each for n in one)}
