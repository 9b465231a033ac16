"""Linear attention, against recurrences that keep the whole state of every token."""

from __future__ import annotations

from collections.abc import Iterator

from einsum import parse
from sim.numerics.draw import Draw, Pair, Row
from workloads.kernels import linear

LIGHTNING = """
    S[b, h, 0, e, f]     = 0
    KV[b, h, t, e, f]    = K[b, h, t, e] * V[b, h, t, f]
    OLD[b, h, t, e, f]   = S[b, h, t, e, f] * D[h]
    S[b, h, t + 1, e, f] = OLD[b, h, t, e, f] + KV[b, h, t, e, f]
    O[b, h, t, f]        = Q[b, h, t, e] * S[b, h, t + 1, e, f]
"""
BASED = """
    QK[b, h, t, m]: causal(t, m, C)
    QK[b, h, t, m] = Q[b, h, t, e] * K[b, h, m, e]
    W[b, h, t, m]  = 1 + QK[b, h, t, m] + QK[b, h, t, m] * QK[b, h, t, m] / 2
    D[b, h, t]     = W[b, h, t, m]
    AV[b, h, t, f] = W[b, h, t, m] * V[b, h, m, f]
    O[b, h, t, f]  = AV[b, h, t, f] / D[b, h, t]
"""


def lightning(d: Draw) -> Iterator[Pair]:
    t = d.tokens() | {"D": d.rng.choice([0, 0.5, 0.99, 1], d.h).astype(d.dtype)}
    yield d.run(linear.lightning, *t.values()), parse(LIGHTNING, b=d.b, h=d.h, t=d.m, e=d.e, f=d.r), t, "O"


def based(d: Draw) -> Iterator[Pair]:
    t = d.tokens()
    yield d.run(linear.based, *t.values()), parse(BASED, b=d.b, h=d.h, t=d.m, m=d.m, e=d.e, f=d.r, c=0), t, "O"


ROWS = {
    "linear.lightning": Row(lightning),
    "linear.based": Row(based),
}
