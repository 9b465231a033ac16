"""Every kernel against the interpretation of its cascade: one row a kernel, and no kernel without a row."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.numerics.draw import KINDS, Draw, error, expected
from sim.numerics.rows import table
from workloads.kernels import catalogue

TABLE = table()
SHAPE = st.fixed_dictionaries({
    "b": st.sampled_from([1, 2]), "h": st.sampled_from([1, 3]), "r": st.sampled_from([1, 2, 5]),
    "p": st.sampled_from([1, 2, 3, 4, 13, 67]), "m": st.sampled_from([1, 2, 3, 7, 67, 128, 129, 211]),
    "e": st.sampled_from([1, 3, 8, 17]), "seed": st.integers(0, 2**16),
})  # fmt: skip


def agrees(kernel: str, draw: Draw) -> None:
    row = TABLE[kernel]
    for pair in row.cases(draw):
        assert pair[0].dtype == draw.dtype or pair[0].dtype.kind in "iu"
        assert error(pair[0], expected(pair)) <= row.tolerance(draw.dtype)


def test_every_kernel_has_a_row() -> None:
    assert set(TABLE) == set(catalogue())


@pytest.mark.parametrize("kernel", TABLE)
@settings(max_examples=8, deadline=None)
@given(shape=SHAPE, single=st.booleans())
def test_kernel_agrees_with_its_cascade(kernel: str, shape: dict[str, int], single: bool) -> None:
    sizes: dict[str, Any] = {**shape, "p": min(shape["p"], shape["m"])}  # keys include those of the queries
    rng = np.random.default_rng(sizes.pop("seed"))
    agrees(kernel, Draw(rng, np.float32 if single else np.float64, **sizes, kind=TABLE[kernel].kinds[0]))


@pytest.mark.parametrize("kernel", TABLE)
@pytest.mark.parametrize("kind", KINDS)
def test_awkward_numbers(kernel: str, kind: str) -> None:
    if kind in TABLE[kernel].kinds:
        for dtype in (np.float32, np.float64):
            agrees(kernel, Draw(np.random.default_rng(1), dtype, 1, 3, 2, 5, 131, 9, kind))


@pytest.mark.parametrize("kernel", TABLE)
def test_few_keys(kernel: str) -> None:
    for p, m in ((1, 1), (1, 2), (2, 3), (5, 5)):
        agrees(kernel, Draw(np.random.default_rng(p), np.float64, 1, 2, 3, p, m, 5, TABLE[kernel].kinds[0]))


@pytest.mark.parametrize("kernel", TABLE)
def test_every_kernel_takes_threads_and_gives_the_same_each_time(kernel: str) -> None:
    assert "threads" in signature(catalogue()[kernel]).parameters
    draws = [Draw(np.random.default_rng(2), np.float64, 2, 3, 2, 4, 40, 5, TABLE[kernel].kinds[0], 3) for _ in "ab"]
    for one, again in zip(*(TABLE[kernel].cases(draw) for draw in draws), strict=True):
        np.testing.assert_array_equal(one[0], again[0])
        assert error(one[0], expected(one)) <= TABLE[kernel].double


@pytest.mark.parametrize("kernel", TABLE)
def test_every_row_has_cases(kernel: str) -> None:
    """A row whose shapes never qualify would pass anything."""
    row = TABLE[kernel]
    assert list(row.cases(Draw(np.random.default_rng(0), np.float64, 1, 2, 2, 4, 20, 4, row.kinds[0])))
