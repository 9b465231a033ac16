"""Attention as cascades: how many passes over the keys, how heads share them, and which keys are seen.

Ranks: ``b`` sequences, ``h`` heads (or ``g`` key heads times ``r`` queries each), ``p`` queries, ``m`` keys, ``e`` and
``f`` the widths of a key and of a value. Queries are the last of the context, and arrive scaled by ``1/sqrt(e)``.

"""

from __future__ import annotations

from typing import Any

from einsum.cascade import Cascade, check_sizes
from einsum.errors import WeirError
from einsum.parse import parse

__all__ = [
    "decode_split",
    "grouped_query",
    "mla_absorbed",
    "mla_naive",
    "multi_query",
    "one_pass",
    "sliding_window",
    "three_pass",
    "two_pass",
]

_DEFERRED = """
    GM[{q}]    = max[m](QK[{q}, m])
    SN[{q}, m] = exp(QK[{q}, m] - GM[{q}])
    SD[{q}]    = SN[{q}, m]
    AV[{q}, f] = SN[{q}, m] * V[{k}, m, f]
    O[{q}, f]  = AV[{q}, f] / SD[{q}]
"""


def earlier(query: int, context: int, where: str) -> int:
    """Keys that came before the first query."""
    check_sizes({"query": query, "context": context}, where)
    if query > context:
        raise WeirError(f"{where}: query={query} exceeds context={context}; the context includes the queries")
    return context - query


def divide(context: int, parts: int, what: str, where: str) -> int:
    """The context divided by ``parts``, which must leave no remainder."""
    check_sizes({"context": context, what: parts}, where)
    if parts == 0 or context % parts:
        raise WeirError(f"{where}: {what}={parts} does not divide context={context}; give a divisor")
    return context // parts


def _blocks(context: int, block: int | None, where: str) -> tuple[int, int]:
    """Number of blocks and keys in each; by default the largest divisor of the context up to 256."""
    check_sizes({"context": context}, where)
    each = max(n for n in range(1, 257) if context % n == 0) if block is None else block
    return divide(context, each, "block", where), each


def _seen(query: int, context: int, causal: bool, ranks: str, where: str) -> tuple[str, dict[str, Any]]:
    """The declaration of causal scores and the size it needs, or neither."""
    if not causal:
        return "", {}
    return f"QK[{ranks}, m]: causal(p, m, C)", {"c": earlier(query, context, where)}


def three_pass(
    *, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, causal: bool = False
) -> Cascade:
    """Scores, then exponentials, then quotients: each waits for all keys (PyTorch's unfused attention, FLAT).

    >>> print(three_pass(query=1, context=4, head_dim=4))
    # three_pass: b=1, h=1, p=1, m=4, e=4, f=4
    QK[b, h, p, m] = Q[b, h, p, e] * K[b, h, m, e]
    GM[b, h, p] = max[m](QK[b, h, p, m])
    SN[b, h, p, m] = exp((QK[b, h, p, m] - GM[b, h, p]))
    SD[b, h, p] = SN[b, h, p, m]
    A[b, h, p, m] = SN[b, h, p, m] / SD[b, h, p]
    O[b, h, p, f] = A[b, h, p, m] * V[b, h, m, f]
    """
    seen, sizes = _seen(query, context, causal, "b, h, p", "three_pass")
    text = f"""
    {seen}
    QK[b, h, p, m] = Q[b, h, p, e] * K[b, h, m, e]
    GM[b, h, p]    = max[m](QK[b, h, p, m])
    SN[b, h, p, m] = exp(QK[b, h, p, m] - GM[b, h, p])
    SD[b, h, p]    = SN[b, h, p, m]
    A[b, h, p, m]  = SN[b, h, p, m] / SD[b, h, p]
    O[b, h, p, f]  = A[b, h, p, m] * V[b, h, m, f]
    """
    return parse(text, name="three_pass", b=batch, h=heads, p=query, m=context, e=head_dim, f=head_dim, **sizes)


def two_pass(
    *, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, block: int | None = None
) -> Cascade:
    """Exponentials against each block's own maximum, corrected to the global one in a second pass (TileFlow)."""
    outer, inner = _blocks(context, block, "two_pass")
    text = """
    K[b, h, m, e]: stream
    V[b, h, m, f]: stream
    QK[b, h, p, m1, m0]  = Q[b, h, p, e] * K[b, h, m1*M0 + m0, e]
    LM[b, h, p, m1]      = max[m0](QK[b, h, p, m1, m0])
    SLN[b, h, p, m1, m0] = exp(QK[b, h, p, m1, m0] - LM[b, h, p, m1])
    SLD[b, h, p, m1]     = SLN[b, h, p, m1, m0]
    GM[b, h, p]          = max[m1](LM[b, h, p, m1])
    PM[b, h, p, m1]      = exp(LM[b, h, p, m1] - GM[b, h, p])
    SD[b, h, p]          = SLD[b, h, p, m1] * PM[b, h, p, m1]
    SN[b, h, p, m1, m0]  = SLN[b, h, p, m1, m0] * PM[b, h, p, m1]
    AV[b, h, p, f]       = SN[b, h, p, m1, m0] * V[b, h, m1*M0 + m0, f]
    O[b, h, p, f]        = AV[b, h, p, f] / SD[b, h, p]
    """
    sizes: dict[str, Any] = {"b": batch, "h": heads, "p": query, "m1": outer, "m0": inner, "e": head_dim, "f": head_dim}
    return parse(text, name="two_pass", m="M1*M0", **sizes)


