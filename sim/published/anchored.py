"""The technology models beside the published energies and areas that come with them, as one more paper."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from sim.arch.technology import Anchor, Check, checks
from sim.published.calls import Call
from sim.published.figures import Figure, Paper

TECHNOLOGY = "technology"  # a paper without a file: its figures stand beside the models' constants
_SHOWN = {"J": ("pJ", 1e12), "m^2": ("um^2", 1e12), "W": ("uW", 1e6)}


def technology() -> Paper:
    """Every anchor of the technology models as a figure; ``cannot`` stands where no agreement is claimed."""
    return Paper(
        name=TECHNOLOGY,
        title="Technology models: SRAM, registers, arithmetic, wires and DRAM",
        source="CACTI 7, Horowitz 2014, Jouppi 2021, Dally 2014-2023, Keckler 2011, Eyeriss, FuseMax's tables",
        known="notes",
        notes="The source of each number, and of each constant, stands beside it in sim/arch/technology/data. Inputs "
        "are numbers that helped to make a model: their agreement proves nothing.",
        figures=tuple(_figure(place, check) for place, check in enumerate(checks(), start=1)),
    )


def _figure(place: int, check: Check) -> Figure:
    anchor = check.anchor
    unit, scale = _SHOWN.get(anchor.unit, (anchor.unit, 1.0))
    if anchor.over:
        unit, scale = "1", 1.0
    return Figure(
        id=f"TEC-{place}",
        quantity=f"{anchor.name}, {anchor.node:g} nm" if anchor.node and "nm" not in anchor.name else anchor.name,
        call=Call("anchor", partial(_answer, check.ours * scale), {}, ()),
        value=anchor.theirs * scale,
        unit=unit,
        tolerance=(anchor.within or 0.0) * anchor.theirs * scale,
        relation="equal",
        expected=_expected(anchor),
        why=_why(anchor),
    )


def _answer(ours: float, inputs: Mapping[str, Any]) -> float:
    return ours


def _expected(anchor: Anchor) -> str:
    if anchor.within is None:
        return "cannot"
    if not anchor.verified:
        return "unverified"
    return "input" if anchor.fit else "holds"


def _why(anchor: Anchor) -> str:
    """The reason for a difference, where one is known."""
    if anchor.within is None or anchor.verified:
        return anchor.reason
    return "their number is from memory or at second hand"
