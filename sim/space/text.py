"""Axes as people type them: ``batch=1,2,4``, ``context=1024..65536:x2``, ``model.hbm.bandwidth=2TB/s..8TB/s:x1.25``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from einsum.errors import WeirError
from sim.space.axes import LESS, MOST, Axis, axis, unit_of
from sim.units import si

_RANGE = re.compile(r"(?P<low>[^.:]+(?:\.\d[^.:]*)?)\.\.(?P<high>[^:]+?)(?::(?P<how>[x+]?)(?P<step>[\d.eE+-]+\D*))?")
_NUMBER = re.compile(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?")


def read(text: str) -> Axis:
    """The axis that ``NAME=VALUES`` spells: values by commas, ranges ``LOW..HIGH`` with ``:STEP`` or ``:xFACTOR``."""
    name, equals, values = (part.strip() for part in text.partition("="))
    if not (name and equals and values):
        raise WeirError(f"axis {text!r:.80} is not understood; write NAME=VALUES, as in batch=1,2,4 or batch=1..512:x2")
    pieces = [piece.strip() for piece in values.split(",")]
    if "" in pieces:
        raise WeirError(f"axis {text!r:.80} has an empty value")
    return axis(name, [value for piece in pieces for value in _piece(piece, name)])


def _piece(text: str, name: str) -> Iterator[Any]:
    """One value, or all of a range."""
    found = _RANGE.fullmatch(text)
    if found is None:
        number = _NUMBER.fullmatch(text) and (unit_of(name) is None or name.startswith("price."))
        yield _number(text) if number else text
        return
    unit = unit_of(name)
    low, high = (_bound(found[end], unit, name) for end in ("low", "high"))
    factor = found["how"] == "x"
    step = 1.0 if found["step"] is None else _bound(found["step"], None if factor else unit, name)
    if not low <= high or step <= 0 or (factor and (step <= 1 or low <= 0)):
        raise WeirError(f"axis {name!r}: range {text!r:.60} must rise, by a step above 0 or a factor above 1")
    yield from _ranged(low, high, step, factor, f"axis {name!r}: range {text!r:.60}")


def _ranged(low: float, high: float, step: float, factor: bool, what: str) -> Iterator[float]:
    """From ``low`` to ``high``, the last included if a step falls on it."""
    import math

    count = math.log(high / low) / math.log(step) if factor else (high - low) / step
    if count > MOST:
        many = f"{math.floor(count) + 1:,}" if count < 1e15 else f"{count:.0e}"
        raise WeirError(f"{what} has {many} values; at most {MOST:,} points are swept at once: {LESS}")
    for at in range(int(count + 1e-9) + 1):
        value = low * step**at if factor else low + at * step
        yield int(value) if float(value).is_integer() and abs(value) < 2**53 else value


def _bound(text: str, unit: str | None, name: str) -> float:
    if unit is not None and not (unit == "USD/h" and _NUMBER.fullmatch(text)):
        return si(text, unit, f"axis {name!r}")
    if not _NUMBER.fullmatch(text):
        raise WeirError(f"axis {name!r}: {text!r:.40} is not a number")
    return float(text.replace("_", ""))


def _number(text: str) -> float:
    value = float(text.replace("_", ""))
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
