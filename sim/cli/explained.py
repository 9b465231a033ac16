"""``weir explain``: a figure of a result unfolded into the model's own formulas, with numbers, units and sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from einsum.errors import WeirError
from sim.cli import again, answers, nests
from sim.cli.data import Form, emit
from sim.cli.patience import patience
from sim.cli.text import Sheet, folded, show, styled
from sim.explain.figures import Explained, explained
from sim.explain.unfold import Term
from sim.serving.answer import Answer, Comparison
from sim.units import fmt

WIDE = 110  # columns of a formula
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


def explain(asked: Asked, form: Form, bibtex: bool) -> None:
    """Print each figure's terms, or the papers that they rest on."""
    made, changed = _made(asked)
    names = tuple(text for text in asked.figures if "=" not in text) or (_first(made),)
    slight = 0.0 if asked.all else INFLUENCE
    depth = asked.depth if asked.depth is not None else 99 if asked.all else DEPTH
    with patience("unfolding"):
        found = [explained(made, name, slight=slight, depth=depth, changed=changed) for name in names]
    if bibtex:
        print("\n\n".join(_entries(made, names, changed)))
    elif form is Form.JSON:
        emit(form, {"schema": "weir.explain/1", "figures": [asdict(one) for one in found]}, [])
    else:
        show(*(part for one in found for part in _text(one)))


def _entries(made: Any, names: tuple[str, ...], changed: tuple[str, ...]) -> list[str]:
    """BibTeX of everything behind the figures, however slight its influence."""
    from sim.explain.papers import used

    whole = [explained(made, name, slight=0.0, depth=99, changed=changed) for name in names]
    return [paper.bibtex for paper in used(term for one in whole for term in (*one.terms, *one.closed, *one.rests))]


def _made(asked: Asked) -> tuple[Any, tuple[str, ...]]:
    """The result as a value of the model, and the paths that the user had set."""
    if asked.what.endswith(".json") and not asked.options.get("on"):
        command, given = again.asked(again.result(Path(asked.what))[1])
    else:
        command, given = _question(asked)
    if command == "map":
        sizes = tuple(given.get("sizes") or ())
        return nests.answered(_nest(given, given["workload"], given["on"], sizes)), ()
    if command == "estimate" and given.get("mapping"):
        return nests.answered(_nest(given, given["model"], given["on"][0], tuple(given.get("size") or ()))), ()
    if command not in ("estimate", "compare"):
        raise WeirError(f"what 'weir {command}' answers has no formula; estimate, compare and map have")
    question = answers.Asked.of(given)
    found = question.answers(sensitive=False)
    return found if command == "compare" else found.answers[0], tuple(question.changed)


def _nest(given: Mapping[str, Any], what: str, on: str, sizes: tuple[str, ...]) -> nests.Asked:
    return nests.Asked(what, sizes, on, given.get("mapping"), given.get("technology"), None, given.get("objective"))


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


def _first(made: Any) -> str:
    """The figure that is unfolded where none is named."""
    if isinstance(made, Comparison):
        return "answers[1].tokens_per_dollar"
    return "tokens_per_dollar" if isinstance(made, Answer) else "seconds"


def _text(one: Explained) -> Iterator[Sheet | str]:
    yield "\n".join(line for term in one.terms for line in _lines(term))
    if one.closed:
        off = one.closed[0].value / one.value - 1
        yield folded(
            f"Requests are simulated one by one; in steady state and closed form the same comes to"
            f" {one.closed[0].value:.5g}, {off:+.1%}:"
        )
        yield "\n".join(line for term in one.closed for line in _lines(term))
    yield _rests(one)


def _lines(term: Term) -> Iterator[str]:
    """One term: its value, its formula in names and in numbers, and where in the model it is."""
    if term.source:
        return  # stands in the table below
    margin = "  " * term.depth
    yield f"{margin}{term.name} = {_figure(term.value, term.unit)}"
    for text in dict.fromkeys((term.formula, term.numbers)):
        yield from _wrapped(f"= {text}", margin + "    ")
    if term.where:
        yield from _wrapped(f"({term.where}: {term.meaning})" if term.meaning else f"({term.where})", margin + "    ")


def _wrapped(text: str, margin: str) -> list[str]:
    if not styled() and len(text) < 2 * WIDE:
        return [margin + text]
    import textwrap

    return textwrap.wrap(text, WIDE, initial_indent=margin, subsequent_indent=margin + "  ", break_long_words=False)


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
