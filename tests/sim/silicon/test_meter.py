"""The share of a reading that is of a kernel, by playing the benchmark and its meter in hundredths of a second."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.silicon.measured import Measured
from sim.silicon.meter import kernels, readings, run, share, shares


def played(lasting: float, before: float, during: float) -> float:
    """The mean of readings every 0.1 s, each the mean power of the hundred hundredths of a second before it."""
    power = [before] * 100 + [during] * (round(lasting * 100) + 1)
    readings = [np.mean(power[at : at + 100]) for at in range(0, round(lasting * 100) + 1, 10)]
    return float(np.mean(readings))


@given(st.integers(1, 400), st.floats(0, 1000), st.floats(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_reading_is_the_shares_of_what_ran_before_and_of_the_run(
    hundredths: int, before: float, during: float
) -> None:
    own = float(share(np.array([hundredths / 100]))[0])
    expected = (1 - own) * before + own * during
    assert played(hundredths / 100, before, during) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(
    st.lists(st.tuples(st.integers(1, 250), st.integers(0, 700)), min_size=1, max_size=6),
    st.integers(1, 200),
    st.integers(0, 700),
)
@settings(max_examples=80, deadline=None)
def test_a_reading_is_the_mean_of_every_second_before_one_played_step_by_step(
    parts: list[tuple[int, int]], lasting: int, during: int
) -> None:
    """Parts backwards in time, hundredths of a second long; the last of them goes on before."""
    oldest = [float(parts[-1][1])] * 100
    power = oldest + [float(watt) for steps, watt in reversed(parts) for _ in range(steps)]
    start = len(power)
    power += [float(during)] * lasting
    played_back = [np.mean(power[at - 100 : at]) for at in range(start, len(power) + 1, 10)]
    ours = readings(np.array([[lasting / 100, *(steps / 100 for steps, _ in parts)]]), _watts(during, parts))
    assert ours[0] == pytest.approx(np.mean(played_back), rel=1e-9, abs=1e-6)


def _watts(during: int, parts: list[tuple[int, int]]) -> np.ndarray:
    return np.array([[during, *(watt for _, watt in parts)]], float)


def test_a_run_of_any_length_reads_at_last_as_it_draws() -> None:
    """All but the first ten readings of a run of years are of the run alone; those ten are 45 % of it."""
    lasting = 1e9
    expected = 500 - 400 * (10 - 4.5) / (lasting / 0.1 + 1)
    assert readings(np.array([[lasting, 5.0]]), np.array([[500.0, 100.0]])) == pytest.approx([expected], rel=1e-12)


def test_what_always_drew_the_same_reads_the_same_however_it_is_divided() -> None:
    assert readings(np.array([[0.03, 0.2, 0.01]]), np.full((1, 3), 400.0)) == pytest.approx([400])


@pytest.mark.parametrize(
    ("call", "lasts"),
    [
        (10e-6, 3000 * 10e-6),  # no more than 3000 calls
        (99e-6, 3000 * 99e-6),  # 0.3 s would be 3031
        (200e-6, 3000 * 200e-6),
        (1e-3, 1.001),  # a second's calls, and one more
        (0.4, 2.4),  # no fewer than six
    ],
)
def test_a_call_is_repeated_for_a_second_or_as_often_as_is_allowed(call: float, lasts: float) -> None:
    assert run(np.array([call]))[0] == pytest.approx(lasts)


def rows(operation: str, *dtypes: str) -> Measured:
    return Measured(operation, {"dtype": dtypes}, np.full(len(dtypes), 50e-6))


def test_a_call_has_six_products_but_of_block_scaled_values_one() -> None:
    assert kernels(rows("gemm", "bfloat16", "fp8_block", "fp8")).tolist() == [6, 1, 6]
    assert kernels(rows("attention_decode", "bfloat16")).tolist() == [1]


def test_the_same_duration_says_more_of_a_kernel_the_longer_its_calls_last() -> None:
    six, one = shares(rows("gemm", "bfloat16", "fp8_block"))
    assert six == pytest.approx(0.45)  # 0.9 s of run: readings of 0, 10 ... 90 % its own
    assert one == pytest.approx(0.05)  # 0.15 s: of 0 and 10 %
