"""Products on systolic arrays: cycles of three dataflows, and throughput where weights come from memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einsum import Cascade, WeirError, hint, parse
from mappings.arrays import Grid, input_stationary, output_stationary, weight_stationary
from sim.arch import Device, device
from sim.model.spatial import MappedEstimate, evaluate
from sim.published.calls import number, text
from sim.units import si

__all__ = ["achieved", "cycles", "matrix", "utilisation"]

DATAFLOWS = {"output": output_stationary, "weight": weight_stationary, "input": input_stationary}
PLAIN, TPU = "systolic_32x32", "tpu_v1"
TILES = 4  # tiles to a side of a matrix whose width is not published: any number has the same throughput


def _square(name: str, side: int) -> Device:
    """A systolic array of the catalogue with as many rows and columns, a step to a neighbour taking as long."""
    made = device(name)
    step = made.get("rows.shift") / made.get("rows.count")
    for fanout in ("rows", "columns"):
        made = made.with_(f"{fanout}.count", side).with_(f"{fanout}.skew", (side - 1) * step)
    return made.with_("rows.shift", side * step)


def _product(m: int, n: int, k: int) -> Cascade:
    return parse("Z[m, n] = A[m, k] * B[k, n]", name="product", dtype="int8", m=m, n=n, k=k)


def _run(dataflow: str, side: int, cascade: Cascade) -> MappedEstimate:
    if dataflow not in DATAFLOWS:
        raise WeirError(f"unknown dataflow {dataflow!r}{hint(dataflow, DATAFLOWS)}")
    return evaluate(cascade, DATAFLOWS[dataflow](Grid(side, side)), _square(PLAIN, side))


def cycles(inputs: Mapping[str, Any], *, dataflow: str, side: int, m: int, n: int, k: int) -> float:
    """Number of the last cycle, the first being zero."""
    made = _run(dataflow, side, _product(m, n, k))
    return float(round(float(made.seconds) / _cycle(made), 6)) - 1


def _cycle(made: MappedEstimate) -> float:
    """Seconds of one multiply-accumulate, two operations, in a unit."""
    return float(2 * made.device.instances("pe") / made.device.rate("mac", "int8"))


def utilisation(inputs: Mapping[str, Any], *, dataflow: str, side: int, m: int, n: int, k: int) -> float:
    """Per cent of units and cycles that multiply."""
    elapsed = cycles(inputs, dataflow=dataflow, side=side, m=m, n=n, k=k)
    return float(100 * _run(dataflow, side, _product(m, n, k)).utilisation("pe") * (elapsed + 1) / elapsed)


def _weights(made: Device, side: int, width: int, batch: int) -> float:
    """Seconds of a batch through one square matrix of weights, which memory holds in whole tiles."""
    whole = -(-width // side) * side
    nest = weight_stationary(Grid(side, side), double=True, fifo="fifo")
    return float(evaluate(_product(batch, whole, whole), nest, made).seconds)


def achieved(inputs: Mapping[str, Any], *, application: str) -> float:
    """TOPS of an application that waits for its weights: useful ones only, tiles as fast as the paper says."""
    batch, useful, active = (
        number(inputs, "applications", application, name) for name in ("batch", "useful", "active")
    )
    made = device(TPU)
    side = int(made.get("rows.count"))
    made = made.with_("dram.bandwidth", side**2 / si(text(inputs, "tile"), "s", "tile"))
    width = TILES * side
    operations = 2 * batch * width**2 * useful / active
    return operations / _weights(made, side, width, int(batch)) / 1e12


def matrix(inputs: Mapping[str, Any], *, width: int, batch: int, side: int) -> float:
    """Microseconds of a batch through one square matrix on a unit of ``side`` x ``side``."""
    made = _square(TPU, side).with_("fifo.capacity", 4 * side**2)
    return _weights(made, side, width, batch) * 1e6
