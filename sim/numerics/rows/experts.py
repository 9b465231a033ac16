"""Tokens through their experts, against the mixtures of experts of :mod:`workloads.moe`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from einsum import Cascade, parse
from sim.numerics.draw import Draw, Pair, Row, Tensors
from sim.numerics.rows.gates import EXPERTS, routing
from workloads.kernels import experts
from workloads.moe import dispatched_lines, routed_lines
from workloads.pieces import piece

GROUPED = "Y[n, f] = X[n, d] * one(G[n, x]) * W[x, d, f]"


def _visits(d: Draw) -> tuple[Any, Any]:
    """Different experts for every token, in no order, and their weights."""
    chosen = min(d.r, EXPERTS)
    order = d.rng.random((d.b, d.m, EXPERTS)).argsort(axis=-1)[..., :chosen]
    return np.ascontiguousarray(order), 0.5 + d.random(d.b, d.m, chosen)


def _tensors(d: Draw, visits: tuple[Any, Any]) -> Tensors:
    """Tokens, matrices and routing; the routing's zeros are absent."""
    routed = routing(visits, EXPERTS)
    matrices = {"WG": d.query(EXPERTS, d.p, d.e), "WU": d.query(EXPERTS, d.p, d.e), "WD": d.query(EXPERTS, d.e, d.p)}
    return {"X": d.values(d.b, d.m, d.p), "RT": np.ma.array(routed, mask=routed == 0), **matrices}


def _mixture(d: Draw, capacity: int | None = None) -> Cascade:
    lines = routed_lines("X", "silu") if capacity is None else dispatched_lines("X", "silu") + piece(q=capacity)
    return (lines + piece(b=d.b, p=d.m, d=d.p, x=EXPERTS, f=d.e)).cascade("mixture")


def layer(kernel: Callable[..., Any]) -> Callable[[Draw], Iterator[Pair]]:
    """Cases of a whole layer."""

    def cases(d: Draw) -> Iterator[Pair]:
        visits = _visits(d)
        t = _tensors(d, visits)
        yield d.run(kernel, t["X"], *visits, *(t[n] for n in ("WG", "WU", "WD"))), _mixture(d), t, "Z"

    return cases


def dispatch(d: Draw) -> Iterator[Pair]:
    for capacity in (1, d.m // 2 + 1):
        visits = _visits(d)
        t = _tensors(d, visits)
        got, _ = d.run(experts.dispatch, t["X"], visits[0], count=EXPERTS, capacity=capacity)
        yield got, _mixture(d, capacity), t, "XD"


def combine(d: Draw) -> Iterator[Pair]:
    """Dispatched, doubled by each expert in its own way, and combined."""
    capacity = d.m // 3 + 1
    chosen, weights = _visits(d)
    t = {n: v for n, v in _tensors(d, (chosen, weights)).items() if n in ("X", "RT")}
    t["S"] = d.values(EXPERTS)
    taken, slots = experts.dispatch(t["X"], chosen, count=EXPERTS, capacity=capacity)
    lines = [str(e) for e in _mixture(d, capacity).einsums if e.output.tensor in ("PO", "SL", "OH", "DS", "XD")]
    text = ["SL[b, p, x]: int32", "OH[b, p, x, q]: per_row(q, 1)", *lines, "YE[b, x, q, d] = XD[b, x, q, d] * S[x]"]
    text.append("Z[b, p, d] = RT[b, p, x] * DS[b, p, x, q] * YE[b, x, q, d]")
    cascade = parse("\n".join(text), b=d.b, p=d.m, d=d.p, x=EXPERTS, q=capacity)
    yield d.run(experts.combine, taken * t["S"][:, None, None], chosen, slots, weights), cascade, t, "Z"


def grouped(d: Draw) -> Iterator[Pair]:
    group = np.sort(d.rng.integers(0, EXPERTS, d.m))
    held = np.arange(EXPERTS) == group[:, None]
    t = {"X": d.query(d.m, d.p), "G": np.ma.array(held, mask=~held), "W": d.values(EXPERTS, d.p, 9 * d.e)}
    got = d.run(experts.grouped, t["X"], t["W"], np.searchsorted(group, np.arange(EXPERTS + 1)))
    yield got, parse(GROUPED, n=d.m, x=EXPERTS, d=d.p, f=9 * d.e), t, "Y"


ROWS = {
    "experts.by_expert": Row(layer(experts.by_expert)),
    "experts.by_token": Row(layer(experts.by_token)),
    "experts.dispatch": Row(dispatch),
    "experts.combine": Row(combine),
    "experts.grouped": Row(grouped),
}
