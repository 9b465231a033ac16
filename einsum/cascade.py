"""The values of the language: indices, accesses, expressions, Einsums, tensors and cascades, all frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
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


@dataclass(frozen=True)
class Cascade:
    """A list of Einsums over tensors, with the sizes of its ranks (some may be given by others: ``m = C + P``)."""

    einsums: tuple[Einsum, ...]
    tensors: tuple[Tensor, ...]
    sizes: tuple[tuple[str, int | Affine], ...]
    name: str = "cascade"

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        return {t.name: t for t in self.tensors}

    @cached_property
    def _einsums(self) -> dict[str, Einsum]:
        return {e.name: e for e in self.einsums}

    def tensor(self, name: str) -> Tensor:
        """The tensor called ``name``; :class:`WeirError` with the nearest name if there is none."""
        if name not in self._tensors:
            raise WeirError(f"{self.name}: no tensor {name!r}{hint(name, self._tensors)}")
        return self._tensors[name]

    def einsum(self, name: str) -> Einsum:
        """The Einsum called ``name``; :class:`WeirError` with the nearest name if there is none."""
        if name not in self._einsums:
            raise WeirError(f"{self.name}: no Einsum {name!r}{hint(name, self._einsums)}")
        return self._einsums[name]

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Every rank, in order of appearance."""
        return tuple(dict.fromkeys(r for e in self.einsums for r in e.ranks))

    @cached_property
    def produced(self) -> tuple[str, ...]:
        """Tensors that some Einsum writes, in order."""
        return tuple(dict.fromkeys(e.output.tensor for e in self.einsums))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Tensors that are read but never written, or that exist before the first write (state)."""
        written = set(self.produced)
        return tuple(t.name for t in self.tensors if t.name not in written or t.kind == "state")

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Tensors written and read by no later Einsum, and state that is written."""
        read = {n for e in self.einsums for n in e.inputs}
        return tuple(n for n in self.produced if n not in read or self.tensor(n).kind == "state")

    @cached_property
    def intermediates(self) -> tuple[str, ...]:
        """Tensors both written and read that are not state."""
        return tuple(n for n in self.produced if n not in self.outputs)

    @cached_property
    def iterative(self) -> tuple[str, ...]:
        """Ranks along which a tensor is computed from its own previous value: ``RM[m1 + 1] = ... RM[m1] ...``."""
        return tuple(dict.fromkeys(r for e in self.einsums for r in carried(e)))

    @cached_property
    def patterns(self) -> dict[str, tuple[Sparsity, ...]]:
        """Where each Einsum's iteration space is present, by name."""
        from einsum.patterns import of_einsum  # it builds on this module

        return {e.name: of_einsum(e, self._tensors) for e in self.einsums}

    def bind(self, **sizes: Any) -> dict[str, Any]:
        """Every rank's extent, with the given ones (integers or arrays) in place of the cascade's own."""
        own = dict(self.sizes)
        unknown = [r for r in sizes if r not in own]
        if unknown:
            raise WeirError(f"{self.name}: no rank {unknown[0]!r} to size{hint(unknown[0], own)}")
        given = {**own, **sizes}
        known = {r: s for r, s in given.items() if not isinstance(s, Affine)}
        waiting = {r: s for r, s in given.items() if isinstance(s, Affine)}
        while waiting:
            ready = {r: s for r, s in waiting.items() if all(n in known for t in s.terms for n in t.extents)}
            if not ready:
                raise WeirError(f"{self.name}: sizes of ranks {', '.join(waiting)} depend on each other")
            known |= {r: s.value(known, {}) for r, s in ready.items()}
            waiting = {r: s for r, s in waiting.items() if r not in ready}
        return known

    def with_sizes(self, **sizes: int) -> Cascade:
        """The same cascade at other sizes."""
        check_sizes(sizes, self.name)
        self.bind(**sizes)
        resized = replace(self, sizes=tuple((r, sizes.get(r, s)) for r, s in self.sizes))
        check_extents(resized)
        return resized

    def shape(self, name: str, sizes: Sizes | None = None) -> tuple[Any, ...]:
        """Extent of each dimension of a tensor: the declared rank's, or the furthest that any access reaches."""
        at = self.bind() if sizes is None else sizes
        return tuple(
            at[rank] if rank else self._reach(name, axis, at) for axis, rank in enumerate(self.tensor(name).ranks)
        )

    def _reach(self, name: str, axis: int, sizes: Sizes) -> Any:
        reach: Any = 1
        for einsum in self.einsums:
            for access in (einsum.output, *einsum.reads):
                index = access.indices[axis] if access.tensor == name else None
                if isinstance(index, Affine):
                    reach = np.maximum(reach, index.extent(sizes))
        return reach

    def elements(self, name: str, sizes: Sizes | None = None) -> Any:
        """Number of places in a tensor, present or absent."""
        total: Any = 1
        for extent in self.shape(name, sizes):
            total = total * extent
        return total

    def __str__(self) -> str:
        sizes = ", ".join(f"{r}={s}" for r, s in self.sizes)
        return "\n".join([f"# {self.name}: {sizes}", *map(str, self.einsums)])


def carried(einsum: Einsum) -> Iterator[str]:
    """Ranks at which an Einsum writes one place after the one it (or another line) reads."""
    for index in einsum.output.indices:
        if isinstance(index, Affine) and len(index.terms) == 2:
            var, const = index.terms
            if var.rank and var.scale == 1 and not var.extents and const == Term(1):
                yield var.rank


def check_sizes(sizes: Mapping[str, Any], where: str) -> None:
    """Refuse extents that are not whole numbers from 0 to 2**62; a rank that is iterated must not be empty either."""
    for rank, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 0 <= size < 2**62:
            raise WeirError(f"{where}: size of rank {rank!r} must be a whole number from 0 to 2**62, not {size!r}")


def check_extents(cascade: Cascade) -> None:
    """Refuse sizes that come to nothing: an empty rank that is iterated, a derived size or an index below zero."""
    sizes = cascade.bind()
    check_sizes(sizes, cascade.name)
    for rank in cascade.ranks:
        if sizes[rank] == 0:
            raise WeirError(f"{cascade.name}: rank {rank!r} is empty: its size must be at least 1")
    for einsum in cascade.einsums:
        for access in (einsum.output, *einsum.reads):
            for index in access.indices:
                if isinstance(index, Affine) and index.least(sizes) < 0:
                    raise WeirError(f"{cascade.name}: line {einsum.line}: {access} reaches place {index.least(sizes)}; "
                                    "places count from 0")  # fmt: skip
