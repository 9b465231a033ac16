"""Mixtures of experts as cascades: a gate writes a sparse routing tensor, dispatch and combine are Einsums over it.

Ranks: ``b`` requests, ``p`` tokens, ``d`` model width, ``x`` experts, ``k`` experts chosen by a token, ``f`` hidden
width of an expert, ``q`` slots of an expert, ``s`` hidden width of the shared experts. ``RT[b, p, x]`` holds the
weight of each chosen expert and nothing elsewhere, so only chosen experts cost anything.
"""

from __future__ import annotations

from einsum.cascade import Cascade, check_sizes
from einsum.errors import WeirError
from workloads.ffn import activation_named, gated_lines
from workloads.gates import Gate, cosine_scores, gate_lines, logits, softmax_scores
from workloads.pieces import Piece, piece

__all__ = ["expert_choice", "gshard", "sigmoid", "soft", "top_k", "x_moe"]

_WEIGHTS = ("WG[x, d, f]: weight", "WU[x, d, f]: weight", "WD[x, f, d]: weight")


def routed_lines(source: str, activation: str, *, limit: float = 0.0, dtype: str = "") -> Piece:
    """Each token through its chosen experts and back, weighted, as ``Z``; no token is dropped.

    ``limit`` and ``dtype`` are those of :class:`workloads.spec.Experts`.
    """
    at = "b, p, x, f"
    activated = f"{activation}(G[{at}]) * U[{at}]"
    if limit:  # 1.702 makes the sigmoid an approximate GELU
        gate, up = f"min(G[{at}], {limit!r})", f"max(min(U[{at}], {limit!r}), -{limit!r})"
        activated = f"{gate} * sigmoid(1.702 * {gate}) * ({up} + 1)"
    return piece(
        *(line.replace(": weight", f": (weight, {dtype})") if dtype else line for line in _WEIGHTS),
        f"G[{at}] = one(RT[b, p, x]) * {source}[b, p, d] * WG[x, d, f]",
        f"U[{at}] = one(RT[b, p, x]) * {source}[b, p, d] * WU[x, d, f]",
        f"H[{at}] = {activated}",
        f"Z[b, p, d] = RT[b, p, x] * H[{at}] * WD[x, f, d]",
    )


def slot_lines(activation: str) -> Piece:
    """The experts over their slots: ``XD[b, x, q, d]`` to ``YE[b, x, q, d]``."""
    at = "b, x, q"
    return piece(
        *_WEIGHTS,
        f"G[{at}, f] = XD[{at}, d] * WG[x, d, f]",
        f"U[{at}, f] = XD[{at}, d] * WU[x, d, f]",
        f"H[{at}, f] = {activation}(G[{at}, f]) * U[{at}, f]",
        f"YE[{at}, d] = H[{at}, f] * WD[x, f, d]",
    )


def dispatched_lines(source: str, activation: str) -> Piece:
    """Tokens queue for their experts in order; one that finds the expert's ``Q`` slots taken is dropped there.

    ``PO`` numbers the tokens of each expert from one, ``DS`` is one where a token holds a slot.
    """
    before = piece(
        "PO[b, p, x] = scan[p](one(RT[b, p, x]))",
        "SL[b, p, x]: int32",
        "SL[b, p, x] = max(min(PO[b, p, x], Q) - 1, 0)",
        "OH[b, p, x, q]: per_row(q, 1)",
        "OH[b, p, x, SL[b, p, x]] = PO[b, p, x] <= Q",
        "DS[b, p, x, q] = one(RT[b, p, x]) * OH[b, p, x, q]",
        f"XD[b, x, q, d] = DS[b, p, x, q] * {source}[b, p, d]",
    )
    return before + slot_lines(activation) + piece("Z[b, p, d] = RT[b, p, x] * DS[b, p, x, q] * YE[b, x, q, d]")


def shared_lines(source: str, activation: str) -> Piece:
    """Experts that every token visits, side by side as one network of hidden width ``s``: ``ZS``."""
    return gated_lines(source, activation, hidden="s", tail="S")


def _layer(
    name: str, gate: Piece, *, sizes: dict[str, int], activation: str, capacity: int | None = None, shared: int = 0
) -> Cascade:
    """A gate and its experts; ``capacity`` slots for each expert and sequence, or no limit; ``shared`` hidden width."""
    act = activation_named(activation, f"moe.{name}")
    lines = gate + (routed_lines("X", act) if capacity is None else dispatched_lines("X", act) + piece(q=capacity))
    if shared:
        lines += shared_lines("X", act) + piece("Y[b, p, d] = Z[b, p, d] + ZS[b, p, d]", s=shared)
    return (lines + piece(**sizes)).cascade(name)


def _sizes(
    where: str, *, batch: int, query: int, model: int, hidden: int, experts: int, chosen: int = 1
) -> dict[str, int]:
    """Sizes of the ranks every mixture has, checked."""
    check_sizes({"experts": experts, "chosen": chosen}, f"moe.{where}")
    if chosen > experts or not chosen:
        raise WeirError(f"moe.{where}: chosen={chosen} of experts={experts}; choose from 1 to all of them")
    return {"b": batch, "p": query, "d": model, "f": hidden, "x": experts}


def top_k(
    *,
    batch: int = 1,
    query: int,
    model: int,
    hidden: int,
    experts: int,
    chosen: int,
    capacity: int | None = None,
    shared: int = 0,
    activation: str = "silu",
) -> Cascade:
    """Each token visits the ``chosen`` experts it scores highest, weighted by a softmax over those (Mixtral)."""
    sizes = _sizes("top_k", batch=batch, query=query, model=model, hidden=hidden, experts=experts, chosen=chosen)
    gate = logits("X") + gate_lines(Gate(chosen))
    return _layer("top_k", gate, sizes=sizes, activation=activation, capacity=capacity, shared=shared)


