"""Products with weights of few bits, and by table: what would be multiplied is looked up."""

from __future__ import annotations

from einsum.cascade import Cascade
from einsum.errors import WeirError
from einsum.parse import parse

__all__ = ["memory_former", "pack", "pack_two_bit", "t_mac", "two_bit"]

GROUP = 4  # activations that one table covers: its sixteen entries are all their signed sums


def _groups(where: str, inner: int) -> int:
    if inner % GROUP:
        raise WeirError(f"{where}: inner={inner} must be whole groups of {GROUP}")
    return inner // GROUP


def pack(*, planes: int, outputs: int, inner: int) -> Cascade:
    """Four signs of each plane of weights S as a number of four bits, lowest first; POW holds 1, 2, 4, 8."""
    return parse(
        """
        POW[i]: int32
        BIT[b, m, j, i] = S[b, m, 4*j + i] > 0
        A[b, m, j]      = BIT[b, m, j, i] * POW[i]
        """,
        name="pack", b=planes, m=outputs, j=_groups("pack", inner), i=GROUP,
    )  # fmt: skip


def t_mac(*, rows: int, planes: int, outputs: int, inner: int) -> Cascade:
    """Weights of a few bits as planes of signs, whose products with activations are tabulated (T-MAC).

    A holds four signs a number, AL the scale of each plane and output, SIGN the sixteen patterns as
    ones and minus ones.
    """
    return parse(
        """
        A[b, m, j]: u4
        LUT[n, j, u] = X[n, 4*j + i] * SIGN[u, i]
        T[n, b, m]   = sum[j](LUT[n, j, A[b, m, j]])
        Y[n, m]      = AL[b, m] * T[n, b, m]
        """,
        name="t_mac", n=rows, b=planes, m=outputs, j=_groups("t_mac", inner), i=GROUP, u=2**GROUP,
    )  # fmt: skip


def pack_two_bit(*, outputs: int, inner: int) -> Cascade:
    """Four codes S of two bits a byte, a quarter of the row apart, lowest first; POW holds 1, 4, 16 and 64."""
    return parse(
        """
        S[m, k]: u2
        POW[i]: int32
        A[m, j] = S[m, J*i + j] * POW[i]
        """,
        name="pack_two_bit", m=outputs, k=inner, j=_groups("pack_two_bit", inner), i=GROUP,
    )  # fmt: skip


def two_bit(*, rows: int, outputs: int, inner: int) -> Cascade:
    """A linear layer whose weights are codes S of two bits: -3, -1, 1 and 3 times their row's scale AL."""
    return parse(
        """
        S[m, k]: u2
        W[m, k] = AL[m] * (2 * S[m, k] - 3)
        Y[n, m] = X[n, k] * W[m, k]
        """,
        name="two_bit", n=rows, m=outputs, k=inner,
    )  # fmt: skip


def memory_former(*, rows: int, tables: int, bits: int, outputs: int) -> Cascade:
    """A linear layer as look-ups: the signs of ``bits`` activations choose a row of their table TB (MemoryFormer).

    Rows are weighed by how clear the signs are: the probability of the choice if each sign were drawn by a sigmoid of
    twice its activation. POW holds the powers of two.
    """
    return parse(
        """
        POW[t]: int32
        BIT[n, k, t]  = X[n, k*T + t] >= 0
        I[n, k]       = BIT[n, k, t] * POW[t]
        SURE[n, k, t] = sigmoid(2 * abs(X[n, k*T + t]))
        P[n, k]       = prod[t](SURE[n, k, t])
        Y[n, o]       = P[n, k] * TB[k, I[n, k], o]
        """,
        name="memory_former", n=rows, k=tables, t=bits, o=outputs,
    )  # fmt: skip
