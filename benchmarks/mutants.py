"""How many small mistakes in a module its own tests notice: one change of its syntax tree at a time, in a process each.

A comparison turned, a sign, an ``and``, a number, a condition, a statement left out; texts are left as they are, since
most are messages of which tests hold a part. mutmut and cosmic-ray need a copy of the tree and a process started for
each mutant; here each is forked from one that has loaded the libraries.

    python benchmarks/mutants.py                        every module below
    python benchmarks/mutants.py --each 40 units store  forty mutants of each of two
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.machinery
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning",
           "--hypothesis-seed=0")  # fmt: skip
MODULES = {
    "parse": ("einsum/parse.py", ("tests/einsum/test_parse.py",)),
    "positions": ("einsum/positions.py", ("tests/einsum/test_positions.py",)),
    "tables": ("einsum/tables.py", ("tests/einsum/test_tables.py",)),
    "units": ("sim/units.py", ("tests/sim/test_units.py",)),
    "components": ("sim/arch/components.py", ("tests/sim/arch/test_components.py",)),
    "timing": ("sim/model/timing.py", ("tests/sim/model/test_timing.py",)),
    "pareto": ("sim/space/pareto.py", ("tests/sim/space/test_pareto.py",)),
    "store": ("sim/space/store.py", ("tests/sim/space/test_store.py", "-k", "not killed and not interrupted")),
}  # fmt: skip
LIMIT = 20  # s of CPU that the tests may take with a mutant; one that takes longer is noticed
SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.And: ast.Or, ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.USub: ast.UAdd,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[Callable[[Any], None]]:
    """What may be changed at one node, each change as a function of the same node in a copy."""
    for field in ("op", "ops"):
        found = getattr(node, field, None)
        for place, one in enumerate(found if isinstance(found, list) else [found]):
            if type(one) in SWAPS and not _union(node):
                yield lambda n, p=place, o=one: _swap(n, p, SWAPS[type(o)]())
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield lambda n: setattr(n, "value", not n.value if isinstance(n.value, bool) else n.value + 1)
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
    if isinstance(node, ast.Return) and node.value is not None:
        yield lambda n: setattr(n, "value", ast.Constant(None))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield lambda n: setattr(n, "value", ast.Constant(None))


def _union(node: ast.AST) -> bool:
    """Whether the node may be a type such as ``int | None``."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)


def _swap(node: Any, place: int, new: ast.AST) -> None:
    if hasattr(node, "ops"):
        node.ops[place] = new
    else:
        node.op = new


def mutants(source: str, each: int) -> list[tuple[int, str]]:
    """The line and the source of mutants, ``each`` of them drawn at random or all there are."""
    tree = ast.parse(source)
    spots = [(at, change) for at, node in enumerate(ast.walk(tree)) for change in changes(node)]
    made = []
    for at, change in sorted(random.Random(0).sample(spots, min(each, len(spots))), key=lambda spot: spot[0]):  # noqa: S311
        other = copy.deepcopy(tree)
        node = next(n for i, n in enumerate(ast.walk(other)) if i == at)
        change(node)
        made.append((getattr(node, "lineno", 0), ast.unparse(ast.fix_missing_locations(other))))
    return made


def noticed(path: Path, source: str, tests: tuple[str, ...]) -> bool:
    """Whether the tests fail with this source in the module's place."""
    child = os.fork()
    if child == 0:
        _run(path, source, tests)
    return os.waitpid(child, 0)[1] != 0


def _run(path: Path, source: str, tests: tuple[str, ...]) -> None:
    """In a process of its own: the tests, and its end."""
    import resource

    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
    read = importlib.machinery.SourceFileLoader.get_code

    def mutated(loader: Any, name: str) -> Any:
        return compile(source, str(path), "exec") if Path(loader.path) == path else read(loader, name)

    importlib.machinery.SourceFileLoader.get_code = mutated  # type: ignore[method-assign]
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os._exit(int(pytest.main([*OPTIONS, *tests])))


def main() -> None:
    """Print, for each module, how many mutants there were, the share noticed, and the lines of the others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("modules", nargs="*", default=list(MODULES))
    asked = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    import hypothesis
    import numpy
    import pandas
    import pytest  # noqa: F401 - loaded once, for every child

    del hypothesis, numpy, pandas
    for name in asked.modules:
        path, tests = ROOT / MODULES[name][0], MODULES[name][1]
        began, source = time.monotonic(), path.read_text(encoding="utf-8")
        if noticed(path, source, tests):
            sys.exit(f"{name}: its tests fail as it is")
        made = mutants(source, asked.each)
        alive = [line for line, text in made if not noticed(path, text, tests)]
        share = 1 - len(alive) / len(made)
        print(
            f"{name:12}{len(made):4} mutants {share:6.1%} noticed {time.monotonic() - began:5.0f} s; alive at {alive}",
            flush=True,
        )


if __name__ == "__main__":
    main()
