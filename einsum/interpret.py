"""The meaning of a cascade: what it computes, over NumPy arrays. Everything else is tested against this.

Places that a sparsity leaves out are *absent*: maps and reductions skip them. A sparsity declared for an input says
where it is present (a masked array or a scipy matrix says so itself); one declared for a tensor that is computed says
where to compute it, except for a scatter, which is present where it was written. Places drawn at random are the same
for a tensor's name in every cascade. An input that another cascade computed (a backward pass reads such) is present as
it is given where its places would follow from others that are drawn: drawn anew they would not be those.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.along import operate
from einsum.arrays import Array, Ranked, Space, apply, both, contract, reduce
from einsum.cascade import Cascade
from einsum.errors import WeirError, hint
from einsum.order import Group, groups
from einsum.places import Fixed, Stored, free, injective, load, store
from einsum.sparsity import Sparsity
from einsum.terms import Access, Affine, Call, Const, Einsum, Expr, Tensor

Mask = NDArray[np.bool_]
LIMIT = 4 * 2**30  # bytes of the largest intermediate, unless the caller says otherwise


def interpret(
    cascade: Cascade,
    tensors: Mapping[str, Any],
    *,
    seed: int = 0,
    dtype: Any = np.float64,
    limit: float = LIMIT,
    masked: bool = False,
) -> dict[str, Any]:
    """Every tensor that the cascade produces, from its inputs by name; absent places are zero, or masked if asked.

    >>> from einsum import parse
    >>> interpret(parse("Z[m] = A[m, k]", m=1, k=3), {"A": np.array([[1, 2, 3]])})["Z"]
    array([6.])
    """
    kind = np.dtype(dtype)
    if kind.kind != "f":
        raise WeirError(f"{cascade.name}: dtype must be a floating type, not {kind}")
    space = Space({r: int(s) for r, s in cascade.bind().items()}, kind, limit, cascade.name)
    run = _Run(cascade, space, seed)
    run.take(tensors)
    with np.errstate(all="ignore"):  # infinities and NaN travel as NumPy's do, silently
        for group in groups(cascade):
            run.group(group)
    return {name: _shown(run.held[name], masked) for name in cascade.produced}


def _shown(stored: Stored, masked: bool) -> Any:
    if stored.present is None:
        return np.ma.array(stored.data) if masked else stored.data
    present = np.broadcast_to(stored.present, stored.data.shape)
    return np.ma.array(stored.data, mask=~present) if masked else np.where(present, stored.data, 0)


class _Run:
    """One interpretation in progress: the tensors held so far."""

    def __init__(self, cascade: Cascade, space: Space, seed: int) -> None:
        self.cascade, self.space, self.seed = cascade, space, seed
        self.held: dict[str, Stored] = {}
        self.own: set[str] = set()  # tensors allocated here, which may be written in place
        scattered = {e.output.tensor for e in cascade.einsums if e.output.indirect}
        self.imposed = {t.name: () if t.derived or t.name in scattered else t.patterns for t in cascade.tensors}

    # -- what comes in

    def take(self, given: Mapping[str, Any]) -> None:
        """Check the inputs and hold them."""
        cascade = self.cascade
        used = {n for e in cascade.einsums for n in e.inputs} | set(cascade.produced)
        for name in given:
            if name not in cascade.inputs:
                kind = "is computed, not given" if name in cascade.produced else "is no tensor of this cascade"
                raise WeirError(f"{cascade.name}: {name!r} {kind}{hint(name, cascade.inputs)}")
        for name in cascade.inputs:
            if name in given:
                self.held[name] = self.input(cascade.tensor(name), given[name])
            elif name in used:
                missing = [n for n in cascade.inputs if n in used and n not in given]
                raise WeirError(f"{cascade.name}: tensor {name!r} is not given; missing: {', '.join(missing)}")

    def input(self, tensor: Tensor, given: Any) -> Stored:
        """One input as an array of the right shape, with what is absent in it."""
        present, own = None, False
        array: Any = given
        if hasattr(given, "tocoo"):
            coo = given.tocoo()
            array, own = given.toarray(), True
            present = np.zeros(array.shape, bool)
            present[getattr(coo, "coords", None) or (coo.row, coo.col)] = True
        elif isinstance(given, np.ma.MaskedArray):
            array, own, present = given.filled(0), True, ~np.ma.getmaskarray(given)
        array = self.numeric(tensor, array)
        self.check_shape(tensor, array.shape)
        known = tuple(p for p in tensor.patterns if not (tensor.derived and p.drawn))
        return Stored(array, present if own else self.mask(tensor, known))

    def numeric(self, tensor: Tensor, given: Any) -> Array:
        """Numbers as the cascade computes with them; whole numbers stay whole, to serve as indices."""
        try:
            array = np.asarray(given)
        except ValueError:
            raise WeirError(f"{self.cascade.name}: {tensor.name} is not an array of numbers") from None
        if array.dtype.kind not in "biuf":
            raise WeirError(f"{self.cascade.name}: {tensor.name} holds {array.dtype}, not real numbers")
        return array.astype(self.space.dtype if array.dtype.kind == "f" else np.int64, copy=False)

    def check_shape(self, tensor: Tensor, shape: tuple[int, ...]) -> None:
        """Refuse an array of another shape; a dimension reached only through an index may have any extent."""
        wanted = self.cascade.shape(tensor.name, self.space.sizes)
        names = [r or "computed" for r in tensor.ranks]
        open_ = [r is None and self.indexed(tensor.name, axis) for axis, r in enumerate(tensor.ranks)]
        fits = len(shape) == len(wanted) and all(
            have >= want if free_ else have == want for have, want, free_ in zip(shape, wanted, open_, strict=True)
        )
        if not fits:
            expected = "(" + ", ".join(f"{n}={int(w)}" for n, w in zip(names, wanted, strict=True)) + ")"
            raise WeirError(f"{self.cascade.name}: {tensor.name} has shape {shape}; expected {expected}")

    def indexed(self, name: str, axis: int) -> bool:
        """Whether any access goes through an index tensor in this dimension."""
        every = (a for e in self.cascade.einsums for a in (e.output, *e.reads))
        return any(a.tensor == name and isinstance(a.indices[axis], Access) for a in every)

    def mask(self, tensor: Tensor, patterns: tuple[Sparsity, ...]) -> Mask | None:
        """Where a tensor with these patterns is present, broadcastable to its shape."""
        rng = np.random.default_rng([self.seed, *tensor.name.encode()])
        ranks = tuple(r or "" for r in tensor.ranks)
        drawn: list[Mask | None] = []
        for pattern in patterns:
            found, wanted = pattern.mask(self.space.sizes, rng), tuple(self.space.sizes[r] for r in pattern.ranks)
            if found.shape != wanted:
                raise WeirError(f"{self.cascade.name}: the sparsity of {tensor.name} has shape {found.shape}; "
                                f"its ranks ({', '.join(pattern.ranks)}) have {wanted}")  # fmt: skip
            drawn.append(Ranked(pattern.ranks, found).aligned(ranks).data)
        return both(drawn)

    # -- what happens

    def group(self, group: Group) -> None:
        """Run Einsums once, or step by step along the ranks of their recurrence."""
        for at in product(*(range(int(self.space.sizes[r])) for r in group.steps)):
            fixed = dict(zip(group.steps, at, strict=True))
            for einsum in group.einsums:
                self.einsum(einsum, fixed)

    def einsum(self, einsum: Einsum, fixed: Fixed) -> None:
        """Evaluate one Einsum and write what it produces."""
        ranks = free(einsum.output, fixed)
        self.space.admit(ranks)
        value = self.body(einsum, ranks, fixed).aligned(ranks)
        self.write(einsum, value, fixed)

    def body(self, einsum: Einsum, ranks: tuple[str, ...], fixed: Fixed) -> Ranked:
        """The right-hand side, reduced to the output's ranks (or fewer, where it does not vary)."""
        if einsum.operator:
            return operate(einsum.operator, einsum.along, self.value(einsum.expr, fixed), self.space)
        if einsum.reduction == "sum" and isinstance(einsum.expr, Call) and einsum.expr.op == "mul":
            return contract([self.value(f, fixed) for f in _factors(einsum.expr)], ranks, self.space)
        value = self.value(einsum.expr, fixed)
        return reduce(einsum.reduction, value, [r for r in value.ranks if r not in ranks], self.space)

    def value(self, expr: Expr, fixed: Fixed) -> Ranked:
        """An expression at every point of its free ranks."""
        if isinstance(expr, Const):
            number = self.space.sizes[expr.size] if expr.size else expr.value
            return Ranked((), np.asarray(number, self.space.dtype))
        if isinstance(expr, Access):
            return load(expr, self.held, self.space, fixed)
        args = tuple(self.value(a, fixed) for a in expr.args)
        return apply(expr.op, args, tuple(isinstance(a, Const) for a in expr.args), self.space)

    def write(self, einsum: Einsum, value: Ranked, fixed: Fixed) -> None:
        """Put a value where the output's access says, in a tensor of this run's own."""
        name, access = einsum.output.tensor, einsum.output
        shape = tuple(int(n) for n in self.cascade.shape(name, self.space.sizes))
        mask = None if access.indirect else self.written(access, fixed)
        if mask is not None:
            value = Ranked(value.ranks, value.data, both((value.present, mask)))
        if name not in self.held and not fixed and self.covers(access, shape):
            data = np.broadcast_to(value.data, shape)
            fresh = isinstance(einsum.expr, Call) and data.shape == value.data.shape
            self.held[name] = Stored(data if fresh else data.copy(), value.present)
            return
        self.claim(name, shape, value.data.dtype)
        reduction = "sum" if einsum.operator else einsum.reduction
        store(access, value, self.held[name], self.held, reduction, self.space, fixed)

    def covers(self, access: Access, shape: tuple[int, ...]) -> bool:
        """Whether an access is the whole tensor, dimension by dimension."""
        plain = [i.plain if isinstance(i, Affine) else None for i in access.indices]
        extents = tuple(int(self.space.sizes[r]) for r in plain if r)
        return extents == shape and injective(access, self.space, {})

    def written(self, access: Access, fixed: Fixed) -> Mask | None:
        """Where an Einsum is to be computed, in the free ranks of its output."""
        tensor = self.cascade.tensor(access.tensor)
        if not self.imposed[tensor.name]:
            return None
        whole = np.broadcast_to(
            np.asarray(self.mask(tensor, self.imposed[tensor.name])), self.cascade.shape(tensor.name, self.space.sizes)
        )
        found = load(access, {tensor.name: Stored(whole)}, self.space, fixed)
        return found.data

    def claim(self, name: str, shape: tuple[int, ...], kind: Any) -> None:
        """Make a tensor one that may be written in place: empty if it is new, a copy if it came from outside."""
        old = self.held.get(name)
        if old is not None and name in self.own and np.can_cast(kind, old.data.dtype):
            return
        if old is None:
            self.held[name] = Stored(np.zeros(shape, kind), np.zeros(shape, bool))
        else:
            present = None if old.present is None else np.broadcast_to(old.present, old.data.shape).copy()
            self.held[name] = Stored(np.array(old.data, np.result_type(old.data, kind), order="C"), present)
        self.own.add(name)


def _factors(expr: Expr) -> list[Expr]:
    """The factors of a product, left to right."""
    if isinstance(expr, Call) and expr.op == "mul":
        return [f for a in expr.args for f in _factors(a)]
    return [expr]
