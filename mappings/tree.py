"""Mapping trees: loops over rank tiles in time and space, what each level keeps, which unit runs which Einsum.

A nest is a chain of nodes from the outermost inwards. It ends in a ``Run`` (one Einsum on one unit) or in a branch,
whose children are nests: one after another (``sequence``), overlapped as stages (``pipeline``), or side by side on
units of their own (``interleave``). Levels, fan-outs and units are names only; an architecture says what they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BRANCHES = ("sequence", "pipeline", "interleave")


@dataclass(frozen=True, slots=True)
class Temporal:
    """A loop in time over pieces of ``tile`` elements of what is left of a rank; the last piece may be shorter."""

    rank: str
    tile: int

    def __str__(self) -> str:
        return f"for {self.rank} tile {self.tile}"


@dataclass(frozen=True, slots=True)
class Spatial:
    """A loop in space over the instances of ``over`` (a fan-out, or a pool of devices).

    Either ``tile`` elements go to each instance, or a rank is divided ``ways`` ways; the other is 0. ``only`` limits
    the loop to some Einsums (all that have the rank, if empty). Over a pool, neighbours along the rank are ``stride``
    devices apart; 0: they go over what other loops leave.
    """

    rank: str
    ways: int = 0
    only: tuple[str, ...] = ()
    tile: int = 0
    over: str = ""
    stride: int = 0

    def __str__(self) -> str:
        share = f"tile {self.tile}" if self.tile else f"ways {self.ways}"
        over = f" over {self.over}" if self.over else ""
        only = f" only {', '.join(self.only)}" if self.only else ""
        return f"spatial {self.rank} {share}{over}{only}"


@dataclass(frozen=True, slots=True)
class Keep:
    """From here inwards, ``level`` holds the pieces of ``tensors`` that the nest below touches.

    Arriving with the pieces of the last visit still held, only what is new is filled; ``double`` keeps two pieces, so
    that the next one is filled while this one is used.
    """

    tensors: tuple[str, ...]
    level: str
    double: bool = False

    def __str__(self) -> str:
        return f"keep {', '.join(self.tensors)} in {self.level}" + (" double" if self.double else "")


@dataclass(frozen=True, slots=True)
class Run:
    """One Einsum on one compute unit, over whatever is left of its ranks."""

    einsum: str
    unit: str

    def __str__(self) -> str:
        return f"{self.einsum} on {self.unit}"


@dataclass(frozen=True, slots=True)
class Branch:
    """Several nests under the same loops: ``how`` is sequence, pipeline or interleave."""

    how: str
    children: tuple[Nest, ...]

    def __str__(self) -> str:
        return self.how


Node = Temporal | Spatial | Keep | Run | Branch


@dataclass(frozen=True, slots=True)
class Nest:
    """A chain of nodes; only the last one is a ``Run`` or a ``Branch``."""

    nodes: tuple[Node, ...]

    @property
    def end(self) -> Run | Branch:
        """The node that the chain leads to."""
        last = self.nodes[-1]
        if isinstance(last, Run | Branch):
            return last
        raise TypeError("a nest ends in a Run or a Branch")  # the reader and the constructors see to it

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every Einsum run below, in order."""
        end = self.end
        return (end,) if isinstance(end, Run) else tuple(r for child in end.children for r in child.runs)

    def paths(self) -> Iterator[tuple[tuple[Node, ...], Run]]:
        """Each Einsum with the nodes above it, outermost first, branches included."""
        end = self.end
        if isinstance(end, Run):
            yield self.nodes[:-1], end
            return
        for child in end.children:
            for above, run in child.paths():
                yield (*self.nodes, *above), run

    def __str__(self) -> str:
        return "\n".join(_lines(self, 0))


def _lines(nest: Nest, depth: int) -> Iterator[str]:
    """The nest as text: whatever stands under a loop or a branch is indented by two."""
    for node in nest.nodes:
        yield "  " * depth + str(node)
        depth += isinstance(node, Temporal | Spatial)
        if isinstance(node, Branch):
            for child in node.children:
                yield from _lines(child, depth + 1)
