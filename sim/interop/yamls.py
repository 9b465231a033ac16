"""YAML of other tools, read from PyYAML's events by the rules of YAML 1.2, with the line of every field.

The library's own loaders read ``1e9`` as text and ``NO`` as false, accept a key twice, and overflow the C stack on deep
nesting; events alone do not. Anchors are refused, so a small file cannot become a large one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from einsum.errors import WeirError
from einsum.files import read_text

LIMIT = 1 << 20  # bytes of one file
DEPTH = 64  # collections within collections
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "true": True, "True": True} | {
    "false": False, "False": False, "NULL": None, "TRUE": True, "FALSE": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """A value of the file: a scalar, a list of items, or items by key; with its tag (``!Component``) and its line."""

    value: Any
    tag: str
    line: int

    def get(self, key: str) -> Item | None:
        """The item under a key, if this is a mapping that has it."""
        found = self.value.get(key) if isinstance(self.value, dict) else None
        return found if isinstance(found, Item) else None

    @property
    def plain(self) -> Any:
        """The value in Python's own types."""
        if isinstance(self.value, dict):
            return {key: item.plain for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain for item in self.value]
        return self.value


def load(path: Path) -> Item:
    """The one document of a YAML file; :class:`WeirError` names the line of what is wrong, or not read."""
    return parse(read_text(path, "YAML", LIMIT), path.name)


def parse(text: str, where: str) -> Item:
    """The one document of a YAML text."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    built = _Built(where)
    try:
        for event in yaml.parse(text, Loader=loader):
            built.take(event, type(event).__name__)
    except (yaml.YAMLError, RecursionError) as problem:
        mark = getattr(problem, "problem_mark", None)
        line = f": line {mark.line + 1}" if mark else ""
        why = getattr(problem, "problem", None) or str(problem).split("\n")[0] or "nested too deeply"
        raise WeirError(f"{where}{line}: not valid YAML: {why}") from None
    if built.document is None:
        raise WeirError(f"{where}: no YAML document in the file")
    return built.document


@dataclass
class _Open:
    """A collection whose end has not come."""

    tag: str
    line: int
    into: dict[str, Item] | list[Item]
    key: str | None = None


@dataclass
class _Built:
    """The document so far: a stack of collections that are open."""

    where: str
    document: Item | None = None
    stack: list[_Open] = field(default_factory=list)

    def take(self, event: Any, kind: str) -> None:
        """Add one event to the document."""
        line = event.start_mark.line + 1
        takes: dict[str, Callable[[Any, int], None]] = {
            "ScalarEvent": self._scalar, "MappingStartEvent": self._open_mapping,
            "SequenceStartEvent": self._open_list, "MappingEndEvent": self._close, "SequenceEndEvent": self._close,
        }  # fmt: skip
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            self._fail(line, "anchors and aliases are not read; write the value out")
        if kind in takes:
            takes[kind](event, line)

    def _fail(self, line: int, why: str) -> NoReturn:
        raise WeirError(f"{self.where}: line {line}: {why}")

    def _open_mapping(self, event: Any, line: int) -> None:
        self._push(_Open(event.tag or "", line, {}))

    def _open_list(self, event: Any, line: int) -> None:
        self._push(_Open(event.tag or "", line, []))

    def _push(self, opened: _Open) -> None:
        if len(self.stack) >= DEPTH:
            self._fail(opened.line, f"nested more than {DEPTH} deep")
        if self.stack and isinstance(self.stack[-1].into, dict) and self.stack[-1].key is None:
            self._fail(opened.line, "a key must be a word")
        self.stack.append(opened)

    def _close(self, event: Any, line: int) -> None:
        done = self.stack.pop()
        self._place(Item(done.into, done.tag, done.line))

    def _scalar(self, event: Any, line: int) -> None:
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.into, dict) and top.key is None:
            if event.value in top.into:
                self._fail(line, f"key {event.value!r:.80} is given twice")
            top.key = event.value
            return
        quoted = event.style in ("'", '"', "|", ">")
        value = event.value if quoted or event.tag == "!" else _resolved(event.value)
        self._place(Item(value, event.tag or "", line))

    def _place(self, item: Item) -> None:
        if not self.stack:
            if self.document is not None:
                self._fail(item.line, "a second document; one is read")
            self.document = item
            return
        top = self.stack[-1]
        if isinstance(top.into, list):
            top.into.append(item)
        elif top.key is not None:
            top.into[top.key] = item
            top.key = None


def _resolved(text: str) -> Any:
    """A plain scalar by YAML 1.2's core rules: null, true, false, integers and floats; else text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
