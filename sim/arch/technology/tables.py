"""The package's own data files, and numbers given by a user checked at the border."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from einsum.errors import WeirError
from sim.arch.components import Array
from sim.arch.files import read
from sim.units import si

FOLDER = Path(__file__).with_name("data")
Values = float | Array  # one number, or one for each design point
_READ = ("B", "1")  # units of which text is read as well


@cache
def raw(name: str) -> dict[str, Any]:
    """The tables of one of the package's data files."""
    return read(FOLDER / f"{name}.toml", "technology")


def row(entry: dict[str, str], unit: str) -> dict[str, float]:
    """A row of named quantities, each in ``unit``."""
    return {key: si(value, unit, key) for key, value in entry.items()}


def amount(value: Values | str, unit: str, what: str, largest: float) -> Values:
    """A positive quantity, or an array of them, given in ``unit`` or as text with units."""
    if isinstance(value, str) and unit not in _READ:
        raise WeirError(f"{what}: {value!r:.40} is text; give {unit} as a number")
    if isinstance(value, str):
        value = si(value, unit, what)
    if value is None or isinstance(value, bool):
        raise WeirError(f"{what}: {value!r} is not a quantity; write for example '64 {unit}'")
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise WeirError(f"{what}: {value!r:.60} is not a quantity; write for example '64 {unit}'") from None
    if found.size == 0:
        raise WeirError(f"{what}: an empty array")
    _accept(found, what, unit, largest)
    return float(found) if found.ndim == 0 else found


def _accept(found: Array, what: str, unit: str, largest: float) -> None:
    """Refuse what is no finite positive number of a size that exists."""
    bad = found[~(np.isfinite(found) & (found > 0) & (found <= largest))]
    if bad.size:
        worst = float(bad.flat[0])
        limit = f"at most {largest:.15g} {unit}".removesuffix(" 1") if worst > largest else "more than zero"
        raise WeirError(f"{what}: {worst:g} is {'not finite' if not np.isfinite(worst) else f'not {limit}'}")


def whole(value: Values | str, what: str, largest: int) -> Values:
    """A positive whole number, or an array of them."""
    found = amount(value, "1", what, largest)
    if np.any(np.asarray(found) % 1):
        raise WeirError(f"{what}: {value!r:.60} is not a whole number")
    return found


def count(value: object, what: str, largest: int) -> int:
    """A whole number from 1 to ``largest``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise WeirError(f"{what}: {value!r:.60} is not a whole number from 1 to {largest}")
    return value
