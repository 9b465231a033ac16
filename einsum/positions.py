"""Where the keys of a TOML text stand, so that what is wrong with a value can be found in its file.

``tomllib`` tells the place of broken syntax only, and no maintained reader keeps the places of keys. This index is made
after ``tomllib`` has taken the text, and only once something is wrong with a value: it checks nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import count

KeyPath = tuple[str | int, ...]  # keys of tables and places in arrays, from 0

_GAP = re.compile(r"(?:[\s,]|#[^\n]*)*")
_PIECE = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = re.compile(rf"({_PIECE}(?:[ \t]*\.[ \t]*{_PIECE})*)[ \t]*=[ \t]*")
_HEADER = re.compile(rf"\[(\[?)[ \t]*({_PIECE}(?:[ \t]*\.[ \t]*{_PIECE})*)[ \t]*\]\]?")
_PIECES = re.compile(_PIECE)
_SCALAR = re.compile(
    r"""\"{3}(?:[^\\]|\\.)*?\"{3,5}|'{3}.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'"""
    r"""|\d{4}-\d\d-\d\d \d[\d:.+-]*Z?|[^\s,\]}#]+""",
    re.DOTALL,
)


def places(text: str) -> dict[KeyPath, int]:
    """The offset at which each key, table and element of a valid TOML text begins."""
    found: dict[KeyPath, int] = {(): 0}
    arrays = Counter[KeyPath]()
    open_: list[tuple[KeyPath, Iterator[int] | None]] = [((), None)]  # the innermost last; an array counts its elements
    at = 0
    while (at := _end(_GAP, text, at)) < len(text):
        path, elements = open_[-1]
        if len(open_) == 1 and text[at] == "[":
            open_[0] = _header(text, at, found, arrays), None
            at = _end(_HEADER, text, at)
        elif len(open_) > 1 and text[at] in "]}":
            open_.pop()
            at += 1
        else:
            path = (*path, next(elements)) if elements else _noted(path, _pieces(_KEY, text, at), at, found)
            found.setdefault(path, at)
            at = at if elements else _end(_KEY, text, at)
            nested = text[at] in "[{"
            if nested:
                open_.append((path, count() if text[at] == "[" else None))
            at = at + 1 if nested else _end(_SCALAR, text, at)
    return found


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The place of an offset as editors count it, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    assert match is not None, text[at : at + 40]  # noqa: S101 - our own mistake: the text is valid TOML
    return match.end()


def _pieces(pattern: re.Pattern[str], text: str, at: int) -> list[str]:
    """The parts of the dotted key that the pattern's last group holds, without quotes."""
    match = pattern.match(text, at)
    assert match is not None, text[at : at + 40]  # noqa: S101 - our own mistake: the text is valid TOML
    return [_plain(piece) for piece in _PIECES.findall(match[match.lastindex or 0])]


def _plain(piece: str) -> str:
    import tomllib

    if piece[0] not in "\"'":
        return piece
    return str(tomllib.loads(f"key = {piece}")["key"]) if "\\" in piece else piece[1:-1]


def _noted(path: KeyPath, pieces: list[str], at: int, found: dict[KeyPath, int]) -> KeyPath:
    """The path of a dotted key below ``path``, the tables on its way noted."""
    for piece in pieces:
        path = (*path, piece)
        found.setdefault(path, at)
    return path


def _header(text: str, at: int, found: dict[KeyPath, int], arrays: Counter[KeyPath]) -> KeyPath:
    """The path of the table that ``[a.b]`` or ``[[a.b]]`` begins; an array on its way stands for its last element."""
    pieces, path = _pieces(_HEADER, text, at), KeyPath()
    repeated = text.startswith("[[", at)
    for place, piece in enumerate(pieces, start=1):
        path = _noted(path, [piece], at, found)
        if repeated and place == len(pieces):
            arrays[path] += 1
        if path in arrays:
            path = (*path, arrays[path] - 1)
    found.setdefault(path, at)
    return path
