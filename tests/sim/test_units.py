from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.units import fmt, si

UNITS = ("B", "B/s", "s", "FLOP/s", "op/s", "W", "J", "J/B", "m^2", "mm^2", "Hz", "USD/h", "USD", "1", "J/op", "m")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("80 GiB", "B", 80 * 2**30),
        ("80 GB", "B", 80e9),
        ("16KB", "B", 16e3),
        ("3.35 TB/s", "B/s", 3.35e12),
        ("400 Gb/s", "B/s", 50e9),
        ("400 Gbit/s", "B/s", 50e9),
        ("1e12 B/s", "B/s", 1e12),
        ("989 TFLOP/s", "FLOP/s", 989e12),
        ("130 TOP/s", "op/s", 130e12),
        ("989 TFLOP/s", "op/s", 989e12),
        ("33 us", "s", 33e-6),
        ("33 µs", "s", 33e-6),
        ("50 um", "m", 50e-6),
        ("5ms", "s", 5e-3),
        ("2 h", "s", 7200.0),
        ("3.9 pJ/bit", "J/B", 31.2e-12),
        ("2.49 USD/h", "USD/h", 2.49),
        ("30_000 USD", "USD", 30e3),
        ("814 mm^2", "m^2", 814e-6),
        ("814 mm^2", "mm^2", 814.0),
        ("1.83 GHz", "Hz", 1.83e9),
        ("80 %", "1", 0.8),
        ("132", "1", 132.0),
        (7, "B", 7.0),
        (0.5, "s", 0.5),
    ],
)
def test_reads_what_people_write(text: str | float, unit: str, value: float) -> None:
    assert si(text, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("80 GBs", "B", "unknown unit 'GBs' in '80 GBs'; did you mean 'GB'?"),
        ("400 Gbps", "B/s", "unknown unit 'Gbps'"),
        ("80 GB", "B/s", "'80 GB' has the wrong unit: 'GB' where 'B/s' is expected"),
        ("5 W", "s", "wrong unit"),
        ("80 K", "B", "'80 K' is ambiguous: write KB (decimal) or KiB (binary)"),
        ("128k", "1", "ambiguous"),
        ("80", "B", "'80' has no unit; write for example '80 B'"),
        ("nan GB", "B", "not a finite number"),
        ("inf s", "s", "not a finite number"),
        ("1e999 s", "s", "not a finite number"),
        (math.nan, "B", "not a finite number"),
        (math.inf, "B", "not a finite number"),
        ("-5 GB", "B", "'-5 GB' is negative"),
        (-1, "s", "negative"),
        (10**400, "B", "too large"),
        ("GB", "B", "does not begin with a number"),
        ("", "B", "does not begin with a number"),
        ("1 " + "G" * 70, "B", "a quantity of 72 characters; at most 64 are read"),
        ("1/0 s", "s", "unknown unit"),
        ("1 B/s/s", "B/s", "unknown unit 'B/s/s'"),
        (True, "B", "True is not a quantity"),
        (["80 GB"], "B", "is not a quantity"),
    ],
)
def test_refuses_what_is_not_a_quantity(text: str | float, unit: str, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        si(text, unit, "here")
    assert message in str(caught.value)
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


def test_a_near_miss_in_a_compound_unit_names_the_unit() -> None:
    with pytest.raises(WeirError, match=r"unknown unit 'TB/sec'.*did you mean 'TB/s'\?"):
        si("3 TB/sec", "B/s")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.35e12, "B/s", "3.35 TB/s"),
        (1.26e-3, "s", "1.26 ms"),
        (80e9, "B", "80 GB"),
        (999.9e9, "B", "1 TB"),
        (31.2e-12, "J/B", "31.2 pJ/B"),
        (7200.0, "s", "7200 s"),
        (5e-5, "m", "50 um"),
        (0.0, "s", "0 s"),
        (-1.5e-6, "s", "-1.5 us"),
        (11.06, "USD/h", "11.1 USD/h"),
        (0.00032, "USD", "0.00032 USD"),
        (295.2, "1", "295"),
        (math.inf, "B/s", "inf B/s"),
    ],
)
def test_writes_three_digits(value: float, unit: str, text: str) -> None:
    assert fmt(value, unit) == text


@given(value=st.floats(1e-18, 1e20), unit=st.sampled_from(UNITS))
def test_round_trip(value: float, unit: str) -> None:
    assert si(fmt(value, unit), unit) == pytest.approx(value, rel=5.1e-3)


@given(text=st.text(max_size=70), unit=st.sampled_from(UNITS))
def test_any_text_is_a_quantity_or_one_clear_line(text: str, unit: str) -> None:
    try:
        value = si(text, unit)
    except WeirError:
        value = 0.0
    assert 0 <= value < math.inf
