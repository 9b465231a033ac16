"""Lines of numbers in bulk, behind a strict grammar: what is wrong is named by its line.

C readers of Matrix Market crash on some files (a NUL byte, a last line without its end), so nothing is given to one
here; pandas reads the numbers after every byte and every line has been checked.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError

_ALLOWED = b"0123456789+-.eE \t\r\n"
_INTEGER = re.compile(rb"\+?\d{1,18}")
_REAL = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?")


@dataclass(frozen=True, slots=True)
class Lines:
    """Indices and values by row, and how to find the line of the file on which a row stands."""

    index: NDArray[np.int64]  # (integers, rows)
    values: NDArray[np.float64] | None  # (rows,), where there is a further column
    text: bytes
    first: int

    def __len__(self) -> int:
        return int(self.index.shape[1])

    def number(self, row: int) -> int:
        """The line of the file on which a row stands."""
        held = (at for at, line in enumerate(self.text.split(b"\n")) if line.strip())
        return self.first + next(at for place, at in enumerate(held) if place == row)


def parse(text: bytes, where: str, first: int, width: int, integers: int, what: str) -> Lines:
    """Every line that is not blank, as ``width`` finite numbers of which the first ``integers`` are indices.

    ``first`` is the number of the text's first line in its file. Raises :class:`WeirError` with file and line.
    """
    columns = _columns(text, width) if not text.translate(None, _ALLOWED) and _even(text, width) else None
    if columns is None or not _proper(columns, integers):
        raise _culprit(text, where, first, width, integers, what)
    index = np.array(columns[:integers], np.int64)
    return Lines(index, columns[integers].astype(np.float64) if width > integers else None, text, first)


def _even(text: bytes, width: int) -> bool:
    """Whether every line holds as many words as it should, or none."""
    space = np.frombuffer(b"\n" + text + b"\n", np.uint8) <= ord(" ")
    starts = np.flatnonzero(space[:-1] & ~space[1:])
    ends = np.flatnonzero(np.frombuffer(text + b"\n", np.uint8) == ord("\n"))
    held = np.diff(np.searchsorted(starts, ends, side="right"), prepend=0)
    return bool(((held == width) | (held == 0)).all())


def _columns(text: bytes, width: int) -> list[NDArray[Any]] | None:
    """The numbers by column, or None where a word is none."""
    import pandas as pd

    if not text.strip():
        return [np.empty(0, np.int64)] * width
    try:
        table = pd.read_csv(io.BytesIO(text), sep=r"\s+", header=None, engine="c", na_filter=False)
    except (ValueError, pd.errors.ParserError):
        return None
    return [table[name].to_numpy() for name in table.columns] if table.shape[1] == width else None


def _proper(columns: list[NDArray[Any]], integers: int) -> bool:
    """Whether the first columns are indices and the others finite."""
    whole = all(c.dtype.kind == "i" and (not len(c) or c.min() >= 0) for c in columns[:integers])
    return whole and all(c.dtype.kind in "if" and bool(np.isfinite(c).all()) for c in columns[integers:])


def _culprit(text: bytes, where: str, first: int, width: int, integers: int, what: str) -> WeirError:
    """The first line that breaks the grammar, found one by one."""
    for number, line in enumerate(text.split(b"\n"), first):
        words = line.split()
        if words and (problem := _problem(line, words, width, integers, what)):
            return WeirError(f"{where}: line {number}: {problem}")
    return WeirError(f"{where}: a number that cannot be read")


def _problem(line: bytes, words: list[bytes], width: int, integers: int, what: str) -> str:
    shown = line.strip()[:60].decode("ascii", "replace")
    if b"\0" in line:
        return "a NUL byte"
    if len(words) != width:
        return f"{shown!r} has {len(words)} words, expected {width}: {what}"
    for place, word in enumerate(words):
        if problem := _word(word, place < integers):
            return f"{word[:30].decode('ascii', 'replace')!r} {problem}"
    return ""


def _word(word: bytes, integer: bool) -> str:
    if integer and re.fullmatch(rb"-\d+", word):
        return "is negative; an index is not"
    if integer:
        return "" if _INTEGER.fullmatch(word) and int(word) < 2**53 else "is not an index"
    if not _REAL.fullmatch(word):
        return "is not a finite number"
    return "" if np.isfinite(float(word)) else "is too large"


def repeated(keys: NDArray[Any]) -> tuple[int, int] | None:
    """Two places that hold the same key, the later of them the first to repeat any, or None."""
    if bool((np.diff(keys) > 0).all()):
        return None
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if not len(again):
        return None
    at = again[np.argmin(order[again + 1])]
    return int(order[at]), int(order[at + 1])
