"""Whether values reach their readers: written before they are read, whole where they must be, and not lost between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np

from einsum import Access, Affine, Cascade, WeirError
from einsum.cascade import carried
from einsum.terms import Term
from mappings.tree import Temporal
from sim.model.nests import Leaf, Loop, Mapped


def flow(mapped: Mapped, sizes: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the way in which values go from one Einsum to another; nothing if all is well."""
    yield from _order(mapped)
    yield from _lost(mapped)
    yield from _missed(mapped, sizes)
    yield from _copied(mapped, sizes)
    yield from _passes(mapped, sizes)
    yield from _steps(mapped, sizes)


def _order(mapped: Mapped) -> Iterator[str]:
    """Whatever is read has been written before, by an earlier line of the nest, unless it is an input."""
    written: set[str] = set()
    for leaf in mapped.leaves:
        for name in leaf.einsum.inputs:
            if name in mapped.cascade.produced and name not in written and name not in mapped.cascade.inputs:
                yield f"mapping: {leaf.einsum.name} reads {name} before anything has written it"
        written.add(leaf.einsum.output.tensor)


def _lost(mapped: Mapped) -> Iterator[str]:
    """What one Einsum makes for another is kept at a place above both."""
    for i, maker in enumerate(mapped.leaves):
        tensor = maker.einsum.output.tensor
        for reader in (leaf for leaf in mapped.leaves[i + 1 :] if tensor in leaf.einsum.inputs):
            ends = maker.chain(tensor)[:1], reader.chain(tensor)[:1]
            if all(ends) and ends[0] != ends[1]:
                yield (
                    f"mapping: {reader.einsum.name} reads {tensor}, but no one keep of {tensor} stands above it and"
                    f" {maker.einsum.name}, which makes it: it would be lost between; keep it above both"
                )


def _missed(mapped: Mapped, sizes: Mapping[str, Any]) -> Iterator[str]:
    """Under a loop over pieces of what is made, only these pieces are read."""
    for i, maker in enumerate(mapped.leaves):
        output = maker.einsum.output
        for reader in (leaf for leaf in mapped.leaves[i + 1 :] if output.tensor in leaf.einsum.inputs):
            shared, reads = _shared(maker, reader), [a for a in reader.einsum.reads if a.tensor == output.tensor]
            for loop in (one for one in shared if one.node.rank in output.ranks):
                others = [a for a in reads if not made_there(output, a, loop.node.rank)]
                if others and _divides(mapped, loop.at, maker, sizes):
                    yield (
                        f"mapping: {reader.einsum.name} reads {others[0]} under {str(loop.node)!r}, where"
                        f" {maker.einsum.name} has made only its piece of {output}: read it after that loop"
                    )


def _shared(one: Leaf, other: Leaf) -> list[Loop]:
    """Loops that two Einsums are both under."""
    return [a for a, b in zip(one.loops, other.loops, strict=False) if a.at == b.at]


def made_there(output: Access, read: Access, rank: str) -> bool:
    """Whether an access moves with a rank as the output does, and not ahead of it."""
    for mine, theirs in zip(output.indices, read.indices, strict=True):
        if mine != theirs and rank in mine.ranks:
            if not (isinstance(mine, Affine) and isinstance(theirs, Affine)):
                return False
            (moving, at), (others, place) = _split(mine), _split(theirs)
            if moving != others or place > at:
                return False
    return True


def _split(index: Affine) -> tuple[frozenset[Term], int]:
    """The terms of an index that move, and its constant."""
    return frozenset(t for t in index.terms if t.rank or t.extents), sum(
        t.scale for t in index.terms if t == Term(t.scale)
    )


