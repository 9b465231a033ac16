"""A device: a tree of components, the data types it really runs, and any one number of it changed."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch.components import OPERATIONS, Compute, Fanout, Link, Memory, Power, Process, Quantity
from sim.units import si

_DTYPE = re.compile(r"[a-z]+(\d{1,3})")
_TWINS = ({"bf16", "fp16"}, {"fp8", "bfp8"})  # equal rates wherever both exist, so one may stand for the other


def bits(dtype: str) -> int:
    """Bits one value occupies in storage: the digits of its name (tf32 values are stored as fp32)."""
    match = _DTYPE.fullmatch(dtype)
    if match is None or int(match.group(1)) == 0:
        raise WeirError(f"data type {dtype!r} is not letters and bits, such as bf16, fp8 or int8")
    return int(match.group(1))


def _stands_for(have: str, want: str) -> tuple[int, ...] | None:
    """How well ``have`` runs what was asked in ``want`` (least is best), or None where it would lose precision."""
    if have == want:
        return (0,)
    if {have, want} in _TWINS:
        return (1,)
    integer = want.startswith("int")
    wider = bits(have) > bits(want) or (want, have) == ("tf32", "fp32")
    if not wider or (have.startswith("int") and not integer):
        return None
    return 2, bits(have), have.startswith("int") != integer, have == "fp32"


def quantity(value: str | float, kind: Quantity, where: str = "") -> float:
    """A component's number, read from text with units or taken as SI, and held to its limits."""
    number, prefix = si(value, kind.unit, where), f"{where}: " if where else ""
    if kind.positive and number == 0:
        raise WeirError(f"{prefix}{value!r} is zero; it must be more")
    if kind.whole and not (number.is_integer() and number < 1e9):
        raise WeirError(f"{prefix}{value!r} is not a whole number below 1e9")
    if number > kind.most:
        raise WeirError(f"{prefix}{value!r} is more than {kind.most:g}")
    return number


