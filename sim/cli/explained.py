"""``weir explain``: a figure of a result unfolded into the model's own formulas, with numbers, units and sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint
from sim.cli import again, ask
from sim.cli.data import Form, emit
from sim.cli.patience import patience
from sim.cli.remade import remade, row
from sim.cli.text import WIDTH, Sheet, folded, show, terminal
from sim.explain.figures import Explained, explained
from sim.explain.opened import Opened, opened
from sim.explain.unfold import Term
from sim.units import fmt

INFLUENCE, DEPTH = 0.05, 3  # what is shown unless all is asked for
SHOWN = 15  # numbers that are listed of those a figure rests on


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be unfolded: a result's file, or a model or workload with what it runs on."""

    what: str
    figures: tuple[str, ...]
    options: Mapping[str, Any]
    depth: int | None = None
    all: bool = False
    row: int | None = None
    at: tuple[str, ...] = ()


def explain(asked: Asked, form: Form, bibtex: bool) -> None:
    """Print each figure's terms, or the papers that they rest on."""
    made, at = _made(asked)
    names = tuple(f"{at}{text}" for text in asked.figures if "=" not in text) or (_first(made, at),)
    slight = 0.0 if asked.all else INFLUENCE
    depth = asked.depth if asked.depth is not None else 99 if asked.all else DEPTH
    with patience("unfolding"):
        found = [explained(made, name, slight=slight, depth=depth) for name in names]
    if bibtex:
        print("\n\n".join(_entries(made, names)))
    elif form is Form.JSON:
        emit(form, {"schema": "weir.explain/1", "figures": [asdict(one) for one in found]}, [])
    else:
        show(*(part for one in found for part in _text(one)))


def _entries(made: Opened, names: tuple[str, ...]) -> list[str]:
    """BibTeX of everything behind the figures, however slight its influence."""
    from sim.explain.papers import used

    whole = [explained(made, name, slight=0.0, depth=99) for name in names]
    terms = [term for one in whole for term in (*one.terms, *one.closed, *one.rests)]
    terms += [Term("", 0.0, "", 0.0, 0, source=text) for text in made.sources]
    return [paper.bibtex for paper in used(terms)] or ["% nothing that it rests on names a paper"]


def _made(asked: Asked) -> tuple[Opened, str]:
    """The result opened, and what stands before the names of the figures of the row that was picked."""
    filed = Path(asked.what).suffix in (".json", ".csv", ".parquet") and not asked.options.get("on")
    if not filed:
        command, given = _question(asked)
        return _row_of(opened(*remade(command, given)), asked)
    held, told = again.result(Path(asked.what))
    command, given = again.asked(told)
    if command == "sweep":
        return opened(*row(given, _picked(_rows(held.get("data")), asked)[1])), ""
    return _row_of(opened(*remade(command, given)), asked)


def _row_of(made: Opened, asked: Asked) -> tuple[Opened, str]:
    """The result, and the place of a row in its table if one is picked."""
    if not asked.at and asked.row is None:
        return made, ""
    name, rows = next(((k, v) for k, v in made.figures.items() if v and _rows(v)), ("", []))
    return made, f"{name}[{_picked(rows, asked)[0]}]."


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return value if isinstance(value, list) and all(isinstance(one, Mapping) for one in value) else []


def _picked(rows: Sequence[Mapping[str, Any]], asked: Asked) -> tuple[int, Mapping[str, Any]]:
    """The place of a row and the row: by its number, the first being 1, or by what stands in it."""
    wanted = ask.pairs(asked.at, "--at", "COLUMN=VALUE, as in batch=8")
    if asked.row is not None and not 1 <= asked.row <= len(rows):
        raise WeirError(f"--row {asked.row}: the result has {len(rows):,} rows, the first being 1")
    known = {str(name): None for one in rows for name in one}
    for name in wanted:
        if name not in known:
            raise WeirError(f"--at {name}: no such column{hint(name, known)}")
    places = range(len(rows)) if asked.row is None else (asked.row - 1,)
    found = [n for n in places if all(_alike(rows[n].get(name), text) for name, text in wanted.items())]
    if len(found) != 1:
        raise WeirError(f"{len(found) or 'no'} rows are meant; pick one of {len(rows):,}: --row N or --at COLUMN=VALUE")
    return found[0], rows[found[0]]


