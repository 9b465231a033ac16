"""Whether a nest may run on a device: order, passes, levels, fan-outs, capacities; each refusal says why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from einsum import Cascade, WeirError, hint
from mappings.tree import Branch, Keep, Nest, Node, Run, Spatial, Temporal
from sim.arch import Device
from sim.model.fit import capacity
from sim.model.flow import flow
from sim.model.nests import Mapped
from sim.model.sized import Sized


@dataclass(frozen=True)
class _Parts:
    """The components of a device by name and kind, and what each stands under."""

    device: str
    kinds: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, str]

    @classmethod
    def of(cls, device: Device) -> _Parts:
        """Levels, fan-outs and units."""
        levels = {one.name: one.under for one in device.memories}
        fans = {one.name: one.under for one in device.fanouts}
        units = {one.name: one.under for one in device.computes}
        kinds = {"level": tuple(levels), "fan-out": tuple(fans), "unit": tuple(units)}
        return cls(device.name, kinds, levels | fans | units)

    def within(self, name: str, outer: str) -> bool:
        """Whether one component stands somewhere under another."""
        while name:
            name = self.parents.get(name, "")
            if name == outer:
                return True
        return False


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
    yield from _inwards(nest, _Parts.of(device), "", ())


def _inwards(nest: Nest, parts: _Parts, reached: str, keeps: tuple[Keep, ...]) -> Iterator[str]:
    """What is wrong with the places of a nest under ``keeps``, when the way inwards has come as far as ``reached``."""
    for node in nest.nodes:
        name, kind = _named(node)
        if name and name not in parts.kinds[kind]:
            yield f"mapping: {str(node)!r}: {parts.device} has no {kind} {name!r}{hint(name, parts.kinds[kind])}"
        elif name and not (reached and isinstance(node, Keep) and _passing(node, reached, keeps, parts)):
            if reached and reached != name and not parts.within(name, reached):
                yield f"mapping: {str(node)!r}: {kind} {name!r} is not inside {reached!r} on {parts.device}"
            else:
                reached = name
        if isinstance(node, Keep):
            keeps = (*keeps, node)
        elif isinstance(node, Branch):
            for child in node.children:
                yield from _inwards(child, parts, reached, keeps)


def _passing(keep: Keep, reached: str, above: tuple[Keep, ...], parts: _Parts) -> bool:
    """Whether a keep's level lies outside ``reached`` with no fan-out between, and none of its tensors further in."""
    name = reached
    while name and name != keep.level and name not in parts.kinds["fan-out"]:
        name = parts.parents.get(name, "")
    inside = [one for one in above if not set(one.tensors).isdisjoint(keep.tensors)]
    return name == keep.level != reached and not any(parts.within(one.level, keep.level) for one in inside)


def _named(node: Node) -> tuple[str, str]:
    if isinstance(node, Keep):
        return node.level, "level"
    if isinstance(node, Spatial):
        return node.over, "fan-out"
    return (node.unit, "unit") if isinstance(node, Run) else ("", "")


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