@dataclass(frozen=True)
class Device:
    """An accelerator or processor as a tree of components; ``unverified`` names the fields nobody has checked."""

    name: str
    title: str
    vendor: str
    architecture: str
    year: int
    memories: tuple[Memory, ...]
    fanouts: tuple[Fanout, ...]
    computes: tuple[Compute, ...]
    links: tuple[Link, ...]
    power: Power | None
    source: str
    notes: str = ""
    unverified: tuple[str, ...] = ()
    technology: Process | None = None

    @property
    def memory(self) -> Memory:
        """The outermost memory, which holds the weights and the context."""
        return next(m for m in self.memories if not m.under)

    @property
    def capacity(self) -> float:
        """Bytes the outermost memory holds."""
        return self.memory.capacity

    @cached_property
    def multiprocessor(self) -> Fanout | None:
        """The fan-out whose copies keep threads at a stated clock, or None where the file describes none."""
        return next((fanout for fanout in self.fanouts if fanout.clock and fanout.threads), None)

    @cached_property
    def last_cache(self) -> Memory | None:
        """The outermost memory of limited size between the multiprocessors and the one that holds everything."""
        levels = {memory.name: memory for memory in self.memories}
        parents = {fanout.name: fanout.under for fanout in self.fanouts} | {m.name: m.under for m in self.memories}
        found, at = None, self.multiprocessor.under if self.multiprocessor is not None else ""
        while at and parents[at]:
            found = levels[at] if at in levels and levels[at].capacity < math.inf else found
            at = parents[at]
        return found

    def instances(self, name: str) -> int:
        """How many copies of component ``name`` the device has: the product of the fan-outs above it."""
        return self._instances[name]

    @cached_property
    def _instances(self) -> dict[str, int]:
        nodes: tuple[Memory | Fanout | Compute, ...] = (*self.memories, *self.fanouts, *self.computes)
        parents = {part.name: part.under for part in nodes}
        counts = {fanout.name: fanout.count for fanout in self.fanouts}
        found = {}
        for name, above in parents.items():
            total = 1
            while above:
                total *= counts.get(above, 1)
                above = parents[above]
            found[name] = total
        return found

    def alone(self, unit: str) -> Device:
        """The device with this one of its compute units."""
        if unit not in self._alone:
            self._alone[unit] = replace(self, computes=tuple(c for c in self.computes if c.name == unit))
        return self._alone[unit]

    @cached_property
    def _alone(self) -> dict[str, Device]:
        return {}

    def runs_as(self, op: str, dtype: str) -> tuple[str, str]:
        """The data type and the unit that really execute ``op`` on ``dtype`` values.

        A type without hardware runs as the narrowest wider one that has it; of two units the faster is taken.
        """
        have, unit, _ = self._running(op, dtype)
        return have, unit

    def rate(self, op: str, dtype: str) -> float:
        """Operations per second of the whole device, in the data type that ``runs_as`` names."""
        return self._running(op, dtype)[2]

    def _running(self, op: str, dtype: str) -> tuple[str, str, float]:
        """The data type, the unit and the whole-device rate at which an operation really executes; looked up once."""
        if (op, dtype) not in self._found:
            rows = self._rows(op)
            ranked = [(_stands_for(have, dtype), -rate, have, unit) for _, have, rate, unit in rows]
            fit = [(rank, rate, have, unit) for rank, rate, have, unit in ranked if rank is not None]
            if not fit:
                known = ", ".join(sorted({have for _, have, _, _ in rows})) or "nothing"
                raise WeirError(f"{self.name}: no unit runs {op!r} on {dtype!r} values; it runs {op!r} on {known}")
            _, rate, have, unit = min(fit)
            self._found[op, dtype] = have, unit, -rate
        return self._found[op, dtype]

    @cached_property
    def _found(self) -> dict[tuple[str, str], tuple[str, str, float]]:
        """What :meth:`_running` has found so far."""
        return {}

    def _rows(self, op: str) -> list[tuple[str, str, float, str]]:
        """(class, data type, whole-device rate, unit) of every unit that runs ``op``, by name or else as ``map``."""
        if op not in OPERATIONS:
            raise WeirError(f"unknown operation class {op!r}{hint(op, OPERATIONS)}")
        for kind in (op,) if op == "mac" else (op, "map"):
            rows = [
                (kind, dtype, rate * self.instances(unit.name), unit.name)
                for unit in self.computes
                for listed, dtype, rate in unit.rates
                if listed == kind
            ]
            if rows:
                return rows
        return []

    def link(self, scope: str) -> Link | None:
        """The device's link of that scope (node, network or host), if it has one."""
        if scope not in Link.SCOPES:
            raise WeirError(f"unknown link scope {scope!r}{hint(scope, Link.SCOPES)}")
        return next((link for link in self.links if link.scope == scope), None)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every number of the device by dotted path, as ``get`` and ``with_`` take it."""
        plain = [
            f"{name}.{attribute}"
            for name, part in self._parts().items()
            if not isinstance(part, Compute)
            for attribute in part.QUANTITIES
            if getattr(part, attribute) is not None  # an energy that follows another has no path of its own
        ]
        rates = [
            f"{unit.name}.{table}.{op}.{dtype}"
            for unit in self.computes
            for table in ("rate", "device_rate")
            for op, dtype, _ in unit.rates
        ]
        energies = [f"{unit.name}.energy.{op}.{dtype}" for unit in self.computes for op, dtype, _ in unit.energies]
        contexts = [f"{unit.name}.contexts" for unit in self.computes if unit.contexts < math.inf]
        return (*plain, *rates, *energies, *contexts)

    def _parts(self) -> dict[str, Memory | Fanout | Compute | Link | Power]:
        """Components by the name a path begins with; ``memory`` is the outermost one whatever it is called."""
        parts: dict[str, Memory | Fanout | Compute | Link | Power] = {"memory": self.memory}
        if self.power is not None:
            parts["power"] = self.power
        named: tuple[Memory | Fanout | Compute | Link, ...]
        named = (*self.memories, *self.fanouts, *self.computes, *self.links)
        return parts | {part.name: part for part in named}

    def _known(self, path: str) -> tuple[str, ...]:
        """The path in pieces, or an error that names the nearest path there is."""
        paths = self.paths
        if path not in paths:
            raise WeirError(f"{self.name}: unknown path {path!r}{hint(path, paths) or f'; for example {paths[0]!r}'}")
        return tuple(path.split("."))

    def get(self, path: str) -> float:
        """The number at a dotted path, in SI units: ``hbm.bandwidth``, ``tensor.device_rate.mac.bf16``."""
        name, attribute, *row = self._known(path)
        part = self._parts()[name]
        if not isinstance(part, Compute):
            return float(getattr(part, attribute))
        if attribute == "contexts":
            return part.contexts
        table = part.energies if attribute == "energy" else part.rates
        scale = self.instances(name) if attribute == "device_rate" else 1
        return scale * next(value for op, dtype, value in table if [op, dtype] == row)

    def with_(self, path: str, value: str | float) -> Device:
        """The device with one number changed, given as text with units or in SI units."""
        name, attribute, *row = self._known(path)
        part = self._parts()[name]
        where = f"{self.name} {path}"
        if isinstance(part, Compute):
            return self._replaced(part, self._with_row(part, attribute, row, value, where))
        kind = part.QUANTITIES[attribute]
        number = quantity(value, kind, where)
        change: dict[str, Any] = {attribute: int(number) if kind.whole else number}
        return self._replaced(part, replace(part, **change))

    def _with_row(self, unit: Compute, attribute: str, row: list[str], value: str | float, where: str) -> Compute:
        """The compute unit with one entry of its rates or energies, or its contexts, changed."""
        if attribute == "contexts":
            return replace(unit, contexts=quantity(value, Compute.CONTEXTS, where))
        if attribute == "energy":
            number = quantity(value, ENERGY, where)
            return replace(unit, energies=_changed(unit.energies, row, number))
        number = quantity(value, RATE, where)
        each = number / self.instances(unit.name) if attribute == "device_rate" else number
        return replace(unit, rates=_changed(unit.rates, row, each))

    def _replaced(self, old: object, new: Any) -> Device:
        """The device with one component exchanged."""
        if isinstance(new, Power):
            return replace(self, power=new)
        fields = ("memories", "fanouts", "computes", "links")
        parts: dict[str, Any] = {f: tuple(new if part is old else part for part in getattr(self, f)) for f in fields}
        return replace(self, **parts)


RATE = Quantity("op/s", positive=True)
ENERGY = Quantity("J/op")


def _changed(
    table: tuple[tuple[str, str, float], ...], row: list[str], value: float
) -> tuple[tuple[str, str, float], ...]:
    """The table with the entry of one (operation, data type) set."""
    return tuple((op, dtype, value if [op, dtype] == row else old) for op, dtype, old in table)