def _alike(cell: Any, text: str) -> bool:
    """Whether a cell is what was typed."""
    try:
        return float(cell) == float(text)
    except (TypeError, ValueError):
        return str(cell) == text


def _question(asked: Asked) -> tuple[str, dict[str, Any]]:
    """A command and its arguments as typed behind ``weir explain``: sizes make it a mapped workload's."""
    from workloads.catalogue import builders

    given = dict(asked.options)
    if not given["on"]:
        raise WeirError(f"{asked.what!r:.80} is no result's .json, so it is a model or a workload: add --on")
    sizes = [text for text in asked.figures if "=" in text]
    if asked.what.endswith(".txt") or asked.what in builders():
        if len(given["on"]) > 1:
            raise WeirError("a workload is mapped on one device; give --on once")
        return "map", {**given, "workload": asked.what, "on": given["on"][0], "sizes": sizes}
    if sizes:
        raise WeirError(f"{sizes[0]!r:.40}: a model's sizes are --prompt, --output and --batch")
    return "estimate" if len(given["on"]) == 1 else "compare", {**given, "model": asked.what}


def _first(made: Opened, at: str) -> str:
    """The figure that is unfolded where none is named."""
    return f"{at}{made.first.rpartition('.')[2]}" if at else made.first


def _text(one: Explained) -> Iterator[Sheet | str]:
    yield "\n".join(line for term in one.terms for line in _lines(term))
    if one.closed:
        off = one.closed[0].value / one.value - 1
        yield folded(f"{one.beside} comes to {one.closed[0].value:.5g}, {off:+.1%}:")
        yield "\n".join(line for term in one.closed for line in _lines(term))
    yield _rests(one)


def _lines(term: Term) -> Iterator[str]:
    """One term: its value, its formula in names and in numbers, and where in the model it is."""
    if term.source and term.depth:
        return  # stands in the table below
    margin = "  " * term.depth
    yield f"{margin}{term.name} = {_figure(term.value, term.unit)}"
    if term.source:
        yield from _wrapped(f"({term.source})", margin + "    ")
        return
    for text in dict.fromkeys((term.formula, term.numbers)):
        yield from _wrapped(f"= {text}", margin + "    ")
    if term.where:
        yield from _wrapped(f"({term.where}: {term.meaning})" if term.meaning else f"({term.where})", margin + "    ")


def _wrapped(text: str, margin: str) -> list[str]:
    """A formula or a remark, folded where a terminal ends, or at 80 columns; deep in a tree it keeps half of them."""
    import textwrap

    width = max(terminal() or WIDTH, len(margin) + WIDTH // 2)
    return textwrap.wrap(
        text, width, initial_indent=margin, subsequent_indent=margin + "  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _figure(value: float, unit: str) -> str:
    if unit in ("s", "B", "B/s", "J", "W", "Hz", "op/s"):
        return fmt(value, unit)
    return f"{value:,.0f} {unit}".rstrip() if abs(value) >= 1e4 else f"{value:.5g} {unit}".rstrip()


def _rests(one: Explained) -> Sheet:
    rows = tuple(
        (term.name, _figure(term.value, term.unit), f"{term.influence:+.2f} %", term.source)
        for term in one.rests[:SHOWN]
    )
    left = len(one.rests) - len(rows)
    notes = (f"{left} more have less influence; --json has them",) if left else ()
    columns = (f"{one.figure} rests on", "", "for 1 %", "source")
    return Sheet("", columns, rows, right=(1, 2), notes=notes)
