"""The neural memory, against its recurrence with a gradient at every token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einsum import parse
from sim.numerics.draw import Draw, Pair, Row
from workloads.kernels import memory

MEMORY = """
    W1[b, h, 0, e, d] = I1[h, e, d]
    W2[b, h, 0, d, f] = I2[h, d, f]
    S1[b, h, 0, e, d] = 0
    S2[b, h, 0, d, f] = 0
    A[b, h, t, d]  = K[b, h, t, e] * W1[b, h, t, e, d]
    G[b, h, t, d]  = sigmoid(A[b, h, t, d])
    H[b, h, t, d]  = silu(A[b, h, t, d])
    Y[b, h, t, f]  = H[b, h, t, d] * W2[b, h, t, d, f]
    R[b, h, t, f]  = 2 * (Y[b, h, t, f] - V[b, h, t, f])
    B[b, h, t, d]  = R[b, h, t, f] * W2[b, h, t, d, f]
    DA[b, h, t, d] = B[b, h, t, d] * G[b, h, t, d] * (1 + A[b, h, t, d] * (1 - G[b, h, t, d]))
    S1[b, h, t + 1, e, d] = MU[b, h, t] * S1[b, h, t, e, d] - TH[b, h, t] * K[b, h, t, e] * DA[b, h, t, d]
    S2[b, h, t + 1, d, f] = MU[b, h, t] * S2[b, h, t, d, f] - TH[b, h, t] * H[b, h, t, d] * R[b, h, t, f]
    W1[b, h, t + 1, e, d] = (1 - AL[b, h, t]) * W1[b, h, t, e, d] + S1[b, h, t + 1, e, d]
    W2[b, h, t + 1, d, f] = (1 - AL[b, h, t]) * W2[b, h, t, d, f] + S2[b, h, t + 1, d, f]
    C[b, h, t, d]  = Q[b, h, t, e] * W1[b, h, t + 1, e, d]
    CS[b, h, t, d] = silu(C[b, h, t, d])
    O[b, h, t, f]  = CS[b, h, t, d] * W2[b, h, t + 1, d, f]
"""


def neural_memory(d: Draw) -> Iterator[Pair]:
    cut = d.cut(m=min(d.m, 12))
    t = cut.tokens() | {"I1": cut.normal(d.h, d.e, d.p), "I2": cut.normal(d.h, d.p, d.r) / cut.dtype(np.sqrt(d.p))}
    t |= {
        n: (d.rng.random((d.b, d.h, cut.m)) * top).astype(d.dtype)
        for n, top in (("TH", 0.05), ("MU", 0.9), ("AL", 0.1))
    }
    cascade = parse(MEMORY, b=d.b, h=d.h, t=cut.m, e=d.e, d=d.p, f=d.r)
    yield d.run(memory.neural_memory, *t.values(), chunk=1), cascade, t, "O"


ROWS = {
    "memory.neural_memory": Row(neural_memory, kinds=("normal", "tiny", "zero")),
}
