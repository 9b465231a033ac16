"""A cascade cut into groups of neighbouring Einsums: what each group takes and gives, and what stays inside it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from einsum import Cascade
from einsum.order import groups

GROUPED = 8  # pieces of a cascade up to which every way of grouping them is compared


@dataclass(frozen=True)
class Group:
    """Some Einsums as a cascade of their own; ``ends`` pass by the outermost memory, ``between`` need not."""

    cascade: Cascade
    ends: tuple[str, ...]
    between: tuple[str, ...]


def pieces(cascade: Cascade) -> list[tuple[str, ...]]:
    """Einsums that must stay together, in the order of the text: those that feed each other step by step."""
    names = [e.name for e in cascade.einsums]
    spans = []
    for group in groups(cascade):
        places = [names.index(e.name) for e in group.einsums]
        spans.append((min(places), max(places)))
    cuts = [n for n in range(len(names) + 1) if not any(first < n <= last for first, last in spans)]
    return [tuple(names[a:b]) for a, b in pairwise(cuts)]


def spans(count: int) -> list[tuple[int, int]]:
    """Neighbours that may form a group: any, or of many pieces each alone and all together."""
    if count <= GROUPED:
        return [(a, b) for a in range(count) for b in range(a + 1, count + 1)]
    return [*((n, n + 1) for n in range(count)), (0, count)]


def group(cascade: Cascade, names: tuple[str, ...]) -> Group:
    """The group of some Einsums; what an earlier one began to write is there before it, as state is."""
    einsums = tuple(e for e in cascade.einsums if e.name in names)
    others = [e for e in cascade.einsums if e.name not in names]
    used = {n for e in einsums for n in (*e.inputs, e.output.tensor)}
    away = {n for e in others for n in (*e.inputs, e.output.tensor)}
    made = {e.output.tensor for e in einsums}
    begun = made & {e.output.tensor for e in others}
    tensors = tuple(replace(t, kind="state") if t.name in begun else t for t in cascade.tensors if t.name in used)
    part = replace(cascade, einsums=einsums, tensors=tensors)
    lasting = {*cascade.inputs, *cascade.outputs, *away} | (used - made)
    return Group(
        part,
        tuple(t.name for t in tensors if t.name in lasting),
        tuple(t.name for t in tensors if t.name not in lasting),
    )
