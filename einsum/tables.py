"""TOML files read field by field: every problem of a file is said at once, each with its line, column and field."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from einsum.errors import hint, raise_all
from einsum.files import parse_toml, read_text
from einsum.positions import KeyPath, line_and_column, places

LONGEST = 60  # characters of one key in a message
_LINE = re.compile(r"line (\d+): ")
_LINES = re.compile(r"""[^\n=]*=[ \t]*(?:\"{3}|'{3})\n?""")  # a key whose text has lines of its own
_BARE = re.compile(r"[\w-]+", re.ASCII)
_LABELS = ("name", "device", "id")  # keys that tell the entries of an array of tables apart


class Document:
    """A TOML file: its tables, its text, and the problems found in it so far."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = text, name
        self.raw = parse_toml(text, name)
        self.problems: list[tuple[KeyPath, str, int]] = []  # the field, what is wrong, and the line of its text

    def finish(self) -> None:
        """Raise every problem found, in the order of the file, as ``file:line:column: field: message``."""
        if not self.problems:
            return
        spots = places(self.text)
        found = sorted(
            {(self._offset(path, line, spots), self._said(path, said)) for path, said, line in self.problems}
        )
        raise_all([":".join(map(str, (self.name, *line_and_column(self.text, at), said))) for at, said in found])

    def _offset(self, path: KeyPath, line: int, spots: dict[KeyPath, int]) -> int:
        """Where a field, or a line of its text, stands; where it is missing, its table."""
        while path not in spots:
            path = path[:-1]
        text = _LINES.match(self.text, spots[path]) if line else None
        return (
            spots[path]
            if text is None
            else text.end() + sum(map(len, self.text[text.end() :].splitlines(True)[: line - 1]))
        )

    def _said(self, path: KeyPath, message: str) -> str:
        return f" {self.field(path)}: {message}" if path else f" {message}"

    def field(self, path: KeyPath) -> str:
        """A path as people write it: ``memory.hbm.capacity``, or ``memory[2].capacity`` where an entry has no name."""
        at: Any = self.raw
        text = ""
        for key in path:
            at = _below(at, key)
            text += (
                _named(at, key) if isinstance(key, int) else f".{key if _BARE.fullmatch(key) else repr(key)}"[:LONGEST]
            )
        return text.removeprefix(".")


def _below(at: Any, key: str | int) -> Any:
    if isinstance(at, dict):
        return at.get(key) if isinstance(key, str) else None
    return at[key] if isinstance(at, list) and isinstance(key, int) and key < len(at) else None


def _named(entry: Any, place: int) -> str:
    """One entry of an array, by its name or by its place from 1."""
    label = next((entry[key] for key in _LABELS if key in entry), None) if isinstance(entry, dict) else None
    return f".{label}"[:LONGEST] if isinstance(label, str) and _BARE.fullmatch(label) else f"[{place + 1}]"


class Table:
    """One table of a file, read field by field; what is wrong is noted in its document and a stand-in returned."""

    def __init__(self, raw: Any, known: Iterable[str] | None, source: Document, path: KeyPath = ()) -> None:
        self.source, self.path = source, path
        if not isinstance(raw, dict):
            self.refuse("expected a table of keys and values")
            raw = {}
        self.raw: dict[str, Any] = raw
        names = raw if known is None else set(known)
        for key in raw:
            if key not in names:
                self.refuse(f"unknown key{hint(key, names)}", key)

    @classmethod
    def read(cls, path: Path, what: str, known: Iterable[str] | None = None) -> Self:
        """The whole of a file as a table of ``known`` keys, or of any; one line says why it cannot be read."""
        source = Document(read_text(path, what), path.name)
        return cls(source.raw, known, source)

    def refuse(self, message: str, *keys: str | int) -> None:
        """Note what is wrong with the field below this table, or with the table itself; each line is a problem."""
        self.source.problems += [((*self.path, *keys), line, 0) for line in message.split("\n")]

    def refuse_text(self, key: str, problem: str, where: str) -> None:
        """Note what is wrong inside the text of a field, in words that begin with ``where`` and may name its line."""
        said = problem.partition("\n")[0].removeprefix(f"{where}: ")
        line = _LINE.match(said)
        self.source.problems.append(((*self.path, key), said[line.end() if line else 0 :], int(line[1]) if line else 0))

    def text(self, key: str, default: str | None = None) -> str:
        """A text field; without a default it must be there and say something."""
        value = self.raw.get(key, default)
        if isinstance(value, str) and (value.strip() or default is not None):
            return value
        self.refuse("is missing" if value is None else self._odd(key, "text"), key)
        return ""

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty where the key is absent."""
        value = self.raw.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self.refuse(self._odd(key, "a list of texts"), key)
        return ()

    def flag(self, key: str) -> bool:
        """Whether the key is there and true."""
        value = self.raw.get(key, False)
        if not isinstance(value, bool):
            self.refuse(self._odd(key, "true or false"), key)
        return value is True

    def table(self, key: str, known: Iterable[str] | None = None) -> Self:
        """The table below a key, of ``known`` keys or of any; empty where it is absent."""
        return type(self)(self.raw.get(key, {}), known, self.source, (*self.path, key))

    def tables(self, key: str, known: Sequence[str]) -> list[Self]:
        """The entries of an array of tables."""
        entries = self.raw.get(key, [])
        if not isinstance(entries, list):
            self.refuse(f"is written [[{key}]], once for each entry", key)
            return []
        return [type(self)(entry, known, self.source, (*self.path, key, place)) for place, entry in enumerate(entries)]

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        """A text field that must be one of ``choices``."""
        value = self.text(key)
        if value and value not in choices:
            self.refuse(f"unknown {key} {value!r:.60}{hint(value, choices)}", key)
        return value

    def _odd(self, key: str, expected: str) -> str:
        return f"must be {expected}, not {self.raw.get(key)!r:.60}"

    def finish(self) -> None:
        """Raise every problem found in the file."""
        self.source.finish()
