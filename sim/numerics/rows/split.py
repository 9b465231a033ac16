"""Attention over divided keys, against decoding with split keys and plain attention."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from einsum import interpret
from sim.numerics.draw import Draw, Pair, Row
from workloads import attention
from workloads.kernels import split


def decode_split(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for splits in (s for s in (1, 2, 3, 7) if d.m % s == 0):
        yield (
            d.run(split.decode_split, *t.values(), splits=splits),
            attention.decode_split(**d.sizes(), splits=splits),
            t,
            "O",
        )
    yield d.run(split.decode_split, *t.values(), splits=d.m + 3), attention.three_pass(**d.sizes()), t, "O"


def stream_k(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for workers, tile in ((1, 128), (3, 16), (50, 1)):
        got = d.run(split.stream_k, *t.values(), workers=workers, tile=tile)
        yield got, attention.decode_split(**d.sizes(), splits=1), t, "O"


def partial(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    cascade = attention.decode_split(**d.sizes(), splits=1)
    for got, name in zip(d.run(split.partial, *t.values()), ("LM", "LD", "LV"), strict=True):
        yield got.reshape(interpret(cascade, t)[name].shape), cascade, t, name


def merge(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    at = d.m // 3
    parts = [
        d.run(split.partial, t["Q"], *(np.ascontiguousarray(t[n][:, :, s]) for n in "KV"))
        for s in (slice(at), slice(at, None))
    ]
    cascade = attention.decode_split(**d.sizes(), splits=1)
    for order in (parts, parts[::-1]):
        for got, name in zip(d.run(split.merge, *order), ("GM", "SD", "AV"), strict=True):
            yield got, cascade, t, name


def offloaded(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    old = [np.ascontiguousarray(t[n][:, :, : d.m - d.p]) for n in "KV"]
    new = [np.ascontiguousarray(t[n][:, :, d.m - d.p :]) for n in "KV"]
    for devices in (1, 2, 5):
        yield (
            d.run(split.offloaded, t["Q"], *old, *new, devices=devices),
            attention.three_pass(**d.sizes(), causal=True),
            t,
            "O",
        )


ROWS = {
    "split.decode_split": Row(decode_split),
    "split.stream_k": Row(stream_k),
    "split.partial": Row(partial),
    "split.merge": Row(merge),
    "split.offloaded": Row(offloaded),
}
