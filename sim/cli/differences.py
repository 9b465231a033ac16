"""``weir diff``: two results side by side, and why they differ."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path
from typing import Any

from einsum.errors import WeirError
from einsum.files import read_text
from sim.cli.data import Form, emit
from sim.cli.text import Sheet, folded, show
from sim.serving.difference import Difference, Term, differences

LARGEST = 1 << 25  # bytes of a result


def diff(a: str, b: str, as_json: bool) -> None:
    """Print what changed from the first result to the second."""
    found = differences(parsed(a), parsed(b), (a, b))
    if as_json:
        rows = [one.summary() for one in found]
        emit(Form.JSON, {"schema": "weir.diff/1", "a": a, "b": b, "differences": rows}, [])
        return
    parts = [f"A: {folded(a)}\nB: {folded(b)}"]
    show(*parts, *(part for one in found for part in _text(one)))


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
