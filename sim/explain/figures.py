"""Figures of results unfolded: found in a summary by name, computed again on traced numbers, written as terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from einsum.errors import WeirError, hint
from sim.explain import iterations, mapped, placing, renting, rows, schedules, serving, sparse  # noqa: F401  each registers its results
from sim.explain.opened import Opened, opened
from sim.explain.scalars import Resolver
from sim.explain.traced import Traced, leaf
from sim.explain.unfold import Term, Unfolding
from sim.space.sweep import UNITS

DEEPEST = 50  # levels of a summary
LISTED = 40  # names of figures that are told where one is unknown


@dataclass(frozen=True, slots=True)
class Explained:
    """A figure's terms, the first the figure itself; ``closed`` are those of ``beside``, what stands for it where
    it was simulated; ``rests`` is every number that was given to either, the most influential first."""

    figure: str
    value: float
    terms: tuple[Term, ...]
    closed: tuple[Term, ...]
    rests: tuple[Term, ...]
    beside: str = ""


def explained(result: Any, figure: str, *, slight: float, depth: int, changed: tuple[str, ...] = ()) -> Explained:
    """A figure of a result (or of one :class:`Opened`); ``changed`` are paths that the user has set.

    ``depth`` levels are unfolded, and no term whose influence is under ``slight``. Raises :class:`WeirError` for a
    name that the result does not have, or for one that is no number.
    """
    made = result if isinstance(result, Opened) else opened(result, changed)
    value = found(made.figures, figure)
    known = made.units.get(figure, unit(figure))
    if not isinstance(value, Traced):
        value = leaf(value, figure, known, made.how(figure))
    beside, rests, resolver = made.beside(figure), dict[str, Term](), Resolver()
    titles = [(value, figure), *([(beside.value, f"{figure} beside")] if beside else [])]
    parts: list[tuple[Term, ...]] = []
    for one, name in titles:
        root = resolver.at(one)
        whole = Unfolding(_names(made, resolver), depth, slight)
        parts.append(tuple(whole.unfold(root, name, known)))
        rests = _together(whole.given()) | rests
    ranked = tuple(sorted(rests.values(), key=lambda term: -abs(term.influence)))
    closed = parts[1] if beside else ()
    return Explained(figure, resolver.at(value).value, parts[0], closed, ranked, beside.what if beside else "")


def _together(terms: Iterable[Term]) -> dict[str, Term]:
    """Numbers by name; of those called alike (as of one product in two passes) equal ones are one, others numbered."""
    equal: dict[tuple[str, float], Term] = {}
    for term in terms:
        known = equal.get((term.name, term.value))
        equal[term.name, term.value] = replace(known, influence=known.influence + term.influence) if known else term
    found: dict[str, Term] = {}
    used = Counter[str]()
    for term in equal.values():
        used[term.name] += 1
        name = f"{term.name} #{used[term.name]}" if used[term.name] > 1 else term.name
        found[name] = replace(term, name=name)
    return found


def _names(made: Opened, resolver: Resolver) -> dict[int, tuple[str, str]]:
    """Name and unit of each part, by identity."""
    named: dict[int, tuple[str, str]] = {}
    for value, name, unit_ in made.parts():
        if isinstance(value, Traced):
            named.setdefault(id(resolver.at(value)), (name, unit_))
    return named


def unit(figure: str) -> str:
    """The unit of a figure by its name."""
    last = figure.rpartition("]")[2].strip(".") or figure
    if last.startswith(("ttft", "tpot", "e2e")):
        return "s"
    if last.startswith("prices"):
        return "USD/h"
    return UNITS.get(last, "J" if last.startswith("joules_by") else "B" if last.startswith("bytes") else "")


def numbers_of(figures: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of a summary by dotted names, as deep as summaries are."""
    if at.count(".") + at.count("[") > DEEPEST:
        return
    if isinstance(figures, Mapping):
        for key, value in figures.items():
            yield from numbers_of(value, f"{at}.{key}" if at else str(key))
    elif isinstance(figures, list | tuple):
        for place, value in enumerate(figures):
            yield from numbers_of(value, f"{at}[{place}]")
    elif isinstance(figures, Traced | int | float) and not isinstance(figures, bool):
        yield at, figures


def found(figures: Any, name: str) -> Any:
    """The figure of a dotted name such as ``answers[1].ttft.p95``."""
    known = dict(numbers_of(figures))
    if name not in known:
        near = hint(name, known)
        rest = "" if near.startswith("; known") else f"; there are {_listed(list(known))}"
        raise WeirError(f"no figure {name!r:.80}{near}{rest}")
    return known[name]


def _listed(names: list[str]) -> str:
    """The first of many names."""
    left = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {left} more" if left > 0 else "")
