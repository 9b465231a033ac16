"""A traced value at one point: arrays indexed away, choices made, what changes nothing left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sim.explain.traced import Leaf, Traced

Index = tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Scalar:
    """A number, the operation that made it and on what; ``module`` and ``function`` are where in the model.

    ``choices`` counts what it is the best of, where alternatives were tried.
    """

    value: float
    operation: str = ""
    operands: tuple[Scalar, ...] = ()
    leaf: Leaf | None = None
    module: str = ""
    function: str = ""
    meaning: str = ""
    choices: int = 0
    node: int = 0  # identity of the traced value that it is a point of
    rule: Callable[..., float] | None = None  # a function that is one operation


class Resolver:
    """Turns traced values into scalars, each point of each once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Index], Scalar] = {}
        self._alike: dict[tuple[Any, ...], Scalar] = {}
        self._kept: list[Any] = []  # identities stay valid as long as what they are of

    def at(self, value: Any, index: Index | None = None) -> Scalar:
        """The scalar at an index (the last point of all, unless given)."""
        if not isinstance(value, Traced):
            array = np.asarray(value)
            return Scalar(float(array[_aligned(array.shape, index or _last(array.shape))]))
        where = _aligned(value.shape, _last(value.shape) if index is None else index)
        key = (id(value), where)
        if key not in self._known:
            self._scalars_below(value)
            self._kept.append(value)
            self._known[key] = self._resolved(value, where)
        return self._known[key]

    def _scalars_below(self, value: Traced) -> None:
        """Resolve chains of lone numbers from their ends on: they may be longer than functions can call one another."""
        stack = [(value, False)] if not value.shape else []
        while stack:
            one, ready = stack.pop()
            if (id(one), ()) in self._known:
                continue
            below = [o for o in one.operands if isinstance(o, Traced) and not o.shape]
            below = [o for o in below if (id(o), ()) not in self._known]
            if not ready and below:
                stack += [(one, True), *((o, False) for o in below)]
            elif one is not value:
                self._kept.append(one)
                self._known[id(one), ()] = self._resolved(one, ())

    def _resolved(self, one: Traced, at: Index) -> Scalar:
        number = float(one.value[at])
        if one.leaf is not None:
            return Scalar(number, leaf=one.leaf, node=id(one))
        passed = _passed(one, at)
        if passed is not None:
            return self.at(*passed)
        if one.operation.endswith(".reduce") or one.operation in ("min", "max", "amin", "amax", "sum"):
            return self._reduced(one, at)
        if one.operation == "matmul":
            return self._weighted(one, at)
        operands = tuple(self.at(operand, at) for operand in one.operands)
        return self._made(one, number, one.operation, operands)

    def _made(
        self, one: Traced, number: float, operation: str, operands: tuple[Scalar, ...], choices: int = 0
    ) -> Scalar:
        simple = _simplified(operation, operands)
        if simple is not None and not choices:
            return simple
        module, function, scope = one.code if one.code else ("", "", {})
        alike = (operation, function, *map(id, operands))  # made twice of the same is one thing
        if alike not in self._alike:
            meaning = _meaning(scope, function)
            rule = one.extra if isinstance(one.extra, np.ufunc) else None
            self._alike[alike] = Scalar(
                number, operation, operands, None, module, function, meaning, choices, id(one), rule
            )
        return self._alike[alike]

    def _weighted(self, one: Traced, at: Index) -> Scalar:
        """A sum of many by their weights, shown at the one that counts most."""
        values, weights = (np.asarray(getattr(o, "value", o)) for o in one.operands)
        most = int((values[at] * weights).argmax())
        operands = (self.at(one.operands[0], (*at, most)), self.at(one.operands[1], (most,)))
        number = float(one.value[at])
        if len(weights) == 1:
            return self._made(one, number, "multiply", operands)
        return self._made(one, number, "weighted", operands, len(weights))

    def _reduced(self, one: Traced, at: Index) -> Scalar:
        """A sum written out (or its mean operand, where it is long); the least or the most at its place."""
        whole, axis = one.operands[0], one.extra
        value = whole.value if isinstance(whole, Traced) else np.asarray(whole)
        if axis is None:
            value, spots = value.ravel(), [np.unravel_index(n, value.shape) for n in range(value.size)]
            places = [tuple(int(i) for i in spot) for spot in spots]
        else:
            axis = axis % value.ndim
            places = [(*at[:axis], n, *at[axis:]) for n in range(value.shape[axis])]
            value = np.array([value[p] for p in places])
        number = float(one.value[at])
        if one.operation in ("add.reduce", "sum"):
            return self._made(one, number, "add", tuple(self.at(whole, p) for p in places))
        least = one.operation in ("minimum.reduce", "min", "amin")
        chosen = places[int(value.argmin() if least else value.argmax())]
        inner = self.at(whole, chosen)
        if isinstance(whole, Traced) and whole.operation == "stack":  # alternatives of different forms: all are shown
            return self._made(one, number, "minimum" if least else "maximum", tuple(self.at(whole, p) for p in places))
        return self._made(one, number, "least" if least else "most", (inner,), len(places))


