"""Traced numbers: the same values as without, and a history that is the computation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.explain.scalars import Resolver, Scalar
from sim.explain.traced import Traced, bare, leaf
from sim.explain.unfold import Unfolding, in_order, influences
from sim.explain.units import derived, read, written

POSITIVE = st.floats(0.1, 10)


def model(x, y, z):  # type: ignore[no-untyped-def]
    """Sums, products, choices, arrays: what models are made of."""
    grid = np.array([1.0, 2.0, 4.0])
    tried = np.stack(np.broadcast_arrays(x / grid + z, y * grid))
    best = tried.min(axis=0)
    masked = np.where(best > 1.0, best, x * y)
    return np.maximum(masked.sum(), np.clip(x * z, 0.0, 3.0)) ** 0.5 + np.ceil(y) - (-z)


@given(x=POSITIVE, y=POSITIVE, z=POSITIVE)
def test_values_are_the_same_to_the_last_bit(x: float, y: float, z: float) -> None:
    plain = model(np.float64(x), np.float64(y), np.float64(z))
    traced = model(leaf(x, "x"), leaf(y, "y"), leaf(z, "z"))
    assert isinstance(traced, Traced)
    assert float(traced) == float(plain) == Resolver().at(traced).value


@given(x=POSITIVE, y=POSITIVE, z=POSITIVE)
def test_every_scalar_is_what_its_operation_makes_of_its_operands(x: float, y: float, z: float) -> None:
    """The history is replayed by other means; so nothing that matters was left out of it."""
    replay = {
        "add": sum, "maximum": max, "minimum": min, "negative": lambda v: -v[0], "ceil": lambda v: np.ceil(v[0]),
        "subtract": lambda v: v[0] - v[1], "multiply": lambda v: v[0] * v[1], "divide": lambda v: v[0] / v[1],
        "power": lambda v: v[0] ** v[1],
    }  # fmt: skip
    root = Resolver().at(model(leaf(x, "x"), leaf(y, "y"), leaf(z, "z")))
    for one in in_order(root):
        if one.operation:
            assert one.value == pytest.approx(replay[one.operation]([o.value for o in one.operands]), rel=1e-12)


@given(x=POSITIVE, y=POSITIVE, z=POSITIVE)
def test_influence_is_what_a_little_more_changes(x: float, y: float, z: float) -> None:
    def smooth(x, y, z):  # type: ignore[no-untyped-def]
        return (x * y + z / x) ** 1.5 / (y - z / 100) + np.maximum(x, x + y) * 0.3

    root = Resolver().at(smooth(leaf(x, "x"), leaf(y, "y"), leaf(z, "z")))
    order = in_order(root)
    found = influences(root, order)
    by_name = {one.leaf.name: found[id(one)] for one in order if one.leaf is not None}
    for place, name in enumerate("xyz"):
        more, less = [x, y, z], [x, y, z]
        more[place] *= 1 + 1e-6
        less[place] *= 1 - 1e-6
        slope = (smooth(*more) - smooth(*less)) / 2e-6 / smooth(x, y, z)
        assert by_name[name] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_what_does_not_matter_at_a_point_is_left_out() -> None:
    x, y = leaf(2.0, "x"), leaf(3.0, "y")
    for made, kept in (
        (np.maximum(x + y, x), "x + y"), (x * 1.0 + 0.0, "x"), (np.where(x < y, y / x, x), "y / x"),
        (np.negative(-x), "x"),
        (np.clip(x, 0, 9), "x"), (0 * x + y, "y"), (np.minimum(x, x), "x"), (np.maximum(x * y, y), "max(x x y, y)"),
    ):  # fmt: skip
        assert text(made) == kept
    assert text(np.stack([x / 2, y / 3]).min(axis=0)) == "min(x / 2, y / 3)"
    assert text((x / np.array([1.0, 4.0])).min(axis=0)) == "x / 4, the least of 2 choices"


def text(value: Traced) -> str:
    """The formula as it is printed."""
    root = Resolver().at(value)
    return next(Unfolding({}).unfold(root, "f")).formula or str(root.leaf and root.leaf.name)


def test_parentheses_stand_where_they_must() -> None:
    a, b, c = (leaf(v, n) for v, n in ((5.0, "a"), (3.0, "b"), (2.0, "c")))
    assert text(a - (b - c)) == "a - (b - c)"
    assert text(a / (b * c)) == "a / (b x c)"
    assert text((a + b) * c) == "(a + b) x c"
    assert text(a * b + c) == "a x b + c"
    assert text((a + b) ** c) == "(a + b)^c"


def test_arrays_are_shown_at_one_point() -> None:
    x = leaf(np.array([1.0, 5.0]), "x")
    whole = np.broadcast_to(x * 2, (3, 2)).reshape(6)
    resolver = Resolver()
    assert resolver.at(whole).value == 10
    assert resolver.at(whole, (2,)).value == 2
    assert bare([whole, 3])[1] == 3
    assert resolver.at(whole @ np.array([0.0, 0, 0, 0, 1.0, 0])).operation == "weighted"


def test_units_follow_from_operations() -> None:
    size, rate, clock, ops = leaf(8.0, "n", "B"), leaf(2.0, "bw", "B/s"), leaf(4.0, "f", "Hz"), leaf(6.0, "ops", "op")
    at = Resolver().at
    assert derived(at(size / rate)) == derived(at(3 / clock)) == derived(at(size / rate + 1 / clock)) == "s"
    assert derived(at(ops / leaf(1.0, "r", "op/s"))) == "s"
    assert derived(at(leaf(1.0, "e", "J/B") * rate)) == "W"
    assert written(read("USD/h")) == "USD/h"
    assert derived(Scalar(3.0)) == ""
