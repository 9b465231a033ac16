"""Cascade text of a transformer's parts: embedding, layers, head.

Tensors have the same names in every model. In the stream: ``X`` comes in, ``XN`` normalised, ``A`` after attention,
``AN`` normalised, ``XO`` goes out. In attention: ``Q KN VN`` projections, ``QR`` turned queries, ``K V`` caches,
``QK GM SN SD AV O`` the softmax average, ``Y`` projected back. In the network: ``G U`` projections, ``H`` activated,
``Z`` projected back.
"""

from __future__ import annotations

from einsum.errors import WeirError
from workloads.ffn import gated_lines, plain_lines
from workloads.gates import gate_lines, logits
from workloads.latent import latent_lines
from workloads.moe import routed_lines, shared_lines
from workloads.pieces import (
    INFERENCE,
    Norm,
    Piece,
    Style,
    biased,
    dropped,
    eager_core,
    normalise,
    piece,
    rotary,
    softmax_core,
)
from workloads.spec import Attention, Experts, FeedForward, Latent, Layer, Spec

_SIZES = piece(b=1, p=1, c=0)


def embedding(spec: Spec) -> Piece:
    """``X``: each token's row of the embedding ``WE``, normalised, or scaled and its position's row added."""
    scale = f"{spec.embed_scale!r} * " if spec.embed_scale != 1.0 else ""
    lines = piece("T[b, p]: int32", "WE[v, d]: weight", b=1, p=1, d=spec.model, v=spec.vocabulary)
    if spec.embed_norm:
        return lines + piece("XE[b, p, d] = WE[T[b, p], d]") + normalise(spec.embed_norm, "XE", "X")
    if not spec.rows:
        return lines + piece(f"X[b, p, d] = {scale}WE[T[b, p], d]")
    row = f"C + p + {spec.first_row}" if spec.first_row else "C + p"
    return lines + piece(
        "WP[o, d]: weight",
        f"XE[b, p, d] = {scale}WE[T[b, p], d]",
        f"X[b, p, d] = XE[b, p, d] + WP[{row}, d]",
        c=0,
        o=spec.rows,
    )


def head(spec: Spec) -> Piece:
    """``TN``: the likeliest next token after each request's last one."""
    table, weight = ("WE[v, d]", "WE[v, d]: weight") if spec.tied else ("WL[d, v]", "WL[d, v]: weight")
    logit, cap = "L", piece()
    if spec.softcap:
        logit, cap = "LC", piece(f"LC[b, v] = {spec.softcap!r} * tanh(L[b, v] / {spec.softcap!r})")
    return (
        piece("XL[b, d] = X[b, P - 1, d]", weight, b=1, p=1, d=spec.model, v=spec.vocabulary)
        + normalise(spec.norm, "XL", "HN", at="b")
        + piece(f"L[b, v] = HN[b, d] * {table}")
        + cap
        + piece(f"TN[b] = argmax[v]({logit}[b, v])")
    )


def layer(spec: Spec, kind: Layer, absorbed: bool, style: Style = INFERENCE) -> Piece:
    """``XO``: the stream ``X`` through attention and a network, each added to it."""
    source = "XN"
    lines = normalise(kind.norm, "X", "XN") + _attention(kind.attention, absorbed, style)
    out, added = _post(kind, *_projected(kind.attention, absorbed), "YN")
    out, noise = dropped(out, "b, p, d", "MY", style.dropout)
    lines += added + noise
    if kind.parallel:
        if kind.parallel == "two":
            source = "AN"
            lines += normalise(kind.norm, "X", "AN")
        stream = f"X[b, p, d] + {out}[b, p, d]"
    else:
        source, stream = "AN", "A[b, p, d]"
        lines += piece(f"A[b, p, d] = X[b, p, d] + {out}[b, p, d]") + normalise(kind.norm, "A", "AN")
    result, network = _post(kind, *_network(kind.network, source), "ZN")
    result, noise = dropped(result, "b, p, d", "MZ", style.dropout)
    lines += network + noise + piece(f"XO[b, p, d] = {stream} + {result}[b, p, d]")
    return _SIZES + lines + piece(d=spec.model)


def _post(kind: Layer, name: str, lines: Piece, out: str) -> tuple[str, Piece]:
    """What a branch adds to the stream, normalised once more where the architecture does that."""
    return (out, lines + normalise(kind.norm, name, out)) if kind.post_norm else (name, lines)


def _attention(kind: Attention | Latent, absorbed: bool, style: Style) -> Piece:
    return latent_lines(kind, absorbed) if isinstance(kind, Latent) else _grouped(kind, style)


def _projected(kind: Attention | Latent, absorbed: bool) -> tuple[str, Piece]:
    """The output projection's name and lines."""
    source, width = ("OV", "t") if isinstance(kind, Latent) and absorbed else ("O", "u")
    out, add = biased("Y", "b, p, d", "d", isinstance(kind, Attention) and kind.out_bias)
    return out, (
        piece(f"WO[g, r, {width}, d]: weight", f"Y[b, p, d] = {source}[b, g, r, p, {width}] * WO[g, r, {width}, d]")
        + add
    )


