"""The values that a cascade's lines are made of: indices, accesses, expressions, Einsums and tensors, all frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from einsum.sparsity import Sparsity

Sizes = Mapping[str, Any]  # rank -> extent: an integer, or an array of extents for many design points at once


@dataclass(frozen=True, slots=True)
class Term:
    """``scale`` times the sizes of ``extents`` times the variable of ``rank`` (or times one)."""

    scale: int
    extents: tuple[str, ...] = ()
    rank: str | None = None

    def coefficient(self, sizes: Sizes) -> Any:
        """The term's factor, an integer or an array."""
        value: Any = self.scale
        for name in self.extents:
            value = value * sizes[name]
        return value

    def __str__(self) -> str:
        factors = ([self.rank] if self.rank else []) + [name.upper() for name in self.extents]
        if factors and abs(self.scale) == 1:
            return "-" * (self.scale < 0) + "*".join(factors)
        return "*".join([str(self.scale), *factors])


@dataclass(frozen=True)
class Affine:
    """An index that is a sum of rank variables times coefficients, plus a constant: ``m1*M0 + m0``."""

    terms: tuple[Term, ...]

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """The rank variables it moves with."""
        return tuple(t.rank for t in self.terms if t.rank)

    @cached_property
    def plain(self) -> str | None:
        """The rank, if the index is just that rank's variable."""
        [first, *rest] = self.terms
        return first.rank if not rest and first.scale == 1 and not first.extents else None

    def extent(self, sizes: Sizes) -> Any:
        """One more than the largest value it takes."""
        total: Any = 1
        for term in self.terms:
            top = (sizes[term.rank] - 1) * (term.scale > 0) if term.rank else 1  # a falling term is largest at zero
            total = total + term.coefficient(sizes) * top
        return total

    def least(self, sizes: Sizes) -> Any:
        """The smallest value it takes."""
        total: Any = 0
        for term in self.terms:
            top = (sizes[term.rank] - 1) * (term.scale < 0) if term.rank else 1  # a rising term is smallest at zero
            total = total + term.coefficient(sizes) * top
        return total

    def value(self, sizes: Sizes, at: Mapping[str, Any]) -> Any:
        """The index at the point ``at`` (rank -> position, arrays allowed)."""
        total: Any = 0
        for term in self.terms:
            total = total + term.coefficient(sizes) * (at[term.rank] if term.rank else 1)
        return total

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms)).replace("+ -", "- ")


@dataclass(frozen=True, slots=True)
class Const:
    """A literal value; ``size`` names a rank whose extent it is, if any."""

    value: float
    size: str | None = None

    def __str__(self) -> str:
        return self.size.upper() if self.size else repr(self.value).removesuffix(".0")


@dataclass(frozen=True)
class Access:
    """A tensor at indices; an index that is itself an access makes it a gather (read) or a scatter (written)."""

    tensor: str
    indices: tuple[Affine | Access, ...]

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Every rank variable that the access moves with, in order, once each."""
        return tuple(dict.fromkeys(r for index in self.indices for r in index.ranks))

    @cached_property
    def indirect(self) -> tuple[Access, ...]:
        """The accesses that serve as indices."""
        return tuple(i for i in self.indices if isinstance(i, Access))

    def __str__(self) -> str:
        return f"{self.tensor}[{', '.join(map(str, self.indices))}]" if self.indices else self.tensor


@dataclass(frozen=True)
class Call:
    """A map applied at every point of its operands' ranks."""

    op: str
    args: tuple[Expr, ...]

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """The ranks of all operands, in order, once each."""
        return tuple(dict.fromkeys(r for a in self.args if not isinstance(a, Const) for r in a.ranks))

    def __str__(self) -> str:
        infix = {"add": "+", "sub": "-", "mul": "*", "div": "/", "less": "<", "less_equal": "<=", "equal": "=="}
        if self.op in infix and len(self.args) == 2:
            return f"({self.args[0]} {infix[self.op]} {self.args[1]})"
        return f"{self.op}({', '.join(map(str, self.args))})"


