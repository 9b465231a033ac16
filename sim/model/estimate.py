"""What one run of a cascade or program costs on hardware, kernel by kernel, and how near the limit each comes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from einsum import Cascade, Part, Program, WeirError, hint
from mappings.layout import Layout, check
from mappings.parallel import layout as parallel
from mappings.parallel import read as read_layout
from mappings.text import pointed
from mappings.text import read as read_nest
from mappings.tree import Nest
from sim.arch import Cluster, Device, Tier, cluster, cluster_names, device, tier
from sim.model.spatial import MappedEstimate, evaluate
from sim.model.step import Step, Work
from sim.model.tested import Band, band
from sim.model.timing import Timed
from sim.units import fmt


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel, collective or transfer, all its repetitions together, on each device that takes part."""

    name: str
    part: str
    kind: str
    pool: str
    times: int
    ops: Any  # operations
    bytes: Any  # through memory, or through the link
    seconds: Any
    ideal: Any  # seconds at the physical limit
    bound: str
    algorithm: str

    @property
    def efficiency(self) -> Any:
        """Fraction of the physical limit that is reached."""
        return self.ideal / self.seconds


@dataclass(frozen=True)
class Estimate:
    """One step on a cluster; every figure may be an array over design points."""

    name: str
    step: Step
    tier: Tier

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows in program order."""
        return tuple(_row(part, timed) for part, found in self.step.rows for timed in found)

    @property
    def seconds(self) -> Any:
        """Wall seconds of the step (latency of one batch)."""
        return self.step.latency

    @property
    def joules(self) -> Any:
        """Joules drawn by all devices for one batch."""
        return self.step.joules / self.step.in_flight

    @property
    def bound(self) -> str:
        """What takes most of the time."""
        return self.step.bound

    @property
    def limit(self) -> Any:
        """Seconds at the physical limit: every rate at its peak, no launches, nothing waiting for anything."""
        return sum(row.ideal for row in self.rows)

    @property
    def band(self) -> Band:
        """How far off the seconds may be, by the tested errors of what the step is made of."""
        return band(self.step, self.tier)

    def summary(self) -> dict[str, Any]:
        """The step's figures, SI units."""
        ops = sum(row.ops for row in self.rows)
        moved = sum(row.bytes for row in self.rows if row.kind == "kernel")
        return {
            "name": self.name,
            "cluster": self.step.cluster.name,
            "seconds": self.seconds,
            "joules": self.joules,
            "operations_per_device": ops,
            "bytes_per_device": moved,
            "bound": self.bound,
            "limit_seconds": self.limit,
            "tier": self.tier.name,
            "error_median": self.band.median,
            "error_p90": self.band.p90,
        }

    def frame(self) -> Any:
        """A pandas DataFrame, one row a kernel, collective or transfer; scalars only."""
        import pandas as pd

        names = (*Row.__slots__, "efficiency")
        return pd.DataFrame([{n: _scalar(getattr(row, n)) for n in names} for row in self.rows])

    def __str__(self) -> str:
        """A table to read, figures of the last design point."""
        cost = f"{fmt(_scalar(self.seconds), 's')}, {fmt(_scalar(self.joules), 'J')}"
        near = f"bound by {self.bound}, {_scalar(self.limit / self.seconds):.0%} of the limit"
        title = f"{self.name} on {self.step.cluster.name}: {cost}, {near}"
        head = f"{'':36} {'pool':>9} {'times':>5} {'ops':>9} {'bytes':>9} {'time':>9} {'bound':>10} {'limit':>5}"
        return "\n".join([title, head, *map(_line, self.rows), *self.band.lines()])


def _scalar(value: Any) -> Any:
    return value if isinstance(value, str | int) else float(np.ravel(value)[-1])


def _line(row: Row) -> str:
    name = row.name if len(row.name) <= 36 else row.name[:33] + "..."
    figures = (fmt(_scalar(row.ops), "op"), fmt(_scalar(row.bytes), "B"), fmt(_scalar(row.seconds), "s"))
    cells = " ".join(f"{f:>9}" for f in figures)
    return f"{name:36} {row.pool:>9} {row.times:5} {cells} {row.bound:>10} {_scalar(row.efficiency):5.0%}"


def _row(part: Part, timed: Timed) -> Row:
    task = timed.task
    ops: Any = sum((count for _, _, count in task.ops), start=0.0)
    scale = part.times
    return Row(
        task.name, part.cascade.name, task.kind, task.pool, scale, scale * ops, scale * task.size,
        scale * timed.seconds, scale * timed.ideal, timed.bound, timed.algorithm,
    )  # fmt: skip


