"""Process nodes: how energy, area and leakage change from one to the next."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch.technology.tables import raw
from sim.units import si

SCALINGS = ("calibrated", "stillmaker")
REFERENCE = 45.0  # nm, to which every factor is relative
FINEST, COARSEST = 5.0, 65.0  # nm
_NODE = re.compile(r"\s*(\d{1,4}(?:\.\d{1,3})?)\s*(nm)?\s*")


@dataclass(frozen=True, slots=True)
class Curve:
    """A positive quantity by node, a straight line in logarithms between its points and beyond the last."""

    nodes: tuple[float, ...]  # nm, ascending
    values: tuple[float, ...]
    flat: bool = False  # beyond its points keep the nearest, do not go on along the line

    def at(self, node: float) -> float:
        """The value at ``node`` nm."""
        if self.flat:
            node = min(max(node, self.nodes[0]), self.nodes[-1])
        place = sum(node > known for known in self.nodes[1:-1])
        low, high = self.nodes[place], self.nodes[place + 1]
        share = math.log(node / low) / math.log(high / low)
        below, above = math.log(self.values[place]), math.log(self.values[place + 1])
        return math.exp(below + share * (above - below))

    def factor(self, node: float, base: float = REFERENCE) -> float:
        """The value at ``node`` relative to the one at ``base``."""
        return self.at(node) / self.at(base)


def _curve(nodes: list[float], values: list[float], *, flat: bool = False) -> Curve:
    pairs = sorted(zip(nodes, values, strict=True))
    return Curve(tuple(float(n) for n, _ in pairs), tuple(float(v) for _, v in pairs), flat)


@cache
def _equations() -> dict[str, Any]:
    return dict(raw("nodes")["stillmaker"])


@cache
def supply() -> Curve:
    """Nominal supply voltage, V."""
    return _curve(_equations()["nodes"], _equations()["supply"])


@cache
def _stillmaker() -> Curve:
    """Energy of one operation by the published polynomials at nominal supply."""
    table = _equations()
    energies = [a * v * v + b * v + c for v, (a, b, c) in zip(table["supply"], table["energy"], strict=True)]
    return _curve(table["nodes"], energies)


@cache
def energy(scaling: str) -> Curve:
    """Energy of one operation by node, in the scaling of that name."""
    if scaling == "stillmaker":
        return _stillmaker()
    table, plain = raw("nodes")["calibration"], _stillmaker()
    ratios = [math.log(after / before) for before, after in zip(table["before"], table["after"], strict=True)]
    power = sum(ratios) / len(ratios) / math.log(plain.factor(table["to"], table["from"]))
    return Curve(plain.nodes, tuple(value**power for value in plain.values))


@cache
def area() -> Curve:
    """Area of a piece of logic."""
    return _curve(_equations()["nodes"], _equations()["area"])


@cache
def cell() -> Curve:
    """Area of one SRAM bit cell, m^2."""
    table = raw("nodes")["cell"]
    return _curve(table["nodes"], [si(value, "m^2") for value in table["area"]])


@cache
def leakage() -> Curve:
    """Leakage of one bit."""
    table = raw("nodes")["leakage"]
    return _curve(table["nodes"], table["relative"], flat=True)


def node(value: str | float) -> float:
    """A node in nm from ``45``, ``"45"`` or ``"45 nm"``."""
    number = value
    if isinstance(value, str):
        match = _NODE.fullmatch(value)
        if match is None:
            raise WeirError(f"technology node {value!r:.40} is not a number of nanometres; write for example '7 nm'")
        number = float(match.group(1))
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise WeirError(f"technology node {value!r:.40} is not a number of nanometres; write for example '7 nm'")
    if not FINEST <= number <= COARSEST:
        raise WeirError(f"technology node {number:g} nm is outside the models' {FINEST:g} nm to {COARSEST:g} nm")
    return float(number)


def check_scaling(name: str) -> None:
    """Refuse a scaling there is none of."""
    if name not in SCALINGS:
        raise WeirError(f"unknown scaling {name!r:.40}{hint(str(name), SCALINGS)}")
