"""Text to cascade: Python's own expression syntax, parsed with :mod:`ast` and never evaluated.

Tensors begin with a capital letter, ranks with a small one; a rank's name in capitals is its size. A line
``Z[m, n] = ...`` is an Einsum; a line ``K[b, m]: (state, fp8, causal(p, m))`` declares a tensor's kind, type, sparsity.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from textwrap import dedent
from typing import Any, NoReturn

from einsum.cascade import Cascade, check_extents, check_sizes
from einsum.declare import declared
from einsum.errors import WeirError, hint
from einsum.ops import MAPS, OPERATORS, REDUCTIONS
from einsum.patterns import inferred
from einsum.terms import Access, Affine, Call, Const, Einsum, Expr, Tensor, Term, ranks_of

LIMIT = 1 << 18  # characters of text; far above any real cascade, far below what could exhaust memory
LONGEST = 500  # characters of a message
NAME = 64  # characters of a name
SHOWN = 120  # characters of a line in a message
DEPTH = 60  # nesting of one expression

_BINARY = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
_COMPARE = {ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal", ast.Eq: "equal"}
_RANK = re.compile(r"[a-z][a-z0-9_]*$")


def parse(text: str, *, name: str = "cascade", dtype: str = "bf16", **sizes: int | str) -> Cascade:
    """The cascade that ``text`` describes, its ranks sized by keyword (a number, or a sum such as ``m="C + P"``).

    >>> print(parse("Z[m, n] = A[m, k] * B[k, n]", m=2, n=3, k=5))
    # cascade: m=2, n=3, k=5
    Z[m, n] = A[m, k] * B[k, n]

    Raises :class:`WeirError` with the line and a caret under the culprit.
    """
    reader = _Reader(text, name, sizes)
    numbers = {r: s for r, s in sizes.items() if not isinstance(s, str)}
    check_sizes(numbers, name)
    sums = {r: _sum(s, r, name) for r, s in sizes.items() if isinstance(s, str)}
    try:
        einsums, tensors = reader.read()
    except RecursionError:
        raise WeirError(f"{name}: an expression is nested too deep to be read") from None
    cascade = Cascade(einsums, _complete(einsums, tensors, dtype), (*numbers.items(), *sums.items()), name)
    _check_ranks(cascade, reader)
    return replace(cascade, tensors=inferred(cascade.einsums, cascade.tensors))


def _sum(text: str, rank: str, where: str) -> Affine:
    reader = _Reader(text, f"{where}: size of rank {rank!r}")
    statements = reader.statements()
    if len(statements) != 1 or not isinstance(statements[0], ast.Expr):
        raise WeirError(f"{where}: size of rank {rank!r} must be a number or a sum of sizes, not {text!r}")
    affine = reader.affine(statements[0].value)
    if affine.ranks:
        raise WeirError(f"{where}: size of rank {rank!r} may use sizes (capitals) only, not {affine.ranks[0]!r}")
    return affine


def _pointed(line: str, start: int, end: int) -> str:
    """A line, or what is around the culprit in a long one, and carets under the culprit."""
    first = max(0, start - SHOWN // 2)
    shown = line[first : first + SHOWN]
    carets = "^" * max(1, min(end, first + len(shown)) - start)
    return f"  {shown}\n  {' ' * (start - first)}{carets}"


class _Reader:
    """One text being read; it exists to place carets."""

    def __init__(self, source: str, where: str, sized: Iterable[str] = ()) -> None:
        if len(source) > LIMIT:
            raise WeirError(f"{where}: {len(source)} characters of cascade; at most {LIMIT} are read")
        self.source, self.where = dedent(source).strip("\n"), where
        self.lines = self.source.split("\n")
        self.sized = set(sized)  # ranks whose names in capitals are sizes

    def fail(self, message: str, node: Any) -> NoReturn:
        """Raise the message with the line and a caret run under the node."""
        line = self.lines[node.lineno - 1] if 0 < node.lineno <= len(self.lines) else ""
        coded = line.encode()  # the tree counts bytes
        start = len(coded[: node.col_offset].decode(errors="ignore"))
        end = len(coded[: node.end_col_offset].decode(errors="ignore")) if node.end_lineno == node.lineno else len(line)
        raise WeirError(f"{self.where}: line {node.lineno}: {message:.{LONGEST}}\n{_pointed(line, start, end)}")

    def statements(self) -> list[ast.stmt]:
        """Python's own parse of the text, its refusals turned into ours."""
        import warnings

        try:
            with warnings.catch_warnings():  # Python warns of odd escapes and literals; ours are the errors that matter
                warnings.simplefilter("ignore")
                tree = ast.parse(self.source)
        except SyntaxError as error:
            line = self.lines[(error.lineno or 1) - 1] if (error.lineno or 1) <= len(self.lines) else ""
            start = max(0, (error.offset or 1) - 1)
            said = f"{self.where}: line {error.lineno or 1}: not an expression ({error.msg:.{LONGEST}})"
            raise WeirError(f"{said}\n{_pointed(line, start, start + 1)}") from None
        except (RecursionError, MemoryError, ValueError) as error:
            raise WeirError(f"{self.where}: not readable as a cascade ({error})") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and len(node.id) > NAME:
                self.fail(f"a name of {len(node.id)} characters; at most {NAME} are read", node)
        return tree.body

    def read(self) -> tuple[tuple[Einsum, ...], dict[str, Tensor]]:
        """Every Einsum in order, and every tensor that the text declares."""
        einsums: list[Einsum] = []
        tensors: dict[str, Tensor] = {}
        statements = self.statements()
        self.sized |= {name for statement in statements for name in _indexed(statement) if name.islower()}
        for statement in statements:
            if isinstance(statement, ast.AnnAssign) and statement.value is None:
                tensor = declared(self, statement)
                if tensor.name in tensors:
                    self.fail(f"tensor {tensor.name!r} is declared twice", statement)
                tensors[tensor.name] = tensor
            elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                einsums.append(self.einsum(statement, einsums))
            else:
                self.fail("expected an Einsum (Z[m] = ...) or a declaration (A[m]: fp8)", statement)
        if not einsums:
            raise WeirError(f"{self.where}: no Einsum in the text")
        return tuple(einsums), tensors

    def einsum(self, statement: ast.Assign, before: list[Einsum]) -> Einsum:
        """One line ``output = right-hand side``."""
        output = self.access(statement.targets[0])
        kind, ranks, body = self.head(statement.value)
        expr = self.expr(body)
        einsum = Einsum(_name(output, expr, before), output, expr, line=statement.lineno)
        if kind in OPERATORS:
            self.check_operator(str(kind), ranks, einsum, statement.value)
            return replace(einsum, operator=kind, along=ranks, reduction="none")
        gone = einsum.reduced + einsum.scattered
        if kind and not set(einsum.reduced) <= set(ranks) <= set(gone):
            self.fail(f"{kind}[{', '.join(ranks)}] must name the ranks read and not written"
                      f" ({', '.join(gone) or 'none here'})", statement.value)  # fmt: skip
        return replace(einsum, reduction=kind or "sum")

    def head(self, node: ast.expr) -> tuple[str | None, tuple[str, ...], ast.expr]:
        """``max[m](body)`` taken apart: the reduction or operator, its ranks, its body; or no head at all."""
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript)):
            return None, (), node
        target = node.func.value
        known = {**REDUCTIONS, **OPERATORS}
        if not isinstance(target, ast.Name):
            self.fail("expected the name of a reduction", target)
        if target.id not in known:
            self.fail(f"unknown reduction {target.id!r}{hint(target.id, known)}", target)
        if len(node.args) != 1 or node.keywords:
            self.fail(f"{target.id}[...] takes one expression", node)
        index = node.func.slice
        ranks = tuple(self.rank(n) for n in (index.elts if isinstance(index, ast.Tuple) else [index]))
        return target.id, ranks, node.args[0]

    def check_operator(self, kind: str, ranks: tuple[str, ...], einsum: Einsum, node: ast.expr) -> None:
        """Refuse an operator whose ranks do not say what it reads and what it leaves."""
        effect = OPERATORS[kind].effect
        wanted = 2 if effect == "replace" else 1
        if len(ranks) != wanted:
            self.fail(
                f"{kind} names {wanted} rank{'s' * (wanted > 1)}, as in {kind}[{'e, k' if wanted > 1 else 'e'}]", node
            )
        left = tuple(r for r in ranks_of(einsum.expr) if r != ranks[0] or effect == "keep") + ranks[1:]
        if ranks[0] not in ranks_of(einsum.expr):
            self.fail(f"{kind} works along {ranks[0]!r}, which is not read here", node)
        if set(left) != set(einsum.output.ranks):
            self.fail(
                f"{kind} leaves ranks ({', '.join(left)}); the output has ({', '.join(einsum.output.ranks)})", node
            )

    def expr(self, node: ast.expr, depth: int = 0) -> Expr:
        """An expression of maps over accesses and constants."""
        if depth > DEPTH:
            self.fail(f"nested more than {DEPTH} deep", node)
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            return self.call(_BINARY[type(node.op)], [node.left, node.right], depth)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
            return self.call(_COMPARE[type(node.ops[0])], [node.left, node.comparators[0]], depth)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self.expr(node.operand, depth + 1)
            return Const(-inner.value) if isinstance(inner, Const) and not inner.size else Call("neg", (inner,))
        if isinstance(node, ast.Call):
            return self.function(node, depth)
        if isinstance(node, ast.Constant):
            return self.number(node)
        return self.leaf(node)

    def call(self, op: str, nodes: list[ast.expr], depth: int) -> Call:
        """A map over sub-expressions."""
        return Call(op, tuple(self.expr(n, depth + 1) for n in nodes))

    def function(self, node: ast.Call, depth: int) -> Call:
        """A named map: ``exp(x)``, ``max(a, b)``."""
        if isinstance(node.func, ast.Subscript):
            self.fail(
                "a reduction or operator stands alone on the right-hand side; give it a line of its own", node.func
            )
        if not isinstance(node.func, ast.Name) or node.keywords:
            self.fail("expected the name of a function and plain operands", node.func)
        if node.func.id not in MAPS:
            known = (
                f"; a reduction names its ranks: {node.func.id}[m](...)"
                if node.func.id in REDUCTIONS
                else hint(node.func.id, MAPS)
            )
            self.fail(f"unknown function {node.func.id!r}{known}", node.func)
        arity = MAPS[node.func.id].arity
        if len(node.args) != arity:
            self.fail(f"{node.func.id} takes {arity} operand{'s' * (arity > 1)}, not {len(node.args)}", node)
        return self.call(node.func.id, node.args, depth)

    def number(self, node: ast.Constant) -> Const:
        """A literal, which must be a finite number."""
        if isinstance(node.value, bool) or not isinstance(node.value, int | float) or abs(node.value) > 1e300:
            self.fail("only finite numbers can stand here", node)
        return Const(float(node.value))

    def leaf(self, node: ast.expr) -> Expr:
        """``inf``, the size of a rank, or a tensor."""
        if isinstance(node, ast.Name) and node.id == "inf":
            return Const(math.inf)
        if isinstance(node, ast.Name) and node.id.isupper() and node.id.lower() in self.sized:
            return Const(0.0, node.id.lower())
        return self.access(node)

    def access(self, node: ast.expr) -> Access:
        """``K[e, m1*M0 + m0]``, or a bare name for a scalar."""
        base = node.value if isinstance(node, ast.Subscript) else node
        if not isinstance(base, ast.Name):
            self.fail("expected a tensor, as in A[m, k]", node)
        if not base.id[0].isupper():
            self.fail(f"tensor names begin with a capital letter: {base.id!r}", base)
        if not isinstance(node, ast.Subscript):
            return Access(base.id, ())
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return Access(base.id, tuple(self.access(p) if self.is_access(p) else self.affine(p) for p in parts))

    @staticmethod
    def is_access(node: ast.expr) -> bool:
        """Whether an index is itself a tensor's value (a gather or a scatter)."""
        return isinstance(node, ast.Subscript)

    def affine(self, node: ast.expr) -> Affine:
        """An index: a sum of rank variables, sizes and whole numbers."""
        terms = [t for t in self.terms(node, 1) if t.scale or len(t.extents) or t.rank]
        return Affine(tuple(terms) or (Term(0),))

    def terms(self, node: ast.expr, sign: int) -> Iterator[Term]:
        """The addends of an index, signs applied."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            yield from self.terms(node.left, sign)
            yield from self.terms(node.right, sign if isinstance(node.op, ast.Add) else -sign)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield from self.terms(node.operand, -sign)
        else:
            yield self.factor(node, sign)

    def factor(self, node: ast.expr, sign: int) -> Term:
        """One addend: a product of at most one rank variable with sizes and numbers."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
            left, right = self.factor(node.left, sign), self.factor(node.right, 1)
            if left.rank and right.rank:
                self.fail("an index may not multiply two rank variables", node)
            if abs(left.scale * right.scale) >= 2**62:
                self.fail("a number in an index must be below 2**62", node)
            return Term(left.scale * right.scale, left.extents + right.extents, left.rank or right.rank)
        if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
            if node.value >= 2**62:
                self.fail("a number in an index must be below 2**62", node)
            return Term(sign * node.value)
        if isinstance(node, ast.Name) and node.id.isupper():
            return Term(sign, (node.id.lower(),))
        return Term(sign, (), self.rank(node))

    def rank(self, node: ast.expr) -> str:
        """A rank variable."""
        if not isinstance(node, ast.Name) or not _RANK.match(node.id):
            self.fail("expected a rank (a small letter, perhaps with digits)", node)
        return node.id