@overload
def estimate(
    what: Cascade, on: Device | str | Path, *, mapping: Nest | str | Path, layout: None = None, tier: Any = None,
    technology: str | float | None = None, **sizes: Any,
) -> MappedEstimate: ...  # fmt: skip
@overload
def estimate(
    what: Cascade | Program, on: Cluster | Device | str | Path, *, mapping: None = None,
    layout: Layout | str | None = None, tier: Tier | str = "physical", technology: None = None, **sizes: Any,
) -> Estimate: ...  # fmt: skip
def estimate(
    what: Cascade | Program, on: Cluster | Device | str | Path, *, mapping: Nest | str | Path | None = None,
    layout: Layout | str | None = None, tier: Tier | str = "physical", technology: str | float | None = None,
    **sizes: Any,
) -> Estimate | MappedEstimate:  # fmt: skip
    """Time and energy of one run of a cascade or program, its ranks resized by keyword (numbers or arrays).

    ``on`` is a device (taken alone), a cluster, or the name of either; ``layout`` a Layout or text such as ``tp=4``.
    With a ``mapping`` (a loop nest, its text, or the path of a file that holds it) a cascade is run loop by loop on one
    device's own levels and units, every action counted; ``technology`` (``"16 nm"``) models the energies that the
    device does not state. Raises :class:`WeirError` for names, ranks, layouts or nests
    that are not there or not legal.
    """
    if mapping is not None:
        return _mapped(what, on, mapping, technology, sizes)
    if technology is not None:
        raise WeirError("technology models the components that a loop nest uses; give a mapping as well")
    program = what if isinstance(what, Program) else Program(what.name, (Part(what),))
    where = placed(on)
    pools = {p.name: p.count for p in where.pools}
    laid = _layout(layout, program, pools)
    check(laid, program, pools)
    _check_ranks(program, sizes)
    level = tier if isinstance(tier, Tier) else _tier(tier)
    shaped = {r: np.asarray(s, float) if np.ndim(s) else s for r, s in sizes.items()}
    return Estimate(program.name, Work.of(program, laid, **shaped).on(where, level), level)


def _mapped(
    what: Cascade | Program, on: Cluster | Device | str | Path, mapping: Nest | str | Path,
    technology: str | float | None, sizes: dict[str, Any],
) -> MappedEstimate:  # fmt: skip
    if not isinstance(what, Cascade) or isinstance(on, Cluster):
        raise WeirError("a loop nest maps one cascade on one device; lay programs out over clusters with a layout")
    nest = mapping if isinstance(mapping, Nest) else read_nest(mapping)
    one = on if isinstance(on, Device) else device(on)
    _check_ranks(Program(what.name, (Part(what),)), sizes)
    try:
        return evaluate(what, nest, one, what.bind(**sizes), technology=technology)
    except WeirError as error:
        if isinstance(mapping, Nest):
            raise
        raise WeirError(pointed(str(error), mapping)) from None


def _layout(given: Layout | str | None, program: Program, pools: dict[str, int]) -> Layout:
    if isinstance(given, Layout):
        return given
    return read_layout(given, program, pools) if given else parallel(program, pools)


def _tier(name: str) -> Tier:
    return tier(name)


def placed(on: Cluster | Device | str | Path) -> Cluster:
    """The cluster that a name, a file or a device alone stands for."""
    if isinstance(on, Cluster):
        return on
    if isinstance(on, Device):
        return alone(on)
    known = isinstance(on, str) and on not in cluster_names() and not on[:1].isdigit() and not on.endswith(".toml")
    return alone(device(on)) if known else cluster(on)


def alone(one: Device) -> Cluster:
    """A cluster of a single device."""
    from dataclasses import replace

    base = cluster("1xh100_sxm")
    return replace(base, name=one.name, title=one.title, pools=(replace(base.pools[0], device=one),), source=one.source)


def _check_ranks(program: Program, sizes: dict[str, Any]) -> None:
    """Refuse a size for a rank that no part has, or one that no rank can have."""
    known = {r for part in program.parts for r, _ in part.cascade.sizes}
    for rank, size in sizes.items():
        if rank not in known:
            raise WeirError(f"{program.name}: no rank {rank!r} to size{hint(rank, known)}")
        values = np.asarray(size, float)
        if not np.isfinite(values).all() or (values < 0).any():
            raise WeirError(f"{program.name}: sizes of rank {rank!r} must be finite and not negative")
