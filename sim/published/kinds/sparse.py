"""Convolutions whose zeros are skipped, by expected occupancy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einsum import parse
from mappings.text import parse as nest
from sim.arch import device
from sim.model.spatial import evaluate
from sim.published.calls import number, table

__all__ = ["cycles"]

UNIT = "eyeriss_v2_pe"
CYCLE = 1e-9  # s, of the unit's file
NEST = nest("keep I, W, O in backing\nfor g tile 1\n  for m tile 8\n    keep O in psum\n    O on pe")
DECLARED = "I[g, c, h, w]: uniform({inputs})\nW[g, m, c, r, s]: uniform({weights})\n"
WINDOWS = "O[g, m, e, f] = I[g, c, e + r, f + s] * W[g, m, c, r, s]"
POINTS = "O[g, m, h, w] = I[g, c, h, w] * W[g, m, c, r, s]"  # one tap


def cycles(inputs: Mapping[str, Any], *, layer: str) -> float:
    """Cycles of one unit that skips every product of a zero."""
    given = table(inputs, "layers", layer)
    g, m, c, side, taps = (int(number(inputs, "layers", layer, name)) for name in ("g", "m", "c", "side", "taps"))
    dense = {name: number(inputs, "layers", layer, name) if name in given else 1.0 for name in ("inputs", "weights")}
    sizes = {"g": g, "m": m, "c": c, "h": side + taps - 1, "w": side + taps - 1, "r": taps, "s": taps}
    if taps > 1:
        sizes |= {"e": side, "f": side}
    text = DECLARED.format(**dense) + (WINDOWS if taps > 1 else POINTS)
    cascade = parse(text, name=layer, dtype="int8", **sizes)
    return float(evaluate(cascade, NEST, device(UNIT)).seconds) / CYCLE
