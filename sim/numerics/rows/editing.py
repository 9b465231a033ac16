"""Edits in closed form, against dense algebra: the formula with explicit inverses, as no cascade solves systems."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sim.numerics.draw import Draw, Pair, Row, Tensors
from workloads.kernels import editing


def formula(t: Tensors) -> Tensors:
    """``W + (V - W K) (K' M^-1 K)^-1 K' M^-1``."""
    w, memory, keys, values = (t[name].astype(np.float64) for name in ("W", "M", "K", "V"))
    inverse = np.linalg.inv(memory)
    return {"W": w + (values - w @ keys) @ np.linalg.inv(keys.T @ inverse @ keys) @ keys.T @ inverse}


def emmet(d: Draw) -> Iterator[Pair]:
    width = d.e + 8
    seen, basis = d.normal(width, 4 * width), np.linalg.qr(d.rng.standard_normal((width, min(d.p, d.e))))[0]
    memory = (seen @ seen.T / (4 * width) + np.eye(width)).astype(d.dtype)
    memory = (memory + memory.T) / 2
    t = {"W": d.normal(d.r, width), "M": memory, "K": basis.astype(d.dtype), "V": d.values(d.r, basis.shape[1])}
    yield d.run(editing.emmet, *t.values()), formula, t, "W"


# Conditions of huge numbers exceed what either way of solving resolves.
ROWS = {"editing.emmet": Row(emmet, kinds=("normal", "exact", "tiny", "zero"))}
