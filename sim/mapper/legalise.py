"""What to do instead of a fusion that the passes of a cascade forbid: spill between passes, or compute again.

A loop over a rank that is still being reduced cannot be shared with a reader of the result. The loop is therefore run
once for each pass: stage after stage, each with the Einsums that depend on as many finished reductions. What a later
stage reads again is either kept further out (spilled) or made again from the inputs (recomputed).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from einsum import Access, Affine, Call, Cascade, Const, Einsum, WeirError
from einsum.terms import Expr
from mappings.tree import Branch, Keep, Nest, Node, Run, Temporal
from sim.arch import Device
from sim.model.spatial import MappedEstimate, evaluate


@dataclass(frozen=True)
class Alternative:
    """A legal way to run what was asked for: how, the cascade (recomputation adds lines to it), the nest, the cost."""

    how: str
    cascade: Cascade
    nest: Nest
    estimate: MappedEstimate

    def __str__(self) -> str:
        return f"{self.how}:\n{self.nest}\n{self.estimate}"


def alternatives(
    cascade: Cascade, nest: Nest, device: Device, sizes: Mapping[str, Any] | None = None
) -> tuple[Alternative, ...]:
    """Legal alternatives to a nest that fuses across passes, least outermost traffic first; none if nothing helps."""
    found = []
    for how, changed, made in _tries(cascade, nest):
        try:
            cost = evaluate(changed, made, device, None if sizes is None else changed.bind(**_own(changed, sizes)))
        except WeirError:
            continue  # an alternative that does not fit is no alternative
        found.append(Alternative(how, changed, made, cost))
    return tuple(sorted(found, key=lambda a: float(np.ravel(a.estimate.traffic(device.memory.name))[-1])))


def _own(cascade: Cascade, sizes: Mapping[str, Any]) -> dict[str, Any]:
    derived = {r for r, s in cascade.sizes if isinstance(s, Affine)}
    return {r: s for r, s in sizes.items() if r not in derived}


def _tries(cascade: Cascade, nest: Nest) -> Iterator[tuple[str, Cascade, Nest]]:
    at = next((i for i, node in enumerate(nest.nodes) if _forbidden(cascade, nest, node)), None)
    if at is None or not isinstance(nest.end, Branch):
        return
    loop = nest.nodes[at]
    if not isinstance(loop, Temporal):
        return
    stages = _stages(cascade, nest.end, loop.rank)
    yield "spill between passes", cascade, _staged(cascade, nest, loop, nest.end.how, stages)
    again, made = _recomputed(cascade, stages, loop.rank)
    yield "recompute in each pass", again, _staged(again, nest, loop, nest.end.how, made)


def _forbidden(cascade: Cascade, nest: Nest, node: Node) -> bool:
    """Whether a loop reduces something that an Einsum under it reads."""
    if not isinstance(node, Temporal):
        return False
    runs = [cascade.einsum(run.einsum) for run in nest.runs]
    partial = {e.output.tensor for e in runs if node.rank in e.reduced}
    return any(partial & set(e.inputs) for e in runs)


Stages = tuple[tuple[Nest, ...], ...]


def _stages(cascade: Cascade, branch: Branch, rank: str) -> Stages:
    """The children of a branch by the number of finished reductions over a rank that they depend on."""
    ready: dict[str, int] = {}
    placed: dict[int, list[Nest]] = {}
    for child in branch.children:
        einsums = [cascade.einsum(run.einsum) for run in child.runs]
        stage = max((ready.get(n, 0) for e in einsums for n in e.inputs), default=0)
        for einsum in einsums:
            ready[einsum.output.tensor] = stage + (rank in einsum.reduced)
        placed.setdefault(stage, []).append(child)
    return tuple(tuple(placed[stage]) for stage in sorted(placed))


def _staged(cascade: Cascade, nest: Nest, loop: Temporal, how: str, stages: Stages) -> Nest:
    """The nest with a loop run once for each stage, what crosses stages kept above it."""
    at = nest.nodes.index(loop)
    inner = nest.nodes[at + 1 : -1]
    crossing = _crossing(cascade, stages)
    outer = [n for n in nest.nodes[:at] if isinstance(n, Keep)]
    levels = {t: n.level for n in inner if isinstance(n, Keep) for t in n.tensors}
    home, close = outer[0].level if outer else "", _level(inner, outer)
    above = {t for n in outer for t in n.tensors}
    spilled = tuple(t for t in crossing if t not in above and loop.rank in cascade.tensor(t).ranks)
    summaries = tuple(t for t in crossing if t not in above and loop.rank not in cascade.tensor(t).ranks)
    children = []
    for stage in stages:
        names = _touched(cascade, stage)
        made = sorted(names - above - set(crossing) - set(levels))  # what recomputation added is kept close by
        kept = _only(inner, names - set(summaries), tuple(made), close)
        body = stage[0].nodes if len(stage) == 1 else (Branch(how, stage),)
        children.append(Nest((loop, *kept, *body)))
    far, near = ((Keep(names, level),) if names else () for names, level in ((spilled, home), (summaries, close)))
    front = nest.nodes[:at]
    place = next((i + 1 for i, n in reversed(list(enumerate(front))) if isinstance(n, Keep) and n.level == home), 0)
    return Nest((*front[:place], *far, *front[place:], *near, Branch("sequence", tuple(children))))


def _level(inner: tuple[Node, ...], outer: list[Keep]) -> str:
    """The level that keeps pieces inside the loop, or else the nearest above it."""
    return next((n.level for n in inner if isinstance(n, Keep)), outer[-1].level if outer else "")


def _only(inner: tuple[Node, ...], names: set[str], made: tuple[str, ...], close: str) -> tuple[Node, ...]:
    """The nodes inside the loop, each keep holding only what this stage touches."""
    nodes: list[Node] = []
    for node in inner:
        if isinstance(node, Keep):
            held = tuple(t for t in node.tensors if t in names)
            nodes += [replace(node, tensors=(*held, *made) if node.level == close else held)] if held or made else []
        else:
            nodes.append(node)
    return tuple(nodes)


def _touched(cascade: Cascade, stage: tuple[Nest, ...]) -> set[str]:
    einsums = [cascade.einsum(run.einsum) for child in stage for run in child.runs]
    return {n for e in einsums for n in (*e.inputs, e.output.tensor)}


def _crossing(cascade: Cascade, stages: Stages) -> tuple[str, ...]:
    """Tensors written in one stage and read in a later one."""
    written: dict[str, int] = {}
    found: dict[str, None] = {}
    for number, stage in enumerate(stages):
        for einsum in (cascade.einsum(run.einsum) for child in stage for run in child.runs):
            found |= {n: None for n in einsum.inputs if written.get(n, number) < number}
            written[einsum.output.tensor] = number
    return tuple(found)


def _recomputed(cascade: Cascade, stages: Stages, rank: str) -> tuple[Cascade, Stages]:
    """The cascade with what later stages read along the rank made again in each of them, and the stages with it."""
    makers = {e.output.tensor: (e, child) for stage in stages for child in stage for e in _einsums(cascade, child)}
    einsums, tensors = list(cascade.einsums), list(cascade.tensors)
    made: list[tuple[Nest, ...]] = []
    here: set[str] = set()
    for number, stage in enumerate(stages):
        wrote = {e.output.tensor for child in stage for e in _einsums(cascade, child)}
        names: dict[str, str] = {}
        added: list[Nest] = []
        for child in stage:
            for einsum in _einsums(cascade, child):
                for name in einsum.inputs:
                    if name in here and rank in cascade.tensor(name).ranks:
                        added += _again(name, number, makers, names, cascade, rank, einsums, tensors, wrote)
                _renamed_in(einsums, einsum, names)
        made.append((*added, *stage))
        here |= wrote
    return replace(cascade, einsums=tuple(einsums), tensors=tuple(tensors)), tuple(made)


def _einsums(cascade: Cascade, child: Nest) -> list[Einsum]:
    return [cascade.einsum(run.einsum) for run in child.runs]


def _again(
    name: str, stage: int, makers: Mapping[str, tuple[Einsum, Nest]], names: dict[str, str], cascade: Cascade,
    rank: str, einsums: list[Einsum], tensors: list[Any], wrote: set[str],
) -> list[Nest]:  # fmt: skip
    """Copies of a tensor's maker, and of what that reads along the rank, under names of this stage."""
    if name in names or name in wrote or name not in makers:
        return []
    maker, child = makers[name]
    added = [
        nest
        for read in maker.inputs
        if rank in cascade.tensor(read).ranks
        for nest in _again(read, stage, makers, names, cascade, rank, einsums, tensors, wrote)
    ]
    copy = f"{name}_{stage + 1}"
    names[name] = copy
    output = replace(maker.output, tensor=copy)
    at = next(i for i, e in enumerate(einsums) if e.name == maker.name)
    einsums.insert(at + 1, replace(maker, name=copy, output=output, expr=_renamed(maker.expr, names)))
    tensors.append(replace(cascade.tensor(name), name=copy))
    return [*added, _run_as(child, maker.name, copy)]


def _run_as(nest: Nest, name: str, copy: str) -> Nest:
    """A child that runs a copy of its Einsum instead."""
    runs = [node for node in nest.nodes if isinstance(node, Run)]
    unit = next((run.unit for run in nest.runs if run.einsum == name), "")
    return Nest((*(n for n in nest.nodes if n not in runs and not isinstance(n, Branch)), Run(copy, unit)))


def _renamed_in(einsums: list[Einsum], einsum: Einsum, names: Mapping[str, str]) -> None:
    """An Einsum reading this stage's copies in place of the originals."""
    at = next(i for i, e in enumerate(einsums) if e.name == einsum.name)
    einsums[at] = replace(einsum, expr=_renamed(einsum.expr, names))


def _renamed(expr: Expr, names: Mapping[str, str]) -> Expr:
    if isinstance(expr, Const):
        return expr
    if isinstance(expr, Access):
        return replace(expr, tensor=names.get(expr.tensor, expr.tensor))
    return Call(expr.op, tuple(_renamed(a, names) for a in expr.args))
