"""Watts of a board whose file says little: shares of its limit, and how far off they are where boards were measured."""

from __future__ import annotations

from functools import cache

from sim.arch.components import Power, Quantity
from sim.arch.files import DATA, Table
from sim.arch.tiers import Tested, tested


def board(table: Table) -> Power:
    """A file's board power; what it does not state follows the default shares of the limit."""
    tdp = table.number("tdp", Power.QUANTITIES["tdp"])
    rest = {name: table.number(name, Power.QUANTITIES[name], share * tdp) for name, share in _defaults()[0].items()}
    return Power(tdp=tdp, **rest)


def power_tested() -> Tested:
    """Errors of the default shares against measured boards, the operation left out of their fit."""
    return _defaults()[1]


@cache
def _defaults() -> tuple[dict[str, float], Tested]:
    names = tuple(name for name in Power.QUANTITIES if name != "tdp")
    table = Table.read(DATA / "power.toml", "power", (*names, "source", "tested"))
    shares = {name: table.number(name, Quantity("1")) for name in names}
    errors = tested(table.table("tested", Tested.__slots__))
    table.finish()
    return shares, errors
