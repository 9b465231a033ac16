"""Multi-head latent attention (DeepSeek-V2) as cascade text, in the two forms that give the same output.

The cache ``CKV[b, m, c1]`` holds the latent and, behind it, the one key part that carries the position. ``naive``
expands keys and values for every head (few operations for long prompts); ``absorbed`` multiplies the expansion into
queries and outputs, so that all heads read the cache as it is (few bytes for decoding): ``g`` is one and ``r`` all
heads.
"""

from __future__ import annotations

from workloads.pieces import Piece, normalise, piece, rotary, softmax_core
from workloads.spec import Latent

_AT = "b, g, r, p"


def latent_lines(kind: Latent, absorbed: bool) -> Piece:
    """From ``XN`` to ``O`` (naive), or to ``OV`` (absorbed)."""
    common = piece(i=kind.rope // 2, j="2*I", n=kind.nope)
    if absorbed:
        sizes = piece(g=1, r=kind.heads, u=kind.kv_rank, t=kind.value)
        return _projections(kind, "u") + _absorbed(kind) + common + sizes
    return _projections(kind, "l") + _naive(kind) + common + piece(g=kind.heads, r=1, l=kind.kv_rank, u=kind.value)


def _projections(kind: Latent, latent: str) -> Piece:
    """Queries ``Q`` without position and ``QP`` with it, the tokens' latents ``KN`` and shared key parts ``KP``."""
    keys = piece(
        f"WDKV[d, {latent}]: weight",
        "WKR[d, j]: weight",
        f"KN[b, p, {latent}] = XN[b, p, d] * WDKV[d, {latent}]",
        "KP[b, p, j] = XN[b, p, d] * WKR[d, j]",
    )
    if not kind.q_rank:
        return _heads("XN", "d") + keys
    low = piece("WDQ[d, a]: weight", "CQ[b, p, a] = XN[b, p, d] * WDQ[d, a]", a=kind.q_rank)
    return low + keys + normalise(kind.norm, "CQ", "CQN", over="a") + _heads("CQN", "a")


def _heads(source: str, rank: str) -> Piece:
    """Every head's query from ``source``, in two parts."""
    return piece(
        f"WUQ[{rank}, g, r, n]: weight",
        f"WQR[{rank}, g, r, j]: weight",
        f"Q[{_AT}, n] = {source}[b, p, {rank}] * WUQ[{rank}, g, r, n]",
        f"QP[{_AT}, j] = {source}[b, p, {rank}] * WQR[{rank}, g, r, j]",
        f"QR[{_AT}, e]: stream",
    )


def _append(kind: Latent, latent: str) -> Piece:
    """The new tokens' normalised latents and turned key parts into the cache; ``latent`` is the latent's rank."""
    return (
        piece("CKV[b, m, c1]: state", c1=f"{latent.upper()} + 2*I")
        + normalise(kind.norm, "KN", "KL", over=latent)
        + piece(f"CKV[b, C + p, {latent}] = KL[b, p, {latent}]")
        + rotary("KP", "CKV", at="b, p", to="b, C + p", width="j", shift=latent.upper())
    )


def _naive(kind: Latent) -> Piece:
    queries = piece(f"QR[{_AT}, n] = Q[{_AT}, n]", e="N + 2*I") + rotary("QP", "QR", at=_AT, width="j", shift="N")
    expanded = piece(
        "WUK[l, g, n]: weight",
        "WUV[l, g, u]: weight",
        "K[b, g, m, e]: stream",
        "K[b, g, m, n] = CKV[b, m, l] * WUK[l, g, n]",
        "K[b, g, m, N + j] = CKV[b, m, L + j]",
        "V[b, g, m, u] = CKV[b, m, l] * WUV[l, g, u]",
    )
    return queries + _append(kind, "l") + expanded + softmax_core(scale=kind.scale)


def _absorbed(kind: Latent) -> Piece:
    queries = piece("WUK[u, g, r, n]: weight", f"QR[{_AT}, u] = Q[{_AT}, n] * WUK[u, g, r, n]", e="U + 2*I") + rotary(
        "QP", "QR", at=_AT, width="j", shift="U"
    )
    output = piece("WUV[u, g, r, t]: weight", f"OV[{_AT}, t] = O[{_AT}, u] * WUV[u, g, r, t]")
    return queries + _append(kind, "u") + softmax_core(scale=kind.scale, keys="CKV") + output
