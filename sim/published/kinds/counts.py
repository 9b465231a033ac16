"""What the cascades of bundled models count: operations and state of decoding, weights, training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einsum import Cascade, Einsum
from einsum.counts import operations
from einsum.counts import parameters as weights
from einsum.errors import WeirError, hint
from einsum.ops import bits
from sim.units import si
from workloads.transformer import model as bundled

__all__ = [
    "active_parameters",
    "decoding",
    "inference",
    "parameters",
    "requests",
    "state",
    "stated",
    "stored",
    "training",
]

PARTS = ("attention", "linear", "ffn")
TABLES = ("counted", "left out")
NETWORK = {"f", "s", "x"}  # ranks of feed-forward weights: hidden, shared hidden, experts


def decoding(inputs: Mapping[str, Any], *, model: str, part: str, context: int) -> float:
    """Multiply-adds, two operations each, of one token's pass through all layers at ``context`` tokens.

    ``attention`` is the products with keys and values, ``linear`` the projections around them, ``ffn`` the networks.
    """
    if part not in PARTS:
        raise WeirError(f"unknown part {part!r}{hint(part, PARTS)}")
    total = 0.0
    for one in bundled(model).decode.parts:
        if any(t.kind == "state" for t in one.cascade.tensors):  # a layer, not the embedding or the head
            total += one.times * _macs(one.cascade, part, context)
    return total


def _macs(cascade: Cascade, part: str, context: int) -> float:
    sizes = cascade.bind(b=1, p=1, c=context - 1)
    chosen = [e for e in cascade.einsums if e.contraction and _part(cascade, e) == part]
    return float(sum(operations(cascade, e, sizes).get("mac", 0) for e in chosen))


def _part(cascade: Cascade, einsum: Einsum) -> str:
    """Which part of a layer a product belongs to, by what it reads."""
    kinds = {cascade.tensor(a.tensor).kind for a in einsum.reads}
    if "state" in kinds:
        return "attention"
    weights = [a for a in einsum.reads if cascade.tensor(a.tensor).kind == "weight"]
    if not weights:
        return ""
    return "ffn" if any(set(a.ranks) & NETWORK for a in weights) else "linear"


def state(inputs: Mapping[str, Any], *, model: str, context: int, dtype: str) -> float:
    """Bytes of keys and values of one request of ``context`` tokens."""
    return float(bundled(model).state_bytes(context, dtype))


def requests(inputs: Mapping[str, Any], *, model: str, context: int, memory: str) -> float:
    """Requests of ``context`` tokens whose 16-bit keys and values fit ``memory``."""
    return si(memory, "B", "memory") / float(bundled(model).state_bytes(context))


def stored(inputs: Mapping[str, Any], *, model: str, dtype: str) -> float:
    """GB of weights, tied ones once."""
    return bundled(model).parameters * bits(dtype) / 8e9


def parameters(inputs: Mapping[str, Any], *, model: str) -> float:
    """Billions of weights, tied ones once."""
    return bundled(model).parameters / 1e9


def active_parameters(inputs: Mapping[str, Any], *, model: str, embedding: str = "counted") -> float:
    """Billions of weights that one token meets, its row's whole embedding table ``counted`` or ``left out``."""
    if embedding not in TABLES:
        raise WeirError(f"unknown choice {embedding!r}{hint(embedding, TABLES)}")
    made = bundled(model)
    table = 0 if embedding == "counted" else weights(made.decode.part("embed").cascade)
    return (made.active_parameters - table) / 1e9


def _per_token(model: str) -> float:
    """Multiply-adds, two operations each, of one token's pass through the whole model without context."""
    total = 0.0
    for part in bundled(model).decode.parts:
        own = {r for r, _ in part.cascade.sizes}
        sizes = part.cascade.bind(**{r: s for r, s in {"b": 1, "p": 1, "c": 0}.items() if r in own})
        counts = (operations(part.cascade, e, sizes).get("mac", 0) for e in part.cascade.einsums)
        total += part.times * float(sum(counts))
    return total


def inference(inputs: Mapping[str, Any], *, model: str, tokens: float) -> float:
    """Operations to generate ``tokens`` tokens, attention over the context left out."""
    return tokens * _per_token(model)


def training(inputs: Mapping[str, Any], *, model: str, tokens: float) -> float:
    """Operations to train on ``tokens`` tokens: a pass forward, and backward twice as much."""
    return 3 * inference(inputs, model=model, tokens=tokens)


def stated(inputs: Mapping[str, Any], *, parameters: float, tokens: float, passes: int = 1) -> float:
    """Operations of ``passes`` passes of ``tokens`` tokens over a count of parameters: of a model that is not bundled,
    or with weights counted that a token does not meet."""
    return 2 * passes * parameters * tokens
