"""Pictures: each function draws on the Axes it is given, or on a new one, and returns it."""

from __future__ import annotations

from sim.plot.memory import memory_map
from sim.plot.models import cost_curve, energy, pareto, roofline, sheet, timeline, traffic, utilisation
from sim.plot.style import COLOURS, GREY, HATCHES, MARKERS
from sim.plot.tables import heat_map, stacked, tornado

__all__ = [
    "COLOURS",
    "GREY",
    "HATCHES",
    "MARKERS",
    "cost_curve",
    "energy",
    "heat_map",
    "memory_map",
    "pareto",
    "roofline",
    "sheet",
    "stacked",
    "timeline",
    "tornado",
    "traffic",
    "utilisation",
]
