"""A scalar's history as terms: one for each function of the model that had a part in it, largest influence first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import log

from sim.explain.scalars import Scalar
from sim.explain.units import derived, in_order
from sim.units import fmt

SIGNS = {"add": " + ", "subtract": " - ", "multiply": " x ", "divide": " / ", "power": "^"}
RANK = {"add": 1, "subtract": 1, "multiply": 2, "divide": 2, "negative": 3, "power": 4}
WORDS = {"maximum": "max", "minimum": "min", "ceil": "ceil", "floor": "floor", "negative": "-"}
STEP = 1e-5  # of an operand, relative, in a difference quotient
SLIGHT = 0.01  # influence below which a term is named and not unfolded


@dataclass(frozen=True, slots=True)
class Term:
    """One figure or intermediate: how the model makes it, in names and in numbers, or where it was given from.

    ``influence`` is by how many percent the whole changes for one percent of it (0 where something else binds).
    """

    name: str
    value: float
    unit: str
    influence: float
    depth: int
    formula: str = ""
    numbers: str = ""
    where: str = ""  # the model's module and function
    meaning: str = ""
    source: str = ""  # of a number that was given


@dataclass
class Unfolding:
    """Names given to the points of a history, and the terms found so far."""

    names: Mapping[int, tuple[str, str]]  # by identity of a scalar: its name and unit
    depth: int = 12
    slight: float = SLIGHT
    influence: dict[int, float] = field(default_factory=dict)
    order: list[Scalar] = field(default_factory=list)
    told: dict[int, str] = field(default_factory=dict)  # names of what has been unfolded
    used: dict[str, int] = field(default_factory=dict)  # how often a name was needed
    labels: dict[int, str] = field(default_factory=dict)

    def unfold(self, root: Scalar, name: str, unit: str = "") -> Iterator[Term]:
        """The terms of a figure, each before those it is made of."""
        self.order = in_order(root)
        self.influence = influences(root, self.order)
        self.told[id(root)] = name
        yield from self._term(root, unit, 0)

    def given(self) -> Iterator[Term]:
        """Every number that was given and has influence on the figure unfolded last."""
        for one in self.order:
            weight = self.influence.get(id(one), 0.0)
            if one.leaf is not None and weight:
                yield Term(one.leaf.name, one.value, one.leaf.unit, weight, 0, source=one.leaf.source)

    def _term(self, one: Scalar, unit: str, depth: int) -> Iterator[Term]:
        name, known = self.told[id(one)], self.names.get(id(one), ("", ""))[1]
        unit = unit or known or derived(one)
        weight = self.influence.get(id(one), 0.0)
        if one.leaf is not None:
            yield Term(name, one.value, unit, weight, depth, source=one.leaf.source)
            return
        inside = list(self._parts(one))
        yield Term(
            name, one.value, unit, weight, depth, self._text(one, one, names=True), self._text(one, one, names=False),
            f"{one.module}.{one.function}" if one.module else "", one.meaning,
        )  # fmt: skip
        for part in sorted(inside, key=lambda p: -abs(self.influence.get(id(p), 0.0))):
            slight = abs(self.influence.get(id(part), 0.0)) < self.slight
            if part.leaf is None and id(part) not in self.told and depth < self.depth and not slight:
                self.told[id(part)] = self._named(part)
                yield from self._term(part, "", depth + 1)

    def _parts(self, whole: Scalar) -> Iterator[Scalar]:
        """What a term is made of: the nearest scalars that have a name, were given, or are of another function."""
        seen: set[int] = set()
        stack = list(whole.operands[::-1])
        while stack:
            one = stack.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            if self._apart(one, whole):
                yield one
            else:
                stack += one.operands[::-1]

    def _apart(self, one: Scalar, whole: Scalar) -> bool:
        if one.leaf is not None or id(one) in self.names:
            return True
        return bool(one.operation) and (one.module, one.function) != (whole.module, whole.function)

    def _named(self, one: Scalar) -> str:
        """A name for a scalar: its own, that of what was given, or of the function that made it; each once."""
        if id(one) not in self.labels:
            given = one.leaf.name if one.leaf is not None else self.names.get(id(one), ("", ""))[0]
            base = given or _plain(one.function) or "value"
            count = self.used[base] = self.used.get(base, 0) + 1
            self.labels[id(one)] = base if count == 1 or one.leaf is not None else f"{base} #{count}"
        return self.labels[id(one)]

    def _text(self, one: Scalar, whole: Scalar, *, names: bool, above: int = 0) -> str:
        """The operations between a term and its parts as an infix formula."""
        if one is not whole and self._apart(one, whole):
            return self._named(one) if names else _number(one, self.names.get(id(one), ("", ""))[1])
        if not one.operation:
            return _number(one)
        if one.choices:
            return self._chosen(one, whole, names)
        terms = self._flat(one, whole)
        if one.operation in SIGNS and len(terms) >= 2:
            return self._infix(one, terms, whole, names, above)
        inner = [self._text(t, whole, names=names) for t in terms]
        word = WORDS.get(one.operation, one.operation)
        return f"-{inner[0]}" if one.operation == "negative" else f"{word}({', '.join(inner)})"

    def _chosen(self, one: Scalar, whole: Scalar, names: bool) -> str:
        if one.operation == "weighted":
            return f"weighted mean over {one.choices} lengths, here {self._text(one.operands[0], whole, names=names)}"
        return f"{self._text(one.operands[0], whole, names=names)}, the {one.operation} of {one.choices} choices"

    def _infix(self, one: Scalar, terms: list[Scalar], whole: Scalar, names: bool, above: int) -> str:
        rank = RANK[one.operation]
        tight = one.operation in ("subtract", "divide", "power")
        times = Counter(map(id, terms)) if one.operation == "add" else Counter[int]()
        alike = {id(t): t for t in terms}.values() if times else terms
        parts = [
            self._text(t, whole, names=names, above=2 if times[id(t)] > 1 else rank + (tight and n > 0))
            for n, t in enumerate(alike)
        ]
        parts = [f"{times[id(t)]} x {p}" if times[id(t)] > 1 else p for t, p in zip(alike, parts, strict=True)]
        text = SIGNS[one.operation].join(parts)
        return f"({text})" if rank < above else text

    def _flat(self, one: Scalar, whole: Scalar) -> list[Scalar]:
        """Operands, those of the same associative operation taken in."""
        if one.operation not in ("add", "multiply", "maximum", "minimum"):
            return list(one.operands)
        found: list[Scalar] = []
        stack = list(one.operands[::-1])
        while stack:
            operand = stack.pop()
            if operand.operation == one.operation and not self._apart(operand, whole):
                stack += operand.operands[::-1]
            else:
                found.append(operand)
        return found


def _plain(function: str) -> str:
    """A function's name in words; of what an operator makes, the class's."""
    owner, _, own = function.rpartition(".")
    return (owner.rpartition(".")[2].lower() if own.startswith("__") else own).strip("_").replace("_", " ")


def _number(one: Scalar, known: str = "") -> str:
    unit = one.leaf.unit if one.leaf is not None else known or derived(one)
    if unit in ("s", "B", "B/s", "J", "W", "Hz", "op/s"):
        return fmt(one.value, unit)
    figure = f"{one.value:.5g}"
    return f"{figure} {unit}" if unit else figure


def influences(root: Scalar, order: list[Scalar]) -> dict[int, float]:
    """By identity: percent by which the root changes for one percent of each scalar (reverse differentiation)."""
    slopes = {id(root): 1.0}
    for one in reversed(order):
        slope = slopes.get(id(one), 0.0)
        for operand, part in zip(one.operands, _slopes(one), strict=True):
            slopes[id(operand)] = slopes.get(id(operand), 0.0) + slope * part
    return {id(one): slopes.get(id(one), 0.0) * one.value / root.value for one in order if root.value}


def _slopes(one: Scalar) -> list[float]:
    """Partial derivatives with respect to each operand; of a choice between equals, the first has all."""
    x = [operand.value for operand in one.operands]
    match one.operation:
        case "add":
            return [1.0] * len(x)
        case "subtract":
            return [1.0, -1.0]
        case "multiply":
            return [x[1], x[0]]
        case "divide":
            return [1 / x[1], -x[0] / x[1] ** 2]
        case "power":
            return [x[1] * x[0] ** (x[1] - 1), x[0] ** x[1] * log(x[0])] if x[0] > 0 else [0.0, 0.0]
        case "maximum" | "minimum":
            first = x.index(one.value)
            return [1.0 if n == first else 0.0 for n in range(len(x))]
        case "negative":
            return [-1.0]
        case "least" | "most":
            return [1.0]
        case "weighted":
            return [one.value / x[0] if x[0] else 0.0, 0.0]
    if one.rule is not None:
        return [_slope(one.rule, x, n) for n in range(len(x))]
    return [0.0] * len(x)  # rounding up or down: nothing changes for a little more


def _slope(rule: Callable[..., float], x: list[float], n: int) -> float:
    """A partial derivative of a function that is one operation, by its difference around the point."""
    step = abs(x[n]) * STEP or STEP
    above, below = ([*x[:n], x[n] + sign * step, *x[n + 1 :]] for sign in (1, -1))
    return float(rule(*above) - rule(*below)) / (2 * step)
