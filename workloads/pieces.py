"""Stretches of cascade text that layers are put together from, each with the sizes of the ranks it brings.

Ranks are the same in every model: ``b`` requests, ``p`` new tokens of each, ``c`` tokens cached before them, ``m`` all
of them (``C + P``), ``d`` model width, ``g`` key heads, ``r`` queries per key head, ``e`` and ``u`` the widths of a key
and of a value, ``f`` hidden width of the feed-forward network, ``x`` experts, ``v`` vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from einsum.cascade import Cascade
from einsum.parse import parse
from einsum.terms import Einsum

ACTIVATIONS = ("relu", "gelu", "silu")
HIDDEN = -10000.0  # a score that a mask hides


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of cascade text and the sizes they need (a number, or a sum of other sizes)."""

    text: str
    sizes: tuple[tuple[str, int | str], ...] = ()

    def __add__(self, other: Piece) -> Piece:
        return Piece(f"{self.text}\n{other.text}", tuple(dict([*self.sizes, *other.sizes]).items()))

    def cascade(self, name: str) -> Cascade:
        """The text parsed; activations are bf16 until :func:`typed` says otherwise."""
        sizes: dict[str, Any] = dict(self.sizes)
        return parse(self.text, name=name, **sizes)


def piece(*lines: str, **sizes: int | str) -> Piece:
    """A piece of the given lines and sizes."""
    return Piece("\n".join(lines), tuple(sizes.items()))


@dataclass(frozen=True, slots=True)
class Types:
    """Data types by what a value is: weights, state, activations, and the activations that weights multiply."""

    weights: str
    state: str
    activations: str
    products: str


@dataclass(frozen=True, slots=True)
class Style:
    """How a layer is computed where that changes what is computed: ``eager`` attention stores all scores, ``dropout``
    is the fraction of attention's weights (if they are stored) and of what a branch adds that is dropped."""

    eager: bool = False
    dropout: float = 0.0


INFERENCE = Style()


def typed(cascade: Cascade, types: Types) -> Cascade:
    """The cascade with the type of every floating-point tensor chosen by its role; integers stay as they are."""
    chosen = {"weight": types.weights, "state": types.state, "stream": types.activations}
    multiplied = {n for e in cascade.einsums if e.contraction for n in _with_weight(cascade, e)}
    products = {**chosen, "stream": types.products}
    tensors = tuple(
        t if t.dtype.startswith("int") else replace(t, dtype=(products if t.name in multiplied else chosen)[t.kind])
        for t in cascade.tensors
    )
    return replace(cascade, tensors=tensors)


def _with_weight(cascade: Cascade, einsum: Einsum) -> tuple[str, ...]:
    """The operands of an Einsum if a weight is one of them."""
    return einsum.inputs if any(cascade.tensor(n).kind == "weight" for n in einsum.inputs) else ()


@dataclass(frozen=True, slots=True)
class Norm:
    """Root-mean-square or layer normalisation; ``offset`` one where the stored weight is the gain minus one (Gemma)."""

    kind: str = "rms"
    epsilon: float = 1e-5
    bias: bool = False
    offset: int = 0


def normalise(norm: Norm, source: str, out: str, *, at: str = "b, p", over: str = "d", weight: str = "") -> Piece:
    """``out`` is ``source`` normalised along rank ``over``, at every point of ``at``."""
    gain, size = weight or f"W{out}", over.upper()
    inner, lines = source, [f"{gain}[{over}]: weight"]
    if norm.kind == "layer":
        inner = f"{out}_C"
        lines += [
            f"{out}_M[{at}] = {source}[{at}, {over}]",
            f"{inner}[{at}, {over}] = {source}[{at}, {over}] - {out}_M[{at}] / {size}",
        ]
    gained = f"({norm.offset} + {gain}[{over}])" if norm.offset else f"{gain}[{over}]"
    shift = f" + B{out}[{over}]" if norm.bias else ""
    lines += [f"B{out}[{over}]: weight"] if norm.bias else []
    lines += [
        f"{out}_S[{at}] = square({inner}[{at}, {over}])",
        f"{out}[{at}, {over}] = {inner}[{at}, {over}] * rsqrt({out}_S[{at}] / {size} + {norm.epsilon!r})"
        f" * {gained}{shift}",
    ]
    return piece(*lines)


