"""Tiers of realism: how much of a device's peak is credited, alike for every device."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch.components import Quantity
from sim.arch.files import DATA, Table

_QUANTITIES = {
    "launch": Quantity("s"),
    "compute": Quantity("1", positive=True),
    "memory": Quantity("1", positive=True),
    "collective": Quantity("s"),
}
RATES = (  # constants that something is divided by
    "compute", "memory", "draw", "cache", "blend", "ahead", "issued",
    "peak", "words", "copy", "host", "switch", "direct",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Constants:
    """Numbers by class of kernel and by name."""

    classes: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]

    def table(self) -> dict[str, dict[str, float]]:
        """The same, to look up."""
        return {name: dict(numbers) for name, numbers in self.classes}


@dataclass(frozen=True, slots=True)
class Tested:
    """Errors of a class of kernels on devices left out of the fit, each in turn, and what the measurements covered."""

    kernels: int
    median: float  # of the absolute relative error
    p90: float  # of the device on which it is largest: what a device that is not among them is to stay within
    bias: float  # median of the signed error
    shortest: float  # s
    longest: float  # s
    devices: tuple[str, ...]
    dtypes: tuple[str, ...]
    vendors: tuple[str, ...] = ()  # of these devices


@dataclass(frozen=True, slots=True)
class Tier:
    """What stands between a datasheet and a kernel; ``limit`` credits everything, ``physical`` what is achieved."""

    name: str
    launch: float  # s, added to each kernel
    compute: float  # achieved fraction of the peak operation rate
    memory: float  # achieved fraction of the peak bandwidth
    collective: float  # s, added to each collective, on top of its links' latency
    source: str
    constants: Constants | None = None  # of kernels on devices whose multiprocessors are described
    tested: tuple[tuple[str, Tested], ...] = ()  # errors by class of kernel


def constants(
    path: Path = DATA / "physical.toml", known: Constants | None = None
) -> tuple[Constants, tuple[tuple[str, Tested], ...]]:
    """The constants in a file by class of kernel, and their tested errors; none but those ``known``, where given."""
    top = Table.read(path, "constants")
    tables = {name: top.table(name) for name in top.raw if name not in ("source", "tested")}
    classes = tuple(
        (n, tuple((key, table.number(key, Quantity("1", positive=key in RATES))) for key in table.raw))
        for n, table in tables.items()
    )
    errors = top.table("tested")
    found = tuple((name, tested(errors.table(name, Tested.__slots__))) for name in errors.raw)
    top.text("source", "")
    _check_known(tables.values(), known)
    top.finish()
    return Constants(classes), found


def _check_known(tables: Iterable[Table], known: Constants | None) -> None:
    """Classes are among those of ``known``, where that is given, and each has all of its names and no other."""
    names = known.table() if known else {}
    for table in tables if known else ():
        name = str(table.path[-1])
        if name not in names:
            table.refuse(f"unknown class of kernels{hint(name, names)}")
        for key in sorted(names.get(name, {}).keys() ^ table.raw.keys()) if name in names else ():
            table.refuse(f"unknown constant{hint(key, names[name])}" if key in table.raw else "is missing", key)


def tested(table: Table) -> Tested:
    """One class's errors; a file of the user's own may be anything."""
    lists = {
        name: table.texts(name) for name in ("devices", "dtypes", "vendors") if name in table.raw or name != "vendors"
    }
    one = Quantity("1")
    sizes = {name: table.number(name, one) for name in ("median", "p90", "shortest", "longest")}
    kernels, bias = int(table.number("kernels", one)), table.raw.get("bias", 0.0)
    if not isinstance(bias, float | int) or not math.isfinite(bias):
        table.refuse("must be a finite number", "bias")
        bias = 0.0
    return Tested(kernels=kernels, bias=float(bias), **sizes, **lists)  # type: ignore[arg-type]  # by name, as read


@cache
def _tiers() -> dict[str, Tier]:
    path = DATA / "tiers.toml"
    top = Table.read(path, "tier")
    tables = {name: top.table(name, (*_QUANTITIES, "source")) for name in top.raw}
    made = {name: Tier(name=name, source=table.text("source"), **_numbers(table)) for name, table in tables.items()}
    top.finish()
    known, errors = constants()
    return made | {"physical": replace(made["physical"], constants=known, tested=errors)}


def _numbers(table: Table) -> dict[str, Any]:
    return {key: table.number(key, kind) for key, kind in _QUANTITIES.items()}


def tier_names() -> tuple[str, ...]:
    """The tiers there are, the most optimistic first."""
    return tuple(_tiers())


def tier(name: str) -> Tier:
    """The tier of that name (``limit`` or ``physical``), or the physical one with a calibration's ``.toml`` file.

    A tier says how much of a datasheet's rates kernels reach (docs/accuracy.md). Raises :class:`WeirError` for an
    unknown name, and for a calibration that lacks constants.
    """
    if name.endswith(".toml"):
        return _calibrated(Path(name))
    if name not in _tiers():
        raise WeirError(f"unknown tier {name!r}{hint(name, _tiers())}")
    return _tiers()[name]


def _calibrated(path: Path) -> Tier:
    """The physical tier with what a file of constants has measured; unknown classes and names are refused."""
    base = _tiers()["physical"]
    own, errors = constants(path, base.constants)
    table = (base.constants.table() if base.constants else {}) | own.table()
    whole = Constants(tuple((name, tuple(numbers.items())) for name, numbers in table.items()))
    kept = dict(base.tested) | dict(errors)
    return replace(base, name="calibrated", source=path.name, constants=whole, tested=tuple(kept.items()))
