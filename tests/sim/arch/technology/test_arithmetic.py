from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.arch.technology import Technology

T45, T7 = Technology(45), Technology(7)
OPERATIONS = ("add", "compare", "div", "exp", "mac", "max", "mul")
DTYPES = ("int4", "int8", "uint8", "int16", "int32", "fp4", "fp8", "bf16", "fp16", "tf32", "fp32", "fp64")


def test_units_by_hand() -> None:
    # an fp16 significand has 11 bits: 0.0041667 x 121 + 0.0541667 x 11 = 1.1 pJ
    assert T45.arithmetic("mul", "fp16").energy == pytest.approx(1.1e-12, rel=1e-4)
    assert T45.arithmetic("add", "int32").energy == pytest.approx(32 * 0.003286e-12)
    assert T45.arithmetic("mul", "int8").area == pytest.approx((3.082 * 64 + 10.594 * 8) * 1e-12)


@pytest.mark.parametrize("node", [45, 28, 7])
def test_operations_made_of_others(node: float) -> None:
    here = Technology(node)
    mul, add, mac = (here.arithmetic(op, "bf16") for op in ("mul", "add", "mac"))
    assert mac.energy == pytest.approx(mul.energy + add.energy)
    assert here.arithmetic("exp", "bf16").energy == pytest.approx(5 * mac.energy + mul.energy)
    assert here.arithmetic("exp", "bf16").area == pytest.approx(5 * mac.area + mul.area)
    assert here.arithmetic("div", "bf16").energy == pytest.approx(7.1 * mul.energy)
    assert here.arithmetic("div", "bf16").area == pytest.approx(mac.area)
    assert here.arithmetic("max", "bf16") == here.arithmetic("compare", "bf16")


def test_floats_compare_at_their_whole_width() -> None:
    assert T45.arithmetic("compare", "bf16") == T45.arithmetic("compare", "int16")


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation_costs_energy_and_area_and_less_at_a_finer_node(op: str, dtype: str) -> None:
    old, new = T45.arithmetic(op, dtype), T7.arithmetic(op, dtype)
    assert old.energy > new.energy > 0
    assert old.area > new.area > 0


@pytest.mark.parametrize("op", OPERATIONS)
def test_narrower_types_cost_less(op: str) -> None:
    for family in (("int4", "int8", "int16", "int32"), ("fp4", "fp8", "bf16", "fp32", "fp64")):
        energies = [T7.arithmetic(op, dtype).energy for dtype in family]
        assert energies == sorted(energies)


@given(st.integers(1, 127))
def test_integers_of_any_width(width: int) -> None:
    narrow, wide = T45.arithmetic("mac", f"int{width}"), T45.arithmetic("mac", f"int{width + 1}")
    assert 0 < narrow.energy < wide.energy
    assert 0 < narrow.area < wide.area


@pytest.mark.parametrize(
    ("op", "dtype", "message"),
    [
        ("mak", "bf16", r"no technology model of operation 'mak'; did you mean 'max'\?"),
        ("lookup", "int8", "no technology model of operation 'lookup'; known: add, compare, div, exp, mac, max, mul"),
        (None, "int8", "no technology model of operation None"),
        ("mac", "bf17", r"no technology model of data type 'bf17'; did you mean 'bf16'\?"),
        ("mac", "int0", "data type 'int0' is not letters and bits"),
        ("mac", "int256", "data type 'int256' is wider than the 128 bits that the models cover"),
        ("mac", 16, "no technology model of data type 16"),
    ],
)
def test_unknown_operations_and_types_are_refused(op: str, dtype: str, message: str) -> None:
    with pytest.raises(WeirError, match=message):
        T45.arithmetic(op, dtype)
