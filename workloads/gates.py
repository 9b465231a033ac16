"""Gates of mixtures of experts: from scores ``RL[b, p, x]`` to the sparse routing weights ``RT[b, p, x]``."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.pieces import Piece, piece


@dataclass(frozen=True, slots=True)
class Gate:
    """How a token's ``chosen`` experts are picked and weighted.

    ``score`` turns logits into weights (``softmax`` or ``sigmoid``), ``normalised`` makes the chosen ones sum to
    ``factor``. A softmax is taken over the chosen only, unless ``over_all``. ``correction`` adds a learned bias to the
    choice alone. With ``groups``, only experts of the ``groups_kept`` best groups may be chosen, a group being as good
    as the sum of its ``group_best`` highest scores. ``bias`` adds a learned bias to the logits themselves.
    """

    chosen: int
    score: str = "softmax"
    normalised: bool = True
    over_all: bool = False
    correction: bool = False
    groups: int = 1
    groups_kept: int = 1
    group_best: int = 1
    factor: float = 1.0
    bias: bool = False

    @property
    def limited(self) -> bool:
        """Whether some groups of experts are out of reach."""
        return self.groups_kept < self.groups


def logits(source: str, *, bias: bool = False) -> Piece:
    """A linear score of each expert, ``RL``."""
    score = f"[b, p, x] = {source}[b, p, d] * WR[d, x]"
    if not bias:
        return piece("WR[d, x]: weight", f"RL{score}")
    return piece("WR[d, x]: weight", "BRL[x]: weight", f"RU{score}", "RL[b, p, x] = RU[b, p, x] + BRL[x]")


def cosine_scores(source: str, temperature: float) -> Piece:
    """Cosine of token and expert in a low-rank space ``a``, over a temperature; experts' vectors are stored."""
    return piece(
        "WL[d, a]: weight",
        "WX[x, a]: weight",
        f"XL[b, p, a] = {source}[b, p, d] * WL[d, a]",
        "XQ[b, p] = square(XL[b, p, a])",
        "EQ[x] = square(WX[x, a])",
        "DT[b, p, x] = XL[b, p, a] * WX[x, a]",
        f"RL[b, p, x] = DT[b, p, x] * rsqrt(XQ[b, p]) * (rsqrt(EQ[x]) / {temperature!r})",
    )


def softmax_scores() -> Piece:
    """``RP``: the softmax of the logits over all experts."""
    return piece(
        "RM[b, p] = max[x](RL[b, p, x])",
        "RE[b, p, x] = exp(RL[b, p, x] - RM[b, p])",
        "RS[b, p] = RE[b, p, x]",
        "RP[b, p, x] = RE[b, p, x] / RS[b, p]",
    )


def gate_lines(gate: Gate) -> Piece:
    """From logits to routing weights."""
    routing = piece(f"RT[b, p, x]: per_row(x, {gate.chosen})", k=gate.chosen)
    if gate.score == "softmax" and gate.normalised and not (gate.over_all or gate.limited or gate.correction):
        return _softmax_of_chosen(gate) + routing
    scores = softmax_scores() if gate.score == "softmax" else piece("RP[b, p, x] = sigmoid(RL[b, p, x])")
    return scores + _choice(gate) + _weights(gate) + routing


def _softmax_of_chosen(gate: Gate) -> Piece:
    """The chosen logits, then a softmax over them: equal to renormalising a softmax over all, and cheaper."""
    return piece(
        "TV[b, p, k] = top_k[x, k](RL[b, p, x])",
        "TI[b, p, k] = arg_top_k[x, k](RL[b, p, x])",
        "TM[b, p] = max[k](TV[b, p, k])",
        "TE[b, p, k] = exp(TV[b, p, k] - TM[b, p])",
        "TS[b, p] = TE[b, p, k]",
        f"RT[b, p, TI[b, p, k]] = {_times(gate)}TE[b, p, k] / TS[b, p]",
    )


def _times(gate: Gate) -> str:
    return f"{gate.factor!r} * " if gate.factor != 1.0 else ""


def _choice(gate: Gate) -> Piece:
    """``TI``, which experts are chosen, and ``TV``, their scores."""
    if gate.limited:
        lines, chosen = _groups(gate), "RC"
    elif gate.correction:
        lines, chosen = piece("BR[x]: weight", "RC[b, p, x] = RP[b, p, x] + BR[x]"), "RC"
    else:
        lines, chosen = piece(), "RP"
    lines += piece(f"TI[b, p, k] = arg_top_k[x, k]({chosen}[b, p, x])")
    if chosen == "RP":
        return lines + piece("TV[b, p, k] = top_k[x, k](RP[b, p, x])")
    return lines + piece("TV[b, p, k] = RP[b, p, TI[b, p, k]]")


def _groups(gate: Gate) -> Piece:
    """Scores ``RC`` of experts in the best groups; ``x`` is ``y`` groups of ``w`` experts, ``y1`` the groups kept."""
    bias = " + BR[y*W + w]" if gate.correction else ""
    lines = piece(
        *(["BR[x]: weight"] if gate.correction else []),
        "RP[b, p, x]: stream",
        "RC[b, p, x]: stream",
        f"YK[b, p, y]: per_row(y, {gate.groups_kept})",
        f"RB[b, p, y, w] = RP[b, p, y*W + w]{bias}",
        y=gate.groups,
        y1=gate.groups_kept,
    )
    if gate.group_best == 1:
        lines += piece("YS[b, p, y] = max[w](RB[b, p, y, w])")
    else:
        lines += piece("YB[b, p, y, w1] = top_k[w, w1](RB[b, p, y, w])", "YS[b, p, y] = YB[b, p, y, w1]")
        lines += piece(w1=gate.group_best)
    return lines + piece(
        "YI[b, p, y1] = arg_top_k[y, y1](YS[b, p, y])",
        "YK[b, p, YI[b, p, y1]] = one(YI[b, p, y1])",
        "RC[b, p, y*W + w] = RB[b, p, y, w] * YK[b, p, y]",
    )


def _weights(gate: Gate) -> Piece:
    """The chosen experts' scores, perhaps renormalised, scattered into the routing tensor."""
    if not gate.normalised:
        return piece(f"RT[b, p, TI[b, p, k]] = {_times(gate)}TV[b, p, k]")
    return piece(
        "TS[b, p] = TV[b, p, k]",
        f"RT[b, p, TI[b, p, k]] = {_times(gate)}TV[b, p, k] / TS[b, p]",
    )
