"""Tensor declarations: ``K[b, m]: (state, fp8, causal(p, m, C))`` read from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from einsum.counted import PerRow, Structured
from einsum.errors import hint
from einsum.ops import is_dtype
from einsum.sparsity import Band, Block, PowerLaw, Sparsity, Uniform
from einsum.terms import Tensor

KINDS = ("weight", "state", "stream")


class Reader(Protocol):
    """What reading a declaration needs of the parser: where to point, and what a rank is."""

    def fail(self, message: str, node: Any) -> NoReturn: ...
    def rank(self, node: ast.expr) -> str: ...


def declared(reader: Reader, statement: ast.AnnAssign) -> Tensor:
    """The tensor that one declaration line describes; type empty when it names none."""
    target = statement.target
    base = target.value if isinstance(target, ast.Subscript) else target
    if not isinstance(base, ast.Name) or not base.id[0].isupper():
        reader.fail("expected a tensor, as in K[b, m]: fp8", target)
    ranks = _ranks(reader, target.slice) if isinstance(target, ast.Subscript) else ()
    dtype, kind, patterns = "", "", []
    note = statement.annotation
    for item in note.elts if isinstance(note, ast.Tuple) else [note]:
        if isinstance(item, ast.Call):
            patterns.append(_pattern(reader, item, ranks))
        elif isinstance(item, ast.Name) and item.id in KINDS:
            kind = _once(reader, "kind", kind, item)
        elif isinstance(item, ast.Name) and is_dtype(item.id):
            dtype = _once(reader, "type", dtype, item)
        else:
            name = item.id if isinstance(item, ast.Name) else ast.unparse(item)
            reader.fail(
                f"unknown kind, type or sparsity {name!r}{hint(name, (*KINDS, *PATTERNS, 'bf16', 'fp8'))}", item
            )
    return Tensor(base.id, ranks, dtype, kind or "stream", tuple(patterns))


def _once(reader: Reader, what: str, old: str, item: ast.Name) -> str:
    if old:
        reader.fail(f"a second {what}: the tensor is {old} already", item)
    return item.id


def _ranks(reader: Reader, node: ast.expr) -> tuple[str, ...]:
    return tuple(reader.rank(n) for n in (node.elts if isinstance(node, ast.Tuple) else [node]))


def _pattern(reader: Reader, node: ast.Call, ranks: tuple[str, ...]) -> Sparsity:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name not in PATTERNS:
        reader.fail(f"unknown sparsity {name!r}{hint(name, PATTERNS)}", node.func)
    build, kinds = PATTERNS[name]
    if node.keywords or not len([k for k in kinds if k[-1] != "?"]) <= len(node.args) <= len(kinds):
        reader.fail(f"{name} takes ({', '.join(kinds)})", node)
    args = [_argument(reader, n, k.rstrip("?"), ranks) for n, k in zip(node.args, kinds, strict=False)]
    made: Sparsity = build(ranks, *args)
    if len(set(made.ranks)) < len(made.ranks):
        reader.fail(f"{name} needs different ranks", node)
    if isinstance(made, Structured) and made.count > made.group:
        reader.fail(f"{made.count} places of a group of {made.group} cannot be present", node)
    return made


def _argument(reader: Reader, node: ast.expr, kind: str, ranks: tuple[str, ...]) -> str | int | float:
    if kind == "offset":  # a size, in capitals
        if not (isinstance(node, ast.Name) and node.id.isupper()):
            reader.fail("expected a size in capitals, as in causal(p, m, C)", node)
        return node.id.lower()
    if kind == "rank":
        rank = reader.rank(node)
        if rank not in ranks:
            reader.fail(f"rank {rank!r} is not one of the tensor's ({', '.join(ranks)})", node)
        return rank
    value = node.value if isinstance(node, ast.Constant) else None
    good = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**62
    if kind == "fraction" and not (good and 0 < value <= 1):  # type: ignore[operator]
        reader.fail("expected a fraction above 0 and at most 1", node)
    if kind == "count" and not (isinstance(value, int) and good and value > 0):
        reader.fail("expected a whole number above 0", node)
    if kind == "natural" and not (isinstance(value, int) and good):
        reader.fail("expected a whole number", node)
    if not good:
        reader.fail("expected a number", node)
    return value  # type: ignore[return-value]


# Each pattern's builder, given the tensor's ranks and the arguments whose kinds are listed ("?" marks optional ones).
PATTERNS: dict[str, tuple[Callable[..., Sparsity], tuple[str, ...]]] = {
    "uniform": (lambda ranks, fraction: Uniform(ranks, fraction), ("fraction",)),
    "causal": (lambda _, q, k, offset="": Band(q, k, offset), ("rank", "rank", "offset?")),
    "window": (
        lambda _, q, k, width, sinks=0, offset="": Band(q, k, offset, width, sinks),
        ("rank", "rank", "count", "natural?", "offset?"),
    ),
    "per_row": (
        lambda ranks, along, count, *uneven: PerRow(tuple(r for r in ranks if r != along), along, count, *uneven),
        ("rank", "count", "number?", "number?"),
    ),
    "n_of_m": (lambda _, along, count, group: Structured(along, count, group), ("rank", "count", "count")),
    "block": (
        lambda _, row, high, along, wide, fraction: Block(((row, high), (along, wide)), fraction),
        ("rank", "count", "rank", "count", "fraction"),
    ),
    "power_law": (
        lambda _, row, along, fraction, exponent: PowerLaw(row, along, fraction, exponent),
        ("rank", "rank", "fraction", "number"),
    ),
}
