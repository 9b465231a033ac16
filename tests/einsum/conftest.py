"""Cascades that several tests read."""

from __future__ import annotations

import pytest

NAIVE = """
QK[m, p] = Q[e, p] * K[e, m]
SN[m, p] = exp(QK[m, p])
SD[p]    = SN[m, p]
A[m, p]  = SN[m, p] / SD[p]
AV[f, p] = A[m, p] * V[f, m]
"""
THREE = """
QK[m, p] = Q[e, p] * K[e, m]
GM[p]    = max[m](QK[m, p])
SN[m, p] = exp(QK[m, p] - GM[p])
SD[p]    = SN[m, p]
A[m, p]  = SN[m, p] / SD[p]
AV[f, p] = A[m, p] * V[f, m]
"""
DEFERRED = """
QK[m, p]  = Q[e, p] * K[e, m]
GM[p]     = max[m](QK[m, p])
SN[m, p]  = exp(QK[m, p] - GM[p])
SD[p]     = SN[m, p]
SNV[f, p] = SN[m, p] * V[f, m]
AV[f, p]  = SNV[f, p] / SD[p]
"""
TWO = """
QK[m1, m0, p]  = Q[e, p] * K[e, m1*M0 + m0]
LM[m1, p]      = max[m0](QK[m1, m0, p])
GM[p]          = max[m1](LM[m1, p])
SLN[m1, m0, p] = exp(QK[m1, m0, p] - LM[m1, p])
SLD[m1, p]     = SLN[m1, m0, p]
PLM[m1, p]     = exp(LM[m1, p] - GM[p])
PD[m1, p]      = SLD[m1, p] * PLM[m1, p]
SD[p]          = PD[m1, p]
A[m1, m0, p]   = SLN[m1, m0, p] * PLM[m1, p] / SD[p]
AV[f, p]       = A[m1, m0, p] * V[f, m1*M0 + m0]
"""
ONE = """
RM[0, p]        = -inf
RD[0, p]        = 0
RNV[f, 0, p]    = 0
BK[e, m1, m0]   = K[e, m1*M0 + m0]
BV[f, m1, m0]   = V[f, m1*M0 + m0]
BQK[m1, m0, p]  = Q[e, p] * BK[e, m1, m0]
LM[m1, p]       = max[m0](BQK[m1, m0, p])
RM[m1 + 1, p]   = max(RM[m1, p], LM[m1, p])
SLN[m1, m0, p]  = exp(BQK[m1, m0, p] - RM[m1 + 1, p])
SLD[m1, p]      = SLN[m1, m0, p]
SLNV[f, m1, p]  = SLN[m1, m0, p] * BV[f, m1, m0]
PRM[m1, p]      = exp(RM[m1, p] - RM[m1 + 1, p])
SPD[m1, p]      = RD[m1, p] * PRM[m1, p]
RD[m1 + 1, p]   = SLD[m1, p] + SPD[m1, p]
SPNV[f, m1, p]  = RNV[f, m1, p] * PRM[m1, p]
RNV[f, m1+1, p] = SLNV[f, m1, p] + SPNV[f, m1, p]
AV[f, p]        = RNV[f, M1, p] / RD[M1, p]
"""


@pytest.fixture(scope="session")
def attention() -> dict[str, str]:
    """Attention written five ways (FuseMax, MICRO 2024): over whole keys ``m``, and over tiles ``m1*M0 + m0``."""
    return {"naive": NAIVE, "three-pass": THREE, "deferred": DEFERRED, "two-pass": TWO, "one-pass": ONE}
