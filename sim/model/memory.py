"""What must be resident on each pool's devices: weights, and the state of the requests in flight."""

from __future__ import annotations

from math import ceil, prod
from typing import Any

import numpy as np

from einsum import Access, Affine, Cascade, Einsum, Part, Program
from einsum.ops import bits
from einsum.sparsity import Band, density, occupied
from mappings.layout import Layout, Place


def weights(program: Program, layout: Layout) -> dict[str, float]:
    """Bytes of weights on one device of each pool (the fullest stage's).

    What comes before the layers lies on the first stage, what comes after them on the last: with several stages, no
    device holds both.
    """
    held = {place.pool: [0.0, 0.0, 0.0] for place in layout.places}  # before, in and after the layers
    seen: set[tuple[str, str]] = set()
    for part in program.parts:
        for (name, pool), size in _stored(part.cascade, layout, "weight").items():
            if name in program.shared and (pool, name) in seen:
                continue
            seen.add((pool, name))
            where = 1 if part.times > 1 else 2 * bool(held[pool][1])
            held[pool][where] += float(size) * _copies(part, layout, layout.at(pool))
    staged = layout.places[0].pool if layout.stages > 1 else None
    return {p: inner + (max(b, a) if p == staged else b + a) for p, (b, inner, a) in held.items()}


def state(program: Program, layout: Layout, **sizes: Any) -> dict[str, Any]:
    """Bytes of state on one device of each pool for ``b`` requests with ``c`` tokens behind them (one replica's)."""
    total: dict[str, Any] = {place.pool: 0.0 for place in layout.places}
    for part in program.parts:
        for (_, pool), size in _stored(part.cascade, layout, "state", **sizes).items():
            total[pool] = total[pool] + size * _copies(part, layout, layout.at(pool))
    return total


def _copies(part: Part, layout: Layout, place: Place) -> int:
    """Times a part's tensors lie on one device: its repetitions, shared among the stages of the first place."""
    staged = layout.stages if place == layout.places[0] else 1
    return ceil(part.times / staged) if part.times > 1 else 1


def _stored(cascade: Cascade, layout: Layout, kind: str, **sizes: Any) -> dict[tuple[str, str], Any]:
    """Bytes of the largest share of each tensor of a kind, by tensor and pool: as it is read there, else written."""
    own = {r for r, _ in cascade.sizes}
    at = cascade.bind(**{r: s for r, s in sizes.items() if r in own})
    homes = dict(layout.home)
    found: dict[tuple[str, str], Any] = {}
    read = {name for e in cascade.einsums for name in e.inputs}
    for einsum in cascade.einsums:
        for access in (*einsum.reads, *(() if einsum.output.tensor in read else (einsum.output,))):
            tensor = cascade.tensor(access.tensor)
            if tensor.kind == kind:
                place = layout.at(homes.get(tensor.name, layout.place(einsum.name).pool))
                elements = _share(cascade, access, einsum, place, at)
                seen = density(tensor.patterns, at) * _in_sight(cascade, access, einsum, at)
                size = elements * seen * bits(tensor.dtype) / 8
                key = tensor.name, place.pool
                found[key] = np.maximum(size, found.get(key, 0.0))
    return found


def _in_sight(cascade: Cascade, access: Access, einsum: Einsum, sizes: dict[str, Any]) -> Any:
    """Fraction of a tensor that its reader's band can still reach: what has left a sliding window is not kept."""
    bands = [p for p in cascade.patterns[einsum.name] if isinstance(p, Band) and p.key in access.ranks]
    return occupied(bands, access.ranks, sizes, sizes)


def _share(cascade: Cascade, access: Access, einsum: Einsum, place: Place, sizes: dict[str, Any]) -> Any:
    ways = place.ways(einsum)
    elements: Any = 1
    for extent, index in zip(cascade.shape(access.tensor, sizes), access.indices, strict=True):
        split = prod(ways.get(r, 1) for r in index.ranks) if isinstance(index, Affine) else 1
        elements = elements * (np.ceil(extent / split) if split > 1 else extent)
    return elements
