"""Attention that does not meet every key: which are looked up, and which are given up.

Ranks as in :mod:`workloads.attention`: ``b`` sequences, ``h`` heads, ``p`` queries, ``m`` keys, ``e`` and ``f`` widths.
Queries arrive scaled by ``1/sqrt(e)``, are newer than all keys and see all of them. Scores with which keys are chosen,
where a method carries them from step to step, are inputs. Defaults are small enough for a context of a hundred keys;
published settings keep hundreds to thousands.
"""

from __future__ import annotations

from typing import Any

from einsum.cascade import Cascade, check_sizes
from einsum.errors import WeirError
from einsum.parse import parse

__all__ = ["elastic_cache", "hip", "infllm", "keyformer", "landmark", "nearest", "razor", "retrieval_attention",
           "task_kv"]  # fmt: skip

HEADS = "b, h, p"
CACHE = "K[b, h, m, e]: bf16\nV[b, h, m, f]: bf16"


def _joint(ranks: str, *parts: tuple[str, str, str]) -> str:
    """One softmax over several tensors of scores: (scores, the ranks of their keys, their values), as text.

    >>> print(_joint("p", ("S", "m", "V[m, f]")).splitlines()[-1])
    O[p, f] = (A0[p, f]) / (D0[p])
    """
    lines, highest = [], ""
    for i, (scores, keys, _) in enumerate(parts):
        lines.append(f"M{i}[{ranks}] = max[{keys}]({scores}[{ranks}, {keys}])")
        highest = f"max(M{i}[{ranks}], {highest})" if highest else f"M{i}[{ranks}]"
    lines.append(f"GM[{ranks}] = {highest}")
    for i, (scores, keys, values) in enumerate(parts):
        lines.append(f"X{i}[{ranks}, {keys}] = exp({scores}[{ranks}, {keys}] - GM[{ranks}])")
        lines.append(f"D{i}[{ranks}] = X{i}[{ranks}, {keys}]")
        lines.append(f"A{i}[{ranks}, f] = X{i}[{ranks}, {keys}] * {values}")
    above, below = (
        " + ".join(f"{n}{i}[{r}]" for i in range(len(parts))) for n, r in (("A", f"{ranks}, f"), ("D", ranks))
    )
    return "\n".join([*lines, f"O[{ranks}, f] = ({above}) / ({below})"])


def _range(name: str, rank: str, start: int, heads: str = "b, h") -> tuple[str, tuple[str, str, str]]:
    """Scores of consecutive keys from ``start`` on, and their part in a joint softmax."""
    key = f"{rank} + {start}" if start else rank
    text = f"{name}[{HEADS}, {rank}] = Q[{HEADS}, e] * K[{heads}, {key}, e]"
    return text, (name, rank, f"V[{heads}, {key}, f]")


def _text(*lines: str) -> str:
    return "\n".join(lines)


def _fit(where: str, context: int, **used: int) -> int:
    """Keys that are left of the context beside those already spoken for."""
    check_sizes({"context": context, **used}, where)
    if sum(used.values()) > context:
        named = ", ".join(f"{name}={size}" for name, size in used.items())
        raise WeirError(f"{where}: {named} come to {sum(used.values())} keys of a context of {context}")
    return context - sum(used.values())


def _least(where: str, **sizes: int) -> None:
    """Refuse sizes of which there must be one at least."""
    for name, size in sizes.items():
        if size < 1:
            raise WeirError(f"{where}: {name}={size}; at least 1")


