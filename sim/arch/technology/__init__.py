"""Technology models: the energy and area of memories, arithmetic and wires where a file states none."""

from __future__ import annotations

from sim.arch.technology.anchors import Anchor, Check, anchors, checks
from sim.arch.technology.areas import Area, areas
from sim.arch.technology.arithmetic import Unit
from sim.arch.technology.dram import Dram, dram, dram_names
from sim.arch.technology.fill import Filled, Modelled, fill, made
from sim.arch.technology.memories import Cell
from sim.arch.technology.nodes import SCALINGS
from sim.arch.technology.technology import Technology, technology

__all__ = [
    "SCALINGS",
    "Anchor",
    "Area",
    "Cell",
    "Check",
    "Dram",
    "Filled",
    "Modelled",
    "Technology",
    "Unit",
    "anchors",
    "areas",
    "checks",
    "dram",
    "dram_names",
    "fill",
    "made",
    "technology",
]
