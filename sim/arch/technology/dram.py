"""DRAM kinds: energy to move a bit, with the range that sources give."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from einsum.errors import WeirError, hint
from sim.arch.components import Quantity
from sim.arch.files import Table
from sim.arch.technology.tables import FOLDER

_ENERGIES = ("energy", "low", "high")
_KEYS = (*_ENERGIES, "activation", "row", "verified", "source")
_BITS = 8  # in a byte; the units module counts bytes


@dataclass(frozen=True, slots=True)
class Dram:
    """One kind of DRAM, without its controller; activations are part of ``energy`` at the source's row-hit rate."""

    name: str
    energy: float  # J/bit, reads and writes alike
    low: float  # J/bit, the least a source gives
    high: float  # J/bit, the most
    activation: float | None  # J for one row, where a source gives it
    row: float | None  # B opened by one activation
    verified: bool  # False: from memory or a market survey
    source: str


@cache
def _kinds() -> dict[str, Dram]:
    top = Table.read(FOLDER / "dram.toml", "technology")
    found = {name: _kind(name, top.table(name, _KEYS)) for name in top.raw}
    top.finish()
    return found


def _kind(name: str, table: Table) -> Dram:
    energies = {key: table.number(key, Quantity("J/B", positive=True)) / _BITS for key in _ENERGIES}
    activation = table.number("activation", Quantity("J")) if "activation" in table.raw else None
    size = table.number("row", Quantity("B")) if "row" in table.raw else None
    source, verified = table.text("source"), table.raw.get("verified") is True
    return Dram(name=name, **energies, activation=activation, row=size, verified=verified, source=source)


def dram_names() -> tuple[str, ...]:
    """The kinds of DRAM there are."""
    return tuple(_kinds())


def dram(kind: str) -> Dram:
    """The kind of that name, whatever its case: ``"hbm3"``, ``"LPDDR5"``."""
    found = _kinds().get(kind.lower()) if isinstance(kind, str) else None
    if found is None:
        raise WeirError(f"unknown kind of DRAM {kind!r:.40}{hint(str(kind).lower(), _kinds())}")
    return found
