"""Questions to the general model by name: ``described.usd_per_million`` is that function of ``sim.published.kinds``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from einsum.errors import WeirError, hint
from einsum.tables import Table

FOLDER = Path(__file__).parent / "kinds"
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments; ``inputs`` are the paper's own numbers that it works from."""

    kind: str
    ask: Callable[..., float]
    inputs: Mapping[str, Any]
    given: tuple[tuple[str, Any], ...]

    def __call__(self) -> float:
        """The general model's answer."""
        return float(self.ask(self.inputs, **dict(self.given)))


def call(entry: Table, inputs: Mapping[str, Any], given: Mapping[str, Any]) -> Call | None:
    """The call that a figure's ``entry`` asks for with the arguments ``given``; None after a problem."""
    kind, before = entry.text("kind"), len(entry.source.problems)
    try:
        ask = function(kind)
    except WeirError as problem:
        entry.refuse(str(problem), "kind")
        return None
    known = {n: p for n, p in signature(ask).parameters.items() if p.kind is Parameter.KEYWORD_ONLY}
    for name in (name for name in given if name not in known):
        entry.refuse(f"{kind} takes no such argument{hint(name, known)}", "given", name)
    for name, parameter in known.items():
        if name in given and not _fits(given[name], str(parameter.annotation)):
            entry.refuse(f"must be {parameter.annotation}, not {given[name]!r:.60}", "given", name)
        elif name not in given and parameter.default is Parameter.empty:
            entry.refuse("is missing", "given", name)
    return None if len(entry.source.problems) > before else Call(kind, ask, inputs, tuple(given.items()))


def _fits(value: Any, annotation: str) -> bool:
    return isinstance(value, _TYPES[annotation]) and isinstance(value, bool) == (annotation == "bool")


@cache
def function(kind: str) -> Callable[..., float]:
    """The function of that name, ``module.function``."""
    home, _, name = kind.partition(".")
    homes = [path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__"]
    if home not in homes:
        raise WeirError(f"unknown kind {kind!r:.80}{hint(home, homes)}")
    module = import_module(f"sim.published.kinds.{home}")
    if name not in module.__all__:
        raise WeirError(f"unknown kind {kind!r:.80}{hint(name, module.__all__)}")
    found: Callable[..., float] = getattr(module, name)
    return found


def pick(inputs: Mapping[str, Any], *path: str) -> Any:
    """One of a paper's inputs by its path of keys, refused with a near match."""
    at: Any = inputs
    for key in path:
        if not isinstance(at, Mapping) or key not in at:
            known = at if isinstance(at, Mapping) else ()
            raise WeirError(f"inputs: no {'.'.join(path)!r}{hint(key, known)}")
        at = at[key]
    return at


def table(inputs: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """One of a paper's inputs that is a table."""
    found = pick(inputs, *path)
    if not isinstance(found, Mapping):
        raise WeirError(f"inputs: {'.'.join(path)!r} must be a table, not {found!r:.60}")
    return found


def text(inputs: Mapping[str, Any], *path: str) -> str:
    """One of a paper's inputs that is text."""
    found = pick(inputs, *path)
    if not isinstance(found, str):
        raise WeirError(f"inputs: {'.'.join(path)!r} must be text, not {found!r:.60}")
    return found


def texts(inputs: Mapping[str, Any], *path: str) -> tuple[str, ...]:
    """One of a paper's inputs that is a list of texts, not empty."""
    found = pick(inputs, *path)
    if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
        raise WeirError(f"inputs: {'.'.join(path)!r} must be a list of texts, not {found!r:.60}")
    return tuple(found)


def number(inputs: Mapping[str, Any], *path: str) -> float:
    """One of a paper's inputs that is a number, zero or more."""
    found = pick(inputs, *path)
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0 <= found < math.inf:
        raise WeirError(f"inputs: {'.'.join(path)!r} must be a number of zero or more, not {found!r:.60}")
    return float(found)
