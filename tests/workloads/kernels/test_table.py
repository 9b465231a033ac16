"""Every kernel against the interpretation of its cascade: one row a kernel, and no kernel without a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Cascade, interpret, parse
from workloads import attention
from workloads.kernels import cache, catalogue, exact, linear, memory, split

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


@dataclass(frozen=True)
class Draw:
    """Random tensors of drawn sizes; queries arrive scaled."""

    rng: np.random.Generator
    dtype: Any
    b: int
    h: int
    r: int
    p: int
    m: int
    e: int

    def normal(self, *shape: int) -> Any:
        return self.rng.standard_normal(shape).astype(self.dtype)

    def values(self, *shape: int) -> Any:
        """Numbers around one: where values cancel, rounding is large next to what is left, whoever computes it."""
        return self.normal(*shape) + self.dtype(1)

    def query(self, *shape: int) -> Any:
        return self.normal(*shape) / self.dtype(np.sqrt(shape[-1]))

    def heads(self) -> dict[str, Any]:
        b, h, p, m, e = self.b, self.h, self.p, self.m, self.e
        return {"Q": self.query(b, h, p, e), "K": self.normal(b, h, m, e), "V": self.values(b, h, m, e)}

    def sizes(self) -> dict[str, int]:
        return {"batch": self.b, "heads": self.h, "query": self.p, "context": self.m, "head_dim": self.e}


Pair = tuple[Any, Cascade, dict[str, Any], str]  # result, cascade, tensors, which of its tensors the result is


def three_pass(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for causal in (False, True):
        yield exact.three_pass(*t.values(), causal=causal), attention.three_pass(**d.sizes(), causal=causal), t, "O"


def two_pass(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    yield exact.two_pass(*t.values()), attention.two_pass(**d.sizes()), t, "O"
    yield exact.two_pass(*t.values(), causal=True), attention.three_pass(**d.sizes(), causal=True), t, "O"


def one_pass(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    yield exact.one_pass(*t.values()), attention.one_pass(**d.sizes()), t, "O"
    yield exact.one_pass(*t.values(), causal=True), attention.three_pass(**d.sizes(), causal=True), t, "O"


def grouped_query(d: Draw) -> Iterator[Pair]:
    t = d.heads() | {"Q": d.query(d.b, d.h, d.r, d.p, d.e)}
    sizes = d.sizes() | {"heads": d.h * d.r, "kv_heads": d.h}
    for causal in (False, True):
        yield exact.grouped_query(*t.values(), causal=causal), attention.grouped_query(**sizes, causal=causal), t, "O"


def multi_query(d: Draw) -> Iterator[Pair]:
    t = d.heads() | {"K": d.normal(d.b, d.m, d.e), "V": d.values(d.b, d.m, d.e)}
    for causal in (False, True):
        yield exact.multi_query(*t.values(), causal=causal), attention.multi_query(**d.sizes(), causal=causal), t, "O"


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
        yield exact.mla_absorbed(*t.values(), causal=True), cascade(**sizes, causal=True), t, "O"


def sliding_window(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for window, sinks in ((1, 0), (3, 2), (d.m, d.m), (130, 1)):
        cascade = attention.sliding_window(**d.sizes(), window=window, sinks=sinks)
        yield exact.sliding_window(*t.values(), window=window, sinks=sinks), cascade, t, "O"


def decode_split(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for splits in (s for s in (1, 2, 3, 7) if d.m % s == 0):
        yield split.decode_split(*t.values(), splits=splits), attention.decode_split(**d.sizes(), splits=splits), t, "O"
    yield split.decode_split(*t.values(), splits=d.m + 3), attention.three_pass(**d.sizes()), t, "O"


def stream_k(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    for workers, tile in ((1, 128), (3, 16), (50, 1)):
        got = split.stream_k(*t.values(), workers=workers, tile=tile)
        yield got, attention.decode_split(**d.sizes(), splits=1), t, "O"


def partial(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    cascade = attention.decode_split(**d.sizes(), splits=1)
    for got, name in zip(split.partial(*t.values()), ("LM", "LD", "LV"), strict=True):
        yield got.reshape(interpret(cascade, t)[name].shape), cascade, t, name


def merge(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    at = d.m // 3
    parts = [
        split.partial(t["Q"], *(np.ascontiguousarray(t[n][:, :, s]) for n in "KV"))
        for s in (slice(at), slice(at, None))
    ]
    cascade = attention.decode_split(**d.sizes(), splits=1)
    for order in (parts, parts[::-1]):
        for got, name in zip(split.merge(*order), ("GM", "SD", "AV"), strict=True):
            yield got, cascade, t, name


def offloaded(d: Draw) -> Iterator[Pair]:
    t = d.heads()
    old = [np.ascontiguousarray(t[n][:, :, : d.m - d.p]) for n in "KV"]
    new = [np.ascontiguousarray(t[n][:, :, d.m - d.p :]) for n in "KV"]
    for devices in (1, 2, 5):
        yield (
            split.offloaded(t["Q"], *old, *new, devices=devices),
            attention.three_pass(**d.sizes(), causal=True),
            t,
            "O",
        )


def sequences(d: Draw) -> tuple[Any, list[int], Any, Any]:
    """Queries, lengths and room for keys of several sequences."""
    lengths = [d.m, max(d.p, d.m // 2), d.p]
    shape = (3, d.m + 2, d.h, d.e)
    return d.query(3, d.h * d.r, d.p, d.e), lengths, d.normal(*shape), d.values(*shape)


def alone(d: Draw, got: Any, q: Any, k: Any, v: Any, length: int) -> Pair:
    """One sequence of a batch, against the cascade of grouped queries."""
    t = {
        "Q": q.reshape(1, d.h, d.r, d.p, d.e),
        "K": k[None, :length].swapaxes(1, 2),
        "V": v[None, :length].swapaxes(1, 2),
    }
    cascade = attention.grouped_query(
        heads=d.h * d.r, kv_heads=d.h, query=d.p, context=length, head_dim=d.e, causal=True
    )
    return got.reshape(t["Q"].shape), cascade, t, "O"


def virtual(d: Draw) -> Iterator[Pair]:
    q, lengths, k, v = sequences(d)
    got = cache.virtual(q, k, v, np.array(lengths))
    yield from (alone(d, got[i], q[i], k[i], v[i], n) for i, n in enumerate(lengths))


def paged(d: Draw) -> Iterator[Pair]:
    q, lengths, k, v = sequences(d)
    page = 4
    count = -(-(d.m + 2) // page)
    tables = d.rng.permutation(3 * count).reshape(3, count)
    pools = []
    for keys in (k, v):
        room = np.zeros((3, count * page, *keys.shape[2:]), d.dtype)
        room[:, : keys.shape[1]] = keys
        pool = np.empty((3 * count, page, *keys.shape[2:]), d.dtype)
        pool[tables.ravel()] = room.reshape(pool.shape)
        pools.append(pool)
    got = cache.paged(q, *pools, tables, np.array(lengths))
    assert np.array_equal(got, cache.virtual(q, k, v, np.array(lengths)))
    yield from (alone(d, got[i], q[i], k[i], v[i], n) for i, n in enumerate(lengths))


def ragged(d: Draw) -> Iterator[Pair]:
    q, lengths, k, v = sequences(d)
    packed = (np.concatenate([keys[i, :n] for i, n in enumerate(lengths)]) for keys in (k, v))
    rows = np.ascontiguousarray(q.swapaxes(1, 2)).reshape(3 * d.p, -1, d.e)
    got = cache.ragged(rows, *packed, np.arange(4) * d.p, np.cumsum([0, *lengths]))
    each = got.reshape(3, d.p, -1, d.e).swapaxes(1, 2)
    assert np.array_equal(each, cache.virtual(q, k, v, np.array(lengths)))
    yield from (alone(d, each[i], q[i], k[i], v[i], n) for i, n in enumerate(lengths))


def tokens(d: Draw) -> dict[str, Any]:
    """Queries, keys and values of the same tokens."""
    q, k = (d.normal(d.b, d.h, d.m, d.e) / d.dtype(np.sqrt(d.e)) for _ in range(2))
    return {"Q": q, "K": k, "V": d.values(d.b, d.h, d.m, d.r)}


def lightning(d: Draw) -> Iterator[Pair]:
    t = tokens(d) | {"D": d.rng.choice([0, 0.5, 0.99, 1], d.h).astype(d.dtype)}
    yield linear.lightning(*t.values()), parse(LIGHTNING, b=d.b, h=d.h, t=d.m, e=d.e, f=d.r), t, "O"


def based(d: Draw) -> Iterator[Pair]:
    t = tokens(d)
    yield linear.based(*t.values()), parse(BASED, b=d.b, h=d.h, t=d.m, m=d.m, e=d.e, f=d.r, c=0), t, "O"


def neural_memory(d: Draw) -> Iterator[Pair]:
    cut = Draw(d.rng, d.dtype, d.b, d.h, d.r, d.p, min(d.m, 12), d.e)  # each step of a network compounds rounding
    t = tokens(cut) | {"I1": cut.normal(d.h, d.e, d.p), "I2": cut.normal(d.h, d.p, d.r) / cut.dtype(np.sqrt(d.p))}
    t |= {
        n: (d.rng.random((d.b, d.h, cut.m)) * top).astype(d.dtype)
        for n, top in (("TH", 0.05), ("MU", 0.9), ("AL", 0.1))
    }
    cascade = parse(MEMORY, b=d.b, h=d.h, t=cut.m, e=d.e, d=d.p, f=d.r)
    yield memory.neural_memory(*t.values(), chunk=1), cascade, t, "O"


TABLE: dict[str, tuple[Callable[[Draw], Iterator[Pair]], float, float]] = {  # cases, tolerance in float32 and float64
    "cache.paged": (paged, 1e-6, 1e-13),
    "cache.ragged": (ragged, 1e-6, 1e-13),
    "cache.virtual": (virtual, 1e-6, 1e-13),
    "exact.grouped_query": (grouped_query, 1e-6, 1e-13),
    "exact.mla_absorbed": (mla_absorbed, 1e-6, 1e-13),
    "exact.multi_query": (multi_query, 1e-6, 1e-13),
    "exact.one_pass": (one_pass, 1e-6, 1e-13),
    "exact.sliding_window": (sliding_window, 1e-6, 1e-13),
    "exact.three_pass": (three_pass, 1e-6, 1e-13),
    "exact.two_pass": (two_pass, 1e-6, 1e-13),
    "linear.based": (based, 1e-6, 1e-13),
    "linear.lightning": (lightning, 1e-6, 1e-13),
    "memory.neural_memory": (neural_memory, 1e-6, 1e-13),
    "split.decode_split": (decode_split, 1e-6, 1e-13),
    "split.merge": (merge, 1e-6, 1e-13),
    "split.offloaded": (offloaded, 1e-6, 1e-13),
    "split.partial": (partial, 1e-6, 1e-13),
    "split.stream_k": (stream_k, 1e-6, 1e-13),
}


def test_every_kernel_has_a_row() -> None:
    assert set(TABLE) == set(catalogue())


def error(got: Any, expected: Any) -> float:
    """The Frobenius norm of the difference relative to that of what was expected."""
    scale = np.linalg.norm(expected)
    return float(np.linalg.norm(got - expected) / (scale if scale > 0 else 1))


SHAPE = st.fixed_dictionaries({
    "b": st.sampled_from([1, 2]), "h": st.sampled_from([1, 3]), "r": st.sampled_from([1, 2, 5]),
    "p": st.sampled_from([1, 2, 3, 4, 13, 67]), "m": st.sampled_from([67, 128, 129, 211]),
    "e": st.sampled_from([1, 3, 8, 17]), "seed": st.integers(0, 2**16),
})  # fmt: skip


@pytest.mark.parametrize("kernel", TABLE)
@settings(max_examples=12, deadline=None)
@given(shape=SHAPE, single=st.booleans())
def test_kernel_agrees_with_its_cascade(kernel: str, shape: dict[str, int], single: bool) -> None:
    cases, *tolerances = TABLE[kernel]
    sizes = {**shape}
    rng = np.random.default_rng(sizes.pop("seed"))
    for got, cascade, tensors, name in cases(Draw(rng, np.float32 if single else np.float64, **sizes)):
        assert got.dtype == (np.float32 if single else np.float64)
        assert error(got, interpret(cascade, tensors)[name]) <= tolerances[not single]


@pytest.mark.parametrize("kernel", TABLE)
def test_few_keys(kernel: str) -> None:
    cases, _, tolerance = TABLE[kernel]
    for p, m in ((1, 1), (1, 2), (2, 3), (5, 5)):
        for got, cascade, tensors, name in cases(Draw(np.random.default_rng(p), np.float64, 1, 2, 3, p, m, 5)):
            assert error(got, interpret(cascade, tensors)[name]) <= tolerance
