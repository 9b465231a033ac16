"""Cascades for random nests: single Einsums, and several with the groups of them that may share loops."""

from __future__ import annotations

from dataclasses import dataclass

from tests.strategies import MLP, ONE, THREE

SINGLE = (
    ("Z[m, n] = A[m, k] * B[k, n]", {"m": 7, "n": 6, "k": 7}),
    ("Z[b, m, n] = A[b, m, k] * B[k, n]", {"b": 3, "m": 4, "n": 4, "k": 5}),
    ("O[k, p] = W[c, k, r] * I[c, p + r]", {"c": 3, "k": 4, "p": 7, "r": 3}),
    ("O[p] = W[r] * I[2*p + r]", {"p": 7, "r": 5}),  # stride
    ("O[k, p] = W[k, r] * I[p + 2*r]", {"k": 3, "p": 7, "r": 4}),  # dilation
    ("O[p] = W[r] * I[3*p + 2*r]", {"p": 6, "r": 4}),
    ("O[k, p, q] = W[k, c, r, s] * I[c, p + r, q + s]", {"k": 2, "c": 2, "p": 4, "q": 4, "r": 3, "s": 2}),
    ("O[k, p, q] = W[k, c, r, s] * I[c, 2*p + r, q + 2*s]", {"k": 2, "c": 2, "p": 4, "q": 4, "r": 2, "s": 3}),
    ("Y[m] = A[m, n]", {"m": 6, "n": 7}),
    ("Y[m] = max[n](A[m, n])", {"m": 6, "n": 7}),
)
TWO = """
QK[m1, m0, p]  = Q[e, p] * K[e, m1*M0 + m0]
LM[m1, p]      = max[m0](QK[m1, m0, p])
SLN[m1, m0, p] = exp(QK[m1, m0, p] - LM[m1, p])
SLD[m1, p]     = SLN[m1, m0, p]
GM[p]          = max[m1](LM[m1, p])
PM[m1, p]      = exp(LM[m1, p] - GM[p])
SD[p]          = SLD[m1, p] * PM[m1, p]
SN[m1, m0, p]  = SLN[m1, m0, p] * PM[m1, p]
AV[f, p]       = SN[m1, m0, p] * V[f, m1*M0 + m0]
O[f, p]        = AV[f, p] / SD[p]
"""


@dataclass(frozen=True)
class Group:
    """Einsums, or groups of them, that may share loops over ``ranks``, and over ``foreign`` ones that some lack."""

    ranks: tuple[str, ...]
    members: tuple[Group | str, ...]
    foreign: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every Einsum in it."""
        return tuple(n for one in self.members for n in (one.names if isinstance(one, Group) else (one,)))


def group(ranks: str, *members: Group | str, foreign: str = "") -> Group:
    return Group(tuple(ranks.split()), members, tuple(foreign.split()))


FUSED = (
    (MLP, {"b": 4, "f": 5, "d": 3, "g": 3}, group("b f", group("b f", "U", "H"), "Z", foreign="g")),
    (
        THREE,
        {"m": 5, "p": 4, "e": 2, "f": 3},
        group("p", group("m p", "QK", "GM"), group("m p", "SN", "SD"), group("m p", "A", "AV", foreign="f")),
    ),
    (
        TWO,
        {"m1": 3, "m0": 3, "p": 3, "e": 2, "f": 2},
        group(
            "p",
            group("m1 p", group("m0 p", "QK", "LM"), group("m0 p", "SLN", "SLD"), "GM"),
            group("m1 p", "PM", "SD", group("m0 p", "SN", "AV", foreign="f")),
            "O",
        ),
    ),
    (
        ONE,
        {"m1": 3, "m0": 3, "p": 3, "e": 2, "f": 2},
        group(
            "p", "RM.init", "RD.init", "RNV.init",
            group(
                "m1 p", group("m0 p", "QK", "LM"), "RM", group("m0 p", "SLN", "SLD", "SLNV", foreign="f"),
                "PRM", "SPD", "RD", group("f p", "SPNV", "RNV"),
            ),
            "AV",
        ),
    ),
)  # fmt: skip