def rotary(
    source: str, out: str, *, at: str, to: str | None = None, width: str = "", shift: str = "", rest: bool = False
) -> Piece:
    """``source`` turned by its position: halves of a head's ``2*I`` values are the two coordinates of ``I`` planes.

    ``at`` are the ranks before the head's, ``to`` those of ``out`` (the same, or the place in a cache); the result
    begins at ``shift``. ``COS`` and ``SIN`` are tables over positions, the first half of ``SIN`` negated. ``rest``: the
    ``N`` values behind those of the planes are passed on as they are.
    """
    written = f"{shift} + z*I + i" if shift else "z*I + i"
    kept = [f"{out}[{to or at}, 2*I + n] = {source}[{at}, 2*I + n]"] if rest else []
    return piece(
        f"{source}[{at}, {width or 'e'}]: stream",
        f"{out}[{to or at}, {written}] = {source}[{at}, z*I + i] * COS[C + p, i]"
        f" + {source}[{at}, I - z*I + i] * SIN[z, C + p, i]",
        *kept,
        z=2,
    )


def softmax_core(
    *, scale: float, softcap: float = 0.0, window: int = 0, query: str = "QR", keys: str = "K", sinks: bool = False,
    alibi: bool = False,
) -> Piece:  # fmt: skip
    """Scores to outputs with the division deferred: ``QK GM SN SD AV O``.

    ``sinks``: the score ``WS`` of each head is one more in the softmax, of a value of nothing. ``alibi``: each head's
    slope ``AS`` (a constant table) times the key's place is added, which a row's softmax sees as its distance.
    """
    at = "b, g, r, p"
    seen = f"window(p, m, {window}, 0, C)" if window else "causal(p, m, C)"
    scores, cap = "QK", []
    if softcap:
        scores, cap = "QC", [f"QC[{at}, m] = {softcap!r} * tanh(QK[{at}, m] / {softcap!r})"]
    if alibi:
        scores, cap = "QA", [f"QA[{at}, m]: {seen}", f"QA[{at}, m] = QK[{at}, m] + AS[g, r] * AP[m]"]
    total = [f"SD[{at}] = SN[{at}, m]"]
    if sinks:
        total = ["WS[g, r]: weight", f"SX[{at}] = SN[{at}, m]", f"SD[{at}] = SX[{at}] + exp(WS[g, r] - GM[{at}])"]
    key, value = ("b, g, m, e", "V[b, g, m, u]") if keys == "K" else ("b, m, e", f"{keys}[b, m, u]")
    return piece(
        f"QK[{at}, m]: {seen}",
        f"QK[{at}, m] = {scale!r} * {query}[{at}, e] * {keys}[{key}]",
        *cap,
        f"GM[{at}] = max[m]({scores}[{at}, m])",
        f"SN[{at}, m] = exp({scores}[{at}, m] - GM[{at}])",
        *total,
        f"AV[{at}, u] = SN[{at}, m] * {value}",
        f"O[{at}, u] = AV[{at}, u] / SD[{at}]",
        m="C + P",
    )


def eager_core(*, scale: float, softcap: float = 0.0, query: str = "QR", dropout: float = 0.0) -> Piece:
    """Scores to outputs as kernels that are not fused make them: all scores, also those that a mask ``MS`` hides,
    divided before the average: ``QK QM LS PR O``."""
    at = "b, g, r, p"
    cap = [f"QC[{at}, m] = {softcap!r} * tanh(QK[{at}, m] / {softcap!r})"] if softcap else []
    weights, noise = dropped("PR", f"{at}, m", "MP", dropout)
    before = piece(
        "MS[p, m]: int8",
        f"QK[{at}, m] = {scale!r} * {query}[{at}, e] * K[b, g, m, e]",
        *cap,
        f"QM[{at}, m] = where(MS[p, m], {'QC' if softcap else 'QK'}[{at}, m], {HIDDEN!r})",
        f"LS[{at}] = logsumexp[m](QM[{at}, m])",
        f"PR[{at}, m] = exp(QM[{at}, m] - LS[{at}])",
        m="C + P",
    )
    return before + noise + piece(f"O[{at}, u] = {weights}[{at}, m] * V[b, g, m, u]")


def dropped(name: str, at: str, mask: str, rate: float) -> tuple[str, Piece]:
    """The tensor to read after dropout, and its line: what ``mask`` (a byte each, drawn anew in every step) keeps."""
    if not rate:
        return name, piece()
    kept = f"{name}K[{at}] = {1 / (1 - rate)!r} * {mask}[{at}] * {name}[{at}]"
    return f"{name}K", piece(f"{mask}[{at}]: int8", kept)


def biased(name: str, ranks: str, bias: str, on: bool) -> tuple[str, Piece]:
    """The tensor to read after an optional bias over ranks ``bias`` is added, and the lines that add it."""
    if not on:
        return name, piece()
    return f"{name}B", piece(f"B{name}[{bias}]: weight", f"{name}B[{ranks}] = {name}[{ranks}] + B{name}[{bias}]")