def _copied(mapped: Mapped, sizes: Mapping[str, Any]) -> Iterator[str]:
    """What several instances make alike stays with each of them, and a sum is not begun again before it is done."""
    for leaf in mapped.leaves:
        tensor, name = leaf.einsum.output.tensor, leaf.einsum.name
        top = len(leaf.chain(tensor)[0].loops) if leaf.chain(tensor) else 0
        adding = ""
        for place, loop in enumerate(leaf.loops):
            rank = loop.node.rank
            if not _divides(mapped, loop.at, leaf, sizes):
                continue
            adding = str(loop.node) if rank in leaf.einsum.reduced else adding
            if rank in leaf.einsum.ranks:
                continue
            if loop.space and place >= top:
                yield (
                    f"mapping: every instance of {str(loop.node)!r} makes the same {tensor}, for {name} has no {rank},"
                    f" and would write it to one place: keep {tensor} only below that loop, or run {name} outside it"
                )
            elif adding:
                yield (
                    f"mapping: {str(loop.node)!r} runs {name}, which has no {rank}, again within {adding!r}, and would"
                    f" add the same part to {tensor} again: put it outside that loop"
                )


def _steps(mapped: Mapped, sizes: Mapping[str, Any]) -> Iterator[str]:
    """An iterative rank goes one step after another, and what feeds the next step is run within each of them."""
    for i, maker in enumerate(mapped.leaves):
        for rank in (r for r in carried(maker.einsum) if np.any(np.greater(sizes[r], 1))):
            for loop in maker.loops:
                if loop.space and loop.node.rank == rank and _divides(mapped, loop.at, maker, sizes):
                    yield (
                        f"mapping: {str(loop.node)!r}: {maker.einsum.name} makes each step of {rank} from the one"
                        f" before, so {rank} can be looped over in time only"
                    )
            for reader in mapped.leaves[:i]:
                early = maker.einsum.output.tensor in reader.einsum.inputs and rank in reader.einsum.ranks
                if early and not _together(maker.loops, reader.loops, rank):
                    yield (
                        f"mapping: {reader.einsum.name} reads {maker.einsum.output.tensor}, which {maker.einsum.name}"
                        f" makes one step of {rank} later: both belong under one 'for {rank} tile 1'"
                    )


def _together(one: tuple[Loop, ...], other: tuple[Loop, ...], rank: str) -> bool:
    """Whether two Einsums share all their loops over a rank, the last of them in single steps."""
    mine, theirs = ([loop for loop in loops if loop.node.rank == rank] for loops in (one, other))
    return bool(mine) and mine == theirs and mine[-1].node == Temporal(rank, 1)


def _passes(mapped: Mapped, sizes: Mapping[str, Any]) -> Iterator[str]:
    """No Einsum reads a tensor under a loop over which that tensor is still being reduced."""
    for i, maker in enumerate(mapped.leaves):
        for reader in mapped.leaves[i + 1 :]:
            if maker.einsum.output.tensor in reader.einsum.inputs:
                yield from _unfinished(mapped, maker, reader, sizes)


def _unfinished(mapped: Mapped, maker: Leaf, reader: Leaf, sizes: Mapping[str, Any]) -> Iterator[str]:
    for loop in _shared(maker, reader):
        if loop.node.rank in maker.einsum.reduced and _divides(mapped, loop.at, maker, sizes):
            rank, tensor = loop.node.rank, maker.einsum.output.tensor
            yield (
                f"mapping: {reader.einsum.name} reads {tensor} under {str(loop.node)!r}, over which {maker.einsum.name}"
                f" is still reducing {rank}: {tensor} is complete only when all of {rank} has been traversed, so"
                f" {reader.einsum.name} belongs to a later pass over {rank} ({_pass(mapped.cascade, reader, rank)});"
                f" keep what it reads again until then (spill it), or run its makers again in a later loop (recompute)"
            )


def _divides(mapped: Mapped, at: int, leaf: Leaf, sizes: Mapping[str, Any]) -> bool:
    """Whether a loop makes more than one piece."""
    length: Any = None
    for loop in leaf.loops:
        if loop.at > at:
            break
        same = [one for one in leaf.loops if one.node.rank == loop.node.rank and one.at < loop.at]
        length = reduce(np.minimum, [sizes[loop.node.rank], *(one.node.tile for one in same)])
        if loop.at == at:
            return bool(np.any(length > loop.node.tile))
    return False


def _pass(cascade: Cascade, leaf: Leaf, rank: str) -> str:
    """The pass that the analysis of the cascade puts an Einsum in, in words."""
    from einsum import passes

    try:
        found = passes(cascade)
        return f"pass {found.einsum(leaf.einsum.name, rank)} of {found.rank(rank)}"
    except WeirError:
        return "it does not traverse that rank itself"
