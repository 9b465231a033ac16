"""The order in which Einsums can run: groups that feed each other through an iterative rank are stepped together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from einsum.cascade import Cascade, carried
from einsum.errors import WeirError
from einsum.terms import Einsum


@dataclass(frozen=True, slots=True)
class Group:
    """Einsums in program order and the ranks along which they must be run step by step (none: all at once)."""

    einsums: tuple[Einsum, ...]
    steps: tuple[str, ...] = ()


def groups(cascade: Cascade) -> tuple[Group, ...]:
    """The cascade as groups, each after everything it reads."""
    after = _edges(cascade)
    reach = _closure(after)
    mutual = reach & reach.T
    done: set[int] = set()
    found: list[Group] = []
    while len(done) < len(cascade.einsums):
        for start in range(len(cascade.einsums)):
            members = {start, *map(int, np.flatnonzero(mutual[start]))}
            needs = set(map(int, np.flatnonzero(reach[:, start]))) - members
            if start not in done and needs <= done:
                found.append(_group(cascade, sorted(members), bool(mutual[start, start])))
                done |= members
                break
    return tuple(found)


def _edges(cascade: Cascade) -> NDArray[np.bool_]:
    """``[i, j]``: Einsum ``j`` needs what ``i`` did. Along an iterative rank a later line feeds an earlier one."""
    einsums = cascade.einsums
    after = np.zeros((len(einsums), len(einsums)), bool)
    for i, first in enumerate(einsums):
        for j, second in enumerate(einsums[i:], i):
            flows = first.output.tensor in second.inputs
            overwrites = second.output.tensor in (first.output.tensor, *first.inputs)
            if j > i:
                after[i, j] = flows or overwrites
            if second.output.tensor in first.inputs and set(carried(second)) & set(first.ranks):
                after[j, i] = True
    return after


def _closure(after: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which Einsum is reached from which, in one step or many."""
    reach = after
    while True:
        wider = reach | ((reach.astype(np.float32) @ reach.astype(np.float32)) > 0)
        if (wider == reach).all():
            return reach
        reach = wider


def _group(cascade: Cascade, members: list[int], cyclic: bool) -> Group:
    einsums = tuple(cascade.einsums[i] for i in members)
    if not cyclic:
        return Group(einsums)
    steps = tuple(dict.fromkeys(r for e in einsums for r in carried(e)))
    for einsum in einsums:
        for rank in steps:
            if rank not in einsum.output.ranks:
                raise WeirError(f"{cascade.name}: line {einsum.line}: {einsum.name} feeds a recurrence along {rank!r} "
                                f"and must be written at every {rank!r}")  # fmt: skip
    return Group(einsums, steps)
