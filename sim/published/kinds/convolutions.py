"""Convolutions on a row-stationary array: latency, units at work, traffic of the global buffer and of DRAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einsum import parse
from mappings.arrays import RowStationary, row_stationary
from sim.arch import device
from sim.model.spatial import MappedEstimate, evaluate
from sim.published.calls import number, table

__all__ = ["buffered", "dram", "latency", "units"]

ARRAY = "eyeriss"


def _shape(inputs: Mapping[str, Any], layer: str) -> RowStationary:
    taken = {name: int(number(inputs, "mapping", layer, name)) for name in table(inputs, "mapping", layer)}
    return RowStationary(taps=int(number(inputs, "layers", layer, "taps")), **taken)


def _run(inputs: Mapping[str, Any], layer: str) -> MappedEstimate:
    """One layer of a batch under the paper's mapping."""
    g, m, c, side, taps, stride = (
        int(number(inputs, "layers", layer, name)) for name in ("g", "m", "c", "side", "taps", "stride")
    )
    move = f"{stride} * " if stride > 1 else ""
    cascade = parse(
        f"O[n, g, m, e, f] = I[n, g, c, {move}e + r, {move}f + s] * W[g, m, c, r, s]", name=layer, dtype="int16",
        n=int(number(inputs, "batch")), g=g, m=m, c=c, e=side, f=side, r=taps, s=taps,
    )  # fmt: skip
    return evaluate(cascade, row_stationary(_shape(inputs, layer)), device(ARRAY))


def latency(inputs: Mapping[str, Any], *, layer: str) -> float:
    """Milliseconds of a batch, DRAM never waited for."""
    return float(_run(inputs, layer).seconds) * 1e3


def units(inputs: Mapping[str, Any], *, layer: str) -> float:
    """Units that have work."""
    return float(_shape(inputs, layer).units)


def buffered(inputs: Mapping[str, Any], *, layer: str) -> float:
    """MB of images read from the global buffer, and of sums read and written."""
    made = _run(inputs, layer)
    return float(made.traffic("glb_ifmap", "reads") + made.traffic("glb_psum")) / 1e6


def dram(inputs: Mapping[str, Any], *, layer: str) -> float:
    """MB read from and written to memory, as compressed."""
    return float(_run(inputs, layer).traffic("dram")) / number(inputs, "compression", layer) / 1e6
