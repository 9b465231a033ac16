"""Reading data files at the border: everything checked, every problem of a file reported at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import einsum.tables
from einsum.errors import WeirError
from einsum.files import parse_toml, read_text
from sim.arch.architecture import quantity
from sim.arch.components import Quantity

DATA = Path(__file__).with_name("data")


def read(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file, or one line saying why it cannot be read."""
    return parse_toml(read_text(path, what), path.name)


class Table(einsum.tables.Table):
    """One table of a file whose numbers are quantities of components."""

    def number(self, key: str, kind: Quantity, default: float | None = None) -> float:
        """A quantity in SI units; without a default it must be there."""
        if key not in self.raw:
            if default is None:
                self.refuse("is missing", key)
            return default or 0.0
        try:
            return quantity(self.raw[key], kind)
        except WeirError as problem:
            self.refuse(str(problem), key)
            return 1.0

    def numbers(self, kinds: dict[str, Quantity]) -> dict[str, Any]:
        """The quantities among ``kinds`` that the table states, ready as keyword arguments."""
        found = {key: self.number(key, kind) for key, kind in kinds.items() if key in self.raw}
        return {key: int(value) if kinds[key].whole else value for key, value in found.items()}
