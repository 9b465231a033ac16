from __future__ import annotations

from math import inf

import numpy as np
import pytest

from sim.arch import Compute, Link, Memory, Power


def test_a_memory_is_as_fast_as_its_bandwidth_when_nothing_else_limits_it() -> None:
    hbm = Memory("hbm", bandwidth=2e12)
    assert hbm.rate == 2e12
    assert hbm.seconds(4e12) == 2.0
    assert hbm.capacity == inf


def test_littles_law_by_hand() -> None:
    # 16 outstanding 8-byte requests, each 100 ns: 128 B every 100 ns.
    dram = Memory("dram", bandwidth=8e9, latency=100e-9, concurrency=16, line=8)
    assert dram.rate == pytest.approx(1.28e9)
    assert dram.seconds(1.28e9) == pytest.approx(1.0)


def test_enough_requests_reach_the_bandwidth() -> None:
    assert Memory("dram", bandwidth=8e9, latency=100e-9, concurrency=1000, line=8).rate == 8e9


def test_memory_counts_arrays_of_design_points() -> None:
    hbm = Memory("hbm", bandwidth=2.0, energy=3.0)
    np.testing.assert_array_equal(hbm.seconds(np.array([2.0, 4.0])), [1.0, 2.0])
    np.testing.assert_array_equal(hbm.joules(np.array([2.0, 4.0])), [6.0, 12.0])


def test_a_compute_unit_lists_what_it_runs() -> None:
    unit = Compute("tensor", rates=(("mac", "bf16", 4e12),), energies=(("mac", "bf16", 1e-12),))
    assert unit.rate("mac", "bf16") == 4e12
    assert unit.rate("mac", "fp8") is None
    assert unit.rate("exp", "bf16") is None
    assert unit.joules("mac", "bf16", 5.0) == pytest.approx(5e-12)
    assert unit.joules("exp", "bf16", 5.0) == 0.0


def test_a_link_is_latency_plus_bytes_over_bandwidth() -> None:
    link = Link("nvlink", "node", bandwidth=450e9, latency=1e-6, peers=8)
    assert link.seconds(450e3) == pytest.approx(2e-6)
    np.testing.assert_allclose(link.seconds(np.array([0.0, 450e3])), [1e-6, 2e-6])


def test_power_is_idle_plus_what_is_used_and_never_above_the_limit() -> None:
    board = Power(tdp=700, idle=100, compute=300, memory=200, link=100, active=100)
    assert board.watts(0.0, 0.0, 0.0, 0.0) == 100
    assert board.watts(0.5, 0.5, 0.0, 1.0) == 450
    assert board.watts(1.0, 1.0, 1.0, 1.0) == 700
    np.testing.assert_array_equal(
        board.watts(np.array([0.0, 1.0]), np.array([1.0, 1.0]), np.array([0.0, 1.0]), np.array([1.0, 1.0])),
        [400.0, 700.0],
    )
