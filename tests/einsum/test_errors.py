"""Hints, collected problems, programs' and the package's own refusals."""

from __future__ import annotations

import subprocess
import sys

import pytest

import einsum
from einsum import Part, Program, WeirError, hint, parse
from einsum.errors import raise_all, refuse_unknown
from einsum.ops import bits, is_dtype


def test_hints() -> None:
    assert hint("bandwith", ["bandwidth", "latency"]) == "; did you mean 'bandwidth'?"
    assert hint("lat", ["bandwidth", "latency"]) == "; did you mean 'latency'?"
    assert hint("H20", ["l20", "h20"]) == "; did you mean 'h20'?"
    assert hint("q", []) == ""
    assert hint("q", map(str, range(13))) == ""


def test_every_problem_is_told_at_once() -> None:
    problems = refuse_unknown({"widht": 1, "depht": 2, "height": 3}, ["width", "depth", "height"], "box.toml")
    with pytest.raises(WeirError) as caught:
        raise_all(problems)
    assert str(caught.value).split("\n") == [
        "box.toml: unknown key 'widht'; did you mean 'width'?",
        "box.toml: unknown key 'depht'; did you mean 'depth'?",
    ]
    raise_all([])


def test_types() -> None:
    assert [bits(t) for t in ("bf16", "fp8", "int4", "f64")] == [16, 8, 4, 64]
    assert [is_dtype(t) for t in ("fp8", "fp", "8", "fp65", "fp0", "x1", "fp8x")] == [
        True, False, False, False, False, True, False,
    ]  # fmt: skip


def test_parameters_of_a_program() -> None:
    layer = parse("W[d, f]: weight\nE[v]: weight\nZ[f] = X[d] * W[d, f] * E[v]", d=3, f=4, v=5, name="layer")
    head = parse("E[v]: weight\nZ = E[v] * X[v]", v=5, name="head")
    assert Program("tied", (Part(layer), Part(head)), shared=("E",)).parameters == 12 + 5
    assert Program("free", (Part(layer, 2), Part(head))).parameters == 2 * (12 + 5) + 5


def test_programs_resize_and_refuse() -> None:
    program = Program("net", (Part(parse("Z = A[m]", m=2, name="one")), Part(parse("Z = A[k]", k=2, name="two"))))
    assert [p.cascade.shape("A") for p in program.with_sizes(m=7).parts] == [(7,), (2,)]
    with pytest.raises(WeirError, match="net: no part 'thre'; known: one, two"):
        program.part("thre")
    with pytest.raises(WeirError, match="net: no rank 'q' to size"):
        program.with_sizes(q=3)


def test_functions_keep_their_names_when_their_modules_are_imported() -> None:
    import einsum.passes as module

    assert einsum.passes is sys.modules["einsum.passes"].passes
    assert module is einsum.passes
    with pytest.raises(AttributeError, match="no attribute 'interpet'; did you mean 'interpret'"):
        _ = einsum.interpet


@pytest.mark.parametrize(("name", "there"), [("WeirError", "einsum.errors"), ("parse", "numpy")])
def test_importing_the_language_is_light(name: str, there: str) -> None:
    code = f"from einsum import {name}; import sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"scipy", "pandas", "numba", "matplotlib", "pulp", "einsum.interpret", "einsum.passes"}
    assert there in loaded
    assert not (heavy | ({"numpy"} - {there})) & set(loaded)