def one_pass(
    *, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, block: int | None = None
) -> Cascade:
    """Running maximum, sum and output, corrected block by block; keys and values are read once (FlashAttention-2).

    The division comes last, once per output. Blocks hold the largest divisor of the context up to 256, unless
    ``block`` says otherwise.
    """
    outer, inner = _blocks(context, block, "one_pass")
    text = """
    K[b, h, m, e]: stream
    V[b, h, m, f]: stream
    RM[b, h, p, 0]     = -inf
    RD[b, h, p, 0]     = 0
    RNV[b, h, p, 0, f] = 0
    QK[b, h, p, m1, m0]     = Q[b, h, p, e] * K[b, h, m1*M0 + m0, e]
    LM[b, h, p, m1]         = max[m0](QK[b, h, p, m1, m0])
    RM[b, h, p, m1 + 1]     = max(RM[b, h, p, m1], LM[b, h, p, m1])
    SLN[b, h, p, m1, m0]    = exp(QK[b, h, p, m1, m0] - RM[b, h, p, m1 + 1])
    SLD[b, h, p, m1]        = SLN[b, h, p, m1, m0]
    SLNV[b, h, p, m1, f]    = SLN[b, h, p, m1, m0] * V[b, h, m1*M0 + m0, f]
    PRM[b, h, p, m1]        = exp(RM[b, h, p, m1] - RM[b, h, p, m1 + 1])
    SPD[b, h, p, m1]        = RD[b, h, p, m1] * PRM[b, h, p, m1]
    RD[b, h, p, m1 + 1]     = SLD[b, h, p, m1] + SPD[b, h, p, m1]
    SPNV[b, h, p, m1, f]    = RNV[b, h, p, m1, f] * PRM[b, h, p, m1]
    RNV[b, h, p, m1 + 1, f] = SLNV[b, h, p, m1, f] + SPNV[b, h, p, m1, f]
    O[b, h, p, f]           = RNV[b, h, p, M1, f] / RD[b, h, p, M1]
    """
    sizes: dict[str, Any] = {"b": batch, "h": heads, "p": query, "m1": outer, "m0": inner, "e": head_dim, "f": head_dim}
    return parse(text, name="one_pass", m="M1*M0", **sizes)


def decode_split(
    *, batch: int = 1, heads: int = 1, query: int = 1, context: int, head_dim: int, splits: int
) -> Cascade:
    """Keys divided into ``splits`` that work alone: each leaves a maximum, a sum and an output, merged at the end."""
    text = """
    K[b, h, m, e]: stream
    V[b, h, m, f]: stream
    QK[b, h, p, s, m0] = Q[b, h, p, e] * K[b, h, s*M0 + m0, e]
    LM[b, h, p, s]     = max[m0](QK[b, h, p, s, m0])
    SN[b, h, p, s, m0] = exp(QK[b, h, p, s, m0] - LM[b, h, p, s])
    LD[b, h, p, s]     = SN[b, h, p, s, m0]
    LV[b, h, p, s, f]  = SN[b, h, p, s, m0] * V[b, h, s*M0 + m0, f]
    GM[b, h, p]        = max[s](LM[b, h, p, s])
    PM[b, h, p, s]     = exp(LM[b, h, p, s] - GM[b, h, p])
    SD[b, h, p]        = LD[b, h, p, s] * PM[b, h, p, s]
    AV[b, h, p, f]     = LV[b, h, p, s, f] * PM[b, h, p, s]
    O[b, h, p, f]      = AV[b, h, p, f] / SD[b, h, p]
    """
    each = divide(context, splits, "splits", "decode_split")
    sizes: dict[str, Any] = {"b": batch, "h": heads, "p": query, "s": splits, "m0": each, "e": head_dim, "f": head_dim}
    return parse(text, name="decode_split", m="S*M0", **sizes)


