"""The loss over a large vocabulary.

Ranks: ``n`` tokens, ``d`` the width of an embedding, ``v`` words. E holds what the model says, C the classifier, Y the
word that came.
"""

from __future__ import annotations

from einsum.cascade import Cascade
from einsum.errors import WeirError
from einsum.parse import parse

__all__ = ["cross_entropy", "cross_entropy_gradients", "sort_vocabulary", "vocabulary_parallel"]


def cross_entropy(*, tokens: int, width: int, words: int) -> Cascade:
    """The loss of each token and the logarithm of its softmax's divisor (the forward pass of Cut Cross-Entropy)."""
    return parse(
        """
        Y[n]: int32
        A[n, v]  = E[n, d] * C[v, d]
        GM[n]    = max[v](A[n, v])
        X[n, v]  = exp(A[n, v] - GM[n])
        Z[n]     = X[n, v]
        LSE[n]   = GM[n] + log(Z[n])
        LOSS[n]  = LSE[n] - A[n, Y[n]]
        """,
        name="cross_entropy", n=tokens, d=width, v=words,
    )  # fmt: skip


def cross_entropy_gradients(*, tokens: int, width: int, words: int) -> Cascade:
    """Gradients DE and DC of losses weighed by UP, logits computed anew; WORD holds ``0`` to ``words - 1``."""
    return parse(
        """
        Y[n]: int32
        WORD[v]: int32
        A[n, v]  = E[n, d] * C[v, d]
        P[n, v]  = exp(A[n, v] - LSE[n])
        H[n, v]  = WORD[v] == Y[n]
        G[n, v]  = UP[n] * (P[n, v] - H[n, v])
        DE[n, d] = G[n, v] * C[v, d]
        DC[v, d] = G[n, v] * E[n, d]
        """,
        name="cross_entropy_gradients", n=tokens, d=width, v=words,
    )  # fmt: skip


def sort_vocabulary(*, tokens: int, width: int, words: int) -> Cascade:
    """Words by their mean logit, lowest first: those that matter come to lie together."""
    return parse(
        """
        S[d] = E[n, d]
        L[v] = C[v, d] * S[d]
        I[v] = argsort[v](L[v])
        """,
        name="sort_vocabulary", n=tokens, d=width, v=words,
    )  # fmt: skip


def vocabulary_parallel(*, tokens: int, width: int, words: int, shards: int) -> Cascade:
    """The words divided among ``shards``, each with its own maximum and sum, corrected to those of all."""
    if shards < 1 or words % shards:
        raise WeirError(f"vocabulary_parallel: shards={shards} does not divide words={words}; give a divisor")
    return parse(
        """
        Y[n]: int32
        A[n, v1, v0] = E[n, d] * C[v1*V0 + v0, d]
        LM[n, v1]    = max[v0](A[n, v1, v0])
        X[n, v1, v0] = exp(A[n, v1, v0] - LM[n, v1])
        LZ[n, v1]    = X[n, v1, v0]
        GM[n]        = max[v1](LM[n, v1])
        PM[n, v1]    = exp(LM[n, v1] - GM[n])
        Z[n]         = LZ[n, v1] * PM[n, v1]
        LSE[n]       = GM[n] + log(Z[n])
        T[n]         = E[n, d] * C[Y[n], d]
        LOSS[n]      = LSE[n] - T[n]
        """,
        name="vocabulary_parallel", n=tokens, d=width, v1=shards, v0=words // shards,
    )  # fmt: skip