def hip(
    *, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, keep: int = 32, block: int = 64
) -> Cascade:
    """A binary tree over the keys, descended by each block of queries: ``keep`` branches survive a level (HiP).

    A branch is scored by its first key and the block's best query for it. START holds the first key of each of the
    ``keep`` ranges at the outset, HALF[t] zero and half the length of a range at level t.
    """
    _least("hip", keep=keep, block=block)
    length = context // keep
    if query % block or context % keep or length & (length - 1) or not length:
        raise WeirError(f"hip: query={query} must be whole blocks of {block}, and context={context} must be "
                        f"keep={keep} times a power of two")  # fmt: skip
    lines = [CACHE, "START[b, h, g, i]: int32", "HALF[t, s]: int32"]
    starts = "START"
    for t in range(length.bit_length() - 1):
        lines += [
            f"C{t}[b, h, g, 2*i + s] = {starts}[b, h, g, i] + HALF[{t}, s]",
            f"R{t}[b, h, g, p, c] = Q[b, h, g*P + p, e] * K[b, h, C{t}[b, h, g, c], e]",
            f"B{t}[b, h, g, c] = max[p](R{t}[b, h, g, p, c])",
            f"I{t}[b, h, g, i] = arg_top_k[c, i](B{t}[b, h, g, c])",
            f"S{t}[b, h, g, i] = C{t}[b, h, g, I{t}[b, h, g, i]]",
        ]
        starts = f"S{t}"
    kept = f"{starts}[b, h, g, i]"
    lines.append(f"QK[b, h, g, p, i] = Q[b, h, g*P + p, e] * K[b, h, {kept}, e]")
    joint = _joint("b, h, g, p", ("QK", "i", f"V[b, h, {kept}, f]"))
    levels: dict[str, Any] = {"t": length.bit_length() - 1, "s": 2, "c": 2 * keep} if length > 1 else {}
    head = lines if length > 1 else [*lines[:2], lines[-1]]
    return parse(_text(*head, joint), name="hip", b=batch, h=heads, g=query // block, p=block, m=context, e=head_dim,
                 f=head_dim, i=keep, **levels)  # fmt: skip


def nearest(*, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, keep: int = 16) -> Cascade:
    """The ``keep`` keys of largest inner product with each query: what an index over keys approximates."""
    _fit("nearest", context, keep=keep)
    return parse(
        """
        QK[b, h, p, m] = Q[b, h, p, e] * K[b, h, m, e]
        I[b, h, p, t]  = arg_top_k[m, t](QK[b, h, p, m])
        """,
        name="nearest", b=batch, h=heads, p=query, m=context, e=head_dim, t=keep,
    )  # fmt: skip


def retrieval_attention(
    *,
    batch: int = 1,
    heads: int = 1,
    query: int,
    context: int,
    head_dim: int,
    found: int = 16,
    sinks: int = 4,
    window: int = 16,
) -> Cascade:
    """Keys that an index found for each query, in N, joined with the first ``sinks`` and the last ``window``."""
    _fit("retrieval_attention", context, found=found, sinks=sinks, window=window)
    _least("retrieval_attention", found=found, window=window)
    at = "N[b, h, p, t]"
    scored = f"QN[{HEADS}, t] = Q[{HEADS}, e] * K[b, h, {at}, e]"
    recent, last = _range("QW", "w", context - window)
    first, start = _range("QS", "s", 0)
    parts = [("QN", "t", f"V[b, h, {at}, f]"), last, *([start] if sinks else [])]
    text = _text(CACHE, "N[b, h, p, t]: int32", scored, recent, *([first] if sinks else []), _joint(HEADS, *parts))
    sizes: dict[str, Any] = {"s": sinks} if sinks else {}
    return parse(text, name="retrieval_attention", b=batch, h=heads, p=query, m=context, e=head_dim, f=head_dim,
                 t=found, w=window, **sizes)  # fmt: skip


