"""Reading data files at the border: everything checked, every problem of a file reported at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint, raise_all, refuse_unknown
from einsum.files import parse_toml, read_text
from sim.arch.architecture import quantity
from sim.arch.components import Quantity

DATA = Path(__file__).with_name("data")


def read(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file, or one line saying why it cannot be read."""
    return parse_toml(read_text(path, what), path.name)


class Table:
    """One table of a file, read field by field; problems gather in a list shared by the file's tables."""

    def __init__(self, raw: Any, where: str, known: Iterable[str], problems: list[str]) -> None:
        self.where, self.problems = where, problems
        if not isinstance(raw, dict):
            problems.append(f"{where}: expected a table of keys and values")
            raw = {}
        problems += refuse_unknown(raw, known, where)
        self.raw: dict[str, Any] = raw

    def text(self, key: str, default: str | None = None) -> str:
        """A text field; without a default it must be there and say something."""
        value = self.raw.get(key, default)
        if isinstance(value, str) and (value.strip() or default is not None):
            return value
        self.problems.append(f"{self.where}: {key!r} is missing" if value is None else self._odd(key, "text"))
        return ""

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty where the key is absent."""
        value = self.raw.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.problems.append(self._odd(key, "a list of texts"))
        return ()

    def flag(self, key: str) -> bool:
        """Whether the key is there and true."""
        value = self.raw.get(key, False)
        if not isinstance(value, bool):
            self.problems.append(self._odd(key, "true or false"))
        return value is True

    def number(self, key: str, kind: Quantity, default: float | None = None) -> float:
        """A quantity in SI units; without a default it must be there."""
        if key not in self.raw:
            if default is None:
                self.problems.append(f"{self.where}: {key!r} is missing")
            return default or 0.0
        try:
            return quantity(self.raw[key], kind, f"{self.where} {key!r}")
        except WeirError as problem:
            self.problems.append(str(problem))
            return 1.0

    def numbers(self, kinds: dict[str, Quantity]) -> dict[str, Any]:
        """The quantities among ``kinds`` that the table states, ready as keyword arguments."""
        found = {key: self.number(key, kind) for key, kind in kinds.items() if key in self.raw}
        return {key: int(value) if kinds[key].whole else value for key, value in found.items()}

    def tables(self, key: str, known: Iterable[str]) -> list[Table]:
        """The entries of an array of tables, each named in messages by its ``name`` or its place."""
        entries = self.raw.get(key, [])
        if not isinstance(entries, list):
            self.problems.append(f"{self.where}: {key!r} is written [[{key}]], once for each entry")
            return []
        return [
            Table(entry, f"{self.where} [[{key}]] {_label(entry, place)}", known, self.problems)
            for place, entry in enumerate(entries, start=1)
        ]

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        """A text field that must be one of ``choices``."""
        value = self.text(key)
        if value and value not in choices:
            self.problems.append(f"{self.where}: unknown {key} {value!r}{hint(value, choices)}")
        return value

    def _odd(self, key: str, expected: str) -> str:
        return f"{self.where}: {key!r} must be {expected}, not {self.raw.get(key)!r:.60}"

    def finish(self) -> None:
        """Raise every problem found in the file."""
        raise_all(self.problems)


def _label(entry: Any, place: int) -> str:
    name = entry.get("name", entry.get("device")) if isinstance(entry, dict) else None
    return repr(name) if isinstance(name, str) else str(place)
