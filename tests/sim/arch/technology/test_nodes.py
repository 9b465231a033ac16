from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.arch.technology import SCALINGS, Technology, nodes, technology

NODES = (65, 45, 40, 32, 28, 22, 16, 14, 12, 10, 7, 5)


def test_the_published_polynomial_at_45_and_7_nm() -> None:
    # 1.018 - 0.3107 + 0.1539 at 1.0 V; 0.1776 x 0.49 - 0.09097 x 0.7 + 0.02447 at 0.7 V
    plain = nodes.energy("stillmaker")
    assert plain.at(45) == pytest.approx(0.8612)
    assert plain.at(7) == pytest.approx(0.047815)
    assert plain.factor(7) == pytest.approx(0.0555, abs=1e-4)


def test_the_calibrated_scaling_meets_the_mean_of_the_four_ratios_it_is_made_from() -> None:
    mean = (0.07 / 0.2 * 0.03 / 0.1 * 0.34 / 1.1 * 1.31 / 3.7) ** 0.25
    assert nodes.energy("calibrated").factor(7) == pytest.approx(mean)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_energy_and_area_shrink_with_every_node(scaling: str) -> None:
    for curve in (nodes.energy(scaling), nodes.area(), nodes.cell()):
        values = [curve.at(node) for node in NODES]
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_every_factor_is_one_at_its_base(scaling: str) -> None:
    assert nodes.energy(scaling).factor(45) == nodes.area().factor(45) == nodes.leakage().factor(45) == 1.0
    assert nodes.energy(scaling).factor(28, 28) == 1.0


def test_a_node_between_two_lies_between_them_and_5_nm_goes_on_along_the_line() -> None:
    area = nodes.area()
    assert area.at(28) == pytest.approx(0.46 * (0.21 / 0.46) ** 0.2841, rel=1e-3)  # log(32/28) / log(32/20) = 0.2841
    assert area.at(5) / area.at(7) == pytest.approx((0.059 / 0.1) ** (0.33647 / 0.35667), rel=1e-4)


def test_leakage_keeps_its_last_value_where_there_is_no_data() -> None:
    assert nodes.leakage().at(22) == pytest.approx(5.7)
    assert nodes.leakage().at(5) == pytest.approx(5.7)
    assert nodes.leakage().at(65) == pytest.approx(1.0)


@given(st.floats(5, 65), st.floats(5, 65), st.sampled_from(SCALINGS))
def test_factors_compose(first: float, second: float, scaling: str) -> None:
    curve = nodes.energy(scaling)
    assert curve.factor(first) * curve.factor(second, first) == pytest.approx(curve.factor(second))


@pytest.mark.parametrize("text", ["45 nm", "45nm", "45", " 45.0 nm ", 45, 45.0])
def test_a_node_reads_as_text_or_number(text: str | float) -> None:
    assert technology(text) == Technology(45.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("45 um", "technology node '45 um' is not a number of nanometres; write for example '7 nm'"),
        ("", "is not a number of nanometres"),
        (3, "technology node 3 nm is outside the models' 5 nm to 65 nm"),
        ("180 nm", "technology node 180 nm is outside the models' 5 nm to 65 nm"),
        (float("nan"), "technology node nan nm is outside"),
        (-7, "technology node -7 nm is outside"),
        (True, "technology node True is not a number of nanometres"),
        (None, "technology node None is not a number of nanometres"),
    ],
)
def test_a_node_that_is_none_is_refused(given: object, message: str) -> None:
    with pytest.raises(WeirError, match=message.replace("(", r"\(")):
        technology(given)  # type: ignore[arg-type]


def test_an_unknown_scaling_is_refused() -> None:
    with pytest.raises(WeirError, match=r"unknown scaling 'stilmaker'; did you mean 'stillmaker'\?"):
        Technology(45, "stilmaker")
