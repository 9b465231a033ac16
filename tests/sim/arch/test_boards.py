"""Watts of boards: what a file states, and else shares of its limit; those are said to be tested where they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from einsum.errors import WeirError
from sim.arch import Power, device, device_names, power_tested

NEVER_MEASURED = """
title = "Paper"
vendor = "Nobody"
architecture = "Paper"
year = 2030
source = "a spec sheet"

[[memory]]
name = "hbm"
capacity = "80 GB"
bandwidth = "2 TB/s"

[[compute]]
name = "tensor"
under = "hbm"
[compute.rate.mac]
bf16 = "400 TFLOP/s"

[power]
"""


def board(folder: Path, *stated: str) -> Power:
    path = folder / "paper.toml"
    path.write_text(NEVER_MEASURED + "\n".join(stated), encoding="utf-8")
    found = device(path).power
    assert found is not None
    return found


def parts(power: Power) -> tuple[float, ...]:
    return power.idle, power.active, power.compute, power.memory, power.link


def test_a_board_that_was_never_measured_draws_shares_of_its_limit(tmp_path: Path) -> None:
    """Of H200's 700 W, 134 were the least reading, and 4.05 pJ/bit at 4.8 TB/s come to 156."""
    power, half = board(tmp_path, 'tdp = "1000 W"'), board(tmp_path, 'tdp = "500 W"')
    assert (power.idle, power.memory) == pytest.approx((1000 * 134 / 700, 1000 * 156 / 700), rel=0.02)
    assert parts(half) == pytest.approx([watts / 2 for watts in parts(power)])


def test_a_part_that_the_file_states_replaces_its_share(tmp_path: Path) -> None:
    power = board(tmp_path, 'tdp = "1000 W"', 'idle = "80 W"', 'memory = "65 W"')  # 4.05 pJ/bit at 2 TB/s
    shares = board(tmp_path, 'tdp = "1000 W"')
    assert parts(power) == (80, shares.active, shares.compute, 65, shares.link)


def test_a_board_without_a_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match=r"power.tdp: is missing"):
        board(tmp_path, 'idle = "80 W"')


BOARDS = [name for name in device_names() if device(name).power is not None]


@pytest.mark.parametrize("name", BOARDS)
def test_matrix_units_at_full_rate_reach_the_limit_and_memory_alone_does_not(name: str) -> None:
    power = device(name).power
    assert power is not None
    assert power.watts(1.0, 0.0, 0.0, 1.0) == power.tdp
    assert power.idle < power.watts(0.0, 0.0, 0.0, 1.0) < power.watts(0.0, 1.0, 0.0, 1.0) < power.tdp


def test_the_shares_were_tried_on_one_board() -> None:
    tested = power_tested()
    assert tested.devices == ("h200_sxm",)
    assert 0 < tested.median < tested.p90 < 1
