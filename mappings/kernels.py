"""Fusion: which Einsums share loops, so that what passes between them stays on chip.

The default follows what serving engines do: products with weights stand alone, merged where they read the same input
(one projection for queries, keys and values); everything between two products is one kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import prod

from einsum import Access, Affine, Cascade, Einsum
from mappings.layout import Layout


def weighted(cascade: Cascade, einsum: Einsum) -> bool:
    """Whether an Einsum contracts over a rank of a weight: a matrix product, the work of the matrix units.

    Rows that are looked up, each met by one token alone, make no matrix: only what keeps a rank of its own does.
    """
    return einsum.contraction and any(
        cascade.tensor(a.tensor).kind == "weight" and set(a.ranks) & set(einsum.reduced) and not _looked_up(einsum, a)
        for a in einsum.reads
    )


def _looked_up(einsum: Einsum, access: Access) -> bool:
    """Whether all that an access leaves in the result are the places it was looked up at."""
    own = {rank for index in access.indices if isinstance(index, Affine) for rank in index.ranks}
    return not all(isinstance(index, Affine) for index in access.indices) and not own - set(einsum.reduced)


def kernels(cascade: Cascade, layout: Layout) -> tuple[tuple[Einsum, ...], ...]:
    """The cascade's Einsums in program order, cut into fused groups; a group never spans two places."""
    groups: list[list[Einsum]] = []
    parts = partial_sums(cascade, layout)
    for einsum in _ordered(cascade, layout):
        own = einsum.name in layout.apart
        if groups and not own and (einsum.name in layout.joined or _joins(cascade, layout, parts, groups[-1], einsum)):
            groups[-1].append(einsum)
        else:
            groups.append([einsum])
    cut = [one for group in groups for one in _cut(cascade, group)] if layout.flash else groups
    return tuple(tuple(g) for g in cut)


def cached(cascade: Cascade, group: Sequence[Einsum]) -> Einsum | None:
    """The scores of an attention over keys and values that are state, each of its own: what its average sums over."""
    found = [(e, _state(cascade, e)) for e in group if e.contraction and not weighted(cascade, e)]
    over = [(e, kept) for e, kept in found if kept is not None]
    if len(over) < 2:
        return None
    (scores, keys), (average, values) = over[0], over[-1]
    summed = set(scores.output.ranks) & set(keys.ranks) & set(values.ranks) & set(average.reduced)
    return scores if keys.tensor != values.tensor and summed else None


def _state(cascade: Cascade, einsum: Einsum) -> Access | None:
    """The state that an Einsum multiplies activations with, if it does."""
    reads = [a for a in einsum.reads if a.ranks]
    return next((a for a in reads if len(reads) > 1 and cascade.tensor(a.tensor).kind == "state"), None)


def _cut(cascade: Cascade, group: list[Einsum]) -> Iterator[list[Einsum]]:
    """A group around attention as kernels: what makes queries and keys, what copies into the cache, attention alone."""
    scores = cached(cascade, group)
    copies = [i for i, e in enumerate(group) if isinstance(e.expr, Access) and _written(cascade, e)]
    first = group.index(scores) if scores else 0
    cuts = sorted({0, first, *(i for i in copies[:1] if i < first), len(group)})
    yield from (group[i:j] for i, j in pairwise(cuts))


def _written(cascade: Cascade, einsum: Einsum) -> bool:
    return cascade.tensor(einsum.output.tensor).kind == "state"


def _ordered(cascade: Cascade, layout: Layout) -> list[Einsum]:
    """Program order, but what another place waits for comes as soon as it can: right after what it is made from."""
    order: list[Einsum] = []
    for einsum in cascade.einsums:
        makers = [i for i, e in enumerate(order) if e.output.tensor in einsum.inputs]
        if layout.bound and makers and not weighted(cascade, einsum) and _crosses(cascade, layout, einsum):
            order.insert(makers[-1] + 1, einsum)
        else:
            order.append(einsum)
    return order


def _crosses(cascade: Cascade, layout: Layout, einsum: Einsum) -> bool:
    """Whether an Einsum at another place reads the result."""
    here = layout.place(einsum.name)
    readers = (e for e in cascade.einsums if einsum.output.tensor in e.inputs)
    return any(layout.place(e.name) != here for e in readers)


def standing(cascade: Cascade, layout: Layout) -> dict[str, tuple[int, tuple[int, ...]]]:
    """In how many partial sums each tensor is made (by whose ranks are divided and summed, or by adding such up), and
    the ways in which each of its dimensions is divided."""
    found: dict[str, tuple[int, tuple[int, ...]]] = {}
    for einsum in cascade.einsums:
        ways = layout.place(einsum.name).ways(einsum)
        own, divided = prod(w for r, w in ways.items() if r in einsum.reduced), divisions(ways, einsum.output)
        reads = [n for n in einsum.inputs if n in found or cascade.tensor(n).kind != "state"]
        alike = {found.get(name, (1, ())) for name in reads} if einsum.adds else set()
        parts, among = alike.pop() if len(alike) == 1 else (1, ())
        found[einsum.output.tensor] = (own * parts if among == divided else own, divided)
    return found


def partial_sums(cascade: Cascade, layout: Layout) -> dict[str, int]:
    """In how many partial sums each tensor is made."""
    return {name: parts for name, (parts, _) in standing(cascade, layout).items()}


def _joins(
    cascade: Cascade, layout: Layout, parts: Mapping[str, int], group: list[Einsum], einsum: Einsum
) -> bool:  # fmt: skip
    last = group[-1]
    if layout.place(last.name) != layout.place(einsum.name):
        return False
    heavy = weighted(cascade, einsum)
    if heavy != weighted(cascade, last):
        return False
    if heavy:
        return bool(streams(cascade, last) & streams(cascade, einsum))
    return not any(_travels(layout, parts, before, access, einsum) for before in group for access in einsum.reads)


def divisions(ways: Mapping[str, int], access: Access) -> tuple[int, ...]:
    """Ways in which each dimension of a tensor is divided through an access, given how ranks are."""
    return tuple(
        prod(ways.get(r, 1) for r in index.ranks) if isinstance(index, Affine) else 1 for index in access.indices
    )


def _travels(layout: Layout, parts: Mapping[str, int], before: Einsum, access: Access, einsum: Einsum) -> bool:
    """Whether what one Einsum wrote is partial, or divided further than the next one reads it."""
    if before.output.tensor != access.tensor:
        return False
    ways = layout.place(before.name).ways(before)
    have, want = divisions(ways, before.output), divisions(layout.place(einsum.name).ways(einsum), access)
    return parts[access.tensor] > 1 or any(h > w for h, w in zip(have, want, strict=True))


def streams(cascade: Cascade, einsum: Einsum) -> set[str]:
    """Names of the activations an Einsum reads."""
    return {n for n in einsum.inputs if cascade.tensor(n).kind == "stream"}
