"""Axes as people type them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.space.text import read


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("batch=1,2,4", [1, 2, 4]),
        ("batch=1..4", [1, 2, 3, 4]),
        ("batch=0..10:5", [0, 5, 10]),
        ("batch=0..10:+4", [0, 4, 8]),
        ("batch=1..512:x2", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]),
        ("batch=1,8..10,64", [1, 8, 9, 10, 64]),
        ("tier=limit,physical", ["limit", "physical"]),
        ("layout=tp=4", ["tp=4"]),
        ("host=0.001", [0.001]),
        ("trace=azure_conv", ["azure_conv"]),
        ("context=1e3..3e3:1e3", [1000, 2000, 3000]),
        ("model.hbm.bandwidth=2TB/s..4TB/s:1TB/s", [2e12, 3e12, 4e12]),
        ("model.hbm.bandwidth=2TB/s..8TB/s:x2", [2e12, 4e12, 8e12]),
        ("model.hbm.bandwidth=2.5TB/s..5TB/s:x2", [2.5e12, 5e12]),
        ("price.h100=2,2.5", [2.0, 2.5]),
        ("price.h100=1..2:0.25", [1.0, 1.25, 1.5, 1.75, 2.0]),
        ("network.latency=1us..4us:x2", [1e-6, 2e-6, 4e-6]),
    ],
)
def test_read(text: str, values: list[Any]) -> None:
    assert list(read(text).values) == pytest.approx(values) if isinstance(values[0], float) else values
    assert read(text).name == text.partition("=")[0]
    assert len(read(text).values) == len(values)


@given(st.integers(1, 50), st.integers(0, 200), st.integers(1, 20))
def test_ranges_are_pythons(low: int, more: int, step: int) -> None:
    assert list(read(f"batch={low}..{low + more}:{step}").values) == list(range(low, low + more + 1, step))


@given(st.integers(1, 9), st.integers(0, 12), st.integers(2, 5))
def test_factors_reach_the_end(low: int, times: int, factor: int) -> None:
    assert list(read(f"batch={low}..{low * factor**times}:x{factor}").values) == [
        low * factor**k for k in range(times + 1)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch", "write NAME=VALUES"),
        ("=3", "write NAME=VALUES"),
        ("batch=1,,2", "has an empty value"),
        ("batch=8..1", "must rise"),
        ("batch=1..8:0", "must rise"),
        ("batch=1..8:x1", "must rise"),
        ("batch=0..8:x2", "must rise"),
        ("batch=a..b", "'a' is not a number"),
        ("batch=1..1e12", "has 1,000,000,000,000 values; at most"),
        ("batch=1..1e308", "has 1e+308 values; at most"),
        ("model.hbm.bandwidth=2..4", "no unit"),
        ("model.hbm.bandwidth=2TB..4TB", "wrong unit"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        read(text)
    assert message in str(caught.value)
