"""A training step on the devices of a node: which Einsums share a kernel, what is divided, what is gathered again.

A :class:`Kernels` says what a framework fuses; products of matrices stand alone, those of one input or into one sum
merged, as libraries that keep several weights in one tensor do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from einsum import Cascade, Einsum
from mappings.kernels import streams, weighted
from mappings.layout import Layout, Place
from mappings.tree import Spatial
from workloads.pieces import Style


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a framework fuses: ``eager`` attention (each product and pass over scores a kernel), Einsums that ``begin`` a
    kernel, whether a weight's gradient is ``added`` to earlier ones in the kernel that makes it.

    ``beside``: collectives run beside kernels that do not wait for them, and take ``channels`` multiprocessors. ``scaled``: losses are scaled, for fp16.
    ``dropout`` is a fraction.
    """

    name: str
    eager: bool = False
    dropout: float = 0.0
    begin: tuple[str, ...] = ()
    added: bool = False
    beside: bool = False
    channels: float = 0.0
    scaled: bool = False
    source: str = ""

    @property
    def style(self) -> Style:
        """How the layer's cascade is written for it."""
        return Style(self.eager, self.dropout)


def layout(step: Cascade, kernels: Kernels, pool: str, ways: int, *, sequence: bool, turn: str = "") -> Layout:
    """A step divided ``ways`` ways by heads, hidden and vocabulary ranks, and with ``sequence`` by positions in between.

    Copies of activations that were gathered are dropped before the Einsum ``turn``, where the backward pass begins.
    """
    loops = [Spatial(rank, ways) for rank in ("g", "f", "v") if rank in step.ranks and ways > 1]
    if sequence and ways > 1:
        loops.append(Spatial("p", ways, only=tuple(e.name for e in step.einsums if not _sum_of_products(step, e))))
    place = Place(pool, ways, tuple(loops))
    apart, joined = list[str](), list[str]()
    for name, how in _cuts(step, kernels, place, turn):
        (apart if how == "apart" else joined).append(name)
    return Layout((place,), apart=tuple(apart), joined=tuple(joined), anew=(turn,) if turn and sequence else ())


def _cuts(step: Cascade, kernels: Kernels, place: Place, turn: str) -> Iterator[tuple[str, str]]:
    """Einsums that begin a kernel, and those that belong to the product before them; others follow the usual rule."""
    run: list[Einsum] = []  # the kernel of products that is being put together
    begin = {turn, *(f"{name}{tail}" for name in kernels.begin for tail in ("", "_R"))}
    for before, einsum in zip((None, *step.einsums), step.einsums, strict=False):
        heavy = einsum.matrix and (weighted(step, einsum) or kernels.eager or _gradient(step, einsum))
        if run and _belongs(step, run, einsum, heavy, kernels, place):
            run.append(einsum)
            yield einsum.name, "joined"
        elif heavy or run or einsum.name in begin:
            run = [einsum] if heavy else []
            yield einsum.name, "apart"
        elif before and weighted(step, einsum) != weighted(step, before):
            yield einsum.name, "joined"  # a sum of products along rows, which no matrix unit does


def _belongs(step: Cascade, run: list[Einsum], einsum: Einsum, heavy: bool, kernels: Kernels, place: Place) -> bool:
    """Whether an Einsum shares the kernel of the products before it."""
    first = run[0]
    if heavy:
        if _gradient(step, first) and _gradient(step, einsum) or weighted(step, first) and weighted(step, einsum):
            return bool(streams(step, first) & streams(step, einsum)) or _one_sum(step, first, einsum)
        return False
    if _sum_of_products(step, einsum):
        return True
    if any(step.tensor(n).kind == "state" for n in einsum.inputs):
        return kernels.added and _gradient(step, first)
    whole = not any(set(place.ways(e)) & set(e.reduced) for e in run)
    return whole and weighted(step, first) and not _backward(step, first) and _adds_weights(step, run, einsum)


def _adds_weights(step: Cascade, run: list[Einsum], einsum: Einsum) -> bool:
    """Whether an Einsum copies what the kernel has made, or adds a weight to it."""
    made = {e.output.tensor for e in run}
    own = [n for n in einsum.inputs if step.tensor(n).kind != "weight"]
    return not einsum.reduced and not {"exp", "mul", "div"} & _operators(einsum) and set(own) <= made and len(own) == 1


def _operators(einsum: Einsum) -> set[str]:
    found, left = set[str](), [einsum.expr]
    while left:
        expr = left.pop()
        if hasattr(expr, "args"):
            found.add("add" if expr.op in ("add", "copy") else "exp")
            left += expr.args
    return found


def _gradient(step: Cascade, einsum: Einsum) -> bool:
    """Whether an Einsum is a product that makes a weight's gradient."""
    name = einsum.output.tensor
    known = {t.name for t in step.tensors if t.kind == "weight"}
    return einsum.matrix and name[:1] == "D" and (name[1:] in known or name[1:].rpartition("_")[0] in known)


def _backward(step: Cascade, einsum: Einsum) -> bool:
    return einsum.output.tensor[:1] == "D" and einsum.output.tensor[1:].rpartition("_")[0] in {
        t.name for t in step.tensors
    }


def _one_sum(step: Cascade, one: Einsum, other: Einsum) -> bool:
    """Whether two products are only added to each other."""
    both = {one.output.tensor, other.output.tensor}
    return any(both <= set(e.inputs) and _sum_of_products(step, e) for e in step.einsums)


def _sum_of_products(step: Cascade, einsum: Einsum) -> bool:
    """Whether an Einsum adds up nothing but products with weights."""
    makers = {e.output.tensor: e for e in step.einsums}
    return einsum.adds and len(einsum.inputs) > 1 and all(n in makers and weighted(step, makers[n]) for n in einsum.inputs)
