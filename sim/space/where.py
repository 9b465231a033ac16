"""Conditions on the columns of a table, such as ``batch * context <= 1e6 and tpot_p95 < 0.05``: parsed, never run."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint

LONGEST = 500  # characters
_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip


def split(text: str | None, names: Iterable[str]) -> tuple[str | None, str | None]:
    """A condition in two that must both hold: the part about nothing but these names, and the rest."""
    if text is None:
        return None, None
    tree, known = parsed(text), set(names)
    joined = isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And)
    terms = tree.values if isinstance(tree, ast.BoolOp) and joined else [tree]
    own = [term for term in terms if _named(term) and _named(term) <= known]
    if len(own) in (0, len(terms)) or 2 * len(text) > LONGEST:  # written anew, a part could be longer than it was
        return (text, None) if len(own) == len(terms) else (None, text)
    return _and(own), _and([term for term in terms if term not in own])


def _and(terms: Sequence[ast.expr]) -> str:
    return " and ".join(f"({ast.unparse(term)})" for term in terms)


def named(text: str) -> set[str]:
    """The columns that a condition is about."""
    return _named(parsed(text))


def _named(node: ast.expr) -> set[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        return {ast.unparse(node)}
    return set().union(*(_named(one) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)))


def parsed(text: str) -> ast.expr:
    """The condition's tree, or one line saying why it is none."""
    if len(text) > LONGEST:
        raise WeirError(f"a condition of {len(text)} characters; at most {LONGEST} are read")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise WeirError(f"condition {text!r} is not understood; write for example 'batch * context <= 1e6'") from None


def mask(text: str, columns: Mapping[str, Any]) -> Any:
    """Where the condition holds, as an array of truth values; a comparison with a missing figure does not hold.

    Names are columns (dotted ones too), beside numbers, texts in quotes, ``+ - * /``, comparisons, ``and``, ``or``
    and ``not``. Raises :class:`WeirError` for anything else.
    """
    with np.errstate(all="ignore"):
        found = _value(parsed(text), columns, text)
    if getattr(found, "dtype", type(found)) not in (bool, np.dtype(bool)):
        raise WeirError(f"condition {text!r} is a value, not something that holds or not; compare it with one")
    return found


def _value(node: ast.expr, columns: Mapping[str, Any], text: str) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        return node.value
    if isinstance(node, ast.Name | ast.Attribute):
        return _column(node, columns, text)
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left, columns, text), _value(node.right, columns, text))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        inner = _value(node.operand, columns, text)
        return -inner if isinstance(node.op, ast.USub) else np.logical_not(inner)
    if isinstance(node, ast.BoolOp):
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return join.reduce([np.asarray(_value(one, columns, text), bool) for one in node.values])
    if isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        values = [_value(one, columns, text) for one in (node.left, *node.comparators)]
        held = [_COMPARE[type(op)](a, b) for op, a, b in zip(node.ops, values, values[1:], strict=False)]
        return np.logical_and.reduce([np.asarray(one, bool) for one in held])
    raise WeirError(f"condition {text!r}: {ast.unparse(node)!r:.60} is not understood there")


def _column(node: ast.Name | ast.Attribute, columns: Mapping[str, Any], text: str) -> Any:
    name = ast.unparse(node)
    if name not in columns:
        raise WeirError(f"condition {text!r}: no column {name!r:.60}{hint(name, list(columns))}")
    return np.asarray(columns[name])
