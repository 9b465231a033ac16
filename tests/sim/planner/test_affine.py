"""Formulas over numbers are Python's arithmetic; over unknowns they are the same once values are put in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import WeirError
from sim.planner.affine import LONGEST, Convex, evaluate

LEAVES = st.sampled_from(["2", "0.5", "a", "b", "x.gpu", "x.host"])
KNOWN = {"a": 3.0, "b": 0.25}


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        two.map(lambda p: f"({p[0]} + {p[1]})"),
        two.map(lambda p: f"max({p[0]}, {p[1]})"),
        inner.map(lambda e: f"2 * {e}"),
        inner.map(lambda e: f"{e} / b"),
    )


@given(text=st.recursive(LEAVES, _grown, max_leaves=12), gpu=st.floats(0, 1), host=st.floats(0, 1))
def test_unknowns_then_values_is_values_at_once(text: str, gpu: float, host: float) -> None:
    values = {"x.gpu": gpu, "x.host": host}
    plain = evaluate(text, {**KNOWN, **values}, "here")
    later = evaluate(text, {**KNOWN, **{name: Convex.unknown(name) for name in values}}, "here")
    assert (later.at(values) if isinstance(later, Convex) else later) == pytest.approx(plain)


def test_differences_and_other_functions_by_hand() -> None:
    assert evaluate("7 - 2 * a", KNOWN, "here") == 1
    assert evaluate("min(a, 2) + ceil(a / 2) + floor(b) + log2(8) - -1", KNOWN, "here") == 8
    assert evaluate("2 - x", {"x": Convex.unknown("x")}, "here").at({"x": 0.5}) == 1.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x * x", "a product of two fractions is not linear"),
        ("1 - max(x, 1)", "cannot be subtracted"),
        ("1 / x", "nothing can be divided by a fraction"),
        ("min(x, 1)", "min of what is sought is not convex"),
        ("aa + 1", "no 'aa'; did you mean 'a'"),
        ("maxx(a, 1)", "no function 'maxx'; did you mean 'max'"),
        ("a ** 2", "only \\+ - \\* /"),
        ("a if b else 1", "only \\+ - \\* /"),
        ("__import__('os')", "no function|only"),
        ("a +", "not a formula"),
        ("1 / (a - 3)", "division by zero"),
        ("+".join(["a"] * LONGEST), "characters"),
        ("(" * 90 + "a" + ")" * 90 + "[0]", "only|not a formula"),
        ("-" * 300 + "a", "nested too deeply|not a formula"),
    ],
)
def test_what_is_not_convex_arithmetic_is_refused(text: str, message: str) -> None:
    with pytest.raises(WeirError, match=message) as error:
        evaluate(text, {**KNOWN, "x": Convex.unknown("x")}, "here")
    assert str(error.value).startswith("here: ")
