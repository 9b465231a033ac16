"""Buffers as CSV, in the format of MiniMalloc (github.com/google/minimalloc): id, lower, upper, size and more.

``upper`` is exclusive; a column ``end`` in its place is inclusive. ``alignment`` and ``gaps`` (``10-12 15-18``: not
live from 10 up to 12) may follow; columns come in any order. Read from an untrusted file: bounded, and refused by row.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from io import StringIO
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import TextIO

from einsum import WeirError, hint
from einsum.files import regular
from sim.planner.problem import Buffer, Problem, Tier

ROWS = 1_000_000  # no more are read
LARGEST = 1 << 30  # bytes of a file
LINE = 100_000  # characters of a line
TEXT = 1 << 28  # characters of all lines
DIGITS = 18  # of a number: what fits 64 bits
SAME = {"buffer": "id", "buffer_id": "id", "start": "lower", "begin": "lower"}
NEEDED = ("id", "lower", "upper", "size")
KNOWN = (*NEEDED, "end", "alignment", "gaps", "offset", *SAME)


def read(path: Path, capacity: float = inf) -> Problem:
    """The problem in a CSV file: one tier of ``capacity`` bytes. Raises :class:`WeirError` naming row and column."""
    regular(path, "buffers", LARGEST)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            buffers = tuple(_buffers(file, path.name))
    except OSError as error:
        raise WeirError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    if not buffers:
        raise WeirError(f"{path.name}: no buffers; a line with {', '.join(NEEDED)} is followed by one line a buffer")
    return Problem(path.name, buffers, (Tier("memory", capacity),))


def written(problem: Problem, offsets: Mapping[str, int] | None = None) -> str:
    """The problem as CSV, with a column of offsets if there are any."""
    aligned, gapped = any(b.align != 1 for b in problem.buffers), any(len(b.live) > 1 for b in problem.buffers)
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    more = (*["alignment"] * aligned, *["gaps"] * gapped, *["offset"] * (offsets is not None))
    writer.writerow((*NEEDED, *more))
    for b in problem.buffers:
        live = sorted(b.live)
        gaps = " ".join(f"{_whole(before[1])}-{_whole(after[0])}" for before, after in pairwise(live))
        row = [b.name, _whole(live[0][0]), _whole(live[-1][1]), b.size, *[b.align] * aligned, *[gaps] * gapped]
        writer.writerow(row if offsets is None else [*row, offsets[b.name]])
    return out.getvalue()


def _whole(time: float) -> int | float:
    return int(time) if time == int(time) else time


def _lines(file: TextIO, name: str) -> Iterator[str]:
    """Lines of bounded length and number."""
    row = length = 0
    while line := file.readline(LINE + 1):
        row += 1
        if len(line) > LINE:
            raise WeirError(f"{name} row {row}: longer than {LINE} characters")
        length += len(line)
        if length > TEXT:
            raise WeirError(f"{name} row {row}: more than {TEXT:,} characters, the most that are read")
        if not (line.isascii() or _is_text(line)):
            raise WeirError(f"{name} row {row}: not text (UTF-8), so no CSV")
        if "\0" in line:
            raise WeirError(f"{name} row {row}: holds a zero byte; this is no CSV")
        if row > ROWS + 1:
            raise WeirError(f"{name} row {row}: more than {ROWS:,} buffers, the most that are read")
        yield line


def _is_text(line: str) -> bool:
    """Whether nothing stands for a byte that is no UTF-8."""
    return not any("\ud800" <= letter <= "\udfff" for letter in line)


def _buffers(file: TextIO, name: str) -> Iterator[Buffer]:
    rows = csv.reader(list(_lines(file, name)), strict=True)  # too long a table is refused before any of it is read
    seen: dict[str, int] = {}
    try:
        columns = _columns(next(rows, []), name)
        for fields in rows:
            if not fields:
                continue
            where = f"{name} row {rows.line_num}"
            if len(fields) != len(columns):
                raise WeirError(f"{where}: {len(fields)} fields, where the first row names {len(columns)} columns")
            buffer = _buffer({c: f.strip() for c, f in zip(columns, fields, strict=True)}, where)
            if buffer.name in seen:
                raise WeirError(f"{where} column id: {buffer.name!r:.60} is the id of row {seen[buffer.name]} already")
            seen[buffer.name] = rows.line_num
            yield buffer
    except csv.Error as error:
        raise WeirError(f"{name} row {rows.line_num}: {error}") from None


def _columns(header: list[str], name: str) -> list[str]:
    """The columns' names in our words; an unknown, missing or repeated one is refused."""
    given = [text.strip().lower() for text in header]
    for column in given:
        if column not in KNOWN:
            raise WeirError(f"{name} row 1: unknown column {column!r:.60}{hint(column, KNOWN)}")
    columns = [SAME.get(column, column) for column in given]
    for column in columns:
        if columns.count(column) > 1:
            raise WeirError(f"{name} row 1: two columns for {column}")
    if "upper" in columns and "end" in columns:
        raise WeirError(f"{name} row 1: both upper (exclusive) and end (inclusive); give one")
    for column in NEEDED:
        if column not in columns and not (column == "upper" and "end" in columns):
            raise WeirError(f"{name} row 1: no column {column!r}; {', '.join(NEEDED)} are needed")
    return columns


def _buffer(row: Mapping[str, str], where: str) -> Buffer:
    more = 1 if "end" in row else 0  # an end is the last moment, not the first one after it
    lower, upper = _number(row, "lower", where), _number(row, "end" if more else "upper", where) + more
    size = _number(row, "size", where)
    if not row["id"]:
        raise WeirError(f"{where} column id: empty")
    if size < 0:
        raise WeirError(f"{where} column size: {size} is negative")
    if upper <= lower:
        raise WeirError(
            f"{where} column {'end' if more else 'upper'}: the range [{lower}, {upper}) is empty or reversed"
        )
    align = _number(row, "alignment", where) if row.get("alignment") else 1
    if align < 1:
        raise WeirError(f"{where} column alignment: {align} is less than 1")
    gaps = [_gap(text, more, where) for text in row.get("gaps", "").split()]
    live = tuple(_live(lower, upper, gaps, where))
    if not live:
        raise WeirError(f"{where} column gaps: nothing of the range is left")
    return Buffer(row["id"], size, live, align)


def _number(row: Mapping[str, str], column: str, where: str) -> int:
    text = row[column]
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= DIGITS):
        raise WeirError(f"{where} column {column}: {text!r:.40} is not a whole number of at most {DIGITS} digits")
    return int(text)


def _gap(text: str, more: int, where: str) -> tuple[int, int]:
    if "@" in text:
        raise WeirError(f"{where} column gaps: {text!r:.40} leaves a part of the buffer live, which cannot be planned")
    ends = text.split("-")
    if len(ends) != 2:
        raise WeirError(f"{where} column gaps: {text!r:.40} is not such as 10-12")
    low, high = (_number({"gaps": end}, "gaps", where) for end in ends)
    return low, high + more


def _live(lower: int, upper: int, gaps: list[tuple[int, int]], where: str) -> Iterator[tuple[float, float]]:
    """The range without its gaps."""
    start = lower
    for low, high in sorted(gaps):
        if not start <= low < high <= upper:
            raise WeirError(f"{where} column gaps: {low}-{high} is empty, beyond the range, or overlaps another gap")
        if start < low:
            yield start, low
        start = high
    if start < upper:
        yield start, upper
