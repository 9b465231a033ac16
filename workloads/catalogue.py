"""Cascades by name: those that weir's functions build (``attention.one_pass``), and files of text (``gemm.txt``)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from einsum import Cascade, WeirError, hint, parse
from einsum.files import read_text

# Modules of workloads whose functions build cascades.
FAMILIES = ("attention", "approximate", "ffn", "moe", "lookup", "merging", "sparse", "vocabulary")
LIMIT = 1 << 18  # characters of a cascade's text


def builders() -> dict[str, Callable[..., Any]]:
    """Every function that builds a cascade, as ``attention.one_pass``."""
    return dict(_builders())


def _builders() -> Iterator[tuple[str, Callable[..., Any]]]:
    for family in FAMILIES:
        module = import_module(f"workloads.{family}")
        yield from ((f"{family}.{name}", getattr(module, name)) for name in module.__all__)


def named(what: str) -> bool:
    """Whether this is how a cascade is named: a ``.txt`` file, or ``FAMILY.NAME`` that is no file."""
    family, dot, _ = what.partition(".")
    return what.endswith(".txt") or (family in FAMILIES and bool(dot) and not Path(what).exists())


def build(what: str, sizes: Mapping[str, Any]) -> Cascade:
    """A cascade of the catalogue, or from a text file, at the given sizes.

    Raises :class:`WeirError` for names that are not there, sizes it does not have, and sizes that are missing.
    """
    if what.endswith(".txt"):
        return parse(read_text(Path(what), "cascade", LIMIT), name=Path(what).stem, **sizes)
    known = builders()
    if what not in known:
        raise WeirError(f"unknown workload {what!r:.80}{hint(what, known)}; or give a cascade's text as a .txt file")
    wanted = inspect.signature(known[what]).parameters
    for name in sizes:
        if name not in wanted:
            raise WeirError(f"{what} has no size {name!r}{hint(name, wanted)}")
    missing = [p.name for p in wanted.values() if p.default is p.empty and p.name not in sizes]
    if missing:
        raise WeirError(f"{what} needs {', '.join(f'{name}=...' for name in missing)}")
    made: Cascade = known[what](**sizes)
    return made
