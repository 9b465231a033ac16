"""Theirs beside ours: the rows, the verdicts, and the table that people read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from einsum.errors import WeirError
from sim.published.figures import Figure, Paper
from sim.published.matrices import Absent

WIDTH = 100  # columns of the printed table
_QUANTITY = 47


@dataclass(frozen=True, slots=True)
class Row:
    """One published figure beside the general model's answer."""

    paper: str
    id: str
    quantity: str
    theirs: float
    ours: float
    unit: str
    tolerance: float  # in the same unit
    relation: str  # how ours should stand to theirs: equal, at most, at least
    verdict: str  # holds, fails, cannot (the published physics does not give it), input, unverified, absent
    why: str

    @property
    def deviation(self) -> float:
        """Ours over theirs, less one; infinite where theirs is zero and ours is not."""
        if self.theirs:
            return self.ours / self.theirs - 1
        return 0.0 if self.ours == 0 else math.copysign(math.inf, self.ours)


def judge(figure: Figure, ours: float, known: str) -> str:
    """The verdict on a figure: what it was meant to get, unless the numbers say otherwise."""
    agrees = agree(figure.value, ours, figure.tolerance, figure.relation)
    if figure.expected == "unverified" or known == "memory":
        return "unverified"
    if figure.expected == "cannot":
        return "holds" if agrees else "cannot"
    return figure.expected if agrees else "fails"


def agree(theirs: float, ours: float, tolerance: float, relation: str) -> bool:
    """Whether ours stands to theirs as it should; NaN never does."""
    slack = tolerance + 1e-9 * abs(theirs)
    over, under = ours - theirs <= slack, theirs - ours <= slack
    return {"equal": over and under, "at most": over, "at least": under}[relation]


def row(paper: Paper, figure: Figure) -> Row:
    """The figure asked of the general model and judged."""
    try:
        ours, verdict, why = figure.call(), "", figure.why
    except Absent as problem:
        ours, verdict, why = math.nan, "absent", str(problem)
    except WeirError as problem:
        raise WeirError(f"{paper.name} {figure.id}: {problem}") from None
    return Row(
        paper.name, figure.id, figure.quantity, figure.value, ours, figure.unit, figure.tolerance, figure.relation,
        verdict or judge(figure, ours, paper.known), why,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """The rows of some papers."""

    papers: tuple[Paper, ...]
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether every row that should hold does."""
        return not any(row.verdict == "fails" for row in self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """Rows by verdict."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.verdict] = found.get(row.verdict, 0) + 1
        return found

    def frame(self) -> Any:
        """A pandas DataFrame, one line a row."""
        import pandas as pd

        names = (*Row.__dataclass_fields__, "deviation")
        return pd.DataFrame([{name: getattr(row, name) for name in names} for row in self.rows], columns=list(names))

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON; a deviation that is not finite is None."""
        rows = [
            {name: getattr(row, name) for name in Row.__dataclass_fields__}
            | {name: value if math.isfinite(value) else None for name, value in _figures(row)}
            for row in self.rows
        ]
        return {"schema": "weir.validate/1", "ok": self.ok, "counts": self.counts, "rows": rows}

    def __str__(self) -> str:
        """A table a paper, each with the reasons given for its rows, and the tally."""
        tally = ", ".join(f"{n} {verdict}" for verdict, n in self.counts.items())
        return "\n\n".join([*(self._table(paper) for paper in self.papers), f"{len(self.rows)} rows: {tally}"])

    def _table(self, paper: Paper) -> str:
        rows = [row for row in self.rows if row.paper == paper.name]
        head = [*_fold(f"{paper.name}: {paper.title}"), *_fold(f"  {paper.source} (known from: {paper.known})")]
        columns = f"{'id':<8} {'quantity':<{_QUANTITY}} {'theirs':>10} {'ours':>10} {'off':>8} verdict"
        return "\n".join([*head, columns, *map(_line, rows), *_reasons(paper, rows)])


def _figures(row: Row) -> tuple[tuple[str, float], ...]:
    return ("ours", row.ours), ("deviation", row.deviation)


def _line(row: Row) -> str:
    sign = {"equal": "", "at most": "<=", "at least": ">="}[row.relation]
    quantity = _label(row)
    off = "0" if row.deviation == 0 else f"{row.deviation:+.2%}"
    theirs = f"{sign}{_number(row.theirs)}"
    ours, off = (_number(row.ours), off) if math.isfinite(row.ours) else ("-", "-")
    return f"{row.id:<8} {quantity:<{_QUANTITY}} {theirs:>10} {ours:>10} {off:>8} {row.verdict}"


def _label(row: Row) -> str:
    """The quantity with its unit, or as much of it as there is room for."""
    whole = f"{row.quantity} [{row.unit}]" if row.unit != "1" else row.quantity
    if len(whole) <= _QUANTITY:
        return whole
    return row.quantity if len(row.quantity) <= _QUANTITY else row.quantity[: _QUANTITY - 3] + "..."


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) < 1e7 and (value == round(value) or abs(value) >= 1e4) else f"{value:.5g}"


def _reasons(paper: Paper, rows: list[Row]) -> list[str]:
    """The paper's notes and each reason once, with the rows it is given for."""
    given: dict[str, list[str]] = {}
    for row in rows:
        if row.why:
            given.setdefault(row.why, []).append(row.id)
    lines = [line for why, ids in given.items() for line in _fold(f"{_span(ids)}: {why}")]
    return [*lines, *(_fold(f"Note: {paper.notes}") if paper.notes else [])]


def _span(ids: list[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"


def _fold(text: str) -> list[str]:
    return wrap(text, WIDTH, subsequent_indent="  ")
