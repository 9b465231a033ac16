"""Tiers of realism: how much of a device's peak is credited, alike for every device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint, raise_all
from sim.arch.components import Quantity
from sim.arch.files import DATA, Table, read

_QUANTITIES = {
    "launch": Quantity("s"),
    "compute": Quantity("1", positive=True),
    "memory": Quantity("1", positive=True),
    "collective": Quantity("s"),
}


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
    p90: float
    bias: float  # median of the signed error
    shortest: float  # s
    longest: float  # s
    devices: tuple[str, ...]
    dtypes: tuple[str, ...]


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


def constants(path: Path = DATA / "physical.toml") -> tuple[Constants, tuple[tuple[str, Tested], ...]]:
    """The constants in a file by class of kernel, and their tested errors."""
    raw, problems = read(path, "constants"), list[str]()
    errors = raw.pop("tested", {})
    classes = []
    for name, entry in raw.items():
        if name != "source":
            table = Table(entry, f"{path.name} [{name}]", entry if isinstance(entry, dict) else (), problems)
            classes.append((name, tuple((key, table.number(key, Quantity("1"))) for key in table.raw)))
    raise_all(problems)
    found = tuple((name, _tested(table, f"{path.name} [tested.{name}]")) for name, table in errors.items())
    return Constants(tuple(classes)), found


def _tested(raw: Any, where: str) -> Tested:
    """One class's errors; a file of the user's own may be anything."""
    problems = list[str]()
    table = Table(raw, where, Tested.__slots__, problems)
    lists = {name: table.texts(name) for name in ("devices", "dtypes")}
    one = Quantity("1")
    sizes = {name: table.number(name, one) for name in ("median", "p90", "shortest", "longest")}
    kernels, bias = int(table.number("kernels", one)), table.raw.get("bias", 0.0)
    if not isinstance(bias, float | int):
        problems.append(f"{where}: 'bias' must be a number")
    raise_all(problems)
    return Tested(kernels=kernels, bias=float(bias), **sizes, **lists)  # type: ignore[arg-type]  # by name, as read


@cache
def _tiers() -> dict[str, Tier]:
    path = DATA / "tiers.toml"
    raw, problems = read(path, "tier"), list[str]()
    tables = {
        name: Table(entry, f"{path.name} [{name}]", (*_QUANTITIES, "source"), problems) for name, entry in raw.items()
    }
    made = {name: Tier(name=name, source=table.text("source"), **_numbers(table)) for name, table in tables.items()}
    for table in tables.values():
        table.finish()
    known, errors = constants()
    return made | {"physical": replace(made["physical"], constants=known, tested=errors)}


def _numbers(table: Table) -> dict[str, Any]:
    return {key: table.number(key, kind) for key, kind in _QUANTITIES.items()}


def tier_names() -> tuple[str, ...]:
    """The tiers there are, the most optimistic first."""
    return tuple(_tiers())


def tier(name: str) -> Tier:
    """The tier of that name, or the physical one with the constants of a calibration's ``.toml`` file."""
    if name.endswith(".toml"):
        return _calibrated(Path(name))
    if name not in _tiers():
        raise WeirError(f"unknown tier {name!r}{hint(name, _tiers())}")
    return _tiers()[name]


def _calibrated(path: Path) -> Tier:
    """The physical tier with what a file of constants has measured; unknown classes and names are refused."""
    base = _tiers()["physical"]
    own, errors = constants(path)
    table = base.constants.table() if base.constants else {}
    for name, numbers in own.classes:
        for key in (k for k, _ in numbers if k not in table.get(name, {})):
            raise WeirError(f"{path.name} [{name}]: unknown constant {key!r}{hint(key, table.get(name, {}))}")
        table[name] = dict(numbers)
    whole = Constants(tuple((name, tuple(numbers.items())) for name, numbers in table.items()))
    kept = dict(base.tested) | dict(errors)
    return replace(base, name="calibrated", source=path.name, constants=whole, tested=tuple(kept.items()))
