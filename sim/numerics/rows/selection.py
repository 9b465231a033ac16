"""Keys that are looked up, against the cascades of :mod:`workloads.approximate`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einsum import parse
from sim.numerics.draw import ROUND, Draw, Pair, Row
from workloads import approximate
from workloads.kernels import selection


def top_k(d: Draw) -> Iterator[Pair]:
    t = {"S": d.normal(d.b, d.m)}
    for keep in {1, d.m // 2, d.m} - {0}:
        yield (
            d.run(selection.top_k, t["S"], keep=keep),
            parse("I[b, k] = arg_top_k[m, k](S[b, m])", b=d.b, m=d.m, k=keep),
            t,
            "I",
        )


def hip(d: Draw) -> Iterator[Pair]:
    for keep, block in ((min(d.m, 5), d.p), (1, 1)):
        levels = (d.m // keep).bit_length() - 1
        t = d.cut(m=keep << levels).heads()
        got = d.run(selection.hip, *t.values(), keep=keep, block=block)
        shape = (d.b, d.h, d.p // block)
        starts = np.arange(keep) << levels
        t |= {"START": np.broadcast_to(starts, (*shape, keep))}
        if levels:
            t |= {"HALF": np.array([[0, 1 << i] for i in reversed(range(levels))])}
        cascade = approximate.hip(**d.cut(m=keep << levels).sizes(), keep=keep, block=block)
        yield got.reshape(*shape, block, -1), cascade, t, "O"


def nearest(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    del t["V"]
    for keep in {1, d.m // 3, d.m} - {0}:
        yield d.run(selection.nearest, *t.values(), keep=keep), approximate.nearest(**d.sizes(), keep=keep), t, "I"


def retrieval_attention(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for sinks in {0, d.m // 4}:
        inner, window = d.m - sinks - 1, 1
        if found := inner // 2:
            order = np.argsort(d.rng.random((d.b, d.h, d.p, inner)), axis=-1)
            n = np.ascontiguousarray(order[..., :found]) + sinks
            sizes = {"sinks": sinks, "window": window}
            got = d.run(selection.retrieval_attention, *t.values(), n, **sizes)
            yield got, approximate.retrieval_attention(**d.sizes(), found=found, **sizes), t | {"N": n}, "O"


def infllm(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    block, sinks, window = 1 + d.m // 8, 1, 1
    count = (d.m - sinks - window) // block
    for blocks in {1, count // 2, count} if count > 0 else ():
        if blocks:
            w = d.rng.random((d.b, d.h, d.m)).astype(d.dtype)
            sizes = {
                "block": block,
                "blocks": blocks,
                "representatives": min(2, block),
                "sinks": sinks,
                "window": window,
            }
            got = d.run(selection.infllm, *t.values(), w, **sizes)
            inner = w[..., sinks : sinks + count * block].reshape(d.b, d.h, count, block)
            yield got, approximate.infllm(**d.sizes(), **sizes), t | {"W": inner}, "O"


def landmark(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    block = 1 + d.m // 8
    count = (d.m - 1) // block
    for blocks in {1, count // 2, count} if count > 0 else ():
        if blocks:
            t |= {"LM": d.normal(d.b, d.h, count, d.e)}
            got = d.run(selection.landmark, *t.values(), block=block, blocks=blocks)
            yield got, approximate.landmark(**d.sizes(), block=block, blocks=blocks), t, "O"


# Where scores choose keys, kernel and interpreter must agree on scores to the last bit, ties included.
ROWS = {
    "selection.top_k": Row(top_k),
    "selection.hip": Row(hip, kinds=ROUND),
    "selection.nearest": Row(nearest, kinds=ROUND),
    "selection.retrieval_attention": Row(retrieval_attention),
    "selection.infllm": Row(infllm, kinds=ROUND),
    "selection.landmark": Row(landmark, kinds=ROUND),
}