def infllm(
    *,
    batch: int = 1,
    heads: int = 1,
    query: int,
    context: int,
    head_dim: int,
    block: int = 16,
    blocks: int = 2,
    representatives: int = 4,
    sinks: int = 4,
    window: int = 16,
) -> Cascade:
    """The ``blocks`` blocks of keys most like the queries, joined with sinks and a window (InfLLM).

    A block is known by its keys of most attention so far (W), and is looked up for all heads and queries together.
    Sums stand for means, which order the blocks alike. What does not fill a block belongs to the window.
    """
    _least("infllm", block=block, blocks=blocks, representatives=representatives, sinks=sinks, window=window)
    count = _fit("infllm", context, sinks=sinks, window=window) // block
    if count < blocks or block < representatives:
        raise WeirError(f"infllm: blocks={blocks} of {count} and representatives={representatives} of block={block} "
                        "are too many")  # fmt: skip
    first, start = _range("QS", "s", 0)
    recent, last = _range("QW", "w", sinks + count * block)
    at = f"j*C + c + {sinks}"
    text = f"""
{CACHE}
KJ[b, h, j, c, e] = K[b, h, {at}, e]
VJ[b, h, j, c, f] = V[b, h, {at}, f]
R[b, h, j, r] = arg_top_k[c, r](W[b, h, j, c])
KB[b, h, j, e] = sum[r](KJ[b, h, j, R[b, h, j, r], e])
QB[b, h, e] = sum[p](Q[b, h, p, e])
L[b, j] = QB[b, h, e] * KB[b, h, j, e]
N[b, t] = arg_top_k[j, t](L[b, j])
QN[{HEADS}, t, c] = Q[{HEADS}, e] * KJ[b, h, N[b, t], c, e]
{first}
{recent}
{_joint(HEADS, ("QN", "t, c", "VJ[b, h, N[b, t], c, f]"), start, last)}
"""
    return parse(text, name="infllm", b=batch, h=heads, p=query, m=context, e=head_dim, f=head_dim, j=count, c=block,
                 t=blocks, r=representatives, s=sinks, w=context - sinks - count * block)  # fmt: skip


def landmark(
    *, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, block: int = 16, blocks: int = 2
) -> Cascade:
    """A softmax within each block, weighed by one over the landmarks of the ``blocks`` best and the newest keys.

    LM holds a landmark key for every whole block but the last, which with what is left is local (Landmark Attention).
    """
    _least("landmark", block=block, blocks=blocks)
    count = max(context - 1, 0) // block
    if count < blocks:
        raise WeirError(f"landmark: blocks={blocks} of {count} are too many; context={context} leaves no more")
    near, local = _range("QW", "w", count * block)
    text = f"""
{CACHE}
L[{HEADS}, j] = Q[{HEADS}, e] * LM[b, h, j, e]
G[{HEADS}, t] = top_k[j, t](L[{HEADS}, j])
N[{HEADS}, t] = arg_top_k[j, t](L[{HEADS}, j])
KJ[b, h, j, c, e] = K[b, h, j*C + c, e]
VJ[b, h, j, c, f] = V[b, h, j*C + c, f]
QN[{HEADS}, t, c] = Q[{HEADS}, e] * KJ[b, h, N[{HEADS}, t], c, e]
PM[{HEADS}, t] = max[c](QN[{HEADS}, t, c])
PX[{HEADS}, t, c] = exp(QN[{HEADS}, t, c] - PM[{HEADS}, t])
PD[{HEADS}, t] = PX[{HEADS}, t, c]
PV[{HEADS}, t, f] = PX[{HEADS}, t, c] * VJ[b, h, N[{HEADS}, t], c, f]
PO[{HEADS}, t, f] = PV[{HEADS}, t, f] / PD[{HEADS}, t]
{near}
{_joint(HEADS, ("G", "t", f"PO[{HEADS}, t, f]"), local)}
"""
    return parse(text, name="landmark", b=batch, h=heads, p=query, m=context, e=head_dim, f=head_dim, j=count, c=block,
                 t=blocks, w=context - count * block)  # fmt: skip


