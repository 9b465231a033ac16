from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.serving.grid import grid

AXES = (np.array([1.0, 2.0, 5.0]), np.array([0.0, 10.0]), np.array([3.0, 4.0, 8.0]))


@given(x=st.floats(1, 5), y=st.floats(0, 10), z=st.floats(3, 8))
def test_what_is_linear_along_each_axis_is_exact(x: float, y: float, z: float) -> None:
    made = grid(lambda a, b, c: a * (1 + b) * c, *AXES, what="cost")
    assert made.at(x, y, z) == pytest.approx(x * (1 + y) * z)


def test_constant_beyond_the_ends() -> None:
    made = grid(lambda a: a, AXES[0], what="cost")
    assert (made.at(0.0), made.at(9.0)) == (1.0, 5.0)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_costs_that_mean_nothing_are_refused(wrong: float) -> None:
    with pytest.raises(WeirError, match="service's cost must give one finite value"):
        grid(lambda a: a * 0 + wrong, AXES[0], what="cost")
