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


@pytest.mark.parametrize("base", ["B", "bit", "b", "FLOP", "op", "OP", "W", "J", "Hz"])
def test_every_large_prefix_is_a_power_of_a_thousand(base: str) -> None:
    one = {"bit": 0.125, "b": 0.125}.get(base, 1.0)
    unit = {"bit": "B", "b": "B", "FLOP": "op", "OP": "op"}.get(base, base)
    assert [si(f"1 {prefix}{base}", unit) for prefix in ("", *"kMGTPE")] == [one * 10.0 ** (3 * n) for n in range(7)]


@pytest.mark.parametrize("base", ["B", "bit", "b"])
def test_every_binary_prefix_is_a_power_of_1024(base: str) -> None:
    one = 1.0 if base == "B" else 0.125
    assert [si(f"1 {prefix}i{base}", "B") for prefix in "KMGTP"] == [one * 1024.0**n for n in range(1, 6)]
    assert si(f"1 K{base}", "B") == one * 1000


@pytest.mark.parametrize("base", ["s", "m", "W", "J"])
def test_every_small_prefix_is_a_thousandth_of_the_last(base: str) -> None:
    found = [si(f"1 {prefix}{base}", base) for prefix in "munpf"]
    assert found == pytest.approx([10.0 ** (-3 * n) for n in range(1, 6)], rel=1e-12)
    assert si(f"1 µ{base}", base) == si(f"1 μ{base}", base) == si(f"1 u{base}", base)


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("2 min", "s", 120.0), ("3 $", "USD", 3.0), ("4 kUSD", "USD", 4000.0), ("5 m^2", "m^2", 5.0),
     ("6 um^2", "m^2", 6e-12), ("7 Wh", "J", 25_200.0), ("8 kWh", "J", 28.8e6), ("9 $/h", "USD/h", 9.0)],
)  # fmt: skip
def test_units_of_other_trades(text: str, unit: str, value: float) -> None:
    assert si(text, unit) == pytest.approx(value, rel=1e-12)


def test_people_read_the_prefix_that_leaves_one_to_three_digits() -> None:
    assert [fmt(3 * 10.0 ** (3 * n), "B") for n in range(7)] == ["3 B", *(f"3 {prefix}B" for prefix in "kMGTPE")]
    assert [fmt(3 * 10.0 ** (-3 * n), "s") for n in range(6)] == ["3 s", *(f"3 {prefix}s" for prefix in "munpf")]
    assert (fmt(999, "B"), fmt(1000, "B"), fmt(0.5, "B"), fmt(0, "s"), fmt(7200, "s")) == (
        "999 B", "1 kB", "0.5 B", "0 s", "7200 s")  # fmt: skip
    assert fmt(2e-18, "s") == "0.002 fs"


def test_the_longest_quantity() -> None:
    assert si("1" + " " * 61 + "GB", "B") == 1e9
    with pytest.raises(WeirError, match="a quantity of 65 characters; at most 64"):
        si("1" + " " * 62 + "GB", "B")
