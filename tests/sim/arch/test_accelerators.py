from __future__ import annotations

import pytest

from einsum import WeirError
from sim.arch import accelerator_names, device, device_names
from sim.arch.components import Memory


@pytest.mark.parametrize("name", accelerator_names())
def test_every_array_loads_by_name_and_says_where_it_is_from(name: str) -> None:
    found = device(name)
    assert found.name == name
    assert found.source
    assert name not in device_names()


def test_a_near_match_may_be_an_array() -> None:
    with pytest.raises(WeirError, match="unknown device 'eyeris'; did you mean 'eyeriss'"):
        device("eyeris")


def test_peak_rates() -> None:
    assert device("tpu_v1").rate("mac", "int8") == pytest.approx(92e12, rel=0.003)
    assert device("eyeriss").rate("mac", "int16") == pytest.approx(2 * 33.6e9, rel=1e-3)  # 33.6 GMAC/s at 200 MHz


def test_wavefronts_are_a_step_a_cycle() -> None:
    made = device("tpu_v1")
    cycle = 1 / 700e6
    assert made.get("rows.skew") == pytest.approx(255 * cycle, rel=1e-5)
    assert made.get("rows.shift") == pytest.approx(256 * cycle, rel=1e-5)


def test_one_port_or_two() -> None:
    assert Memory("a", bandwidth=10.0).busy(30.0, 20.0) == 5.0
    assert Memory("a", bandwidth=10.0, write_bandwidth=5.0).busy(30.0, 20.0) == 4.0
    assert Memory("a", bandwidth=10.0, write_bandwidth=50.0).busy(30.0, 20.0) == 3.0
