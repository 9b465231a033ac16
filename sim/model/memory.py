"""What must be resident on each pool's devices: weights, and the state of the requests in flight."""

from __future__ import annotations

from math import ceil, prod
from typing import Any

import numpy as np

from einsum import Access, Affine, Cascade, Einsum, Part, Program
from einsum.ops import bits
from einsum.sparsity import density
from mappings.layout import Layout, Place


def weights(program: Program, layout: Layout) -> dict[str, float]:
    """Bytes of weights on one device of each pool (the fullest stage's)."""
    total = {place.pool: 0.0 for place in layout.places}
    seen: set[tuple[str, str]] = set()
    for part in program.parts:
        for name, (place, size) in _stored(part.cascade, layout, "weight").items():
            shared = name in program.shared
            if shared and (place.pool, name) in seen:
                continue
            seen.add((place.pool, name))
            total[place.pool] += float(size) * _copies(part, layout, place)
    return total


def state(program: Program, layout: Layout, **sizes: Any) -> dict[str, Any]:
    """Bytes of state on one device of each pool for ``b`` requests with ``c`` tokens behind them (one replica's)."""
    total: dict[str, Any] = {place.pool: 0.0 for place in layout.places}
    homes = dict(layout.home)
    for part in program.parts:
        for name, (place, size) in _stored(part.cascade, layout, "state", **sizes).items():
            pool = homes.get(name, place.pool)
            total[pool] = total[pool] + size * _copies(part, layout, layout.at(pool))
    return total


def _copies(part: Part, layout: Layout, place: Place) -> int:
    """Times a part's tensors lie on one device: its repetitions, shared among the stages of the first place."""
    staged = layout.stages if place == layout.places[0] else 1
    return ceil(part.times / staged) if part.times > 1 else 1


def _stored(cascade: Cascade, layout: Layout, kind: str, **sizes: Any) -> dict[str, tuple[Place, Any]]:
    """Each tensor of a kind with the place that holds it and the bytes of its largest share there."""
    own = {r for r, _ in cascade.sizes}
    at = cascade.bind(**{r: s for r, s in sizes.items() if r in own})
    found: dict[str, tuple[Place, Any]] = {}
    for einsum in cascade.einsums:
        for access in (*einsum.reads, einsum.output):
            tensor = cascade.tensor(access.tensor)
            if tensor.kind == kind:
                place = layout.place(einsum.name)
                elements = _share(cascade, access, einsum, place, at)
                size = elements * density(tensor.patterns, at) * bits(tensor.dtype) / 8
                old = found.get(tensor.name)
                found[tensor.name] = (place, size if old is None else np.maximum(size, old[1]))
    return found


def _share(cascade: Cascade, access: Access, einsum: Einsum, place: Place, sizes: dict[str, Any]) -> Any:
    ways = place.ways(einsum)
    elements: Any = 1
    for extent, index in zip(cascade.shape(access.tensor, sizes), access.indices, strict=True):
        split = prod(ways.get(r, 1) for r in index.ranks) if isinstance(index, Affine) else 1
        elements = elements * (np.ceil(extent / split) if split > 1 else extent)
    return elements