def _indexed(statement: ast.stmt) -> Iterator[str]:
    """Every name inside an index, each visited once however indices nest."""
    waiting: list[tuple[ast.AST, bool]] = [(statement, False)]
    while waiting:
        node, inside = waiting.pop()
        if isinstance(node, ast.Name):
            if inside:
                yield node.id
        elif isinstance(node, ast.Subscript):
            waiting += [(node.value, inside), (node.slice, True)]
        else:
            waiting += [(child, inside) for child in ast.iter_child_nodes(node)]


def _name(output: Access, expr: Expr, before: list[Einsum]) -> str:
    """The tensor's name; later writers of the same tensor are numbered, constant ones called ``.init``."""
    stem = output.tensor + (".init" if isinstance(expr, Const) else "")
    taken = sum(e.name == stem or e.name.startswith(f"{stem}#") for e in before)
    return f"{stem}#{taken + 1}" if taken else stem


def _complete(einsums: tuple[Einsum, ...], declared: dict[str, Tensor], dtype: str) -> tuple[Tensor, ...]:
    """Every tensor in order of appearance, ranks that are not declared read off the accesses."""
    tensors: dict[str, Tensor] = {}
    for einsum in einsums:
        for access in (*einsum.reads, einsum.output):
            plain = tuple(i.plain if isinstance(i, Affine) else None for i in access.indices)
            old, given = tensors.get(access.tensor), declared.get(access.tensor)
            if old is None and given is not None:
                tensors[access.tensor] = replace(given, ranks=given.ranks or plain, dtype=given.dtype or dtype)
            elif old is None:
                integer = access is einsum.output and einsum.operator and OPERATORS[einsum.operator].integer
                tensors[access.tensor] = Tensor(access.tensor, plain, "int32" if integer else dtype)
            elif not (given and given.ranks) and len(old.ranks) == len(plain):
                merged = tuple(a if a == b else None for a, b in zip(old.ranks, plain, strict=True))
                tensors[access.tensor] = replace(old, ranks=merged)
    return tuple(tensors.values()) + tuple(
        replace(t, dtype=t.dtype or dtype) for t in declared.values() if t.name not in tensors
    )