def _grouped(kind: Attention, style: Style) -> Piece:
    """Projections, queries' first; then rotation, and the cache's new entries; then scores and averages."""
    sizes = piece(g=kind.kv_heads, r=kind.heads // kind.kv_heads, u=kind.head_dim)
    sizes += _head(kind)
    projections = piece(
        *("WQ[d, g, r, e]: weight", "WK[d, g, e]: weight", "WV[d, g, u]: weight"),
        *("K[b, g, m, e]: state", "V[b, g, m, u]: state"),
        "Q[b, g, r, p, e] = XN[b, p, d] * WQ[d, g, r, e]",
        "KN[b, g, p, e] = XN[b, p, d] * WK[d, g, e]",
        "VN[b, g, p, u] = XN[b, p, d] * WV[d, g, u]",
    )
    query = "QR" if kind.rotary else _ready("Q", kind)
    return sizes + projections + _queries(kind) + _keys(kind) + _values(kind) + _core(kind, query, style)


def _core(kind: Attention, query: str, style: Style) -> Piece:
    """Scores to outputs, fused or kernel by kernel."""
    if not style.eager:
        return softmax_core(
            scale=kind.scale, softcap=kind.softcap, window=kind.window, query=query, sinks=kind.sinks, alibi=kind.alibi
        )
    if kind.sinks or kind.alibi:
        raise WeirError(
            "attention kernel by kernel (eager) is not there with sinks or ALiBi; take kernels that fuse it"
        )
    return eager_core(scale=kind.scale, softcap=kind.softcap, query=query, dropout=style.dropout)


def _head(kind: Attention) -> Piece:
    """The width of a key: planes to turn, and what is left beside them."""
    if not kind.rotary:
        return piece(e=kind.head_dim)
    if _rests(kind):
        return piece(e="2*I + N", i=kind.turned // 2, n=kind.head_dim - kind.turned)
    return piece(e="2*I", i=kind.head_dim // 2)


def _ready(name: str, kind: Attention) -> str:
    """The projection's name once its bias is added, its values clipped and its heads normalised."""
    return name + "B" * kind.bias + "C" * bool(kind.clip) + "N" * (kind.head_norm is not None and name != "VN")


def _prepared(kind: Attention, name: str, at: str, bias: str) -> Piece:
    """A projection's bias, clip and head norm, where it has them; ``at`` and ``bias`` end with the head's width."""
    now, lines = biased(name, at, bias, kind.bias)
    if kind.clip:
        lines += piece(f"{now}C[{at}] = max(min({now}[{at}], {kind.clip!r}), -{kind.clip!r})")
        now += "C"
    if kind.head_norm and kind.joint and name != "VN":
        lines += _joint(kind.head_norm, now, at, bias)
    elif kind.head_norm and name != "VN":
        lines += normalise(kind.head_norm, now, f"{now}N", at=at.removesuffix(", e"), over="e")
    return lines


def _joint(norm: Norm, source: str, at: str, ranks: str) -> Piece:
    """Queries or keys normalised over all their heads together; ``ranks`` are those of a token's values."""
    out, size = f"{source}N", ranks.upper().replace(", ", " * ")
    return piece(
        f"W{out}[{ranks}]: weight",
        f"{out}_S[b, p] = square({source}[{at}])",
        f"{out}[{at}] = {source}[{at}] * rsqrt({out}_S[b, p] / ({size}) + {norm.epsilon!r}) * W{out}[{ranks}]",
    )


def _rests(kind: Attention) -> bool:
    """Whether some of a head's values are not turned."""
    return 0 < kind.turned < kind.head_dim


def _queries(kind: Attention) -> Piece:
    lines = _prepared(kind, "Q", "b, g, r, p, e", "g, r, e")
    if not kind.rotary:
        return lines
    return (
        lines + piece("QR[b, g, r, p, e]: stream") + rotary(_ready("Q", kind), "QR", at="b, g, r, p", rest=_rests(kind))
    )


def _keys(kind: Attention) -> Piece:
    ready = _ready("KN", kind)
    lines = _prepared(kind, "KN", "b, g, p, e", "g, e")
    if kind.rotary:
        return lines + rotary(ready, "K", at="b, g, p", to="b, g, C + p", rest=_rests(kind))
    return lines + piece(f"K[b, g, C + p, e] = {ready}[b, g, p, e]")


def _values(kind: Attention) -> Piece:
    lines = _prepared(kind, "VN", "b, g, p, u", "g, u")
    return lines + piece(f"V[b, g, C + p, u] = {_ready('VN', kind)}[b, g, p, u]")


def _network(kind: FeedForward | Experts, source: str) -> tuple[str, Piece]:
    """The network's output and its lines."""
    if isinstance(kind, Experts):
        return _experts(kind, source)
    sizes = piece(f=kind.hidden)
    if kind.gated:
        return "Z", gated_lines(source, kind.activation) + sizes
    out, lines = plain_lines(source, kind.activation, bias=kind.bias)
    return out, lines + sizes


def _experts(kind: Experts, source: str) -> tuple[str, Piece]:
    lines = logits(source, bias=kind.gate.bias) + gate_lines(kind.gate)
    lines += routed_lines(source, kind.activation, limit=kind.limit, dtype=kind.dtype)
    lines += piece(f=kind.hidden)
    if not kind.gate.limited:
        lines += piece(x=kind.count)
    else:
        lines += piece(x="Y*W", w=kind.count // kind.gate.groups)
    if not kind.shared:
        return "Z", lines
    lines += shared_lines(source, kind.activation) + piece(s=kind.shared)
    if not kind.shared_gate:
        return "ZZ", lines + piece("ZZ[b, p, d] = Z[b, p, d] + ZS[b, p, d]")
    return "ZZ", lines + piece(
        "WSG[d]: weight",
        f"SG[b, p] = {source}[b, p, d] * WSG[d]",
        "ZZ[b, p, d] = Z[b, p, d] + sigmoid(SG[b, p]) * ZS[b, p, d]",
    )
