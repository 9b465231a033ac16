"""Published energies and areas, and how far the models are from each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch.files import Table
from sim.arch.technology.tables import FOLDER
from sim.arch.technology.technology import Technology
from sim.units import si

_KEYS = ("name", "node", "of", "over", "value", "unit", "source", "verified", "use", "within", "reason", "scaling")
USES = ("fit", "held out")
Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Anchor:
    """One published number and the model's answer to the same question."""

    name: str
    node: float  # nm
    of: tuple[tuple[str, Any], ...]  # the model asked, and its arguments
    over: tuple[tuple[str, Any], ...]  # what the published number is relative to; empty for an absolute one
    theirs: float  # J, m^2 or a ratio
    unit: str
    source: str
    verified: bool
    fit: bool  # used to make the model, so that agreement proves nothing
    within: float | None  # the relative error that is claimed, None where none is
    reason: str  # why the model differs, where it is known to
    scaling: str


@dataclass(frozen=True, slots=True)
class Check:
    """An anchor beside the model's value."""

    anchor: Anchor
    ours: float

    @property
    def error(self) -> float:
        """Relative error of the model."""
        return self.ours / self.anchor.theirs - 1

    @property
    def holds(self) -> bool | None:
        """Whether the error is within what is claimed; None where nothing is."""
        return None if self.anchor.within is None else abs(self.error) <= self.anchor.within


@cache
def anchors() -> tuple[Anchor, ...]:
    """Every published number in the package's data."""
    top = Table.read(FOLDER / "anchors.toml", "technology", ("anchor",))
    found = tuple(_anchor(entry) for entry in top.tables("anchor", _KEYS))
    top.finish()
    return found


def _anchor(entry: Table) -> Anchor:
    use, within = entry.one_of("use", USES), entry.raw.get("within")
    unit, of, over = entry.text("unit", "J"), entry.raw.get("of", {}), entry.raw.get("over", {})
    if of.get("model") not in _MODELS:
        entry.refuse(f"unknown model {of.get('model')!r}{hint(str(of.get('model')), _MODELS)}", "of")
    return Anchor(
        name=entry.text("name"),
        node=float(entry.raw.get("node", 0)),
        of=tuple(of.items()),
        over=tuple(over.items()),
        theirs=si(entry.raw.get("value", 0.0), unit, str(entry.raw.get("name"))),
        unit=unit,
        source=entry.text("source"),
        verified=entry.raw.get("verified", True),
        fit=use == "fit",
        within=None if within is None else float(within),
        reason=entry.text("reason", ""),
        scaling=entry.text("scaling", "calibrated"),
    )


def checks() -> tuple[Check, ...]:
    """The model's answer at every anchor."""
    return tuple(Check(anchor, _answer(anchor)) for anchor in anchors())


def _answer(anchor: Anchor) -> float:
    where = Technology(anchor.node, anchor.scaling)
    value = _ask(where, dict(anchor.of))
    return value / _ask(where, dict(anchor.over)) if anchor.over else value


def _ask(where: Technology, spec: Spec) -> float:
    """The number that one model gives for one question."""
    model = spec["model"]
    if model not in _MODELS:
        raise WeirError(f"unknown model {model!r}{hint(str(model), _MODELS)}")
    times: float = spec.get("times", 1.0)
    return times * float(_MODELS[model](where, spec))


def _sram(where: Technology, spec: Spec, what: str) -> Any:
    return getattr(where.sram(spec["capacity"], spec["width"], spec.get("ports", 1)), what)


def _registers(where: Technology, spec: Spec, what: str) -> Any:
    return getattr(where.register_file(spec["words"], spec["width"]), what)


_MODELS: dict[str, Callable[[Technology, Spec], Any]] = {
    "sram.read": lambda where, spec: _sram(where, spec, "read"),
    "sram.write": lambda where, spec: _sram(where, spec, "write"),
    "sram.area": lambda where, spec: _sram(where, spec, "area"),
    "sram.leakage": lambda where, spec: _sram(where, spec, "leakage"),
    "register_file.read": lambda where, spec: _registers(where, spec, "read"),
    "register_file.write": lambda where, spec: _registers(where, spec, "write"),
    "register_file.area": lambda where, spec: _registers(where, spec, "area"),
    "arithmetic.energy": lambda where, spec: where.arithmetic(spec["op"], spec["dtype"]).energy,
    "arithmetic.area": lambda where, spec: where.arithmetic(spec["op"], spec["dtype"]).area,
    "wire": lambda where, spec: where.wire(spec["length"], spec.get("supply")),
    "dram": lambda where, spec: where.dram(spec["kind"]).energy,
}