def keyformer(
    *, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, keep: int = 64, recent: int = 16,
    temperature: float = 1.0,
) -> Cascade:  # fmt: skip
    """Keys kept by accumulated softmax of noisy scores: the newest ``recent``, and the best of the rest (Keyformer).

    F0 is the accumulated score so far and NOISE a Gumbel sample a key; what is attended is what is kept.
    """
    _fit("keyformer", context, keep=keep)
    _least("keyformer", recent=recent, rest=keep - recent)
    if not 0 < temperature < float("inf"):
        raise WeirError(f"keyformer: temperature={temperature}; it must be positive and finite")
    older = context - recent
    newest, last = _range("QW", "w", older)
    at = "N[b, h, t]"
    text = f"""
{CACHE}
QK[{HEADS}, m] = Q[{HEADS}, e] * K[b, h, m, e]
Y[{HEADS}, m] = (QK[{HEADS}, m] + NOISE[b, h, m]) / {float(temperature)!r}
YM[{HEADS}] = max[m](Y[{HEADS}, m])
YX[{HEADS}, m] = exp(Y[{HEADS}, m] - YM[{HEADS}])
YD[{HEADS}] = YX[{HEADS}, m]
YP[b, h, m] = sum[p](YX[{HEADS}, m] / YD[{HEADS}])
F[b, h, m] = F0[b, h, m] + YP[b, h, m]
N[b, h, t] = arg_top_k[r, t](F[b, h, r])
QN[{HEADS}, t] = Q[{HEADS}, e] * K[b, h, {at}, e]
{newest}
{_joint(HEADS, ("QN", "t", f"V[b, h, {at}, f]"), last)}
"""
    return parse(text, name="keyformer", b=batch, h=heads, p=query, m=context, e=head_dim, f=head_dim, r=older,
                 t=keep - recent, w=recent)  # fmt: skip


def razor(
    *, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, sinks: int = 4, recent: int = 16
) -> Cascade:
    """A head that finds nothing far away: sinks, newest keys, and one token for all the others (RazorAttention).

    The token is the mean of the dropped keys and of their values, weighed by their number; retrieval heads are
    :func:`workloads.attention.three_pass`. The weight is from memory of the paper, unverified.
    """
    dropped = _fit("razor", context, sinks=sinks, recent=recent)
    _least("razor", sinks=sinks, recent=recent, dropped=dropped)
    first, start = _range("QS", "s", 0)
    newest, last = _range("QW", "w", context - recent)
    text = f"""
{CACHE}
KD[b, h, x, e] = sum[d](K[b, h, x + d + {sinks}, e])
VD[b, h, x, f] = sum[d](V[b, h, x + d + {sinks}, f])
KC[b, h, x, e] = KD[b, h, x, e] / {dropped}
VC[b, h, x, f] = VD[b, h, x, f] / {dropped}
QC[{HEADS}, x] = Q[{HEADS}, e] * KC[b, h, x, e]
QX[{HEADS}, x] = QC[{HEADS}, x] + log({dropped})
{first}
{newest}
{_joint(HEADS, ("QX", "x", "VC[b, h, x, f]"), start, last)}
"""
    return parse(text, name="razor", b=batch, h=heads, p=query, m=context, e=head_dim, f=head_dim, x=1, d=dropped,
                 s=sinks, w=recent)  # fmt: skip


def _of_others(full: int, sinks: int, newest: int) -> str:
    """Lines of the heads that keep a few keys: sinks, those in the middle that were attended to most, and those from
    the place of the first of the ``newest``."""
    return f"""
QG[b, y, p, e] = Q[b, HF[b, y + {full}], p, e]
KG[b, y, m, e] = K[b, HF[b, y + {full}], m, e]
VG[b, y, m, f] = V[b, HF[b, y + {full}], m, f]
WG[b, y, n] = W[b, HF[b, y + {full}], n + {sinks}]
N[b, y, t] = arg_top_k[n, t](WG[b, y, n])
KM[b, y, n, e] = KG[b, y, n + {sinks}, e]
VM[b, y, n, f] = VG[b, y, n + {sinks}, f]
QN[b, y, p, t] = QG[b, y, p, e] * KM[b, y, N[b, y, t], e]
QS[b, y, p, s] = QG[b, y, p, e] * KG[b, y, s, e]
QW[b, y, p, w] = QG[b, y, p, e] * KG[b, y, w + {newest}, e]
""" + _joint(
        "b, y, p",
        ("QN", "t", "VM[b, y, N[b, y, t], f]"),
        ("QS", "s", "VG[b, y, s, f]"),
        ("QW", "w", f"VG[b, y, w + {newest}, f]"),
    )


