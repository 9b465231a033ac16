"""The language: what is computed.

A cascade is a list of Einsums, one per line. :func:`parse` reads it, :func:`interpret` is its meaning,
and the analyses (:mod:`einsum.counts`, :mod:`einsum.passes`, :mod:`einsum.live`) say what it costs at least.
"""

from __future__ import annotations

from einsum.cascade import Access, Affine, Call, Cascade, Const, Einsum, Tensor, Term
from einsum.errors import Infeasible, WeirError, hint
from einsum.parse import parse
from einsum.program import Part, Program

__all__ = [
    "Access",
    "Affine",
    "Call",
    "Cascade",
    "Const",
    "Einsum",
    "Infeasible",
    "Part",
    "Program",
    "Tensor",
    "Term",
    "WeirError",
    "hint",
    "parse",
]
