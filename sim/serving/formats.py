"""Request traces as other people log them: CSV and JSON lines, read as a stream and refused row by row."""

from __future__ import annotations

import csv
import json
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from einsum.errors import WeirError
from einsum.files import regular

MAX_BYTES = 256 * 2**20
MAX_ROWS = 5_000_000
MAX_TOKENS = 10_000_000  # no served context comes near; a larger count is a wrong column
SHOWN = 5  # bad rows named before the rest are only counted

Columns = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Format:
    """The three columns one kind of trace uses, and the seconds in one unit of its arrival column (0: a date)."""

    name: str
    arrival: str
    prompt: str
    output: str
    unit: float

    @property
    def columns(self) -> tuple[str, str, str]:
        """The columns' names, in the order in which they are read."""
        return self.arrival, self.prompt, self.output


FORMATS = (
    Format("Azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", 0.0),
    Format("Vidur", "arrived_at", "num_prefill_tokens", "num_decode_tokens", 1.0),
    Format("Splitwise", "arrival_timestamp", "prompt_size", "token_size", 1.0),
    Format("Mooncake", "timestamp", "input_length", "output_length", 1e-3),
)


@dataclass(slots=True)
class _Table:
    """The columns of a trace as they fill up, and what was wrong on the way."""

    where: str
    form: Format
    arrival: array[float] = field(default_factory=lambda: array("d"))
    prompt: array[float] = field(default_factory=lambda: array("d"))
    output: array[float] = field(default_factory=lambda: array("d"))
    problems: list[str] = field(default_factory=list)
    bad: int = 0
    start: datetime | None = None

    def add(self, line: int, row: Sequence[object]) -> None:
        """Take one row, or note why it cannot be taken."""
        try:
            arrival = self.seconds(row[0])
            prompt, output = _tokens(row[1], self.form.prompt), _tokens(row[2], self.form.output)
        except ValueError as error:
            self.refuse(line, str(error))
            return
        if len(self.arrival) >= MAX_ROWS:
            raise WeirError(f"{self.where}: more than {MAX_ROWS:,} requests; give a shorter piece of the trace")
        self.arrival.append(arrival)
        self.prompt.append(prompt)
        self.output.append(output)

    def refuse(self, line: int, why: str) -> None:
        """Count a bad row; the first few are named."""
        self.bad += 1
        if self.bad <= SHOWN:
            self.problems.append(f"{self.where} line {line}: {why}")

    def seconds(self, value: object) -> float:
        """Arrival in seconds, from the first row's moment where the column holds dates."""
        if self.form.unit:
            return _number(value, self.form.arrival) * self.form.unit
        moment = _date(value, self.form.arrival)
        self.start = self.start or moment
        if (moment.tzinfo is None) != (self.start.tzinfo is None):
            raise ValueError(f"{self.form.arrival} {value!r} and the first row disagree on having a time zone")
        return (moment - self.start).total_seconds()

    def columns(self) -> Columns:
        """The three columns, once every row was good and there was at least one."""
        if self.bad > SHOWN:
            self.problems.append(f"{self.where}: {self.bad - SHOWN} more bad rows")
        if self.problems:
            raise WeirError("\n".join(self.problems))
        if not self.arrival:
            raise WeirError(f"{self.where}: the trace holds no request")
        return np.array(self.arrival), np.array(self.prompt), np.array(self.output)