def task_kv(
    *,
    batch: int = 1,
    heads: int = 8,
    query: int,
    context: int,
    head_dim: int,
    full: int = 2,
    sinks: int = 4,
    recent: int = 16,
    middle: int = 16,
) -> Cascade:
    """All keys for the ``full`` heads furthest from the semantic centre, a few for the others (Task-KV).

    S is a vector for each head that says what it attends to, W the attention paid to each key so far, by which the
    others keep ``middle`` keys between sinks and newest. OF and O are the outputs of the two kinds of heads, in the
    order of HF. How vectors and middle keys come about is our reading of the abstract.
    """
    inner = _fit("task_kv", context, sinks=sinks, recent=recent)
    _fit("task_kv", inner, middle=middle)
    _least("task_kv", full=full, sinks=sinks, recent=recent, middle=middle, others=heads - full)
    text = f"""
W[b, h, m]: f32
SC[b, f] = sum[h](S[b, h, f])
DS[b, h] = sum[f](square(S[b, h, f] - SC[b, f] / {heads}))
HF[b, o] = arg_top_k[h, o](DS[b, h])
QF[b, x, p, m] = Q[b, HF[b, x], p, e] * K[b, HF[b, x], m, e]
MF[b, x, p] = max[m](QF[b, x, p, m])
XF[b, x, p, m] = exp(QF[b, x, p, m] - MF[b, x, p])
DF[b, x, p] = XF[b, x, p, m]
AF[b, x, p, f] = XF[b, x, p, m] * V[b, HF[b, x], m, f]
OF[b, x, p, f] = AF[b, x, p, f] / DF[b, x, p]""" + _of_others(full, sinks, context - recent)
    return parse(text, name="task_kv", b=batch, h=heads, p=query, m=context, e=head_dim, f=head_dim, o=heads, x=full,
                 y=heads - full, n=inner, t=middle, s=sinks, w=recent)  # fmt: skip


def elastic_cache(
    *, batch: int = 1, heads: int = 1, query: int, context: int, head_dim: int, keep: int = 64
) -> Cascade:
    """The keys of most attention so far (W), each averaged with the dropped ones nearest to it (Elastic Cache).

    POS holds the keys' places, ``0`` to ``context - 1``.
    """
    _fit("elastic_cache", context, keep=keep)
    _least("elastic_cache", keep=keep)
    text = f"""
POS[m]: int32
T[b, h, t] = arg_top_k[m, t](W[b, h, m])
N[b, h, t] = sort[t](T[b, h, t])
FAR[b, h, m, t] = abs(POS[m] - N[b, h, t])
TO[b, h, m] = argmin[t](FAR[b, h, m, t])
SHARE[b, h, TO[b, h, m]] = one(W[b, h, m])
KS[b, h, TO[b, h, m], e] = K[b, h, m, e]
VS[b, h, TO[b, h, m], f] = V[b, h, m, f]
KN[b, h, t, e] = KS[b, h, t, e] / SHARE[b, h, t]
VN[b, h, t, f] = VS[b, h, t, f] / SHARE[b, h, t]
QN[{HEADS}, t] = Q[{HEADS}, e] * KN[b, h, t, e]
{_joint(HEADS, ("QN", "t", "VN[b, h, t, f]"))}
"""
    return parse(text, name="elastic_cache", b=batch, h=heads, p=query, m=context, e=head_dim, f=head_dim, t=keep)
