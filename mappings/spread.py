"""A layout written out as a loop nest over pools of devices, and read back: clusters and arrays share one vocabulary.

Each fused kernel is a branch whose Einsums run side by side under loops in space over the pool; kernels follow one
another in a sequence. ``str(expand(cascade, layout))`` is text that :func:`mappings.text.parse` reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from einsum import Cascade, Einsum, WeirError
from mappings.kernels import kernels
from mappings.layout import Layout
from mappings.tree import Branch, Nest, Run, Spatial


def expand(cascade: Cascade, layout: Layout) -> Nest:
    """The nest of a cascade under a layout."""
    return Nest((Branch("sequence", tuple(_kernel(layout, group) for group in kernels(cascade, layout))),))


def _kernel(layout: Layout, group: tuple[Einsum, ...]) -> Nest:
    nests = tuple(_run(layout, einsum) for einsum in group)
    return nests[0] if len(nests) == 1 else Nest((Branch("interleave", nests),))


def _run(layout: Layout, einsum: Einsum) -> Nest:
    place = layout.place(einsum.name)
    loops = tuple(Spatial(rank, ways, over=place.pool) for rank, ways in place.ways(einsum).items())
    return Nest((*loops, Run(einsum.name, place.pool)))


@dataclass(frozen=True)
class Sharded:
    """A nest over pools as the model reads it: fused groups, the pool of each Einsum, the division of its ranks."""

    cascade: Cascade
    nest: Nest

    @cached_property
    def groups(self) -> tuple[tuple[Einsum, ...], ...]:
        """Fused groups in order: what stands side by side in one child of the sequence."""
        end = self.nest.end
        children = end.children if isinstance(end, Branch) and end.how == "sequence" else (self.nest,)
        return tuple(tuple(self.cascade.einsum(run.einsum) for run in child.runs) for child in children)

    @cached_property
    def pools(self) -> dict[str, str]:
        """The pool on which each Einsum runs."""
        return {run.einsum: run.unit for run in self.nest.runs}

    @cached_property
    def _ways(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for above, run in self.nest.paths():
            divided: dict[str, int] = {}
            for node in above:
                if not isinstance(node, Spatial | Branch) or (isinstance(node, Spatial) and not node.ways):
                    raise WeirError(f"mapping: {str(node)!r}: over pools, ranks are divided by ways: spatial b ways 4")
                if isinstance(node, Spatial):
                    divided[node.rank] = divided.get(node.rank, 1) * node.ways
            found[run.einsum] = divided
        return found

    def ways(self, einsum: Einsum) -> dict[str, int]:
        """How each rank of an Einsum is divided."""
        return self._ways[einsum.name]