def _passed(one: Traced, at: Index) -> tuple[Any, Index] | None:
    """The operand and the place in it that a value is taken from unchanged."""
    if one.operation in ("broadcast_to", "atleast_1d"):
        return one.operands[0], at
    if one.operation in ("reshape", "ravel", "squeeze"):
        inner = one.operands[0]
        return inner, _unravel(int(np.ravel_multi_index(at, one.shape)) if at else 0, inner.shape)
    if one.operation == "stack":
        return one.operands[at[0]], at[1:]
    if one.operation == "getitem":
        inner = one.operands[0]
        places = np.arange(inner.value.size).reshape(inner.shape)[one.extra]
        return inner, _unravel(int(places[at]), inner.shape)
    if one.operation == "where":
        condition, yes, no = one.operands
        held = np.asarray(condition.value if isinstance(condition, Traced) else condition)
        return (yes if held[_aligned(held.shape, at)] else no), at
    if one.operation == "clip":
        inner = one.operands[0]
        limits = [float(np.asarray(getattr(o, "value", o))[()]) for o in one.operands[1:3]]
        within = float(np.asarray(inner.value)[_aligned(inner.shape, at)])
        found = [limit for limit in limits if limit == float(one.value[at]) != within]
        return (found[0], ()) if found else (inner, at)
    return None


def _unravel(place: int, shape: tuple[int, ...]) -> Index:
    return tuple(int(i) for i in np.unravel_index(place, shape)) if shape else ()


def _last(shape: tuple[int, ...]) -> Index:
    return tuple(n - 1 for n in shape)


def _aligned(shape: tuple[int, ...], index: Index) -> Index:
    """The index of an operand that was broadcast to the shape of which ``index`` is one."""
    own = index[len(index) - len(shape) :] if len(index) >= len(shape) else (*[0] * (len(shape) - len(index)), *index)
    return tuple(0 if n == 1 else i for n, i in zip(shape, own, strict=True))


def _constant(one: Scalar, value: float) -> bool:
    return not one.operation and one.leaf is None and one.value == value


def _simplified(operation: str, operands: tuple[Scalar, ...]) -> Scalar | None:
    """An operand that the operation leaves as it is; nothing is left out that could matter at this point."""
    if operation in ("maximum", "minimum", "add") and len(operands) == 2:
        first, second = operands
        if operation == "maximum":
            for one, other in ((first, second), (second, first)):
                if _holds(other, one):
                    return other
        if operation != "add" and first is second:
            return first
        if _constant(first, 0.0) and (operation == "add" or (operation == "maximum" and second.value >= 0)):
            return second
        if _constant(second, 0.0) and (operation == "add" or (operation == "maximum" and first.value >= 0)):
            return first
    if operation == "multiply" and any(_constant(one, 0.0) for one in operands):
        return Scalar(0.0)
    if operation == "multiply" and any(_constant(one, 1.0) for one in operands):
        return next(two for one, two in (operands, operands[::-1]) if _constant(one, 1.0))
    if operation == "subtract" and _constant(operands[1], 0.0):
        return operands[0]
    if operation in ("divide", "power") and _constant(operands[1], 1.0):
        return operands[0]
    if operation == "negative" and operands[0].operation == "negative":
        return operands[0].operands[0]
    if operation == "positive":
        return operands[0]
    return None


def _holds(whole: Scalar, part: Scalar) -> bool:
    """Whether a sum of nothing negative has ``part`` in it, so that it is never less."""
    if whole is part:
        return True
    if whole.operation != "add" or whole.value < part.value:
        return False
    inside = [one for one in whole.operands if one is part or _holds(one, part)]
    return bool(inside) and all(one.value >= 0 for one in whole.operands)


def _meaning(scope: dict[str, Any], function: str) -> str:
    """The first sentence of what the model says of its own function."""
    found: Any = None
    for part in function.split("."):
        if part == "<locals>":
            break
        found = scope.get(part) if found is None else getattr(found, part, None)
    if isinstance(found, property):
        found = found.fget
    text = getattr(getattr(found, "func", found), "__doc__", None) or ""
    return " ".join(text.split("\n\n")[0].split())
