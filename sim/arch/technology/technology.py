"""A technology: one process node and the models of what is built in it."""

from __future__ import annotations

from dataclasses import dataclass

from sim.arch.technology import arithmetic, memories, nodes
from sim.arch.technology.arithmetic import Unit
from sim.arch.technology.dram import Dram, dram
from sim.arch.technology.memories import Cell
from sim.arch.technology.tables import Values, amount, count, raw, whole

_LONGEST = 1.0  # m; a wafer is 0.3 m across
_HIGHEST = 5.0  # V


@dataclass(frozen=True, slots=True)
class Technology:
    """A node in nm, and the scaling that energies follow from the nodes they were published for.

    ``calibrated`` meets what a 7 nm product's designers state; ``stillmaker`` is the published prediction as it is.
    """

    node: float
    scaling: str = "calibrated"

    def __post_init__(self) -> None:
        object.__setattr__(self, "node", nodes.node(self.node))
        nodes.check_scaling(self.scaling)

    def sram(self, capacity: Values | str, width: Values, ports: int = 1) -> Cell:
        """An SRAM of ``capacity`` bytes whose accesses move ``width`` bits, or arrays of them.

        There is no number of banks: in the tool that the model was fitted to, 2 to 32 banks behind one port change a
        64-bit access of 64 KiB or more by at most 32 % (14 runs, median 4 %), since its data cross the same area.
        Banks with ports of their own are memories of their own.
        """
        size = amount(capacity, "B", "sram capacity", memories.LARGEST)
        bits = whole(width, "sram width", memories.WIDEST)
        memories.fits(size, bits)
        many = count(ports, "sram ports", memories.PORTS)
        return memories.sram_model().cell(size, bits, many, self.node, self.scaling)

    def register_file(self, words: Values, width: Values, ports: int = 1) -> Cell:
        """A register file of flip-flops, ``words`` words of ``width`` bits, with that many read ports."""
        held = whole(words, "register file words", 2**20)
        bits = whole(width, "register file width", memories.WIDEST)
        many = count(ports, "register file ports", memories.PORTS)
        return memories.registers_model().cell(held, bits, many, self.node, self.scaling)

    def arithmetic(self, op: str, dtype: str) -> Unit:
        """One operation of a class such as ``mac`` on values of a type such as ``bf16``."""
        return arithmetic.arithmetic(op, dtype, self.node, self.scaling)

    def wire(self, length: Values, supply: float | None = None) -> Values:
        """Joules to move one bit of random data over ``length`` metres, at nominal supply unless volts are given."""
        metres = amount(length, "m", "wire length", _LONGEST)
        volts = nodes.supply().at(self.node) if supply is None else amount(supply, "V", "wire supply", _HIGHEST)
        table = raw("models")["wire"]
        each: float = table["activity"] * table["capacitance"]
        return each * volts**2 * metres

    def dram(self, kind: str) -> Dram:
        """A kind of DRAM; the node of the logic does not change it."""
        return dram(kind)


def technology(node: str | float, scaling: str = "calibrated") -> Technology:
    """The technology of a node given as ``45`` or ``"45 nm"``."""
    return Technology(nodes.node(node), scaling)
