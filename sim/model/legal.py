"""Whether a nest may run on a device: order, passes, levels, fan-outs, capacities; each refusal says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from einsum import Cascade, WeirError, hint
from mappings.tree import Branch, Keep, Nest, Node, Run, Spatial, Temporal
from sim.arch import Device
from sim.model.fit import capacity
from sim.model.flow import flow
from sim.model.nests import Mapped
from sim.model.sized import Sized


def check(
    cascade: Cascade, nest: Nest | Mapped, device: Device | None = None, sizes: Mapping[str, Any] | None = None,
    tiles: Mapping[str, Any] | None = None,
) -> Mapped:  # fmt: skip
    """The nest taken apart, once it is known to be legal; :class:`WeirError` with every reason otherwise.

    ``tiles`` replaces tile sizes by loop, as in :func:`sim.model.counts.counts`.
    """
    mapped = nest if isinstance(nest, Mapped) else Mapped(cascade, nest)
    legal(Sized.of(mapped, cascade.bind() if sizes is None else sizes, tiles), device)
    return mapped


def legal(at: Sized, device: Device | None = None) -> None:
    """:class:`WeirError` with every reason why a nest is not legal at these sizes, on a device if one is given."""
    mapped = at.mapped
    problems = list(_names(mapped.cascade, mapped.nest))
    if problems:
        raise WeirError("\n".join(problems))
    problems += [*_kept(mapped), *flow(at)]
    if device is not None:
        problems += [*_places(mapped.nest, device), *_fans(at, device)]
        if not problems:
            problems += capacity(at, device)
    if problems:
        raise WeirError("\n".join(dict.fromkeys(problems)))


def _nodes(nest: Nest) -> Iterator[Node]:
    for node in nest.nodes:
        yield node
        if isinstance(node, Branch):
            for child in node.children:
                yield from _nodes(child)


def _names(cascade: Cascade, nest: Nest) -> Iterator[str]:
    """Einsums, ranks and tensors that the nest names must exist; each Einsum runs exactly once in the text."""
    einsums = [e.name for e in cascade.einsums]
    run = [r.einsum for r in nest.runs]
    yield from (f"mapping: no Einsum {n!r} in {cascade.name}{hint(n, einsums)}" for n in run if n not in einsums)
    yield from (f"mapping: Einsum {n!r} is not mapped" for n in einsums if n not in run)
    yield from (f"mapping: Einsum {n!r} runs twice" for n in dict.fromkeys(run) if run.count(n) > 1)
    ranks = {r for r, _ in cascade.sizes}
    tensors = {t.name for t in cascade.tensors}
    for node in _nodes(nest):
        if isinstance(node, Temporal | Spatial) and node.rank not in ranks:
            yield f"mapping: {str(node)!r}: no rank {node.rank!r}{hint(node.rank, ranks)}"
        if isinstance(node, Spatial) and not node.tile:
            yield f"mapping: {str(node)!r}: on an array, say how many elements each instance takes: tile N"
        if isinstance(node, Spatial) and not node.over:
            yield f"mapping: {str(node)!r}: say over which fan-out: spatial {node.rank} tile {node.tile} over NAME"
        if isinstance(node, Keep):
            missing = [t for t in node.tensors if t not in tensors]
            yield from (f"mapping: {str(node)!r}: no tensor {t!r}{hint(t, tensors)}" for t in missing)


def _kept(mapped: Mapped) -> Iterator[str]:
    """Whatever an Einsum touches is kept somewhere above it."""
    for leaf in mapped.leaves:
        for name in dict.fromkeys((*leaf.einsum.inputs, leaf.einsum.output.tensor)):
            if not leaf.chain(name):
                yield f"mapping: {leaf.einsum.name} touches {name}, which no level above it keeps"


def _places(nest: Nest, device: Device) -> Iterator[str]:
    """Levels, fan-outs and units exist, and each path goes from the outside of the device inwards.

    Only a keep may stand inside one of a level further in, if both are on the same side of every fan-out and hold
    different tensors: what stays in registers while something else passes by the memory before them.
    """
    parents = {m.name: m.under for m in device.memories} | {f.name: f.under for f in device.fanouts}
    parents |= {c.name: c.under for c in device.computes}
    kinds = {
        "level": [m.name for m in device.memories],
        "fan-out": [f.name for f in device.fanouts],
        "unit": [c.name for c in device.computes],
    }
    for above, run in nest.paths():
        reached, fans = "", set(kinds["fan-out"])
        for place, node in enumerate((*above, run)):
            name, kind = _named(node)
            if not name:
                continue
            if name not in kinds[kind]:
                yield f"mapping: {str(node)!r}: {device.name} has no {kind} {name!r}{hint(name, kinds[kind])}"
            elif reached and isinstance(node, Keep) and _passing(node, reached, above[:place], parents, fans):
                continue
            elif reached and reached != name and not _within(name, reached, parents):
                yield f"mapping: {str(node)!r}: {kind} {name!r} is not inside {reached!r} on {device.name}"
            else:
                reached = name


def _passing(keep: Keep, reached: str, above: tuple[Node, ...], parents: Mapping[str, str], fans: set[str]) -> bool:
    """Whether a keep's level lies outside ``reached`` with no fan-out between, and none of its tensors further in."""
    name = reached
    while name and name != keep.level and name not in fans:
        name = parents.get(name, "")
    inside = [one for one in above if isinstance(one, Keep) and set(one.tensors) & set(keep.tensors)]
    return name == keep.level != reached and not any(_within(one.level, keep.level, parents) for one in inside)


def _named(node: Node) -> tuple[str, str]:
    if isinstance(node, Keep):
        return node.level, "level"
    if isinstance(node, Spatial):
        return node.over, "fan-out"
    return (node.unit, "unit") if isinstance(node, Run) else ("", "")


def _within(name: str, outer: str, parents: Mapping[str, str]) -> bool:
    while name:
        name = parents.get(name, "")
        if name == outer:
            return True
    return False


def _fans(at: Sized, device: Device) -> Iterator[str]:
    """No more pieces in space than a fan-out has instances."""
    counts = {f.name: f.count for f in device.fanouts}
    for leaf in at.mapped.leaves:
        need: dict[str, Any] = {}
        for loop in leaf.loops:
            if isinstance(loop.node, Spatial):
                need[loop.node.over] = need.get(loop.node.over, 1) * at.trips(loop)
        for over, count in need.items():
            if over in counts and np.any(count > counts[over]):
                need_text = f"{leaf.einsum.name} needs {int(np.max(count))} instances of {over!r}"
                yield f"mapping: {need_text}; {device.name} has {counts[over]}"
