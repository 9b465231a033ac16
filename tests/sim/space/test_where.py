"""Conditions: as numpy would say, and nothing else is understood."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.space.where import mask, named, split

COLUMNS = {
    "a": np.array([1.0, 2.0, np.nan, 4.0]),
    "b": np.array([4, 3, 2, 1]),
    "on": np.array(["x", "y", "x", "y"], object),
    "model.hbm.bandwidth": np.array([1e12, 2e12, 3e12, 4e12]),
}


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("a < b", [1, 1, 0, 0]),
        ("a * b >= 4 and b != 1", [1, 1, 0, 0]),
        ("not a < 2", [0, 1, 1, 1]),
        ("1 <= a <= 2 or b == 1", [1, 1, 0, 1]),
        ("on == 'x'", [1, 0, 1, 0]),
        ("-a + 2 * b / 2 > 0", [1, 1, 0, 0]),
        ("model.hbm.bandwidth > 2e12", [0, 0, 1, 1]),
    ],
)
def test_holds(text: str, held: list[int]) -> None:
    assert mask(text, COLUMNS).tolist() == [bool(h) for h in held]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=5), st.floats(-10, 10))
def test_as_python_compares(values: list[float], limit: float) -> None:
    assert mask(f"v * 2 - 1 <= {limit!r}", {"v": values}).tolist() == [v * 2 - 1 <= limit for v in values]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a <", "is not understood"),
        ("c > 1", "no column 'c'"),
        ("bb > 1", "did you mean 'b'"),
        ("a + 1", "is a value, not something that holds"),
        ("__import__('os').system('true') == 0", "is not understood there"),
        ("a[0] > 1", "is not understood there"),
        ("9**9**9 > a", "is not understood there"),
        ("(lambda: 1)() == 1", "is not understood there"),
        ("[x for x in a] == 1", "is not understood there"),
        ("a.__class__ == 1", "no column 'a.__class__'"),
        ("(" * 300 + "a" + ")" * 300 + " > 1", "at most 500"),
        ("not " * 120 + "a > 1", ""),
    ],
)
def test_refused(text: str, message: str) -> None:
    if not message:
        assert mask(text, COLUMNS).dtype == bool  # deep, but fine
        return
    with pytest.raises(WeirError) as caught:
        mask(text, COLUMNS)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "early", "late"),
    [
        ("a < 1 and c > 2 and b == 3", "(a < 1) and (b == 3)", "(c > 2)"),
        ("a < b", "a < b", None),
        ("a < 1 or c > 2", None, "a < 1 or c > 2"),
        ("not (a < 1 and c > 2)", None, "not (a < 1 and c > 2)"),
        ("m.hbm.x > 1 and c > 2", "(m.hbm.x > 1)", "(c > 2)"),
        ("1 < 2 and a > 1", "(a > 1)", "(1 < 2)"),
    ],
)
def test_a_condition_is_split_where_it_is_joined_by_and(text: str, early: str | None, late: str | None) -> None:
    assert split(text, ["a", "b", "m.hbm.x"]) == (early, late)
    assert split(None, ["a"]) == (None, None)
    assert named("a * 2 > b and not m.hbm.x < 'c'") == {"a", "b", "m.hbm.x"}
