"""Tiers of realism: how much of a device's peak is credited, alike for every device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from einsum.errors import WeirError, hint
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
class Tier:
    """What stands between a datasheet and a kernel; ``limit`` credits everything, ``physical`` what is achieved."""

    name: str
    launch: float  # s, added to each kernel
    compute: float  # achieved fraction of the peak operation rate
    memory: float  # achieved fraction of the peak bandwidth
    collective: float  # s, added to each collective, on top of its links' latency
    source: str
    constants: Constants | None = None  # of kernels on devices whose multiprocessors are described


@cache
def constants() -> Constants:
    """The constants of the physical tier, alike for every device."""
    path = DATA / "physical.toml"
    raw = read(path, "constants")
    classes = {name: table for name, table in raw.items() if isinstance(table, dict) and name != "tested"}
    return Constants(tuple((name, tuple((k, float(v)) for k, v in table.items())) for name, table in classes.items()))


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


@cache
def tested() -> dict[str, Tested]:
    """The tested errors by class of kernel."""
    raw = read(DATA / "physical.toml", "constants").get("tested", {})
    return {
        name: Tested(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
        for name, table in raw.items()
    }


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
    return made | {"physical": replace(made["physical"], constants=constants())}


def _numbers(table: Table) -> dict[str, Any]:
    return {key: table.number(key, kind) for key, kind in _QUANTITIES.items()}


def tier_names() -> tuple[str, ...]:
    """The tiers there are, the most optimistic first."""
    return tuple(_tiers())


def tier(name: str) -> Tier:
    """The tier of that name."""
    if name not in _tiers():
        raise WeirError(f"unknown tier {name!r}{hint(name, _tiers())}")
    return _tiers()[name]
