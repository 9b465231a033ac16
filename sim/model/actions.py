"""Counts of actions: what every level, unit and network does while a mapped cascade runs once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from einsum import WeirError, hint

KINDS = ("reads", "fills", "updates", "drains")
OUT = ("reads", "drains")  # what a level gives
IN = ("fills", "updates")  # what it takes


@dataclass(frozen=True, slots=True)
class Action:
    """``count`` elements of a tensor handled in one way at one level, over all its instances (an array over points);
    ``at`` is the place in the nest of the keep or the Einsum on whose behalf."""

    level: str
    tensor: str
    kind: str
    count: Any
    at: int = 0


@dataclass(frozen=True, slots=True)
class Computes:
    """Points of one Einsum run on a unit, and additions made on the way between instances (spatial reduction)."""

    einsum: str
    unit: str
    points: Any
    reductions: Any = 0


@dataclass(frozen=True, slots=True)
class Carried:
    """Elements of a tensor on the wires of a fan-out, over all its copies, on behalf of a place in the nest.

    ``words`` pass where the wires begin, ``hops`` are links crossed, ``pitches`` the way in distances of neighbours.
    """

    fanout: str
    tensor: str
    outwards: bool  # sums and results; operands go inwards
    words: Any
    hops: Any
    pitches: Any
    at: int = 0
    exact: bool = True  # or else as near as the closed form comes


@dataclass(frozen=True)
class Counts:
    """All actions of one run; ``copies`` are elements handed to one more instance of those that share a read.

    ``carried`` is there for fan-outs of a device that states their topology.
    """

    actions: tuple[Action, ...]
    computes: tuple[Computes, ...]
    copies: tuple[Action, ...] = ()
    carried: tuple[Carried, ...] = ()

    def hops(self) -> dict[tuple[str, str], Any]:
        """By fan-out and tensor: links crossed by its elements."""
        found: dict[tuple[str, str], Any] = {}
        for one in self.carried:
            found[one.fanout, one.tensor] = found.get((one.fanout, one.tensor), 0) + one.hops
        return {key: count for key, count in found.items() if not _zero(count)}

    def multicasts(self) -> dict[tuple[str, str], Any]:
        """By level and tensor: elements that its reads brought to further instances, which other levels or units took
        without a read of their own."""
        found: dict[tuple[str, str], Any] = {}
        for one in self.copies:
            found[one.level, one.tensor] = found.get((one.level, one.tensor), 0) + one.count
        return {key: count for key, count in found.items() if not _zero(count)}

    def get(self, level: str, tensor: str, kind: str) -> Any:
        """The count of one kind of action, 0 if there is none."""
        if kind not in KINDS:
            raise WeirError(f"no action {kind!r}{hint(kind, KINDS)}")
        rows = (a.count for a in self.actions if (a.level, a.tensor, a.kind) == (level, tensor, kind))
        return sum(rows, start=0)

    def at(self, level: str, *kinds: str) -> Any:
        """Elements of all tensors handled at a level in any of these ways (in all, if none is named)."""
        wanted = kinds or KINDS
        return sum((a.count for a in self.actions if a.level == level and a.kind in wanted), start=0)

    def points(self, einsum: str) -> Any:
        """Points run of one Einsum."""
        return sum((c.points for c in self.computes if c.einsum == einsum), start=0)

    def table(self) -> dict[tuple[str, str, str], Any]:
        """Nonzero counts by (level, tensor, kind): two runs with equal tables did the same."""
        keys = dict.fromkeys((a.level, a.tensor, a.kind) for a in self.actions)
        found = {key: self.get(*key) for key in keys}
        return {key: count for key, count in found.items() if not _zero(count)}

    def rows(self) -> tuple[tuple[str, str, str, Any], ...]:
        """Level, tensor, kind and count of all that is not zero, multicasts, additions between instances (of these, the
        unit and the Einsum that adds) and hops (of these, the fan-out and the tensor) included."""
        actions = ((*key, count) for key, count in self.table().items())
        copies = ((level, tensor, "multicasts", count) for (level, tensor), count in self.multicasts().items())
        sums = ((c.unit, c.einsum, "reductions", c.reductions) for c in self.computes if not _zero(c.reductions))
        hops = ((fanout, tensor, "hops", count) for (fanout, tensor), count in self.hops().items())
        return (*actions, *copies, *sums, *hops)

    def frame(self) -> Any:
        """A pandas DataFrame, one row a level, tensor and kind."""
        import pandas as pd

        return pd.DataFrame([(*k, v) for k, v in self.table().items()], columns=["level", "tensor", "kind", "count"])


def _zero(count: Any) -> bool:
    return not count.any() if hasattr(count, "any") else count == 0


def merged(parts: Iterable[Counts]) -> Counts:
    """The actions of several runs together."""
    every = tuple(parts)
    return Counts(
        tuple(a for p in every for a in p.actions), tuple(c for p in every for c in p.computes),
        tuple(c for p in every for c in p.copies), tuple(c for p in every for c in p.carried),
    )  # fmt: skip
