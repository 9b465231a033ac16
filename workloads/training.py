"""A layer's training step as two cascades: forward, and the backward that is derived from it.

Nothing is cached between steps: keys and values are activations like all others. A softmax's maximum carries no
gradient, since it cancels; which experts are chosen has none either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from einsum.adjoint import adjoint
from einsum.cascade import Cascade
from workloads.layers import layer
from workloads.pieces import Types, piece, typed
from workloads.spec import Layer, Spec

__all__ = ["backward", "forward", "loss"]

MAXIMA = ("GM", "TM")


def forward(spec: Spec, kind: Layer | None = None, *, batch: int = 1, sequence: int, dtype: str = "bf16") -> Cascade:
    """One layer on ``batch`` whole sequences; ``kind`` is the first kind of the model unless another is given."""
    chosen = kind or spec.layers[0]
    made = typed(layer(spec, chosen, False).cascade("forward"), Types(dtype, dtype, dtype, dtype))
    tensors = tuple(replace(t, kind="stream") if t.kind == "state" else t for t in made.tensors)
    return replace(made, tensors=tensors).with_sizes(b=batch, p=sequence)


def backward(cascade: Cascade, recompute: Iterable[str] = ()) -> Cascade:
    """Gradients of a forward cascade's inputs and weights from those of its output, ``DXO``.

    Tensors to ``recompute`` are computed anew instead of being kept.
    """
    there = {t.name for t in cascade.tensors}
    constants = [n for n in (*MAXIMA, "COS", "SIN") if n in there]
    return replace(adjoint(cascade, constants=constants, recompute=recompute), name="backward")


def loss(spec: Spec, *, batch: int = 1, sequence: int, dtype: str = "bf16", eager: bool = False) -> Cascade:
    """The classifier over every position and the loss of each: ``LOSS`` from the stream ``X`` and the words ``T``.

    ``eager`` widens logits to fp32 first, and keeps their exponentials so, as frameworks do.
    """
    table, weight = ("WE[v, d]", "WE[v, d]: weight") if spec.tied else ("WL[d, v]", "WL[d, v]: weight")
    wide = ("LF[b, p, v]: fp32", "SN[b, p, v]: fp32", "LF[b, p, v] = L[b, p, v]") if eager else ()
    logit = "LF" if eager else "L"
    lines = piece(
        "T[b, p]: int32",
        weight,
        *wide[:2],
        f"TL[b, p] = X[b, p, d] * {table.replace('v', 'T[b, p]')}",
        f"L[b, p, v] = X[b, p, d] * {table}",
        *wide[2:],
        f"GM[b, p] = max[v]({logit}[b, p, v])",
        f"SN[b, p, v] = exp({logit}[b, p, v] - GM[b, p])",
        "SD[b, p] = SN[b, p, v]",
        "LOSS[b, p] = GM[b, p] + log(SD[b, p]) - TL[b, p]",
        b=batch, p=sequence, d=spec.model, v=spec.vocabulary,
    )  # fmt: skip
    return typed(lines.cascade("loss"), Types(dtype, dtype, dtype, dtype))