Expr = Access | Const | Call


def ranks_of(expr: Expr) -> tuple[str, ...]:
    """The ranks an expression moves with; none for a constant."""
    return () if isinstance(expr, Const) else expr.ranks


def accesses(expr: Expr) -> Iterator[Access]:
    """Every tensor read in an expression, those inside indices included, left to right."""
    if isinstance(expr, Access):
        yield expr
        for inner in expr.indirect:
            yield from accesses(inner)
    elif isinstance(expr, Call):
        for arg in expr.args:
            yield from accesses(arg)


@dataclass(frozen=True)
class Einsum:
    """One line of a cascade: ``output = reduction over what is not written of (expr)``, or an operator on a rank."""

    name: str
    output: Access
    expr: Expr
    reduction: str = "sum"
    operator: str | None = None
    along: tuple[str, ...] = ()  # the operator's rank, then the rank that replaces it
    line: int = 0

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """The iteration space: every rank of the output and of the expression."""
        return tuple(dict.fromkeys(self.output.ranks + ranks_of(self.expr)))

    @cached_property
    def reduced(self) -> tuple[str, ...]:
        """Ranks read and not written, which the reduction (or the operator) removes."""
        return tuple(r for r in ranks_of(self.expr) if r not in self.output.ranks)

    @property
    def scattered(self) -> tuple[str, ...]:
        """Ranks that reach the output only through an index tensor: points of theirs may land on one place."""
        direct = {r for i in self.output.indices if isinstance(i, Affine) for r in i.ranks}
        return tuple(r for r in self.output.ranks if r not in direct)

    @cached_property
    def reads(self) -> tuple[Access, ...]:
        """Every access read, those in indices on either side included."""
        return tuple(accesses(self.expr)) + tuple(a for i in self.output.indirect for a in accesses(i))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read, once each."""
        return tuple(dict.fromkeys(a.tensor for a in self.reads))

    @cached_property
    def contraction(self) -> bool:
        """Whether it is a sum of products: its multiplies and adds are multiply-accumulates."""
        product = isinstance(self.expr, Call) and self.expr.op == "mul"
        return product and self.reduction == "sum" and bool(self.reduced) and self.operator is None

    @cached_property
    def matrix(self) -> bool:
        """Whether it is a product of matrices: two operands each bring a rank of their own to the result."""
        ranks = [set(a.ranks) & set(self.output.ranks) for a in self.reads if a.ranks]
        return self.contraction and any(a - b and b - a for a in ranks for b in ranks)

    @cached_property
    def adds(self) -> bool:
        """Whether it only adds tensors up, place by place: of partial sums it makes partial sums."""

        def plain(expr: Expr) -> bool:
            if isinstance(expr, Access):
                return expr.indices == self.output.indices
            return isinstance(expr, Call) and expr.op in ("add", "copy") and all(map(plain, expr.args))

        return not self.reduced and self.operator is None and plain(self.expr)

    def __str__(self) -> str:
        body = str(self.expr)
        if self.operator:
            body = f"{self.operator}[{', '.join(self.along)}]({body})"
        elif self.reduction != "sum":
            body = f"{self.reduction}[{', '.join(self.reduced + self.scattered)}]({body})"
        elif body.startswith("(") and body.endswith(")"):
            body = body[1:-1]
        return f"{self.output} = {body}"


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array: its ranks (one per dimension, or ``None`` for a computed dimension), type, kind and sparsity.

    ``kind`` is ``weight`` (the same for every request), ``state`` (kept between runs for each request, such as a KV
    cache) or ``stream`` (everything else). ``patterns`` are independent factors whose product is the sparsity;
    ``derived`` says that they follow from the operands of the Einsum that writes it, and were not declared.
    """

    name: str
    ranks: tuple[str | None, ...]
    dtype: str = "bf16"
    kind: str = "stream"
    patterns: tuple[Sparsity, ...] = ()
    derived: bool = False
