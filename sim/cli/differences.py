"""``weir diff``: two results side by side, and why they differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import exp
from pathlib import Path
from typing import Any

from einsum.errors import WeirError
from einsum.files import read_text
from sim.cli.data import Form, emit
from sim.cli.text import Sheet, folded, show
from sim.explain.changes import Changes, changes
from sim.serving.answer import SCHEMA
from sim.serving.difference import COMPARED, Difference, Term, differences

SHOWN = 8  # rows of a table that are shown in words
LARGEST = 1 << 25  # bytes of a result


def diff(a: str, b: str, as_json: bool) -> None:
    """Print what changed from the first result to the second."""
    first, second = parsed(a), parsed(b)
    served = _served(first) or _served(second)
    found: Sequence[Difference | Changes] = (differences if served else changes)(first, second, (a, b))
    if as_json:
        rows = [one.summary() for one in found]
        emit(Form.JSON, {"schema": "weir.diff/1", "a": a, "b": b, "differences": rows}, [])
        return
    text = [part for one in found if isinstance(one, Difference) for part in _text(one)]
    text += _changed([one for one in found if isinstance(one, Changes)])
    show(f"A: {folded(a)}\nB: {folded(b)}", *text)


def _served(one: Any) -> bool:
    """Whether it is an answer of a service, whose tokens per dollar are divided among their factors."""
    return isinstance(one, dict) and one.get("schema") in (SCHEMA, COMPARED)


def _changed(found: Sequence[Changes]) -> Iterator[Sheet | str]:
    """What changed between two results of another command."""
    if not found:
        return
    rows = [one for one in found if one.terms or one.figures]
    for one in rows[:SHOWN]:
        yield from _sheets(one)
    if len(rows) > SHOWN:
        yield f"{len(rows) - SHOWN} more rows differ; --json has them"
    if found[0].inputs:
        yield Sheet("What is not the same", ("", "A", "B"), tuple(tuple(map(_clean, row)) for row in found[0].inputs))
    yield from (folded(_clean(note)) for note in found[0].notes)
    if not rows:
        yield "No figure differs."


def _sheets(one: Changes) -> Iterator[Sheet]:
    """Totals with their terms, then the other figures of a row."""
    whole = 0.0
    rows: list[tuple[str, ...]] = []
    for part in one.terms:
        whole = part.change if part.depth == 0 else whole
        cells = ("" if value is None else _figure(value) for value in (part.before, part.after, part.change))
        share = f"{part.change / whole:.1%}" if whole else ""
        rows.append(("  " * part.depth + _clean(part.name), *cells, part.unit, share))
    if rows:
        note = "Changes sum to the line above them that is less indented."
        yield Sheet(_clean(one.before), ("", "A", "B", "change", "unit", "share"), tuple(rows), (1, 2, 3, 5), (note,))
    if one.figures:
        others = tuple(
            (_clean(n), _figure(x), _figure(y), u, f"{y / x:.3g} x" if x else "") for n, u, x, y in one.figures
        )
        title = "Other figures" if rows else _clean(one.before)
        yield Sheet(title, ("", "A", "B", "unit", "B / A"), others, (1, 2, 4))


def parsed(path: str) -> Any:
    """The JSON of a result's file."""
    where = Path(path)
    text = read_text(where, "result", LARGEST)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise WeirError(f"{where.name}: not valid JSON: {problem}") from None


def _clean(text: str) -> str:
    """A file's text as a terminal may have it: no control character, no half of a character."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _text(one: Difference) -> list[Sheet | str]:
    """A pair of answers for a terminal."""
    whole = one.terms[0]
    title = f"{_clean(one.before)} -> {_clean(one.after)}: tokens per dollar {exp(whole.log):.3g} x"
    note = "Effects multiply, shares sum, to the line above them that is less indented."
    rows = tuple(_row(term, whole.log) for term in one.terms)
    sheet = Sheet(title, ("", "A", "B", "unit", "effect", "share"), rows, (1, 2, 4, 5), (note,))
    parts: list[Sheet | str] = [sheet]
    others = tuple(
        (n, _figure(x), _figure(y), u, f"{y / x:.3g} x" if x else "") for n, u, x, y in one.figures if x != y
    )
    if others:
        parts.append(Sheet("Other figures", ("", "A", "B", "unit", "B / A"), others, (1, 2, 4)))
    if one.inputs:
        parts.append(
            Sheet("What is not the same", ("", "A", "B"), tuple(tuple(map(_clean, row)) for row in one.inputs))
        )
    if one.notes:
        parts.append("\n".join(folded(f"{of} alone rests on: {_clean(note)}") for of, note in one.notes))
    if not one.inputs and not one.notes:
        parts.append("No input and no assumption differs.")
    return parts


def _row(term: Term, whole: float) -> tuple[str, ...]:
    share = f"{round(term.log / whole, 3) + 0.0:.1%}" if abs(whole) > 1e-12 else ""
    name = "  " * term.depth + _clean(term.name)
    return name, _figure(term.before), _figure(term.after), term.unit, f"{exp(term.log):.3f} x", share


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
