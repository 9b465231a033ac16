"""Gates, against the routing tensors of the mixtures of experts that they serve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from einsum import Cascade, parse
from sim.numerics.draw import Draw, Pair, Row
from workloads.gates import Gate, cosine_scores, gate_lines, softmax_scores
from workloads.kernels import gates
from workloads.pieces import Piece, piece

EXPERTS = 7
CHOICE = (
    "EV[b, x, q] = top_k[p, q](RP[b, p, x])",
    "EI[b, x, q] = arg_top_k[p, q](RP[b, p, x])",
    "RT[b, p, x]: per_row(x, 1)",
    "RT[b, EI[b, x, q], x] = copy(EV[b, x, q])",
)
SOFT = """
    DM[b, x, q]    = max[p](RL[b, p, x, q])
    DE[b, p, x, q] = exp(RL[b, p, x, q] - DM[b, x, q])
    DD[b, x, q]    = DE[b, p, x, q]
    D[b, p, x, q]  = DE[b, p, x, q] / DD[b, x, q]
    CM[b, p]       = max[x, q](RL[b, p, x, q])
    CE[b, p, x, q] = exp(RL[b, p, x, q] - CM[b, p])
    CD[b, p]       = CE[b, p, x, q]
    C[b, p, x, q]  = CE[b, p, x, q] / CD[b, p]
"""


def routing(gated: tuple[Any, Any], count: int) -> Any:  # (b, p, k), (b, p, k) -> (b, p, x)
    """The weights in their places."""
    experts, weights = gated
    placed = np.zeros((*experts.shape[:2], count), weights.dtype)
    np.put_along_axis(placed, experts, weights, -1)
    return placed


def _layer(draw: Draw, lines: Piece, **sizes: int) -> Cascade:
    return (lines + piece(b=draw.b, p=draw.m, x=EXPERTS, **sizes)).cascade("gate")


def _logits(d: Draw) -> Any:
    return d.normal(d.b, d.m, EXPERTS)


def gshard(d: Draw) -> Iterator[Pair]:
    for chosen in (1, 2, EXPERTS):
        t = {"RL": _logits(d)}
        got = routing(d.run(gates.gshard, t["RL"], chosen=chosen), EXPERTS)
        yield got, _layer(d, gate_lines(Gate(chosen, over_all=True))), t, "RT"


def sigmoid(d: Draw) -> Iterator[Pair]:
    for chosen in (1, 3):
        t = {"RL": _logits(d)}
        got = routing(d.run(gates.sigmoid, t["RL"], chosen=chosen), EXPERTS)
        yield got, _layer(d, gate_lines(Gate(chosen, score="sigmoid", normalised=False))), t, "RT"


def x_moe(d: Draw) -> Iterator[Pair]:
    t = {"X": d.values(d.b, d.m, d.p), "WL": d.values(d.p, d.e + 2), "WX": d.values(EXPERTS, d.e + 2)}
    lines = cosine_scores("X", 0.07) + gate_lines(Gate(2, over_all=True, normalised=False))
    got = routing(d.run(gates.x_moe, *t.values(), temperature=0.07, chosen=2), EXPERTS)
    yield got, _layer(d, lines, d=d.p, a=d.e + 2), t, "RT"


def expert_choice(d: Draw) -> Iterator[Pair]:
    t = {"RL": _logits(d)}
    capacity = max(1, d.m // 3)
    got = d.run(gates.expert_choice, t["RL"], capacity=capacity)
    placed = routing(got, d.m).swapaxes(1, 2)
    yield placed, _layer(d, softmax_scores() + piece(*CHOICE), q=capacity), t, "RT"


def soft(d: Draw) -> Iterator[Pair]:
    t = {"RL": d.normal(d.b, d.m, d.h, d.r)}
    cascade = parse(SOFT, b=d.b, p=d.m, x=d.h, q=d.r)
    for got, name in zip(d.run(gates.soft, t["RL"]), "DC", strict=True):
        yield got, cascade, t, name


# Cosines of equal vectors, and of those of one dimension, tie but for rounding.
# Where probabilities underflow, saturate or round to one, the cascade sees ties that a comparison of logits does not.
SMALL = ("normal", "exact", "equal", "zero")
ROWS = {
    "gates.gshard": Row(gshard, kinds=SMALL),
    "gates.sigmoid": Row(sigmoid, kinds=SMALL),
    "gates.x_moe": Row(x_moe, kinds=("normal",)),
    "gates.expert_choice": Row(expert_choice, kinds=("normal", "equal", "zero")),
    "gates.soft": Row(soft),
}
