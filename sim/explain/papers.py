"""BibTeX of what a figure rests on: papers named by the sources of its numbers and by the functions that made it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from sim.arch.files import read
from sim.explain.unfold import Term

FILE = Path(__file__).with_name("data") / "papers.toml"
_ARXIV = re.compile(r"\b(\d{4}\.\d{4,5})(?:v\d+)?\b")


@dataclass(frozen=True, slots=True)
class Paper:
    """One entry of a bibliography: its key, kind, fields, and the texts by which it is known to be used."""

    key: str
    kind: str
    fields: tuple[tuple[str, str], ...]
    marks: tuple[str, ...]

    @property
    def bibtex(self) -> str:
        """The entry as BibTeX reads it."""
        rows = "".join(f"  {name} = {{{value}}},\n" for name, value in self.fields)
        return f"@{self.kind}{{{self.key},\n{rows}}}"


@cache
def papers() -> tuple[Paper, ...]:
    """Every entry known."""
    found = read(FILE, "bibliography")
    return tuple(_paper(key, dict(entry)) for key, entry in found.items())


def _paper(key: str, entry: dict[str, Any]) -> Paper:
    marks, kind = tuple(map(str, entry.pop("marks"))), str(entry.pop("type"))
    return Paper(key, kind, tuple((name, str(value)) for name, value in entry.items()), marks)


def used(terms: Iterable[Term]) -> tuple[Paper, ...]:
    """The papers that a figure's terms name, in the order of the bibliography; others by their arXiv number alone."""
    texts = "\n".join(dict.fromkeys(text for term in terms for text in _texts(term)))
    named = [paper for paper in papers() if any(mark in texts for mark in paper.marks)]
    known = {value for paper in papers() for name, value in paper.fields if name == "eprint"}
    known |= {mark for paper in papers() for mark in paper.marks}
    bare = [number for number in dict.fromkeys(_ARXIV.findall(texts)) if number not in known]
    return (*named, *(_preprint(number) for number in bare))


def _preprint(number: str) -> Paper:
    fields = (("title", f"arXiv:{number}"), ("eprint", number), ("archivePrefix", "arXiv"))
    return Paper(f"arxiv{number.replace('.', '_')}", "misc", fields, (number,))


def _texts(term: Term) -> Iterator[str]:
    """A term's source, what its function says of itself, and what the function's module says at its head."""
    yield term.source
    yield term.meaning
    parts = term.where.split(".")
    for end in range(len(parts) - 1, 1, -1):
        try:
            yield import_module(".".join(parts[:end])).__doc__ or ""
            return
        except ModuleNotFoundError:  # a class of a module, not a module
            continue
