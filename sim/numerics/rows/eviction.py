"""Keys that are given up, against the cascades of :mod:`workloads.approximate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sim.numerics.draw import KINDS, Draw, Pair, Row
from workloads import approximate, attention
from workloads.kernels import eviction


def keyformer(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    t |= {"NOISE": d.rng.gumbel(size=(d.b, d.h, d.m)).astype(d.dtype), "F0": d.random(d.b, d.h, d.m)}
    for keep, recent in ((d.m // 2, d.m // 5), (d.m, 1)):
        if keep > recent > 0:
            options: dict[str, Any] = {"keep": keep, "recent": recent, "temperature": 1.5}
            o, score = d.run(eviction.keyformer, *t.values(), **options)
            cascade = approximate.keyformer(**d.sizes(), **options)
            yield o, cascade, t, "O"
            yield score, cascade, t, "F"


def razor(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    far = d.rng.integers(0, 2, d.h)
    sinks = min(max(1, d.m // 3), d.m)
    recent = min(sinks, d.m - sinks)
    got = d.run(eviction.razor, *t.values(), far, sinks=sinks, recent=recent)
    for head in range(d.h):
        one = {name: a[:, head : head + 1] for name, a in t.items()}
        sizes = d.sizes() | {"heads": 1}
        if far[head] or sinks + recent == d.m:
            yield got[:, head : head + 1], attention.three_pass(**sizes), one, "O"
        else:
            yield got[:, head : head + 1], approximate.razor(**sizes, sinks=sinks, recent=recent), one, "O"


def task_kv(d: Draw) -> Iterator[Pair]:
    if d.m < 4 or d.h < 2:
        return
    t = d.heads() | {"S": d.rng.standard_normal((d.b, d.h, d.e)).astype(d.dtype), "W": d.random(d.b, d.h, d.m)}
    sizes = {"full": d.h // 2, "sinks": 1, "recent": d.m // 4, "middle": d.m // 4}
    got = d.run(eviction.task_kv, *t.values(), **sizes)
    apart = t["S"] - t["S"].mean(axis=1, keepdims=True, dtype=np.float64)
    far = np.argsort(-np.square(apart).sum(axis=2), axis=1, kind="stable")
    ordered = np.take_along_axis(got, far[:, :, None, None], 1)
    cascade = approximate.task_kv(**d.sizes(), **sizes)
    yield np.ascontiguousarray(ordered[:, : sizes["full"]]), cascade, t, "OF"
    yield np.ascontiguousarray(ordered[:, sizes["full"] :]), cascade, t, "O"


def elastic_cache(d: Draw) -> Iterator[Pair]:
    t = d.heads() | {"W": d.random(d.b, d.h, d.m)}
    for keep in {1, 1 + d.m // 3, d.m}:
        got = d.run(eviction.elastic_cache, *t.values(), keep=keep)
        yield got, approximate.elastic_cache(**d.sizes(), keep=keep), t | {"POS": np.arange(d.m)}, "O"


ROWS = {
    "eviction.keyformer": Row(keyformer),
    "eviction.razor": Row(razor),
    "eviction.task_kv": Row(task_kv),
    "eviction.elastic_cache": Row(elastic_cache, kinds=tuple(kind for kind in KINDS if kind != "huge")),  # means round
}
