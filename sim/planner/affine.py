"""Arithmetic on text: sums, products and the largest of several, over numbers or over unknowns of a linear programme.

The text is parsed, never executed. With numbers for every name the answer is a number; with unknowns among them it is a
:class:`Convex`, which a programme that minimises can hold.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint

LONGEST = 2000  # characters of one formula
_DEPTH = 200  # of nested parentheses and operators
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_PLAIN: dict[str, Callable[..., Any]] = {
    "min": lambda *args: reduce(np.minimum, args),
    "ceil": math.ceil,
    "floor": math.floor,
    "log2": math.log2,
}
FUNCTIONS = ("max", *_PLAIN)


@dataclass(frozen=True, slots=True)
class Convex:
    """``constant`` + the sum of coefficient x unknown + positive multiples of the largest of some others."""

    constant: float = 0.0
    terms: tuple[tuple[str, float], ...] = ()
    peaks: tuple[tuple[float, tuple[Convex, ...]], ...] = ()

    @classmethod
    def unknown(cls, name: str) -> Convex:
        """One unknown of the programme."""
        return cls(0.0, ((name, 1.0),))

    def __add__(self, other: Convex | float) -> Convex:
        if not isinstance(other, Convex):
            return Convex(self.constant + other, self.terms, self.peaks)
        merged = dict(self.terms)
        for name, coefficient in other.terms:
            merged[name] = merged.get(name, 0.0) + coefficient
        return Convex(self.constant + other.constant, tuple(merged.items()), self.peaks + other.peaks)

    __radd__ = __add__

    def __mul__(self, factor: Convex | float) -> Convex:
        if isinstance(factor, Convex):
            raise WeirError("a product of two fractions is not linear")
        if factor < 0 and self.peaks:
            raise WeirError("the largest of several cannot be subtracted: the programme would no longer be convex")
        terms = tuple((name, coefficient * factor) for name, coefficient in self.terms)
        peaks = tuple((each * factor, arms) for each, arms in self.peaks)
        return Convex(self.constant * factor, terms, peaks)

    __rmul__ = __mul__

    def __neg__(self) -> Convex:
        return self * -1.0

    def __sub__(self, other: Convex | float) -> Convex:
        return self + -other

    def __rsub__(self, other: float) -> Convex:
        return -self + other

    def __truediv__(self, divisor: Convex | float) -> Convex:
        if isinstance(divisor, Convex):
            raise WeirError("nothing can be divided by a fraction that is sought")
        return self * (1.0 / divisor)

    def __rtruediv__(self, other: float) -> Convex:
        raise WeirError("nothing can be divided by a fraction that is sought")

    def at(self, values: Mapping[str, float]) -> float:
        """The value at given unknowns."""
        linear = self.constant + sum(c * values[name] for name, c in self.terms)
        return linear + sum(each * max(arm.at(values) for arm in arms) for each, arms in self.peaks)


def largest(*arms: Any) -> Any:
    """The largest of numbers, or of what a programme holds."""
    if not any(isinstance(arm, Convex) for arm in arms):
        return reduce(np.maximum, arms)
    return Convex(peaks=((1.0, tuple(arm if isinstance(arm, Convex) else Convex(arm) for arm in arms)),))


def evaluate(text: str, names: Mapping[str, Any], where: str) -> Any:
    """The value of a formula; ``names`` gives each name, dotted ones included, a number or a :class:`Convex`.

    Raises :class:`WeirError` naming ``where`` for what is not arithmetic, an unknown name, or a product of unknowns.

    >>> float(evaluate("2 * max(a, 3) + b.c", {"a": 5.0, "b.c": 0.5}, "here"))
    10.5
    """
    try:
        return _value(_parsed(text), names)
    except (WeirError, ZeroDivisionError, ValueError, OverflowError) as problem:
        raise WeirError(f"{where}: {problem} in {text!r:.80}") from None


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.expr:
    if len(text) > LONGEST:
        raise WeirError(f"a formula of {len(text)} characters, of which {LONGEST} are read,")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        raise WeirError("not a formula") from None


def _value(node: ast.expr, names: Mapping[str, Any], depth: int = 0) -> Any:
    """The meaning of one node."""
    if depth > _DEPTH:
        raise WeirError("nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name() | ast.Attribute():
            return _named(node, names)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names, depth + 1)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, names, depth + 1), _value(right, names, depth + 1))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if args:
            return _called(name, [_value(arg, names, depth + 1) for arg in args])
    raise WeirError("only + - * /, names, numbers and functions are understood")


def _named(node: ast.expr, names: Mapping[str, Any]) -> Any:
    name = ast.unparse(node)
    if name not in names:
        raise WeirError(f"no {name!r}{hint(name, names)}")
    return names[name]


def _called(name: str, args: list[Any]) -> Any:
    if name == "max":
        return largest(*args)
    if name not in _PLAIN:
        raise WeirError(f"no function {name!r}{hint(name, FUNCTIONS)}")
    if any(isinstance(arg, Convex) for arg in args):
        raise WeirError(f"{name} of what is sought is not convex")
    found = _PLAIN[name](*args)
    return float(found) if isinstance(found, int) else found
