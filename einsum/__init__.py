"""The language: what is computed.

A cascade is a list of Einsums, one per line. :func:`parse` reads it, :func:`interpret` is its meaning,
and the analyses (:mod:`einsum.counts`, :mod:`einsum.passes`, :mod:`einsum.live`) say what it costs at least.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from einsum.cascade import Cascade
from einsum.errors import Infeasible, WeirError, hint
from einsum.parse import parse
from einsum.program import Part, Program
from einsum.terms import Access, Affine, Call, Const, Einsum, Tensor, Term

if TYPE_CHECKING:
    from einsum.interpret import interpret
    from einsum.live import Live, live_ranges, peak
    from einsum.passes import Passes, passes
    from einsum.split import split

__all__ = [
    "Access",
    "Affine",
    "Call",
    "Cascade",
    "Const",
    "Einsum",
    "Infeasible",
    "Live",
    "Part",
    "Passes",
    "Program",
    "Tensor",
    "Term",
    "WeirError",
    "hint",
    "interpret",
    "live_ranges",
    "parse",
    "passes",
    "peak",
    "split",
]

# Analyses are imported when first asked for, so that reading a cascade stays light.
_LATER = {
    "interpret": "interpret",
    "Live": "live",
    "live_ranges": "live",
    "peak": "live",
    "Passes": "passes",
    "passes": "passes",
    "split": "split",
}


class _Package(ModuleType):
    """This package: importing the submodule ``einsum.passes`` leaves ``einsum.passes`` the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        own = isinstance(value, ModuleType) and _LATER.get(name) == name
        super().__setattr__(name, getattr(value, name) if own else value)


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'einsum' has no attribute {name!r}{hint(name, __all__)}")
    return getattr(import_module(f"einsum.{_LATER[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)


sys.modules[__name__].__class__ = _Package
