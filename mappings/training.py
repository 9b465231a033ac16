"""A training step on the devices of a node: which Einsums share a kernel, what is divided, what is gathered again.

A :class:`Kernels` says what a framework fuses. Products of matrices stand alone, those of one input or into one sum
merged, as by libraries that keep several weights in one tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from einsum import Access, Call, Cascade, Einsum
from mappings.division import Division, products
from mappings.kernels import standing, streams, weighted
from mappings.layout import Layout, Place

PLAIN = ("add", "copy")  # what a product's kernel does to its result on the way out


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a framework fuses, and runs side by side.

    ``eager`` attention makes each product and each pass over scores a kernel; Einsums that ``begin`` a kernel do so
    beside products; tensors are computed ``anew`` with selective recomputation; weights' gradients are ``added`` to
    earlier ones in the kernel that makes them; losses are ``scaled``, for fp16. Collectives run ``beside`` kernels that
    do not wait for them, and take ``channels`` multiprocessors meanwhile. ``dropout`` is a fraction. Kernels that begin
    with an Einsum ``held`` keep rows in registers.
    """

    name: str
    eager: bool = False
    dropout: float = 0.0
    begin: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    added: bool = False
    beside: bool = False
    channels: float = 0.0
    scaled: bool = False
    source: str = ""


def layout(step: Cascade, kernels: Kernels, division: Division, turn: str = "") -> Layout:
    """A step divided over devices, and what shares a kernel.

    The backward pass begins with the Einsum ``turn``; before it, copies of activations divided by positions are
    dropped.
    """
    place = division.place(step)
    found = tuple(_Cuts(step, kernels, place).found(turn))
    apart, joined = (tuple(name for name, how in found if how == one) for one in ("apart", "joined"))
    drops = turn and (division.sequence or division.ulysses or division.context > 1)
    return Layout((place,), apart=apart, joined=joined, anew=(turn,) if drops else (), held=_twice(kernels.held))


def gradients(step: Cascade) -> Callable[[str], bool]:
    """Whether a tensor of that name is a weight's gradient, or a numbered part of one: ``DW`` or ``DW_1``."""
    weights = {t.name for t in step.tensors if t.kind == "weight"}

    def own(name: str) -> bool:
        whole, _, part = name[1:].rpartition("_")
        return name[:1] == "D" and (name[1:] in weights or (part.isdigit() and whole in weights))

    return own


@dataclass(frozen=True)
class _Cuts:
    """Where the kernels of a step begin."""

    step: Cascade
    kernels: Kernels
    place: Place

    def found(self, turn: str) -> Iterator[tuple[str, str]]:
        """Einsums that begin a kernel (``apart``), and those that belong to the one before them (``joined``)."""
        run: list[Einsum] = []  # the kernel of products that is being put together
        begin = {turn, *_twice(self.kernels.begin)}
        for before, einsum in zip((None, *self.step.einsums), self.step.einsums, strict=False):
            heavy, own = self.heavy(einsum), einsum.name in begin
            if run and not own and (self.merges(run[0], einsum) if heavy else self.ends(run, einsum)):
                run.append(einsum)
                yield einsum.name, "joined"
            elif heavy or run or own or (self.keeps(einsum) and before and not self.keeps(before)):
                run = [einsum] if heavy else []
                yield einsum.name, "apart"
            elif before and weighted(self.step, einsum) != weighted(self.step, before):
                yield einsum.name, "joined"  # a sum along rows, by a weight: no work for matrix units

    @cached_property
    def stands(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """Partial sums and divisions of each tensor."""
        return standing(self.step, Layout((self.place,)))

    @cached_property
    def makes(self) -> Callable[[str], bool]:
        """Whether a tensor is a weight's gradient, by its name."""
        return gradients(self.step)

    @cached_property
    def weights(self) -> frozenset[str]:
        """Names of weights."""
        return frozenset(t.name for t in self.step.tensors if t.kind == "weight")

    def gradient(self, einsum: Einsum) -> bool:
        """Whether an Einsum is a product that makes a weight's gradient, or a part of it."""
        return einsum.matrix and self.makes(einsum.output.tensor)

    def keeps(self, einsum: Einsum) -> bool:
        """Whether an Einsum adds to what is kept from microbatch to microbatch."""
        return any(self.step.tensor(name).kind == "state" for name in einsum.inputs)

    def heavy(self, einsum: Einsum) -> bool:
        """Whether an Einsum is a kernel of its own, or part of one of products."""
        return einsum.matrix and (weighted(self.step, einsum) or self.kernels.eager or self.gradient(einsum))

    def merges(self, first: Einsum, einsum: Einsum) -> bool:
        """Whether two products are one kernel: of one input, for one gradient, or into one sum."""
        alike = any(kind(first) and kind(einsum) for kind in (self.gradient, lambda e: weighted(self.step, e)))
        both = {first.output.tensor, einsum.output.tensor}
        into = any(both <= set(e.inputs) and self.sums(e) for e in self.step.einsums)
        return alike and (into or bool(streams(self.step, first) & streams(self.step, einsum)))

    def sums(self, einsum: Einsum) -> bool:
        """Whether an Einsum adds up nothing but products with weights that are divided as it is, and partial alike."""
        alike = {self.stands[name] for name in (*einsum.inputs, einsum.output.tensor) if name in self.stands}
        return products(self.step, einsum) and len(alike) == 1

    def ends(self, run: list[Einsum], einsum: Einsum) -> bool:
        """Whether what is no product belongs to the products before it: a sum, a bias, what gradients are added to."""
        if self.sums(einsum):
            return True
        if self.keeps(einsum):
            return self.kernels.added and self.gradient(run[0])
        whole = not any(set(self.place.ways(e)) & set(e.reduced) for e in run)
        own = set(einsum.inputs) - self.weights
        made = own <= {e.output.tensor for e in run} and len(own) == 1
        return whole and made and weighted(self.step, run[0]) and not einsum.reduced and _adds(einsum.expr)


def _twice(names: tuple[str, ...]) -> tuple[str, ...]:
    """Einsums of these names, and those that compute them anew."""
    return tuple(f"{name}{tail}" for name in names for tail in ("", "_R"))


def _adds(expr: object) -> bool:
    """Whether an expression does no more than copy and add."""
    return isinstance(expr, Access) or (isinstance(expr, Call) and expr.op in PLAIN and all(map(_adds, expr.args)))
