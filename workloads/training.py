"""A layer's training step as two cascades: forward, and the backward that is derived from it.

Nothing is cached between steps: keys and values are activations like all others. A softmax's maximum carries no
gradient, since it cancels; which experts are chosen has none either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from einsum.adjoint import adjoint, renamed
from einsum.cascade import Cascade
from einsum.parse import parse
from einsum.terms import Access, Affine, Call, Const, Einsum, Expr, Tensor, Term
from workloads.layers import layer
from workloads.pieces import INFERENCE, Style, Types, piece, typed
from workloads.spec import Layer, Spec

__all__ = ["backward", "forward", "loss", "optimiser", "step"]

MAXIMA = ("GM", "TM")


def forward(
    spec: Spec, kind: Layer | None = None, *, batch: int = 1, sequence: int, dtype: str = "bf16",
    style: Style = INFERENCE,
) -> Cascade:  # fmt: skip
    """One layer on ``batch`` whole sequences; ``kind`` is the first kind of the model unless another is given."""
    chosen = kind or spec.layers[0]
    made = typed(layer(spec, chosen, False, style).cascade("forward"), Types(dtype, dtype, dtype, dtype))
    tensors = tuple(replace(t, kind="stream") if t.kind == "state" else t for t in made.tensors)
    return replace(made, tensors=tensors).with_sizes(b=batch, p=sequence)


def backward(cascade: Cascade, recompute: Iterable[str] = ()) -> Cascade:
    """Gradients of a forward cascade's inputs and weights from those of its output, ``DXO``.

    Tensors to ``recompute`` are computed anew instead of being kept; so is what is made of indices alone.
    """
    marks = [e.output.tensor for e in cascade.einsums if isinstance(e.expr, Const) and e.output.indirect]
    there = {t.name for t in cascade.tensors}
    constants = [n for n in (*MAXIMA, "COS", "SIN", "AS", "AP") if n in there]
    return replace(adjoint(cascade, constants=constants, recompute=(*recompute, *marks)), name="backward")


def loss(spec: Spec, *, batch: int = 1, sequence: int, dtype: str = "bf16", eager: bool = False) -> Cascade:
    """The classifier over every position and the loss of each: ``LOSS`` from the stream ``X`` and the words ``T``.

    ``eager`` widens logits to fp32 first, and keeps their exponentials so, as frameworks do.
    """
    table, weight = ("WE[v, d]", "WE[v, d]: weight") if spec.tied else ("WL[d, v]", "WL[d, v]: weight")
    wide = ("LF[b, p, v]: fp32", "SN[b, p, v]: fp32", "LF[b, p, v] = L[b, p, v]") if eager else ()
    logit = "LF" if eager else "L"
    lines = piece(
        "T[b, p]: int32",
        weight,
        *wide[:2],
        "OH[b, p, v]: (per_row(v, 1), int8)",
        f"L[b, p, v] = X[b, p, d] * {table}",
        *wide[2:],
        "OH[b, p, T[b, p]] = 1",
        f"TL[b, p] = OH[b, p, v] * {logit}[b, p, v]",
        f"GM[b, p] = max[v]({logit}[b, p, v])",
        f"SN[b, p, v] = exp({logit}[b, p, v] - GM[b, p])",
        "SD[b, p] = SN[b, p, v]",
        "LOSS[b, p] = GM[b, p] + log(SD[b, p]) - TL[b, p]",
        b=batch, p=sequence, d=spec.model, v=spec.vocabulary,
    )  # fmt: skip
    return typed(lines.cascade("loss"), Types(dtype, dtype, dtype, dtype))


def step(ahead: Cascade, recompute: Iterable[str] = (), rerun: Iterable[str] = ()) -> Cascade:
    """A microbatch's forward and backward pass as one cascade; each weight's gradient ``DW`` is added, in fp32, to that
    of microbatches before, ``DW_OLD``, as ``DW_SUM``.

    Products for weights' gradients come after the gradient that goes on to the layer before. Tensors to ``rerun`` are
    computed anew with those to recompute though nothing reads them, as frameworks do that run a function once more.
    """
    again = tuple(recompute)
    behind = _grouped(backward(ahead, again), {f"D{e.output.tensor}" for e in ahead.einsums if e.adds})
    weights = tuple(t.name for t in ahead.tensors if t.kind == "weight")
    einsums, tensors = [*ahead.einsums, *_delayed(behind, weights)], {t.name: t for t in behind.tensors}
    tensors |= {t.name: t for t in ahead.tensors}
    _rerun(einsums, tensors, again, rerun)
    _accumulate(einsums, tensors, weights)
    used = {n for e in einsums for n in (e.output.tensor, *e.inputs)}
    sizes = dict(behind.sizes) | dict(ahead.sizes)
    kept = tuple(t for t in tensors.values() if t.name in used)
    return Cascade(tuple(einsums), kept, tuple(sizes.items()), "step")


def _accumulate(einsums: list[Einsum], tensors: dict[str, Tensor], weights: tuple[str, ...]) -> None:
    """Add weights' gradients to those of microbatches before: after the products that make them, others at the end."""
    last = []
    for name in weights:
        made = next((i for i, e in enumerate(einsums) if e.output.tensor == f"D{name}"), None)
        if made is not None:
            added = _added(tensors[name])
            tensors |= {n: replace(tensors[f"D{name}"], name=n, kind="state", dtype="fp32") for n in _sums(name)}
            if einsums[made].matrix:
                einsums.insert(made + 1, added)
            else:
                last.append(added)
    einsums += last


