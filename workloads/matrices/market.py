"""Matrix Market coordinate files: real, integer and pattern; general, symmetric and skew-symmetric.

Boisvert, Pozo and Remington, "The Matrix Market Exchange Formats", NISTIR 5935 (1996).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
from workloads.matrices.bounds import fits
from workloads.matrices.lines import Lines, parse, repeated

LONGEST = 1024  # bytes of a line of the head, as the format has it
COMMENTS = 1 << 20  # bytes of comments
FIELDS = {"real": 1, "integer": 1, "pattern": 0}
SYMMETRIES = ("general", "symmetric", "skew-symmetric")
BANNER = "%%MatrixMarket matrix coordinate real|integer|pattern general|symmetric|skew-symmetric"


@dataclass(frozen=True, slots=True)
class Head:
    """What the file says of itself; ``body`` is where entries begin and ``line`` their first line's number."""

    field: str
    symmetry: str
    rows: int
    columns: int
    entries: int
    body: int
    line: int


def matrix(text: bytes, where: str) -> Any:
    """The matrix as a ``scipy.sparse.csr_array`` of doubles, symmetric ones whole.

    Raises :class:`WeirError` with file and line for whatever is not the format, and for an entry given twice.
    """
    head = _head(text, where)
    fits(where, head.rows, head.columns, head.entries * (1 if head.symmetry == "general" else 2))
    room = (len(text) - head.body + 1) // (4 + 2 * FIELDS[head.field])
    if head.entries > room:
        raise WeirError(
            f"{where}: truncated: line {head.line - 1} declares {head.entries} entries, there is room for {room}"
        )
    if (follow := len(text) - head.body) > (head.entries + 1) * LONGEST:  # a bomb, say, whose lines nobody need look at
        raise WeirError(
            f"{where}: too long: line {head.line - 1} declares {head.entries} entries, {follow} bytes follow"
        )
    what = "row, column" + (", value" if FIELDS[head.field] else " (a pattern has no values)")
    lines = parse(text[head.body :], where, head.line, 2 + FIELDS[head.field], 2, what)
    if len(lines) != head.entries:
        problem = "truncated" if len(lines) < head.entries else "too long"
        raise WeirError(
            f"{where}: {problem}: line {head.line - 1} declares {head.entries} entries, {len(lines)} follow"
        )
    return _built(head, lines, where)


def _head(text: bytes, where: str) -> Head:
    """The banner, comments skipped, and the sizes."""
    field, symmetry = _banner(_line(text, 0, where, 1), where)
    at, number = _after(text, 0), 2
    while True:
        line = _line(text, at, where, number)
        if at > COMMENTS or at >= len(text):
            raise WeirError(f"{where}: line {number}: no line of rows, columns and entries")
        if line.strip() and not line.startswith(b"%"):
            break
        at, number = _after(text, at), number + 1
    rows, columns, entries = _sizes(line, where, number)
    if symmetry != "general" and rows != columns:
        raise WeirError(f"{where}: line {number}: {symmetry} but {rows} x {columns}, which is not square")
    if entries > rows * columns:
        raise WeirError(f"{where}: line {number}: {entries} entries do not fit {rows} x {columns}")
    return Head(field, symmetry, rows, columns, entries, min(_after(text, at), len(text)), number + 1)


def _line(text: bytes, at: int, where: str, number: int) -> bytes:
    end = text.find(b"\n", at)
    line = text[at : len(text) if end < 0 else end]
    if len(line) > LONGEST:
        raise WeirError(f"{where}: line {number}: more than {LONGEST} characters in the head")
    return line


def _after(text: bytes, at: int) -> int:
    """Where the next line begins, or past the end."""
    end = text.find(b"\n", at)
    return len(text) + 1 if end < 0 else end + 1


def _banner(line: bytes, where: str) -> tuple[str, str]:
    words = line.decode("ascii", "replace").split()
    if len(words) != 5 or words[0].lower() != "%%matrixmarket" or words[1].lower() != "matrix":
        raise WeirError(f"{where}: line 1: not a Matrix Market file; it would begin {BANNER!r}")
    form, field, symmetry = (word.lower() for word in words[2:])
    if form != "coordinate":
        raise WeirError(f"{where}: line 1: {form!r} is not read, only 'coordinate'{hint(form, ['coordinate'])}")
    if field == "complex":
        raise WeirError(f"{where}: line 1: complex values are not read; take their real part or their pattern first")
    if field not in FIELDS:
        raise WeirError(f"{where}: line 1: unknown field {field!r}{hint(field, FIELDS)}")
    if symmetry not in SYMMETRIES:
        raise WeirError(f"{where}: line 1: unknown symmetry {symmetry!r}{hint(symmetry, SYMMETRIES)}")
    return field, symmetry


def _sizes(line: bytes, where: str, number: int) -> tuple[int, int, int]:
    words = line.split()
    if len(words) != 3 or not all(word.isdigit() and len(word) <= 18 for word in words):
        shown = line.strip()[:60].decode("ascii", "replace")
        raise WeirError(f"{where}: line {number}: {shown!r} is not rows, columns and entries")
    rows, columns, entries = map(int, words)
    if max(rows, columns) >= 2**31:
        raise WeirError(f"{where}: line {number}: {rows} x {columns} is more than 2^31 - 1 a side")
    return rows, columns, entries


def _built(head: Head, lines: Lines, where: str) -> Any:
    from scipy import sparse

    rows, columns = lines.index - 1
    for index, limit in ((rows, head.rows), (columns, head.columns)):
        wrong = np.flatnonzero((index < 0) | (index >= limit))
        if len(wrong):
            at = wrong[0]
            raise WeirError(
                f"{where}: line {lines.number(at)}: entry ({rows[at] + 1}, {columns[at] + 1}) lies outside "
                f"{head.rows} x {head.columns} (indices count from 1)"
            )
    if twice := repeated(rows * head.columns + columns):
        before, after = (lines.number(i) for i in twice)
        at = twice[1]
        raise WeirError(
            f"{where}: line {after}: entry ({rows[at] + 1}, {columns[at] + 1}) was given on line {before} already"
        )
    data = np.ones(len(rows)) if lines.values is None else lines.values
    if head.symmetry != "general":
        rows, columns, data = _whole(head, lines, where, rows, columns, data)
    made = sparse.csr_array((data, (rows, columns)), shape=(head.rows, head.columns))
    made.sort_indices()
    return made


def _whole(head: Head, lines: Lines, where: str, rows: Any, columns: Any, data: Any) -> tuple[Any, Any, Any]:
    """Both triangles, from the lower one."""
    strict = head.symmetry == "skew-symmetric"
    wrong = np.flatnonzero(columns >= rows if strict else columns > rows)
    if len(wrong):
        at = wrong[0]
        raise WeirError(
            f"{where}: line {lines.number(at)}: entry ({rows[at] + 1}, {columns[at] + 1}) of a {head.symmetry} matrix "
            "lies above its lower triangle"
        )
    other = rows != columns
    mirrored = -data[other] if strict else data[other]
    return (
        np.concatenate([rows, columns[other]]), np.concatenate([columns, rows[other]]), np.concatenate([data, mirrored])
    )  # fmt: skip
