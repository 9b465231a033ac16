"""What a training layer keeps for its backward pass, and what lives only for a moment: from the cascades' live ranges.

Kernels are as a training framework runs them: matrix products (and the products that make weights' gradients) alone,
what lies between two of them fused. What never leaves a kernel is never stored: if the backward pass wants it, it is
computed anew from what is, except sums and maxima, which are small and kept (FlashAttention's statistics).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from einsum import Cascade, Einsum
from einsum.counts import footprint
from einsum.live import Live, live_ranges
from mappings.kernels import weighted
from workloads.training import backward

Groups = tuple[tuple[Einsum, ...], ...]


def fused(cascade: Cascade, weights: Iterable[str] = ()) -> Groups:
    """The Einsums in order, cut into kernels; ``weights`` have gradients, each product for one a kernel of its own."""
    gradients = {f"D{name}" for name in weights}
    groups: list[list[Einsum]] = []
    alone = True
    for einsum in cascade.einsums:
        heavy = weighted(cascade, einsum) or (einsum.contraction and einsum.output.tensor in gradients)
        if heavy or alone:
            groups.append([einsum])
        else:
            groups[-1].append(einsum)
        alone = heavy
    return tuple(map(tuple, groups))


def inside(cascade: Cascade, groups: Groups) -> frozenset[str]:
    """Tensors that are written and read in one kernel only, and so never stored."""
    where = {e.name: i for i, group in enumerate(groups) for e in group}
    touched: dict[str, set[int]] = {}
    for einsum in cascade.einsums:
        for name in (einsum.output.tensor, *einsum.inputs):
            touched.setdefault(name, set()).add(where[einsum.name])
    return frozenset(n for n in cascade.intermediates if len(touched[n]) == 1)


@dataclass(frozen=True)
class Layer:
    """One layer's forward pass and the backward pass derived from it, which computes fused tensors anew.

    ``eager`` fuses nothing: each Einsum is a kernel, and what it makes is stored.
    """

    forward: Cascade
    eager: bool = False

    def kernels(self, cascade: Cascade, weights: Iterable[str] = ()) -> Groups:
        """A pass's kernels."""
        return tuple((e,) for e in cascade.einsums) if self.eager else fused(cascade, weights)

    @cached_property
    def groups(self) -> Groups:
        """The forward pass's kernels."""
        return self.kernels(self.forward)

    @cached_property
    def fused(self) -> frozenset[str]:
        """What the forward pass never stores."""
        return inside(self.forward, self.groups)

    @cached_property
    def statistics(self) -> frozenset[str]:
        """Fused sums and maxima, which are stored for the backward pass all the same."""
        return frozenset(
            e.output.tensor
            for e in self.forward.einsums
            if e.output.tensor in self.fused and e.reduced and not e.contraction
        )

    @cached_property
    def backward(self) -> Cascade:
        """Gradients, from what is stored."""
        return backward(self.forward, sorted(self.fused - self.statistics))

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """Tensors that are the same for every token and are trained."""
        return tuple(t.name for t in self.forward.tensors if t.kind == "weight")

    @cached_property
    def step(self) -> Cascade:
        """Both passes as one cascade."""
        ahead, behind = self.forward, self.backward
        there = {t.name for t in ahead.tensors}
        tensors = (*ahead.tensors, *(t for t in behind.tensors if t.name not in there))
        sizes = dict(behind.sizes) | dict(ahead.sizes)
        return replace(ahead, einsums=(*ahead.einsums, *behind.einsums), tensors=tensors, sizes=tuple(sizes.items()))

    @cached_property
    def skeletal(self) -> tuple[Live, ...]:
        """Activations alive from the forward into the backward pass, by the live ranges of the step; weights, tables
        of constants and the gradient that comes in apart."""
        turn = len(self.forward.einsums)
        passed = {*self.forward.produced, *self.streams} - set(self.forward.outputs)
        return tuple(
            live for live in live_ranges(self.step)
            if live.first < turn <= live.last and live.tensor in passed
        )  # fmt: skip

    @cached_property
    def streams(self) -> tuple[str, ...]:
        """The layer's inputs that differ from token to token."""
        tokens = {"b", "p"}
        named = {t.name: t for t in self.forward.tensors}
        return tuple(n for n in self.forward.inputs if named[n].kind == "stream" and tokens <= set(named[n].ranks))

    @cached_property
    def wide(self) -> tuple[Live, ...]:
        """Skeletal tensors but for statistics."""
        return tuple(live for live in self.skeletal if live.tensor not in self.statistics)

    @cached_property
    def anchors(self) -> tuple[Live, ...]:
        """Skeletal tensors from which all others are computed anew without the work that grows with the square of the
        sequence: the layer's inputs, and what a kernel over pairs of tokens makes."""
        pairs = {
            e.output.tensor for group in self.groups if any(_pairs(e) for e in group) for e in group
        }  # fmt: skip
        return tuple(live for live in self.wide if live.tensor in pairs or live.tensor in self.streams)


def _pairs(einsum: Einsum) -> bool:
    """Whether an Einsum works on pairs of tokens."""
    return {"p", "m"} <= set(einsum.ranks)


def transient(cascade: Cascade, groups: Groups, stored: Iterable[str], ways: int) -> list[Live]:
    """What else must be in memory while a pass runs: bytes on one of ``ways`` devices, first and last kernel. What is
    ``stored`` (skeletal, weights and their gradients) is counted elsewhere; a result made place by place from a tensor
    that is read for the last time takes over its memory."""
    apart = set(stored) | inside(cascade, groups)
    spans: dict[str, tuple[int, int]] = {}
    for place, group in enumerate(groups):
        for einsum in group:
            for name in (*einsum.inputs, einsum.output.tensor):
                if name not in apart and cascade.tensor(name).kind != "weight":
                    first, _ = spans.get(name, (0 if name in cascade.inputs else place, 0))
                    spans[name] = (first, place)
    for name in set(cascade.outputs) & set(spans):
        spans[name] = (spans[name][0], len(groups) - 1)
    sizes = {name: float(footprint(cascade, name)) / ways for name in spans}
    return [Live(n, sizes[n], *span) for n, span in _in_place(cascade, groups, spans, sizes).items()]


def _in_place(
    cascade: Cascade, groups: Groups, spans: dict[str, tuple[int, int]], sizes: dict[str, float]
) -> dict[str, tuple[int, int]]:
    """Spans with tensors joined to what they are made from, where that is of the same size and dies there."""
    left = dict(spans)
    for place, group in enumerate(groups):
        made = {e.output.tensor for e in group}
        read = {n for e in group for n in e.inputs} - made
        for name in [n for n in left if n in made and left[n][0] == place]:
            dying = [n for n in read if n in left and left[n][1] == place and sizes[n] == sizes[name]]
            pointwise = all(not e.reduced for e in group if e.output.tensor == name)
            if dying and pointwise:
                first = left.pop(dying[0])[0]
                left[name] = (first, left[name][1])
    return left
