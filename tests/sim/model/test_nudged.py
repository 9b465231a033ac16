"""A tenth more of each number of a device: bound by memory, only its bandwidth helps; bound by compute, only a rate."""

from __future__ import annotations

import pytest

import sim
from sim.model.nudged import nudged
from workloads import attention


def gains(tokens: int) -> dict[str, float]:
    cascade = attention.one_pass(query=tokens, context=tokens, head_dim=64)
    found = dict(nudged(sim.search(cascade, sim.device("fusemax_cloud")).estimate))
    return {path: gain for path, gain in found.items() if abs(gain) > 1e-9}


def test_bound_by_memory_only_its_bandwidth_helps() -> None:
    assert gains(256) == pytest.approx({"dram.bandwidth": 0.1})


def test_bound_by_compute_the_rates_help_together_by_less_than_a_tenth() -> None:
    found = gains(4096)
    assert "dram.bandwidth" not in found
    assert max(found, key=lambda path: found[path]) == "array.rate.mac.bf16"
    assert 0.08 < sum(found.values()) < 0.1 + 1e-9
