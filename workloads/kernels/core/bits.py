"""Sets of small whole numbers as bits, for what is quickest put in order by marking it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic, overload

from workloads.kernels.core.checks import Array
from workloads.kernels.core.jit import jit

FEW = 12  # fewer numbers than this are put in order faster by insertion


def trailing(word: Any) -> int:
    """Zeros below the lowest one of a word that is not zero."""
    whole = int(word)
    return (whole & -whole).bit_length() - 1


@intrinsic
def _counted(_: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], context.get_constant(types.boolean, True))

    return types.int64(types.uint64), codegen


_zeros: Any = _counted


@overload(trailing)
def _trailing(word: Any) -> Any:
    def compiled(word: Any) -> Any:
        return _zeros(word)

    return compiled


_ONE, _SIX, _LOW = np.uint64(1), np.uint64(6), np.uint64(63)  # unsigned: Numba would check a signed index for its sign


@jit
def ordered(numbers: Array, count: Any, words: Array, tops: Array) -> None:
    """Put the first ``count`` different ``numbers`` in rising order; ``words`` and ``tops`` are zero before and after.

    Bit ``n`` of ``words`` stands for the number ``n`` and bit ``w`` of ``tops`` for a word that is not zero.
    """
    if count < FEW:
        _insertion(numbers, count)
        return
    for i in range(count):
        n = np.uint64(numbers[i])
        w = n >> _SIX
        words[w] |= _ONE << (n & _LOW)
        tops[w >> _SIX] |= _ONE << (w & _LOW)
    at = 0
    for t in range(len(tops)):
        top = tops[t]
        tops[t] = 0
        while top:
            w = np.uint64((t << 6) + trailing(top))
            top &= top - _ONE
            word = words[w]
            words[w] = 0
            while word:
                numbers[at] = (w << _SIX) + np.uint64(trailing(word))
                word &= word - _ONE
                at += 1


@jit
def _insertion(numbers: Array, count: Any) -> None:
    for i in range(1, np.int64(count)):
        number = numbers[i]
        j = i
        while j > 0 and numbers[j - 1] > number:
            numbers[j] = numbers[j - 1]
            j -= 1
        numbers[j] = number


@jit
def empty_sets(below: int) -> tuple[Array, Array]:
    """``words`` and ``tops`` of no number yet, for numbers less than ``below``."""
    words = (below >> 6) + 1
    return np.zeros(words, np.uint64), np.zeros((words >> 6) + 1, np.uint64)
