"""Units are text outside and SI floats inside: ``si`` reads them, ``fmt`` writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from einsum.errors import WeirError, hint

Call = TypeVar("Call", bound=Callable[..., Any])
LONGEST = 64  # characters; no quantity anyone writes by hand needs more

_NUMBER = re.compile(
    r"\s*([+-]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)\b)\s*", re.I
)

_DECIMAL = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_SMALL = {"m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}
_STEPS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_FRACTIONS = ((1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))


@cache
def _symbols() -> dict[str, tuple[str, float]]:
    """Every unit symbol: the dimension it measures and its size in that dimension's SI unit."""
    known = {"1": ("1", 1.0), "%": ("1", 0.01), "h": ("s", 3600.0), "min": ("s", 60.0), "USD": ("USD", 1.0)}
    known |= {"$": ("USD", 1.0), "kUSD": ("USD", 1e3), "m^2": ("m^2", 1.0), "mm^2": ("m^2", 1e-6)}
    known |= {"um^2": ("m^2", 1e-12), "Wh": ("J", 3600.0), "kWh": ("J", 3.6e6), "b": ("B", 0.125)}
    large = _DECIMAL | {"K": 1e3}
    for base, dimension, size, prefixes in (
        ("B", "B", 1.0, large | _BINARY),
        ("bit", "B", 0.125, large | _BINARY),
        ("b", "B", 0.125, large | _BINARY),
        ("FLOP", "op", 1.0, _DECIMAL),
        ("op", "op", 1.0, _DECIMAL),
        ("OP", "op", 1.0, _DECIMAL),
        ("s", "s", 1.0, _SMALL),
        ("W", "W", 1.0, _DECIMAL | _SMALL),
        ("J", "J", 1.0, _DECIMAL | _SMALL),
        ("Hz", "Hz", 1.0, _DECIMAL),
        ("m", "m", 1.0, _SMALL),
    ):
        known[base] = (dimension, size)
        known |= {prefix + base: (dimension, factor * size) for prefix, factor in prefixes.items()}
    return known


@cache
def _unit(text: str) -> tuple[str, float] | None:
    """The dimension and the factor of a unit such as ``TB/s``, or None if it is not one."""
    above, slash, below = text.partition("/")
    top, bottom = _symbols().get(above), _symbols().get(below)
    if top is None or (slash and bottom is None):
        return None
    if bottom is None:
        return top
    return f"{top[0]}/{bottom[0]}", top[1] / bottom[1]


@cache
def units_of(unit: str) -> tuple[str, ...]:
    """Every way to write a unit of the same dimension as ``unit``."""
    measured = _unit(unit)
    assert measured is not None, unit  # noqa: S101 - our own mistake: callers name a unit there is
    top, slash, bottom = measured[0].partition("/")
    tops = tuple(name for name, (kind, _) in _symbols().items() if kind == top)
    bottoms = [name for name, (kind, _) in _symbols().items() if kind == bottom]
    return tuple(f"{a}/{b}" for a in tops for b in bottoms) if slash else tops


def in_units(**units: str) -> Callable[[Call], Call]:
    """Decorates a function that is swept: units of its parameters and figures where their names alone mislead."""

    def stated(function: Call) -> Call:
        setattr(function, "units", units)  # noqa: B010  no attribute that its type has
        return function

    return stated


def si(text: str | float | int, unit: str, where: str = "") -> float:
    """The quantity as a float in ``unit``, an SI unit or the house's ``USD/h`` and ``mm^2``.

    >>> si("80 GiB", "B"), si("400 Gb/s", "B/s"), si("2.49 USD/h", "USD/h")
    (85899345920.0, 50000000000.0, 2.49)
    """
    prefix = f"{where}: " if where else ""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise WeirError(f"{prefix}{text!r} is not a quantity; write a number and a unit, for example '1 {unit}'")
    try:
        value = _parse(text, unit) if isinstance(text, str) else _number(text)
        return _accept(value, text)
    except WeirError as problem:
        raise WeirError(f"{prefix}{problem}") from None


def _number(number: float) -> float:
    """A number as a float; an integer too large for one is refused."""
    try:
        return float(number)
    except OverflowError:
        raise WeirError("the number is too large") from None


def _accept(value: float, text: object) -> float:
    if not math.isfinite(value):
        raise WeirError(f"{text!r} is not a finite number")
    if value < 0:
        raise WeirError(f"{text!r} is negative; quantities are zero or more")
    return value


def _parse(text: str, unit: str) -> float:
    """The text's number times its unit's size, counted in ``unit``."""
    if len(text) > LONGEST:
        raise WeirError(f"a quantity of {len(text)} characters; at most {LONGEST} are read")
    match = _NUMBER.match(text)
    if match is None:
        raise WeirError(f"{text!r} does not begin with a number; write for example '1 {unit}'")
    try:
        number = float(match.group(1).replace("_", ""))
    except ValueError:
        raise WeirError(f"{text!r} does not begin with a number; write for example '1 {unit}'") from None
    given = text[match.end() :].strip().replace(" ", "")
    return number * _scale(given, unit, text) if math.isfinite(number) else number


def _scale(given: str, unit: str, text: str) -> float:
    """How many ``unit`` one ``given`` is; refuses what is not a unit, or measures something else."""
    expected = _unit(unit)
    assert expected is not None, unit  # noqa: S101 - our own mistake: callers name the expected unit
    if not given:
        if expected[0] == "1":
            return 1.0
        raise WeirError(f"{text!r} has no unit; write for example '{text.strip()} {unit}'")
    if given in {"K", "k", "M", "G", "T", "P"} and expected[0] in {"B", "1"}:
        choice = (
            f"{given.upper()}B (decimal) or {given.upper()}iB (binary)" if expected[0] == "B" else "the number in full"
        )
        raise WeirError(f"{text!r} is ambiguous: write {choice}")
    found = _unit(given)
    if found is None:
        raise WeirError(f"unknown unit {given!r} in {text!r}{_near(given, unit)}")
    if found[0] != expected[0]:
        raise WeirError(f"{text!r} has the wrong unit: {given!r} where {unit!r} is expected")
    return found[1] / expected[1]


def _near(given: str, unit: str) -> str:
    """The nearest unit of the expected dimension."""
    return hint(given, units_of(unit))


def fmt(value: float, unit: str) -> str:
    """Text for people, to three significant digits, that ``si`` reads back.

    >>> fmt(3.35e12, "B/s"), fmt(1.2649e-3, "s"), fmt(80e9, "B")
    ('3.35 TB/s', '1.26 ms', '80 GB')
    """
    if not math.isfinite(value):
        return f"{value} {unit}"
    value = float(f"{value:.3g}")
    size, prefix = _prefix(abs(value), unit)
    mantissa = float(f"{value / size:.3g}")
    text = f"{mantissa:.0f}" if 1e3 <= abs(mantissa) < 1e15 else f"{mantissa:.3g}"
    return text if unit == "1" else f"{text} {prefix}{unit}"


def _prefix(value: float, unit: str) -> tuple[float, str]:
    """The power of a thousand that leaves one to three digits, where the unit takes prefixes of that sign."""
    above = unit.partition("/")[0]
    steps = ((1.0, ""),) if above in {"s", "m", "1", "USD", "h"} or "^" in above else _STEPS
    fractions = _FRACTIONS if above in {"s", "m", "W", "J"} else ()
    for size, prefix in (*steps, *fractions):
        if value >= size:
            return size, prefix
    return fractions[-1] if fractions and value else (1.0, "")
