"""The language: what is computed.

A cascade is a list of Einsums, one per line. :func:`parse` reads it, :func:`interpret` is its meaning,
and the analyses (:mod:`einsum.counts`, :mod:`einsum.passes`, :mod:`einsum.live`) say what it costs at least.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from einsum.errors import Infeasible, WeirError, hint

if TYPE_CHECKING:
    from einsum.cascade import Cascade
    from einsum.interpret import interpret
    from einsum.live import Live, live_ranges, peak
    from einsum.parse import parse
    from einsum.passes import Passes, passes
    from einsum.program import Part, Program
    from einsum.split import split
    from einsum.terms import Access, Affine, Call, Const, Einsum, Tensor, Term

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

# All but errors is imported when first asked for, so that a mistake on the command line is said without NumPy.
_LATER = {
    "Access": "terms",
    "Affine": "terms",
    "Call": "terms",
    "Cascade": "cascade",
    "Const": "terms",
    "Einsum": "terms",
    "Live": "live",
    "Part": "program",
    "Passes": "passes",
    "Program": "program",
    "Tensor": "terms",
    "Term": "terms",
    "interpret": "interpret",
    "live_ranges": "live",
    "parse": "parse",
    "passes": "passes",
    "peak": "live",
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
