"""``exp`` of what a softmax needs: numbers up to zero, in arithmetic that vectorises (Numba's own calls a library).

``x = n ln 2 + r`` with ``|r| <= ln 2 / 2``; a polynomial gives ``exp(r)`` and the exponent bits ``2**n``. Coefficients
in float32 and the two-part ``ln 2`` are those of S. Moshier's Cephes library (expf.c, exp.c); in float64 the Taylor
series serves, whose term 14 is below 5e-18.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from workloads.kernels.core.jit import jit_ordered

_LOG2E, _HIGH, _LOW = (np.float32(x) for x in (1.4426950408889634, 0.693359375, -2.12194440e-4))
_P0, _P1, _P2 = (np.float32(x) for x in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3))
_P3, _P4, _P5 = (np.float32(x) for x in (4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1))
_HALF, _ONE, _ZERO = np.float32(0.5), np.float32(1), np.float32(0)
_LEAST = np.float32(-87)  # below, results are denormal in float32: zero next to the one that a softmax contains
_T2, _T3, _T4, _T5, _T6, _T7 = (1 / factorial(i) for i in range(2, 8))
_T8, _T9, _T10, _T11, _T12, _T13 = (1 / factorial(i) for i in range(8, 14))
_LEAST64 = -708.0


@jit_ordered
def _single(x: Any) -> Any:
    y = _LEAST if not (x >= _LEAST) else x  # a number even where x is not
    n = np.floor(y * _LOG2E + _HALF)
    r = (y - n * _HIGH) - n * _LOW
    p = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    value = (p * r * r + r + _ONE) * power
    return value if x >= _LEAST else (_ZERO if x < _LEAST else x)


@jit_ordered
def _double(x: Any) -> Any:
    y = _LEAST64 if not (x >= _LEAST64) else x
    n = np.floor(y * 1.4426950408889634 + 0.5)
    r = (y - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6
    p = ((((_T13 * r + _T12) * r + _T11) * r + _T10) * r + _T9) * r + _T8
    p = ((((((p * r + _T7) * r + _T6) * r + _T5) * r + _T4) * r + _T3) * r + _T2) * r * r + r + 1.0
    power = np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return p * power if x >= _LEAST64 else (0.0 if x < _LEAST64 else x)


def exp(x: Any) -> Any:
    """``exp(x)`` for ``x`` up to zero; NaN stays NaN."""
    return _single(x) if isinstance(x, np.float32) else _double(x)


@overload(exp)
def _exp(x: Any) -> Any:
    of_type = _single if x == types.float32 else _double

    def compiled(x: Any) -> Any:
        return of_type(x)

    return compiled
