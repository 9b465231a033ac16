"""What can be written in a cascade: maps, reductions and operators, each with its meaning and its cost in operations.

Operation classes are what hardware is rated in: ``mac`` (a multiply whose product is summed, counted as two),
``add mul div max exp compare lookup atomic``; ``exp`` stands for every transcendental function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

CLASSES = ("mac", "add", "mul", "div", "max", "exp", "compare", "lookup", "atomic")


@dataclass(frozen=True, slots=True)
class Map:
    """A function of one point, ``arity`` operands wide, with its cost and what an absent operand does to it.

    ``merge`` says where the result is present: where all operands are (``and``), where any is (``or``),
    or where the first is (``left``).
    """

    arity: int
    apply: Callable[..., Any]
    cost: tuple[tuple[str, int], ...]
    merge: str = "and"


@dataclass(frozen=True, slots=True)
class Reduction:
    """An associative function of many points and the value that changes nothing."""

    apply: Callable[..., Any]
    identity: float
    cost: str


@dataclass(frozen=True, slots=True)
class Operator:
    """A first-class operation that is no Einsum: what it does to its first rank (``keep``, ``drop`` or ``replace``)."""

    effect: str
    integer: bool
    cost: str


def _gelu(x: Any) -> Any:
    return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))


def _sigmoid(x: Any) -> Any:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


MAPS: dict[str, Map] = {
    "add": Map(2, np.add, (("add", 1),), "or"),
    "sub": Map(2, np.subtract, (("add", 1),), "left"),
    "mul": Map(2, np.multiply, (("mul", 1),)),
    "div": Map(2, np.divide, (("div", 1),)),
    "max": Map(2, np.maximum, (("max", 1),), "or"),
    "min": Map(2, np.minimum, (("max", 1),), "or"),
    "pow": Map(2, np.power, (("exp", 2), ("mul", 1))),
    "less": Map(2, np.less, (("compare", 1),)),
    "less_equal": Map(2, np.less_equal, (("compare", 1),)),
    "greater": Map(2, np.greater, (("compare", 1),)),
    "greater_equal": Map(2, np.greater_equal, (("compare", 1),)),
    "equal": Map(2, np.equal, (("compare", 1),)),
    "where": Map(3, np.where, (("compare", 1),)),
    "neg": Map(1, np.negative, (("add", 1),)),
    "abs": Map(1, np.abs, (("max", 1),)),
    "exp": Map(1, np.exp, (("exp", 1),)),
    "log": Map(1, np.log, (("exp", 1),)),
    "sqrt": Map(1, np.sqrt, (("exp", 1),)),
    "rsqrt": Map(1, lambda x: 1.0 / np.sqrt(x), (("exp", 1),)),
    "tanh": Map(1, np.tanh, (("exp", 1),)),
    "sin": Map(1, np.sin, (("exp", 1),)),
    "cos": Map(1, np.cos, (("exp", 1),)),
    "square": Map(1, np.square, (("mul", 1),)),
    "relu": Map(1, lambda x: np.maximum(x, 0.0), (("max", 1),)),
    "sigmoid": Map(1, _sigmoid, (("exp", 1), ("add", 1), ("div", 1))),
    "silu": Map(1, lambda x: x * _sigmoid(x), (("exp", 1), ("add", 1), ("div", 1))),
    "gelu": Map(1, _gelu, (("exp", 1), ("mul", 5), ("add", 2))),
    "copy": Map(1, np.positive, ()),
    "one": Map(1, np.ones_like, ()),  # one wherever the operand is present: its pattern without its values
}

REDUCTIONS: dict[str, Reduction] = {
    "sum": Reduction(np.add, 0.0, "add"),
    "max": Reduction(np.maximum, -np.inf, "max"),
    "min": Reduction(np.minimum, np.inf, "max"),
    "prod": Reduction(np.multiply, 1.0, "mul"),
    "logsumexp": Reduction(np.logaddexp, -np.inf, "exp"),
    "any": Reduction(np.logical_or, 0.0, "compare"),
    "all": Reduction(np.logical_and, 1.0, "compare"),
}

# Costs: a scan and an argmax touch each element once; a sort of n compares n log2 n times; top-k keeps a heap of k.
OPERATORS: dict[str, Operator] = {
    "top_k": Operator("replace", False, "heap"),
    "arg_top_k": Operator("replace", True, "heap"),
    "argmax": Operator("drop", True, "linear"),
    "argmin": Operator("drop", True, "linear"),
    "sort": Operator("keep", False, "sort"),
    "argsort": Operator("keep", True, "sort"),
    "scan": Operator("keep", False, "scan"),
    "scan_max": Operator("keep", False, "scan"),
}


@lru_cache(maxsize=256)
def bits(dtype: str) -> int:
    """Bits of one value: the digits at the end of the type's name.

    >>> bits("bf16"), bits("fp8"), bits("u3")
    (16, 8, 3)
    """
    return int(dtype.lstrip("abcdefghijklmnopqrstuvwxyz"))


def is_dtype(name: str) -> bool:
    """Whether ``name`` reads as a data type: letters, then a width of 1 to 64 bits."""
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyz")
    return digits.isdigit() and digits != name and 1 <= int(digits[:4]) <= 64 and not name[0].isdigit()