def _check_ranks(cascade: Cascade, reader: _Reader) -> None:
    """Every rank has a size, every tensor the same number of ranks everywhere, nothing is read before it is written."""
    sized = dict(cascade.sizes)
    used = {s for e in cascade.einsums for s in _symbols(e)} | set(_declared_symbols(cascade))
    for rank in sorted(used - set(sized)):
        raise WeirError(
            f"{reader.where}: rank {rank!r} has no size; pass {rank}=...{hint(rank, sized) if sized else ''}"
        )
    for rank in sorted(set(sized) - used):
        raise WeirError(f"{reader.where}: a size is given for {rank!r}, which no Einsum uses{hint(rank, used)}")
    written: set[str] = set()
    for einsum in cascade.einsums:
        for access in (*einsum.reads, einsum.output):
            tensor = cascade.tensor(access.tensor)
            if len(tensor.ranks) != len(access.indices):
                raise WeirError(f"{reader.where}: line {einsum.line}: {access} has {len(access.indices)} ranks; "
                                f"{tensor.name} has {len(tensor.ranks)} elsewhere")  # fmt: skip
        for name in einsum.inputs:
            if name in cascade.produced and name not in written and cascade.tensor(name).kind != "state":
                raise WeirError(f"{reader.where}: line {einsum.line}: {name} is read before it is written")
        written.add(einsum.output.tensor)
    check_extents(cascade)


def _declared_symbols(cascade: Cascade) -> Iterator[str]:
    """Ranks and sizes that tensors' declarations and derived sizes mention."""
    for tensor in cascade.tensors:
        yield from (r for r in tensor.ranks if r)
        for pattern in tensor.patterns:
            yield from (r for r in (*pattern.ranks, getattr(pattern, "offset", "")) if r)
    for _, size in cascade.sizes:
        yield from (s for t in size.terms for s in t.extents) if isinstance(size, Affine) else ()


def _symbols(einsum: Einsum) -> Iterator[str]:
    """Ranks and sizes that an Einsum mentions."""
    yield from einsum.ranks
    yield from einsum.along
    for access in (einsum.output, *einsum.reads):
        for index in access.indices:
            if isinstance(index, Affine):
                yield from (s for t in index.terms for s in t.extents)
    yield from _const_sizes(einsum.expr)


def _const_sizes(expr: Expr) -> Iterator[str]:
    if isinstance(expr, Const) and expr.size:
        yield expr.size
    elif isinstance(expr, Call):
        for arg in expr.args:
            yield from _const_sizes(arg)
