"""Units of a scalar from those of what it was made of; operations and counts have none."""

from __future__ import annotations

import re

from sim.explain.scalars import Scalar

Powers = dict[str, float]
_PLAIN = {"op", "1", "", "requests"}  # what is counted has no unit
_SAME: dict[str, Powers] = {"Hz": {"s": -1.0}, "W": {"J": 1.0, "s": -1.0}}


def read(text: str) -> Powers:
    """Powers of basic units in a unit as it is written: ``B/s`` is B to the 1 and s to the -1."""
    found: Powers = {}
    for place, part in enumerate(re.split("/", text)):
        for name in part.split():
            for base, power in _SAME.get(name, {} if name in _PLAIN else {name: 1.0}).items():
                found[base] = found.get(base, 0.0) + (power if place == 0 else -power)
    return found


def derived(one: Scalar) -> str:
    """The unit of a scalar, as far as it can be known."""
    known: dict[int, Powers] = {}
    for part in in_order(one):
        known[id(part)] = _found(part, known)
    return written(known[id(one)])


def in_order(root: Scalar) -> list[Scalar]:
    """Everything that a scalar was made of, operands before what is made of them."""
    order: list[Scalar] = []
    seen: set[int] = set()
    stack: list[tuple[Scalar, bool]] = [(root, False)]
    while stack:
        one, done = stack.pop()
        if done:
            order.append(one)
        elif id(one) not in seen:
            seen.add(id(one))
            stack.append((one, True))
            stack += [(operand, False) for operand in one.operands]
    return order


def _found(one: Scalar, known: dict[int, Powers]) -> Powers:
    if one.leaf is not None:
        return read(one.leaf.unit)
    parts = [known[id(operand)] for operand in one.operands]
    match one.operation:
        case "multiply":
            return _joined(parts[0], parts[1], 1)
        case "divide":
            return _joined(parts[0], parts[1], -1)
        case "power":
            return {name: power * one.operands[1].value for name, power in parts[0].items()}
        case "weighted":
            return parts[0]
    return next((part for part in parts if part), {})  # a sum has the unit that its terms have


def _joined(first: Powers, second: Powers, sign: int) -> Powers:
    found = dict(first)
    for name, power in second.items():
        found[name] = found.get(name, 0.0) + sign * power
    return {name: power for name, power in found.items() if abs(power) > 1e-9}


def written(powers: Powers) -> str:
    """The unit as people write it."""
    if powers == {"J": 1.0, "s": -1.0}:
        return "W"
    if powers == {"s": -1.0}:
        return "1/s"
    over = [_power(name, power) for name, power in sorted(powers.items()) if power > 0]
    under = [_power(name, -power) for name, power in sorted(powers.items()) if power < 0]
    top = " ".join(over) or ("1" if under else "")
    return f"{top}/{' '.join(under)}" if under else top


def _power(name: str, power: float) -> str:
    return name if power == 1 else f"{name}^{power:g}"
