"""How long each tensor must be kept when a cascade runs Einsum by Einsum."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from einsum.cascade import Cascade
from einsum.counts import footprint


@dataclass(frozen=True, slots=True)
class Live:
    """Bytes of a tensor's present values, needed from the Einsum numbered ``first`` to ``last``, both included."""

    tensor: str
    bytes: float
    first: int
    last: int


def live_ranges(cascade: Cascade) -> tuple[Live, ...]:
    """When each tensor is alive: what comes in from the start, an intermediate from its first write, until the last
    use; outputs, weights and state (kept for the next run) to the end.

    >>> from einsum import parse
    >>> live_ranges(parse("Y[m] = exp(X[m])\\nZ = Y[m]", m=8))[1]
    Live(tensor='Y', bytes=16.0, first=0, last=1)
    """
    end = len(cascade.einsums) - 1
    kept = {t.name for t in cascade.tensors if t.kind != "stream"} | set(cascade.outputs)
    found = []
    for name in (t.name for t in cascade.tensors):
        uses = [i for i, e in enumerate(cascade.einsums) if name in (e.output.tensor, *e.inputs)]
        if uses:
            first = 0 if name in cascade.inputs else uses[0]
            found.append(Live(name, float(footprint(cascade, name)), first, end if name in kept else uses[-1]))
    return tuple(found)


def profile(lives: Iterable[Live]) -> tuple[float, ...]:
    """Bytes alive while each Einsum runs."""
    alive = tuple(lives)
    steps = 1 + max((live.last for live in alive), default=-1)
    return tuple(sum(live.bytes for live in alive if live.first <= i <= live.last) for i in range(steps))


def peak(lives: Iterable[Live]) -> float:
    """The most bytes alive at once."""
    return max(profile(lives), default=0.0)