def grouped_query(
    *, batch: int = 1, heads: int, kv_heads: int, query: int, context: int, head_dim: int, causal: bool = False
) -> Cascade:
    """Each of ``kv_heads`` pairs of key and value serves ``heads / kv_heads`` queries; division deferred."""
    check_sizes({"heads": heads, "kv_heads": kv_heads}, "grouped_query")
    if kv_heads == 0 or heads % kv_heads:
        raise WeirError(f"grouped_query: heads={heads} is not a multiple of kv_heads={kv_heads}; give a divisor")
    seen, sizes = _seen(query, context, causal, "b, g, r, p", "grouped_query")
    text = f"""
    {seen}
    QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
    {_DEFERRED.format(q="b, g, r, p", k="b, g")}"""
    sizes |= {"b": batch, "g": kv_heads, "r": heads // kv_heads, "p": query, "m": context, "e": head_dim, "f": head_dim}
    return parse(text, name="grouped_query", **sizes)


def multi_query(
    *, batch: int = 1, heads: int, query: int, context: int, head_dim: int, causal: bool = False
) -> Cascade:
    """All heads read one pair of key and value; division deferred."""
    seen, sizes = _seen(query, context, causal, "b, h, p", "multi_query")
    text = f"""
    {seen}
    QK[b, h, p, m] = Q[b, h, p, e] * K[b, m, e]
    {_DEFERRED.format(q="b, h, p", k="b")}"""
    sizes |= {"b": batch, "h": heads, "p": query, "m": context, "e": head_dim, "f": head_dim}
    return parse(text, name="multi_query", **sizes)


def sliding_window(
    *,
    batch: int = 1,
    heads: int = 1,
    query: int,
    context: int,
    head_dim: int,
    window: int,
    sinks: int = 0,
) -> Cascade:
    """A query sees the newest ``window`` keys, itself included, and the first ``sinks``; division deferred."""
    text = f"""
    QK[b, h, p, m]: window(p, m, {window}, {sinks}, C)
    QK[b, h, p, m] = Q[b, h, p, e] * K[b, h, m, e]
    {_DEFERRED.format(q="b, h, p", k="b, h")}"""
    sizes: dict[str, Any] = {"b": batch, "h": heads, "p": query, "m": context, "e": head_dim, "f": head_dim}
    return parse(text, name="sliding_window", c=earlier(query, context, "sliding_window"), **sizes)


def mla_naive(
    *,
    batch: int = 1,
    heads: int,
    query: int,
    context: int,
    latent: int = 512,
    head_dim: int = 128,
    rope_dim: int = 64,
    causal: bool = False,
) -> Cascade:
    """Multi-head latent attention as defined: every head's keys and values are expanded from the cached latent.

    ``l`` is the latent, ``n`` the part of a key that carries no position, ``j`` the part that does and is shared.
    """
    seen, sizes = _seen(query, context, causal, "b, h, p", "mla_naive")
    text = f"""
    {seen}
    CKV[b, m, c1]: stream
    WUK[l, h, n]: weight
    WUV[l, h, f]: weight
    K[b, h, m, e]: stream
    K[b, h, m, n]     = CKV[b, m, l] * WUK[l, h, n]
    K[b, h, m, N + j] = CKV[b, m, L + j]
    V[b, h, m, f]     = CKV[b, m, l] * WUV[l, h, f]
    QK[b, h, p, m] = Q[b, h, p, e] * K[b, h, m, e]
    {_DEFERRED.format(q="b, h, p", k="b, h")}"""
    sizes |= {"b": batch, "h": heads, "p": query, "m": context, "l": latent, "n": head_dim, "j": rope_dim}
    return parse(text, name="mla_naive", c1="L + J", e="N + J", f=head_dim, **sizes)


def mla_absorbed(
    *,
    batch: int = 1,
    heads: int,
    query: int,
    context: int,
    latent: int = 512,
    head_dim: int = 128,
    rope_dim: int = 64,
    causal: bool = False,
) -> Cascade:
    """Multi-head latent attention with the expansion moved to the queries and outputs: the latent is read as it is.

    The same inputs give the same output as :func:`mla_naive`.
    """
    seen, sizes = _seen(query, context, causal, "b, h, p", "mla_absorbed")
    text = f"""
    {seen}
    Q[b, h, p, e]: stream
    CKV[b, m, c1]: stream
    WUK[l, h, n]: weight
    WUV[l, h, f]: weight
    QL[b, h, p, c1]: stream
    QL[b, h, p, l]     = Q[b, h, p, n] * WUK[l, h, n]
    QL[b, h, p, L + j] = Q[b, h, p, N + j]
    QK[b, h, p, m] = QL[b, h, p, c1] * CKV[b, m, c1]
    GM[b, h, p]    = max[m](QK[b, h, p, m])
    SN[b, h, p, m] = exp(QK[b, h, p, m] - GM[b, h, p])
    SD[b, h, p]    = SN[b, h, p, m]
    AV[b, h, p, l] = SN[b, h, p, m] * CKV[b, m, l]
    OL[b, h, p, l] = AV[b, h, p, l] / SD[b, h, p]
    O[b, h, p, f]  = OL[b, h, p, l] * WUV[l, h, f]
    """
    sizes |= {"b": batch, "h": heads, "p": query, "m": context, "l": latent, "n": head_dim, "j": rope_dim}
    return parse(text, name="mla_absorbed", c1="L + J", e="N + J", f=head_dim, **sizes)
