"""Arithmetic: the energy of one operation and the area of its unit, by operation, type and width."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch.architecture import bits
from sim.arch.technology import nodes
from sim.arch.technology.tables import raw, row

_INTEGER = re.compile(r"u?int\d{1,3}")
_WIDEST = 128  # bits


@dataclass(frozen=True, slots=True)
class Unit:
    """One arithmetic unit."""

    energy: float  # J for one operation
    area: float  # m^2


def operations() -> tuple[str, ...]:
    """The operation classes the model knows."""
    models = raw("models")
    return tuple(sorted({entry["op"] for entry in (*models["arithmetic"], *models["derived"])}))


def arithmetic(op: str, dtype: str, node: float, scaling: str) -> Unit:
    """One operation of class ``op`` on ``dtype`` values."""
    if op not in operations():
        raise WeirError(f"no technology model of operation {op!r:.40}{hint(str(op), operations())}")
    family, width, significand = _format(dtype)
    return _unit(op, family, width, significand, node, scaling)


def _format(dtype: str) -> tuple[str, int, int]:
    """Whether values are integers or floats, their bits, and the bits of their significand."""
    significands: dict[str, int] = raw("models")["significand"]
    if isinstance(dtype, str) and _INTEGER.fullmatch(dtype):
        width = bits(dtype)
        if width > _WIDEST:
            raise WeirError(f"data type {dtype!r} is wider than the {_WIDEST} bits that the models cover")
        return "int", width, width
    if dtype not in significands:
        raise WeirError(f"no technology model of data type {dtype!r:.40}{hint(str(dtype), (*significands, 'int8'))}")
    return "float", bits(dtype), significands[dtype]


@cache
def _unit(op: str, family: str, width: int, significand: int, node: float, scaling: str) -> Unit:
    """The sum of the parts of a derived operation, or the one form of a plain one."""
    models = raw("models")
    parts = next((entry for entry in models["derived"] if entry["op"] == op), None)
    if parts is None:
        form = next(e for e in models["arithmetic"] if e["op"] == op and e["family"] in (family, "any"))
        return _plain(form, width if form["over"] == "bits" else significand, node, scaling)
    units = {name: _unit(name, family, width, significand, node, scaling) for name in parts["energy"] | parts["area"]}
    energy = sum(times * units[name].energy for name, times in parts["energy"].items())
    return Unit(energy, sum(times * units[name].area for name, times in parts["area"].items()))


def _plain(form: dict[str, Any], n: int, node: float, scaling: str) -> Unit:
    """A unit whose energy and area are a polynomial in ``n`` bits."""
    energy, area = row(form["energy"], "J"), row(form["area"], "m^2")
    base = float(form["node"])
    return Unit(
        energy=(energy["quadratic"] * n + energy["linear"]) * n * nodes.energy(scaling).factor(node, base),
        area=(area["quadratic"] * n + area["linear"]) * n * nodes.area().factor(node, base),
    )
