"""FuseMax's designs on one problem, against cycles counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mappings.attention_arrays import flat, interleaved, staged, unfused
from sim.arch import Device, device
from sim.model.spatial import MappedEstimate, evaluate
from workloads import attention

CYCLE = 1 / 940e6
B, H, P, E = 4, 3, 1024, 64
TILES = B * H * (P // 256) ** 2  # tiles of 256 queries by 256 keys
ONE = attention.one_pass(batch=B, heads=H, query=P, context=P, head_dim=E)
THREE = attention.three_pass(batch=B, heads=H, query=P, context=P, head_dim=E)


def quiet(name: str) -> Device:
    """The device with registers that cost nothing."""
    return device(name).with_("registers.energy", 0.0).with_("registers.write_energy", 0.0)


@pytest.fixture(scope="module")
def fused() -> MappedEstimate:
    return evaluate(ONE, interleaved(block=P), quiet("fusemax_cloud"))


def test_the_lanes_set_the_pace_when_all_is_interleaved(fused: MappedEstimate) -> None:
    # On the lanes, for each tile: RM, RD, SPD one cycle each, PRM seven, SPNV and RNV one for each of 64 columns;
    # and one quotient for each output.
    cycles = TILES * (1 + 1 + 1 + 7 + 2 * E) + B * H * P * E / 256
    assert fused.seconds == pytest.approx(cycles * CYCLE, rel=1e-8)
    assert fused.utilisation("vector") == pytest.approx(1.0, rel=1e-8)


def test_the_array_is_nearly_as_busy(fused: MappedEstimate) -> None:
    busy = TILES * (E + 1 + 7 + 1 + E)  # QK, LM, SLN, SLD, SLNV
    assert fused.utilisation("array") == pytest.approx(busy * CYCLE / float(fused.seconds), rel=1e-8)


def test_memory_traffic_is_compulsory_when_all_queries_stay(fused: MappedEstimate) -> None:
    assert fused.traffic("dram") == 4 * B * H * P * E * 2


def test_keys_and_values_come_again_for_each_block(fused: MappedEstimate) -> None:
    halved = evaluate(ONE, interleaved(block=P // 2), quiet("fusemax_cloud"))
    assert halved.traffic("dram") - fused.traffic("dram") == 2 * B * H * P * E * 2
    assert halved.seconds == pytest.approx(float(fused.seconds))


def test_without_interleaving_the_array_waits_for_the_maxima() -> None:
    made = evaluate(ONE, staged(block=P), quiet("fusemax_cloud"))
    # QK and LM, 256 cycles until the maxima are out, RM, SLN and SLD, then SPNV, RNV and RD on the lanes.
    cycles = TILES * (E + 1 + 256 + 1 + 8 + 2 * E + 1)
    assert made.seconds == pytest.approx(cycles * CYCLE, rel=1e-6)


def test_registers_cost_energy_unless_told_otherwise(fused: MappedEstimate) -> None:
    whole = evaluate(ONE, interleaved(block=P), device("fusemax_cloud"))
    assert whole.seconds == fused.seconds
    points = B * H * P * P
    # Each score is summed over 64 columns in a register, and each numerator read for 64: the bulk of the accesses.
    read, write = whole.device.get("registers.energy") * 2, whole.device.get("registers.write_energy") * 2
    bulk = points * E * (2 * read + write)
    assert float(whole.joules - fused.joules) == pytest.approx(bulk, rel=0.1)


def test_flat_is_bound_by_its_softmax() -> None:
    made = evaluate(THREE, flat(block=P), device("flat_cloud"))
    points = B * H * P * P
    assert made.seconds == pytest.approx(4 * points / 256 * CYCLE, rel=1e-8)  # four steps, a result a cycle
    assert made.utilisation("array") == pytest.approx(2 * E * points / 65536 / (4 * points / 256), rel=1e-8)


def test_lanes_that_are_not_chained_take_longer() -> None:
    on = device("flat_cloud")
    serial = replace(on, computes=tuple(replace(unit, chained=False) for unit in on.computes))
    fast, slow = (evaluate(THREE, flat(block=P), one).seconds for one in (on, serial))
    assert slow / fast == pytest.approx(5 / 4)  # subtraction and exponential one after the other


def test_unfused_waits_for_memory_phase_by_phase() -> None:
    made = evaluate(THREE, unfused(block=P), device("flat_cloud"))
    scores, head = B * H * P * P * 2, B * H * P * E * 2  # bytes
    rate = 400 * 2**30
    products = (scores + 2 * head) / rate  # memory-bound: QK, and again AV
    softmax = 4 * scores / 2 / 256 * CYCLE  # bound by the lanes
    assert made.traffic("dram") == 4 * scores + 4 * head
    assert made.seconds == pytest.approx(2 * products + softmax, rel=1e-6)


def test_many_lengths_at_once_are_as_one_at_a_time() -> None:
    lengths = np.array([1024.0, 4096.0])
    sizes = ONE.bind(p=lengths, m1=lengths / 256)
    both = evaluate(ONE, interleaved(block=256), quiet("fusemax_cloud"), sizes, {"p.0": lengths})
    for place, length in enumerate((1024, 4096)):
        alone = evaluate(
            attention.one_pass(batch=B, heads=H, query=length, context=length, head_dim=E),
            interleaved(block=length),
            quiet("fusemax_cloud"),
        )
        assert np.broadcast_to(both.seconds, 2)[place] == pytest.approx(float(alone.seconds))
        assert np.broadcast_to(both.joules, 2)[place] == pytest.approx(float(alone.joules))