def columns(path: Path) -> tuple[Columns, Format]:
    """Arrivals (s), prompt and output lengths (tokens) of a trace file, in the file's order, and its format."""
    where = path.name
    regular(path, "trace", MAX_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = _json_lines(where, stream) if path.suffix in (".jsonl", ".json") else _csv(where, stream)
    except UnicodeDecodeError as error:
        raise WeirError(f"{where}: not UTF-8 text (byte {error.start}); is it compressed?") from None
    except OSError as error:
        raise WeirError(f"{path}: cannot be read ({error.strerror})") from None
    return table.columns(), table.form


def _csv(where: str, stream: TextIO) -> _Table:
    """Every row of a CSV file with a header, by the names of its columns."""
    rows = csv.reader(stream)
    try:
        header = [name.strip() for name in next(rows, [])]
        table = _Table(where, _recognise(header, f"{where} line 1"))
        at = [header.index(name) for name in table.form.columns]
        lone = header.index("batch_size") if "batch_size" in header and table.form.name == "Splitwise" else None
        for row in filter(None, rows):
            if len(row) != len(header):
                table.refuse(rows.line_num, f"{len(row)} fields where the header has {len(header)}")
            elif lone is not None and row[lone].strip() != "1":
                table.refuse(rows.line_num, f"batch_size is {row[lone]!r}; only single requests (1) are understood")
            else:
                table.add(rows.line_num, [row[i] for i in at])
    except csv.Error as error:
        raise WeirError(f"{where} line {rows.line_num}: not CSV ({error})") from None
    return table


def _json_lines(where: str, stream: TextIO) -> _Table:
    """Every line of a JSON-lines file, one object a request."""
    lines: Iterator[tuple[int, str]] = ((i, text) for i, text in enumerate(stream, 1) if text.strip())
    first = next(lines, None)
    if first is None:
        raise WeirError(f"{where}: the file is empty; one JSON object a line is expected")
    try:
        keys = list(_json_object(first[1]))
    except ValueError as error:
        raise WeirError(f"{where} line {first[0]}: {error}") from None
    table = _Table(where, _recognise(keys, f"{where} line {first[0]}"))
    for number, text in chain([first], lines):
        try:
            entry = _json_object(text)
            table.add(number, [_present(entry, name, table.form) for name in table.form.columns])
        except ValueError as error:
            if isinstance(error, WeirError):
                raise
            table.refuse(number, str(error))
    return table


def _json_object(text: str) -> dict[str, object]:
    """The JSON object on a line."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not JSON; one object a line is expected") from None
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__} where an object such as {{...}} is expected")
    return value


def _present(entry: dict[str, object], name: str, form: Format) -> object:
    """A field that must be there."""
    if name not in entry:
        raise ValueError(f"no field {name!r}{_near(name, [key for key in entry if key not in form.columns])}")
    return entry[name]


def _recognise(header: Iterable[str], where: str) -> Format:
    """The format whose columns are all in the header."""
    names = list(header)
    if not any(names):
        raise WeirError(f"{where}: the file is empty; a header such as {','.join(FORMATS[0].columns)} is expected")
    if len(set(names)) < len(names) and (twice := [n for n in FORMATS if any(names.count(c) > 1 for c in n.columns)]):
        raise WeirError(f"{where}: a column of the {twice[0].name} format appears twice")
    for form in FORMATS:
        if set(form.columns) <= set(names):
            return form
    raise WeirError(f"{where}: {_nearest(names)}")


def _nearest(names: list[str]) -> str:
    """What the header lacks, against the format it resembles most."""
    import difflib

    def likeness(form: Format) -> float:
        pairs = [[difflib.SequenceMatcher(None, c.lower(), n.lower()).ratio() for n in names] for c in form.columns]
        return sum(map(max, pairs))

    form = max(FORMATS, key=likeness)
    spare = [n for n in names if n not in form.columns]
    missing = [f"no column {c!r}" + (_near(c, spare)) for c in form.columns if c not in names]
    known = "; ".join(f"{f.name}: {', '.join(f.columns)}" for f in FORMATS)
    return f"{', '.join(missing)} (known formats: {known})"


def _near(column: str, spare: list[str]) -> str:
    """The header's name that was probably meant for a column."""
    import difflib

    lower = {n.lower(): n for n in spare}
    near = difflib.get_close_matches(column.lower(), lower, n=1, cutoff=0.5)
    return f"; is {lower[near[0]]!r} meant?" if near else ""


def _number(value: object, column: str) -> float:
    """A finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{column} is {value!r}, not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{column} is {str(value)[:40]!r}, not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{column} is {number}, not a finite number")
    if number < 0:
        raise ValueError(f"{column} is {value}; it cannot be negative")
    return number


def _tokens(value: object, column: str) -> float:
    """A whole number of tokens, at least one."""
    number = _number(value, column)
    if number != int(number):
        raise ValueError(f"{column} is {value}, not a whole number of tokens")
    if number < 1:
        raise ValueError(f"{column} is 0; a request has at least one token")
    if number > MAX_TOKENS:
        raise ValueError(f"{column} is {value}; over {MAX_TOKENS:,} tokens is not a request")
    return number


def _date(value: object, column: str) -> datetime:
    """A moment in ISO form; digits beyond the microsecond are dropped."""
    try:
        return datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError(f"{column} is {str(value)[:40]!r}, not a date such as 2023-11-16 18:17:03.98") from None
