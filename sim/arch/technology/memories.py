"""On-chip memories: SRAM by capacity, width and ports; register files by words and width."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from einsum.errors import WeirError
from sim.arch.technology import nodes
from sim.arch.technology.tables import Values, raw, row
from sim.units import si

LARGEST = 2.0**40  # B; no on-chip memory reaches a tebibyte
WIDEST = 65536  # bits
PORTS = 8


@dataclass(frozen=True, slots=True)
class Cell:
    """One memory: what an access costs, what it occupies and what it draws when idle."""

    read: Values  # J, one access of the whole width
    write: Values  # J
    area: Values  # m^2
    leakage: Values  # W


@dataclass(frozen=True, slots=True)
class Sram:
    """Constants of the model at its own node; ``models.toml`` says where they come from."""

    node: float  # nm
    read: tuple[float, float, float]  # J per side, J per bit of width and side to a power, that power
    write: tuple[float, float, float]
    area: tuple[float, float]  # m^2 per bit held, per bit of width and side
    leakage: tuple[float, float]  # W per bit held, per side
    port: float  # share of its side that a cell grows by for each further port
    rows: int  # the fewest words that are worth an array
    span: tuple[float, float, float, float]  # capacity in B and width in bits that the fit covers

    def cell(self, capacity: Values, width: Values, ports: int, node: float, scaling: str) -> Cell:
        """A memory of ``capacity`` B read ``width`` bits at a time."""
        side, grown = np.sqrt(capacity), 1 + self.port * (ports - 1)
        joules = nodes.energy(scaling).factor(node, self.node) * grown
        metres = nodes.cell().factor(node, self.node) * grown**2
        read, write = (a * side + b * width * side**power for a, b, power in (self.read, self.write))
        area = self.area[0] * 8 * capacity + self.area[1] * width * side
        idle = self.leakage[0] * 8 * capacity + self.leakage[1] * side
        return _cell(read * joules, write * joules, area * metres, idle * nodes.leakage().factor(node, self.node))

    def covers(self, capacity: Values, width: Values) -> bool:
        """Whether every memory lies in the range the constants were fitted to."""
        small, large, narrow, wide = self.span
        inside = (capacity >= small) & (capacity <= large) & (width >= narrow) & (width <= wide)
        return bool(np.all(inside))


def _cell(*values: Values) -> Cell:
    """Plain floats where one memory was asked for."""
    return Cell(*(float(value) if np.ndim(value) == 0 else value for value in values))


@cache
def sram_model() -> Sram:
    """The SRAM model in the package's data."""
    table = raw("models")["sram"]
    area, idle = row(table["area"], "m^2"), row(table["leakage"], "W")
    return Sram(
        node=float(table["node"]),
        read=_access(table["read"]),
        write=_access(table["write"]),
        area=(area["per_bit"], area["per_wire"]),
        leakage=(idle["per_bit"], idle["per_side"]),
        port=float(table["port"]),
        rows=int(table["rows"]),
        span=(si(table["smallest"], "B"), si(table["largest"], "B"), table["narrowest"], table["widest"]),
    )


def _access(entry: dict[str, Any]) -> tuple[float, float, float]:
    """Constants of one kind of access."""
    return si(entry["per_side"], "J"), si(entry["per_wire"], "J"), float(entry["power"])


def fits(capacity: Values, width: Values) -> None:
    """Refuse a memory narrower than one of its own words."""
    if np.any(np.asarray(width) > np.asarray(capacity) * 8):
        raise WeirError("sram: width exceeds capacity; one access cannot read more bits than the memory holds")


@dataclass(frozen=True, slots=True)
class Registers:
    """Constants of the register-file model at its own node, each for one bit."""

    node: float  # nm
    register: tuple[float, float, float]  # J, m^2, W
    gate: tuple[float, float]  # J, m^2, of one input of the read multiplexer
    activity: float  # share of those gates that switch on a read

    def cell(self, words: Values, width: Values, ports: int, node: float, scaling: str) -> Cell:
        """``words`` words of ``width`` bits, each read port with a multiplexer of its own."""
        joules = nodes.energy(scaling).factor(node, self.node)
        metres = nodes.area().factor(node, self.node)
        write = width * self.register[0] * joules
        read = write + width * words * self.activity * self.gate[0] * joules
        area = words * width * (self.register[1] + ports * self.gate[1]) * metres
        idle = words * width * self.register[2] * nodes.leakage().factor(node, self.node)
        return _cell(read, write, area, idle)


@cache
def registers_model() -> Registers:
    """The register-file model in the package's data."""
    table = raw("models")["register_file"]
    register = (si(table["register"], "J"), si(table["register_area"], "m^2"), si(table["register_leakage"], "W"))
    gate = (si(table["gate"], "J"), si(table["gate_area"], "m^2"))
    return Registers(float(table["node"]), register, gate, float(table["activity"]))