def _rerun(einsums: list[Einsum], tensors: dict[str, Tensor], again: tuple[str, ...], rerun: Iterable[str]) -> None:
    """Add what is computed once more though nothing reads it, after what it is made from."""
    for name in rerun:
        einsum = next(e for e in einsums if e.output.tensor == name)
        unread = renamed(replace(einsum, name=f"{name}_R"), (*again, name))
        place = max(i for i, e in enumerate(einsums) if e.output.tensor in unread.inputs)
        einsums.insert(place + 1, unread)
        tensors[f"{name}_R"] = replace(tensors[name], name=f"{name}_R", kind="state")


def _grouped(behind: Cascade, passed: Collection[str]) -> Cascade:
    """The backward pass with some gradients added to each other before what else comes is added to them: products with
    weights, as frameworks do that reduce them over devices; else what is no gradient ``passed`` on by a sum.
    """
    einsums, tensors = list[Einsum](), list(behind.tensors)
    for einsum in behind.einsums:
        own = _before(behind, einsum, passed)
        if not 1 < sum(own) < len(own):
            einsums.append(einsum)
            continue
        total = replace(einsum.output, tensor=f"{einsum.output.tensor}_P")
        first = [term for term, one in zip(einsum.reads, own, strict=True) if one]
        rest = [term for term, one in zip(einsum.reads, own, strict=True) if not one]
        einsums += [Einsum(total.tensor, total, _total(first)), replace(einsum, expr=_total([total, *rest]))]
        tensors.append(replace(behind.tensor(einsum.output.tensor), name=total.tensor))
    return replace(behind, einsums=tuple(einsums), tensors=tuple(tensors))


def _before(behind: Cascade, einsum: Einsum, passed: Collection[str]) -> list[bool]:
    """Which of the terms that an Einsum adds up are added to each other first."""
    weights = {t.name for t in behind.tensors if t.kind == "weight"}
    makers = {e.output.tensor: e for e in behind.einsums}
    made = [makers.get(term.tensor) for term in einsum.reads] if einsum.adds else []
    heavy = [e is not None and e.matrix and bool(weights & set(e.inputs)) for e in made]
    if any(heavy):
        return heavy
    return [e is not None and not set(e.inputs) & set(passed) for e in made]


def _total(terms: list[Access]) -> Expr:
    """The terms added up, one after the other."""
    found: Expr = terms[0]
    for term in terms[1:]:
        found = Call("add", (found, term))
    return found


def _sums(weight: str) -> tuple[str, str]:
    return f"D{weight}_OLD", f"D{weight}_SUM"


def _added(weight: Tensor) -> Einsum:
    """The line that adds a weight's gradient, all of it, to those of microbatches before."""
    whole = tuple(Affine((Term(1, (), rank),)) for rank in weight.ranks)
    old, total = (Access(name, whole) for name in _sums(weight.name))
    return Einsum(total.tensor, total, Call("add", (old, Access(f"D{weight.name}", whole))))


def _delayed(behind: Cascade, weights: Iterable[str]) -> Iterator[Einsum]:
    """The backward pass with products that are added to each other in a row, and those for weights' gradients after
    them."""
    gradients = {f"D{name}" for name in weights}
    sums = [set(e.inputs) for e in behind.einsums if e.adds and len(e.inputs) > 1]
    onward, waiting = list[Einsum](), list[Einsum]()
    for einsum in behind.einsums:
        name, weighty = einsum.output.tensor, any(behind.tensor(n).kind == "weight" for n in einsum.inputs)
        if einsum.matrix and name in gradients:
            waiting.append(einsum)
        elif einsum.matrix and weighty and any(name in one for one in sums):
            onward.append(einsum)
        else:
            read = set(einsum.inputs) & {e.output.tensor for e in onward}
            yield from onward if read else ()
            onward = [] if read else onward
            if not read and not onward and not (einsum.matrix and weighty):
                yield from waiting
                waiting = []
            yield einsum
    yield from (*onward, *waiting)


BLOCK = 1024  # weights that one block of threads updates


def optimiser(weights: int, *, scaled: bool, dtype: str = "bf16") -> Cascade:
    """A step of Adam in fp32 (Kingma and Ba, arXiv 1412.6980) on so many weights, gradients clipped by their norm, and
    the weights in ``dtype`` that the next step reads; ``scaled`` gradients are unscaled first.

    Moments and master weights are read and written; gradients are set to zero. Weights are in ``b`` blocks of ``n``.
    """
    raw = "GU" if scaled else "G"
    wide = [raw] if scaled else []
    states = [f"{name}[b, n]: fp32" for name in (*wide, "G", "GC", "GZ", "M", "M2", "V", "V2", "P", "P2")]
    lines = (
        *states, f"W[b, n]: {dtype}", "SCALE: fp32", "NRM: fp32",
        *(["GU[b, n] = G[b, n] * SCALE"] if scaled else []),
        f"NRM = square({raw}[b, n])",
        f"GC[b, n] = {raw}[b, n] * min(1, rsqrt(NRM))",
        "M2[b, n] = 0.9 * M[b, n] + 0.1 * GC[b, n]",
        "V2[b, n] = 0.95 * V[b, n] + 0.05 * square(GC[b, n])",
        "P2[b, n] = P[b, n] - 0.0001 * M2[b, n] * rsqrt(V2[b, n] + 1e-16)",
        "GZ[b, n] = 0 * GC[b, n]",
        "W[b, n] = P2[b, n]",
    )  # fmt: skip
    return parse("\n".join(lines), name="optimiser", b=max(1, -(-weights // BLOCK)), n=BLOCK)