def gshard(
    *,
    batch: int = 1,
    query: int,
    model: int,
    hidden: int,
    experts: int,
    chosen: int = 2,
    capacity: int | None = None,
    activation: str = "silu",
) -> Cascade:
    """GShard: softmax over all experts, the best two renormalised, each expert with limited slots for a sequence.

    By default just enough slots for an even spread (a capacity factor of one).
    """
    sizes = _sizes("gshard", batch=batch, query=query, model=model, hidden=hidden, experts=experts, chosen=chosen)
    check_sizes({"query": query}, "moe.gshard")
    slots = -(-chosen * query // experts) if capacity is None else capacity
    gate = logits("X") + gate_lines(Gate(chosen, over_all=True))
    return _layer("gshard", gate, sizes=sizes, activation=activation, capacity=slots)


def sigmoid(
    *,
    batch: int = 1,
    query: int,
    model: int,
    hidden: int,
    experts: int,
    chosen: int = 1,
    capacity: int | None = None,
    activation: str = "silu",
) -> Cascade:
    """BASE layers and StableMoE: the best expert's output times the sigmoid of its score, not renormalised."""
    sizes = _sizes("sigmoid", batch=batch, query=query, model=model, hidden=hidden, experts=experts, chosen=chosen)
    gate = logits("X") + gate_lines(Gate(chosen, score="sigmoid", normalised=False))
    return _layer("sigmoid", gate, sizes=sizes, activation=activation, capacity=capacity)


def x_moe(
    *,
    batch: int = 1,
    query: int,
    model: int,
    hidden: int,
    experts: int,
    chosen: int = 1,
    rank: int,
    temperature: float = 0.07,
    capacity: int | None = None,
    activation: str = "silu",
) -> Cascade:
    """X-MoE: scores are cosines between token and expert in a space of ``rank`` dimensions, over a temperature."""
    if not 0 < temperature < float("inf"):
        raise WeirError(f"moe.x_moe: temperature must be a positive number, not {temperature!r}")
    sizes = _sizes("x_moe", batch=batch, query=query, model=model, hidden=hidden, experts=experts, chosen=chosen)
    gate = cosine_scores("X", float(temperature)) + gate_lines(Gate(chosen, over_all=True, normalised=False))
    return _layer("x_moe", gate, sizes={**sizes, "a": rank}, activation=activation, capacity=capacity)


def expert_choice(
    *, batch: int = 1, query: int, model: int, hidden: int, experts: int, capacity: int, activation: str = "silu"
) -> Cascade:
    """Each expert takes the ``capacity`` tokens of a sequence that score it highest (a token by any number)."""
    sizes = _sizes("expert_choice", batch=batch, query=query, model=model, hidden=hidden, experts=experts)
    check_sizes({"query": query, "capacity": capacity}, "moe.expert_choice")
    if capacity > query:
        raise WeirError(f"moe.expert_choice: capacity={capacity} exceeds query={query}; an expert takes a token once")
    lines = (
        logits("X")
        + softmax_scores()
        + piece(
            "EV[b, x, q] = top_k[p, q](RP[b, p, x])",
            "EI[b, x, q] = arg_top_k[p, q](RP[b, p, x])",
            "DS[b, x, q, p]: per_row(p, 1)",
            "DS[b, x, q, EI[b, x, q]] = one(EV[b, x, q])",
            "XD[b, x, q, d] = DS[b, x, q, p] * X[b, p, d]",
        )
        + slot_lines(activation_named(activation, "moe.expert_choice"))
        + piece("Z[b, p, d] = EV[b, x, q] * DS[b, x, q, p] * YE[b, x, q, d]", q=capacity)
    )
    return (lines + piece(**sizes)).cascade("expert_choice")


def soft(
    *, batch: int = 1, query: int, model: int, hidden: int, experts: int, slots: int = 1, activation: str = "silu"
) -> Cascade:
    """SoftMoE: every slot holds an average of all tokens and every token an average of all slots; nothing is routed."""
    sizes = _sizes("soft", batch=batch, query=query, model=model, hidden=hidden, experts=experts)
    lines = (
        piece(
            "WR[d, x, q]: weight",
            "RL[b, p, x, q] = X[b, p, d] * WR[d, x, q]",
            "DM[b, x, q] = max[p](RL[b, p, x, q])",
            "DE[b, p, x, q] = exp(RL[b, p, x, q] - DM[b, x, q])",
            "DD[b, x, q] = DE[b, p, x, q]",
            "XS[b, x, q, d] = DE[b, p, x, q] * X[b, p, d]",
            "XD[b, x, q, d] = XS[b, x, q, d] / DD[b, x, q]",
        )
        + slot_lines(activation_named(activation, "moe.soft"))
        + piece(
            "CM[b, p] = max[x, q](RL[b, p, x, q])",
            "CE[b, p, x, q] = exp(RL[b, p, x, q] - CM[b, p])",
            "CD[b, p] = CE[b, p, x, q]",
            "ZE[b, p, d] = CE[b, p, x, q] * YE[b, x, q, d]",
            "Z[b, p, d] = ZE[b, p, d] / CD[b, p]",
            q=slots,
        )
    )
    return (lines + piece(**sizes)).cascade("soft")
