"""Reverse-mode differentiation: a cascade's backward pass, as a cascade that is derived Einsum by Einsum.

For ``Z[...] = sum of f(A, B, ...)`` each operand's gradient is ``DA[...] += DZ[...] * df/dA``, summed over the ranks
that the operand does not have: an Einsum again, whose output is indexed as the operand was read (so that a gather's
gradient is a scatter). Where a derivative is simpler in the Einsum's own result (exp, a quotient, tanh), it reads that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from einsum.cascade import Cascade
from einsum.errors import WeirError, hint
from einsum.ops import OPERATORS
from einsum.patterns import inferred
from einsum.sparsity import Band
from einsum.terms import Access, Affine, Call, Const, Einsum, Expr, Tensor, Term, accesses, ranks_of

ONE, ZERO = Const(1.0), Const(0.0)


def adjoint(
    cascade: Cascade, *, outputs: Iterable[str] = (), constants: Iterable[str] = (), recompute: Iterable[str] = ()
) -> Cascade:
    """Gradients ``DA`` of every floating-point tensor ``A``, from those of ``outputs`` (by default, of all).

    ``constants`` carry no gradient (a softmax's maximum, which cancels); tensors to ``recompute`` are computed anew, as
    ``A_R``, from what they were made of, instead of being read. Raises :class:`WeirError` where an Einsum on the way
    has no derivative here: an iterative rank, an operator such as a scan, a reduction other than sum, max and
    logsumexp.
    """
    sources = tuple(outputs) or tuple(n for n in cascade.outputs if _real(cascade, n))
    for name in (*sources, *constants, *recompute):
        cascade.tensor(name)  # or says which is near
    taken = {t.name for t in cascade.tensors}
    for tensor in cascade.tensors:
        if f"D{tensor.name}" in taken:
            raise WeirError(f"{cascade.name}: the gradient of {tensor.name} would be called D{tensor.name}, "
                            "which is a tensor already")  # fmt: skip
    if cascade.iterative:
        raise WeirError(f"{cascade.name}: no derivative along the iterative rank {cascade.iterative[0]!r}")
    backward = _Backward(cascade, frozenset(constants), {name: [f"D{name}"] for name in sources})
    for einsum in reversed(cascade.einsums):
        backward.through(einsum)
    backward.finish()
    return _again(cascade, backward.made, tuple(recompute), sources)


def _real(cascade: Cascade, name: str) -> bool:
    return not cascade.tensor(name).dtype.startswith(("int", "u"))


@dataclass
class _Backward:
    """A backward pass being written: its Einsums, and each tensor's gradients so far by the names of their tensors."""

    cascade: Cascade
    constants: frozenset[str]
    parts: dict[str, list[str]]
    made: list[Einsum] = field(default_factory=list)
    done: set[str] = field(default_factory=set)

    def through(self, einsum: Einsum) -> None:
        """Add the gradients of one Einsum's operands, if its result has one."""
        name = einsum.output.tensor
        if name not in self.parts or name in self.constants:
            return
        _differentiable(self.cascade, einsum)
        above = Access(self._whole(name, einsum.output), einsum.output.indices)
        if einsum.operator == "top_k":
            self._chosen(einsum, above)
        for access, slope in _slopes(einsum):
            if slope != ZERO and _real(self.cascade, access.tensor) and access.tensor not in self.constants:
                self._add(einsum, access, self._summed(access, _associated(above, self._known(slope))))

    def _known(self, expr: Expr) -> Expr:
        """The expression with whatever an Einsum of the cascade has computed already read from its result."""
        if not isinstance(expr, Call):
            return expr
        made = next(
            (e.output for e in self.cascade.einsums if e.expr == expr and not e.reduced and not e.operator), None
        )
        return made or Call(expr.op, tuple(map(self._known, expr.args)))

    def _whole(self, name: str, output: Access) -> str:
        """The tensor with all of a gradient, its parts summed once."""
        parts = self.parts[name]
        if len(parts) > 1 and name not in self.done:
            reads = [Access(part, output.indices) for part in parts]
            total: Expr = reads[0]
            for more in reads[1:]:
                total = Call("add", (total, more))
            self.made.append(Einsum(f"D{name}", Access(f"D{name}", output.indices), total))
        self.done.add(name)
        return f"D{name}" if len(parts) > 1 else parts[0]

    def _add(self, einsum: Einsum, access: Access, slope: Expr) -> None:
        lost = [r for r in einsum.reduced if r not in ranks_of(slope) and r not in access.ranks]
        for rank in lost:  # each of its places adds the same
            slope = _product(slope, Const(0.0, rank))
        self._part(access, slope)

    def _summed(self, access: Access, slope: Expr) -> Expr:
        """A product of three of which two alone have a rank that is summed, with that sum made first: where the third
        is sparse, or the tensor whose gradient it is, only at its places."""
        factors = [f for f in _factors(slope) if isinstance(f, Access) and all(_rank(i) for i in f.indices)]
        if len(factors) != 3 or len(_factors(slope)) != 3:
            return slope
        gradient, *others = factors
        for third, two in (others, others[::-1]):
            one = gradient
            rest = {*ranks_of(third), *access.ranks}
            left = tuple(r for r in dict.fromkeys((*one.ranks, *two.ranks)) if r in rest)
            if not (set(one.ranks) & set(two.ranks) - rest) or not set(third.ranks) <= set(left):
                continue
            sparse = (a for a in (access, third) if self.cascade.tensor(a.tensor).patterns)
            mask = next((Call("one", (a,)) for a in sparse if set(a.ranks) < set(left)), ONE)
            partial = Access(f"D{access.tensor}_P", tuple(Affine((Term(1, (), rank),)) for rank in left))
            self.made.append(Einsum(partial.tensor, partial, _product(_product(mask, one), two)))
            return Call("mul", (partial, third))
        return slope

    def _part(self, access: Access, slope: Expr) -> None:
        """One part of a tensor's gradient, the whole of it where it is used once."""
        parts = self.parts.setdefault(access.tensor, [])
        alone = self._uses[access.tensor] == 1 and not parts
        name = f"D{access.tensor}" if alone else f"D{access.tensor}_{len(parts) + 1}"
        self.made.append(Einsum(name, Access(name, access.indices), slope))
        parts.append(name)

    @cached_property
    def _uses(self) -> Counter[str]:
        """How many accesses of each tensor a gradient may reach."""
        return Counter(access.tensor for einsum in self.cascade.einsums for access in _used(einsum))

    def _chosen(self, einsum: Einsum, above: Access) -> None:
        """The gradients of the largest few, scattered to the places that an arg_top_k of the same operand names."""
        alike = (e for e in self.cascade.einsums if e.operator == "arg_top_k" and e.along == einsum.along)
        places = next((e.output for e in alike if e.expr == einsum.expr), None)
        if places is None or not isinstance(einsum.expr, Access):
            raise WeirError(f"{self.cascade.name}: line {einsum.line}: top_k has no derivative here without arg_top_k "
                            "of the same tensor, which says where its gradient goes")  # fmt: skip
        indices = [places if _rank(i) == einsum.along[0] else i for i in einsum.expr.indices]
        self._part(Access(einsum.expr.tensor, tuple(indices)), above)

    def finish(self) -> None:
        """Sum the parts of the gradients of what comes in."""
        for name, parts in self.parts.items():
            if len(parts) > 1 and name not in self.done:
                reads = [a for e in self.cascade.einsums for a in (*e.reads, e.output) if a.tensor == name]
                self._whole(name, min(reads, key=lambda a: bool(a.indirect)))  # a look-up does not reach all places


def _differentiable(cascade: Cascade, einsum: Einsum) -> None:
    if einsum.operator == "top_k":
        return
    if einsum.operator and not OPERATORS[einsum.operator].integer:
        raise WeirError(f"{cascade.name}: line {einsum.line}: {einsum.operator} has no derivative here")
    if einsum.reduced and einsum.reduction not in ("sum", "max", "logsumexp"):
        raise WeirError(f"{cascade.name}: line {einsum.line}: a {einsum.reduction} has no derivative here")


def _rank(index: Affine | Access) -> str | None:
    """The rank of an index that is just one."""
    return index.plain if isinstance(index, Affine) else None


def _used(einsum: Einsum) -> list[Access]:
    """The accesses through which a gradient may reach an Einsum's operands."""
    if einsum.operator == "top_k":
        return list(accesses(einsum.expr))
    return [access for access, slope in _slopes(einsum) if slope != ZERO]


def _slopes(einsum: Einsum) -> Iterator[tuple[Access, Expr]]:
    """Each access of an Einsum's expression with the derivative of the result by it."""
    if einsum.operator:
        return
    outer: Expr = ONE
    if einsum.reduction == "max" and einsum.reduced:
        outer = Call("equal", (einsum.expr, einsum.output))  # of equal values each counts: they have measure zero
    if einsum.reduction == "logsumexp" and einsum.reduced:
        outer = Call("exp", (Call("sub", (einsum.expr, einsum.output)),))
    own = einsum.output if not einsum.reduced else None
    yield from _inner(einsum.expr, outer, own)


def _inner(expr: Expr, outer: Expr, own: Access | None) -> Iterator[tuple[Access, Expr]]:
    if isinstance(expr, Access):
        yield expr, outer
    elif isinstance(expr, Call):
        if expr.op not in SLOPES:
            raise WeirError(f"{expr.op} has no derivative here{hint(expr.op, SLOPES)}")
        result = own if own is not None else expr
        for arg, slope in zip(expr.args, SLOPES[expr.op](result, *expr.args), strict=True):
            if slope != ZERO:
                yield from _inner(arg, _product(outer, slope), None)


def _product(a: Expr, b: Expr) -> Expr:
    if ZERO in (a, b):
        return ZERO
    if a == ONE:
        return b
    return a if b == ONE else Call("mul", (a, b))


def _factors(expr: Expr) -> list[Expr]:
    """What an expression is the product of."""
    if isinstance(expr, Call) and expr.op == "mul":
        return [factor for arg in expr.args for factor in _factors(arg)]
    return [expr]


def _associated(above: Expr, slope: Expr) -> Expr:
    """The product of a gradient and a slope; what has fewer ranks together is multiplied first, that the rest is one
    product of two."""
    factors = _factors(slope)
    if len(factors) != 2:
        return _product(above, slope)
    small, large = sorted(factors, key=lambda factor: len({*ranks_of(above), *ranks_of(factor)}))
    if len({*ranks_of(above), *ranks_of(small)}) < len(set(ranks_of(slope))):
        return _product(_product(above, small), large)
    return _product(above, slope)


def _times(*factors: Any) -> Expr:
    total: Expr = ONE
    for factor in factors:
        total = _product(total, Const(float(factor)) if isinstance(factor, int | float) else factor)
    return total


def _less(a: Expr, b: Any) -> Expr:
    return Call("sub", (a, Const(float(b)) if isinstance(b, int | float) else b))


def _plus(a: Any, b: Expr) -> Expr:
    return Call("add", (Const(float(a)) if isinstance(a, int | float) else a, b))


def _over(a: Any, b: Expr) -> Expr:
    return Call("div", (Const(float(a)) if isinstance(a, int | float) else a, b))


def _gelu(_: Expr, x: Expr) -> tuple[Expr]:
    """Of 0.5 x (1 + tanh(g)), g = sqrt(2 / pi) (x + 0.044715 x^3): 0.5 (1 + t) + 0.5 x (1 - t^2) dg/dx."""
    c = 0.7978845608028654  # sqrt(2 / pi)
    t = Call("tanh", (_times(c, x, _plus(1.0, _times(0.044715, Call("square", (x,))))),))
    rise = _times(c, _plus(1.0, _times(3 * 0.044715, Call("square", (x,)))))
    return (_plus(_times(0.5, _plus(1.0, t)), _times(0.5, x, _less(ONE, Call("square", (t,))), rise)),)


def _silu(_: Expr, x: Expr) -> tuple[Expr]:
    s = Call("sigmoid", (x,))
    return (_times(s, _plus(1.0, _times(x, _less(ONE, s)))),)


# For each map: its derivative by each operand, given its result and its operands.
SLOPES: dict[str, Callable[..., tuple[Expr, ...]]] = {
    "add": lambda _, a, b: (ONE, ONE),
    "sub": lambda _, a, b: (ONE, Const(-1.0)),
    "mul": lambda _, a, b: (b, a),
    "div": lambda z, a, b: (_over(1.0, b), _times(-1.0, _over(z, b))),
    "max": lambda _, a, b: (Call("greater_equal", (a, b)), Call("less", (a, b))),
    "min": lambda _, a, b: (Call("less_equal", (a, b)), Call("greater", (a, b))),
    "pow": lambda z, a, b: (_times(b, Call("pow", (a, _less(b, 1.0)))), _times(z, Call("log", (a,)))),
    "less": lambda _, a, b: (ZERO, ZERO),
    "less_equal": lambda _, a, b: (ZERO, ZERO),
    "greater": lambda _, a, b: (ZERO, ZERO),
    "greater_equal": lambda _, a, b: (ZERO, ZERO),
    "equal": lambda _, a, b: (ZERO, ZERO),
    "where": lambda _, c, a, b: (ZERO, Call("where", (c, ONE, ZERO)), Call("where", (c, ZERO, ONE))),
    "neg": lambda _, a: (Const(-1.0),),
    "abs": lambda _, a: (Call("where", (Call("less", (a, ZERO)), Const(-1.0), ONE)),),
    "exp": lambda z, a: (z,),
    "log": lambda _, a: (_over(1.0, a),),
    "sqrt": lambda z, a: (_over(0.5, z),),
    "rsqrt": lambda z, a: (_times(-0.5, _over(z, a)),),
    "tanh": lambda z, a: (_less(ONE, Call("square", (z,))),),
    "sin": lambda _, a: (Call("cos", (a,)),),
    "cos": lambda _, a: (_times(-1.0, Call("sin", (a,))),),
    "square": lambda _, a: (_times(2.0, a),),
    "relu": lambda _, a: (Call("greater", (a, ZERO)),),
    "sigmoid": lambda z, a: (_times(z, _less(ONE, z)),),
    "silu": _silu,
    "gelu": _gelu,
    "copy": lambda _, a: (ONE,),
    "one": lambda _, a: (ZERO,),
}


def _again(cascade: Cascade, backward: list[Einsum], names: tuple[str, ...], sources: tuple[str, ...]) -> Cascade:
    """The backward Einsums with what is to be recomputed in front of its first use, under a name of its own."""
    writers: dict[str, list[Einsum]] = {}
    for einsum in cascade.einsums:
        if einsum.output.tensor in names:
            writers.setdefault(einsum.output.tensor, []).append(einsum)
    order: list[Einsum] = []
    there: set[str] = set()

    def need(einsum: Einsum) -> None:
        for name in einsum.inputs:
            if name in writers and name not in there:
                there.add(name)
                for writer in writers[name]:
                    need(writer)
                    order.append(renamed(replace(writer, name=f"{writer.name}_R"), writers))

    for einsum in backward:
        need(einsum)
        order.append(renamed(einsum, writers))
    return _assembled(cascade, tuple(order), sources)


def renamed(einsum: Einsum, again: Iterable[str]) -> Einsum:
    """An Einsum that reads and writes the recomputed copies of the tensors ``again``."""
    names = set(again)

    def walk(expr: Any) -> Any:
        if isinstance(expr, Access):
            inner = tuple(walk(i) if isinstance(i, Access) else i for i in expr.indices)
            return Access(f"{expr.tensor}_R" if expr.tensor in names else expr.tensor, inner)
        return Call(expr.op, tuple(map(walk, expr.args))) if isinstance(expr, Call) else expr

    return replace(einsum, output=walk(einsum.output), expr=walk(einsum.expr))


def _assembled(cascade: Cascade, einsums: tuple[Einsum, ...], sources: tuple[str, ...]) -> Cascade:
    """A cascade of the Einsums, its tensors like those they are gradients or copies of."""
    own = {t.name: t for t in cascade.tensors}
    found: dict[str, Tensor] = {}
    for einsum in einsums:
        for access in (*einsum.reads, einsum.output):
            if access.tensor not in found:
                found[access.tensor] = _like(access, own)
    written = {e.output.tensor for e in einsums}
    tensors = tuple(t if t.name not in written else replace(t, kind="stream") for t in found.values())
    ranks = {r for e in einsums for r in _symbols(e)}
    named = {n for r, s in cascade.sizes if r in ranks and not isinstance(s, int) for t in s.terms for n in t.extents}
    band = {p.offset for t in tensors for p in t.patterns if isinstance(p, Band)}
    tables = {r for t in tensors for r in t.ranks if r}
    sizes = tuple((r, s) for r, s in cascade.sizes if r in ranks | named | band | tables)
    made = Cascade(einsums, tensors, sizes, f"{cascade.name}_backward")
    return replace(made, tensors=inferred(made.einsums, made.tensors))


def _like(access: Access, own: dict[str, Tensor]) -> Tensor:
    """The tensor of that name, or that of which it is the gradient, a part of it, a product on the way to it, or a copy
    computed anew."""
    name = access.tensor
    if name in own:
        return own[name]
    if name.endswith("_R") and name[:-2] in own:
        return replace(own[name[:-2]], name=name)
    base = name[1:]
    base = base if base in own else base.rpartition("_")[0]
    origin = own[base]
    if name.endswith("_P"):
        return Tensor(name, access.ranks, origin.dtype)
    # A gradient is needed where its tensor is present; a random pattern would be drawn anew, so only bands carry over.
    bands = tuple(p for p in origin.patterns if isinstance(p, Band))
    return replace(origin, name=name, kind="stream", patterns=bands, derived=False)


def _symbols(einsum: Einsum) -> Iterator[str]:
    """Every rank and size an Einsum mentions."""
    yield from einsum.ranks

    def consts(expr: Expr) -> Iterator[str]:
        if isinstance(expr, Const) and expr.size:
            yield expr.size
        elif isinstance(expr, Call):
            for arg in expr.args:
                yield from consts(arg)

    yield from consts(einsum.expr)
    for access in (einsum.output, *einsum.reads):
        for index in access.indices:
            if not isinstance(index, Access):
                yield from (name for term in index.terms for name in term.extents)
