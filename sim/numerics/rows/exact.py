"""Exact attention, against the cascades of the same names."""

from __future__ import annotations

from collections.abc import Iterator

from sim.numerics.draw import Draw, Pair, Row
from workloads import attention
from workloads.kernels import exact


def three_pass(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for causal in (False, True):
        yield (
            d.run(exact.three_pass, *t.values(), causal=causal),
            attention.three_pass(**d.sizes(), causal=causal),
            t,
            "O",
        )


def two_pass(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    yield d.run(exact.two_pass, *t.values()), attention.two_pass(**d.sizes()), t, "O"
    yield d.run(exact.two_pass, *t.values(), causal=True), attention.three_pass(**d.sizes(), causal=True), t, "O"


def one_pass(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    yield d.run(exact.one_pass, *t.values()), attention.one_pass(**d.sizes()), t, "O"
    yield d.run(exact.one_pass, *t.values(), causal=True), attention.three_pass(**d.sizes(), causal=True), t, "O"


def grouped_query(d: Draw) -> Iterator[Pair]:
    t = d.heads() | {"Q": d.query(d.b, d.h, d.r, d.p, d.e)}
    sizes = d.sizes() | {"heads": d.h * d.r, "kv_heads": d.h}
    for causal in (False, True):
        yield (
            d.run(exact.grouped_query, *t.values(), causal=causal),
            attention.grouped_query(**sizes, causal=causal),
            t,
            "O",
        )


def multi_query(d: Draw) -> Iterator[Pair]:
    t = d.heads() | {"K": d.normal(d.b, d.m, d.e), "V": d.values(d.b, d.m, d.e)}
    for causal in (False, True):
        yield (
            d.run(exact.multi_query, *t.values(), causal=causal),
            attention.multi_query(**d.sizes(), causal=causal),
            t,
            "O",
        )


def mla_absorbed(d: Draw) -> Iterator[Pair]:
    latent, rope = d.e + 2, d.r
    t = {
        "Q": d.query(d.b, d.h, d.p, d.e + rope),
        "CKV": d.normal(d.b, d.m, latent + rope),
        "WUK": d.query(latent, d.h, d.e),
        "WUV": d.normal(latent, d.h, d.e),
    }
    sizes = d.sizes() | {"latent": latent, "rope_dim": rope}
    for cascade in (attention.mla_absorbed, attention.mla_naive):
        yield d.run(exact.mla_absorbed, *t.values(), causal=True), cascade(**sizes, causal=True), t, "O"


def sliding_window(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for window, sinks in ((1, 0), (3, 2), (d.m, d.m), (130, 1)):
        cascade = attention.sliding_window(**d.sizes(), window=window, sinks=sinks)
        yield d.run(exact.sliding_window, *t.values(), window=window, sinks=sinks), cascade, t, "O"


ROWS = {
    "exact.three_pass": Row(three_pass),
    "exact.two_pass": Row(two_pass),
    "exact.one_pass": Row(one_pass),
    "exact.grouped_query": Row(grouped_query),
    "exact.multi_query": Row(multi_query),
    "exact.mla_absorbed": Row(mla_absorbed),
    "exact.sliding_window": Row(sliding_window),
}
