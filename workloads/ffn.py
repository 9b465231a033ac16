"""Feed-forward networks as cascades: ``b`` requests of ``p`` tokens, model width ``d``, hidden width ``f``."""

from __future__ import annotations

from einsum.cascade import Cascade
from einsum.errors import WeirError, hint
from workloads.pieces import ACTIVATIONS, Piece, biased, piece

__all__ = ["gated", "plain"]


def activation_named(name: str, where: str) -> str:
    """The name, if it is an activation that there is; :class:`WeirError` with the nearest one if not."""
    if name not in ACTIVATIONS:
        raise WeirError(f"{where}: unknown activation {name!r}{hint(name, ACTIVATIONS)}")
    return name


def plain_lines(source: str, activation: str, *, bias: bool = False) -> tuple[str, Piece]:
    """The output's name, and ``source`` through two matrices with an activation between."""
    up, add_up = biased("U", "b, p, f", "f", bias)
    down, add_down = biased("Z", "b, p, d", "d", bias)
    head = piece("WU[d, f]: weight", "WD[f, d]: weight", f"U[b, p, f] = {source}[b, p, d] * WU[d, f]")
    mid = piece(f"H[b, p, f] = {activation}({up}[b, p, f])", "Z[b, p, d] = H[b, p, f] * WD[f, d]")
    return down, head + add_up + mid + add_down


def gated_lines(source: str, activation: str, *, hidden: str = "f", tail: str = "") -> Piece:
    """``source`` through a gated pair of matrices and back, as ``Z``; ``tail`` tells several such networks apart."""
    f, t = hidden, tail
    return piece(
        f"WG{t}[d, {f}]: weight",
        f"WU{t}[d, {f}]: weight",
        f"WD{t}[{f}, d]: weight",
        f"G{t}[b, p, {f}] = {source}[b, p, d] * WG{t}[d, {f}]",
        f"U{t}[b, p, {f}] = {source}[b, p, d] * WU{t}[d, {f}]",
        f"H{t}[b, p, {f}] = {activation}(G{t}[b, p, {f}]) * U{t}[b, p, {f}]",
        f"Z{t}[b, p, d] = H{t}[b, p, {f}] * WD{t}[{f}, d]",
    )


def plain(
    *, batch: int = 1, query: int, model: int, hidden: int, activation: str = "gelu", bias: bool = False
) -> Cascade:
    """Two matrices with an activation between (GPT-2, OPT)."""
    _, lines = plain_lines("X", activation_named(activation, "ffn.plain"), bias=bias)
    return (lines + piece(b=batch, p=query, d=model, f=hidden)).cascade("plain")


def gated(*, batch: int = 1, query: int, model: int, hidden: int, activation: str = "silu") -> Cascade:
    """An activated gate times a second projection, projected back (SwiGLU, GeGLU).

    >>> print(gated(query=1, model=2, hidden=3))
    # gated: b=1, p=1, d=2, f=3
    G[b, p, f] = X[b, p, d] * WG[d, f]
    U[b, p, f] = X[b, p, d] * WU[d, f]
    H[b, p, f] = silu(G[b, p, f]) * U[b, p, f]
    Z[b, p, d] = H[b, p, f] * WD[f, d]
    """
    lines = gated_lines("X", activation_named(activation, "ffn.gated"))
    return (lines + piece(b=batch, p=query, d=model, f=hidden)).cascade("gated")
