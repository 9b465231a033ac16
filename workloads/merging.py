"""Tokens that are much alike become one.

Two sets of tokens face each other; those of the first that have the closest partners (by cosine of MT) join them, as
means weighed by how many tokens each already stands for, W. KEPT are the others of the first set, in their order.
"""

from __future__ import annotations

from typing import Any

from einsum.cascade import Cascade, check_sizes
from einsum.errors import WeirError
from einsum.parse import parse

__all__ = ["tempme", "tome"]

_MERGE = """
    XA[{g}, i, d] = X[{a}, d]
    XB[{g}, j, d] = X[{b}, d]
    MA[{g}, i, e] = MT[{a}, e]
    MB[{g}, j, e] = MT[{b}, e]
    WA[{g}, i] = W[{a}]
    WB[{g}, j] = W[{b}]
    NA[{g}, i] = sum[e](square(MA[{g}, i, e]))
    NB[{g}, j] = sum[e](square(MB[{g}, j, e]))
    AB[{g}, i, j] = MA[{g}, i, e] * MB[{g}, j, e]
    COS[{g}, i, j] = AB[{g}, i, j] / sqrt(NA[{g}, i] * NB[{g}, j])
    NEAR[{g}, i] = max[j](COS[{g}, i, j])
    TO[{g}, i] = argmax[j](COS[{g}, i, j])
    BEST[{g}, o] = arg_top_k[i, o](NEAR[{g}, i])
    REST[{g}, u] = BEST[{g}, u + {merged}]
    KEPT[{g}, u] = sort[u](REST[{g}, u])
    YA[{g}, u, d] = XA[{g}, KEPT[{g}, u], d]
    ZA[{g}, u] = WA[{g}, KEPT[{g}, u]]
    P[{g}, s] = TO[{g}, BEST[{g}, s]]
    WS[{g}, s] = WA[{g}, BEST[{g}, s]]
    XS[{g}, s, d] = XA[{g}, BEST[{g}, s], d] * WS[{g}, s]
    JOIN[{g}, P[{g}, s], d] = XS[{g}, s, d]
    MORE[{g}, P[{g}, s]] = WS[{g}, s]
    OWN[{g}, j, d] = XB[{g}, j, d] * WB[{g}, j]
    ZB[{g}, j] = WB[{g}, j] + MORE[{g}, j]
    YB[{g}, j, d] = (OWN[{g}, j, d] + JOIN[{g}, j, d]) / ZB[{g}, j]
"""


def _merge(name: str, groups: str, one: str, other: str, first: int, second: int, merged: int, **sizes: Any) -> Cascade:
    check_sizes({"merged": merged}, name)
    if not 1 <= merged < first or not second:
        raise WeirError(f"{name}: merged={merged} of the {first} tokens that face {second}; from 1 to {first - 1} can")
    declared = f"JOIN[{groups}, j, d]: f32\nMORE[{groups}, j]: f32\n"
    text = declared + _MERGE.replace("\n    ", "\n").format(g=groups, a=one, b=other, merged=merged)
    return parse(text, name=name, i=first, j=second, o=first, u=first - merged, s=merged, **sizes)


def tome(*, batch: int = 1, tokens: int, width: int, metric: int, merged: int = 8) -> Cascade:
    """Every other token faces those between (ToMe)."""
    sizes = {"b": batch, "d": width, "e": metric}
    return _merge("tome", "b", "b, 2*i", "b, 2*j + 1", (tokens + 1) // 2, tokens // 2, merged, **sizes)


def tempme(*, batch: int = 1, frames: int, tokens: int, width: int, metric: int, merged: int = 8) -> Cascade:
    """The tokens of every other frame of a video face those of the frame after it (TempMe)."""
    if frames % 2:
        raise WeirError(f"tempme: frames={frames} must come in pairs")
    sizes = {"b": batch, "g": frames // 2, "d": width, "e": metric}
    return _merge("tempme", "b, g", "b, 2*g, i", "b, 2*g + 1, j", tokens, tokens, merged, **sizes)
