"""Shapes against the widths that papers write them with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from einsum import WeirError
from sim.arch import device
from sim.planner.shape import hardware, shape
from workloads.transformer import model


def test_opt_by_hand() -> None:
    made = shape(model("opt-30b"), 544)
    h = 7168
    assert (made.layers, made.kv, made.stream, made.ffn_stream) == (48, 4 * h, 2 * h, 8 * h)
    assert (made.projections, made.network) == (8 * h**2, 16 * h**2)
    assert made.linear_flops == made.projections + made.network  # two operations and two bytes for each weight
    assert made.attention_flops == 4 * h
    assert made.head_flops == 2 * h * 50272
    assert made.weight == pytest.approx(24 * h**2, rel=2e-4)  # biases and norms besides


def test_a_mixture_reads_all_experts_and_computes_two() -> None:
    made = shape(model("mixtral-8x7b"), 109)
    assert made.network == 8 * 3 * 4096 * 14336 * 2
    assert made.network_flops == 2 * 3 * 4096 * 14336 * 2
    assert (made.kv, made.chosen, made.ffn_stream) == (2 * 8 * 128 * 2, 2, 2 * 14336 * 2)


@pytest.mark.parametrize("name", ["opt-6.7b", "llama-3-8b", "gemma-2-2b", "mixtral-8x7b", "deepseek-v2"])
def test_every_weight_is_somewhere(name: str) -> None:
    made, whole = shape(model(name), 1000), model(name)
    assert made.weight * made.layers + made.tables == pytest.approx(2 * whole.parameters)
    assert made.kv * made.layers * 1000 == pytest.approx(float(whole.state_bytes(1000)))


def test_compression_takes_from_the_network_alone() -> None:
    made = shape(model("mixtral-8x7b"), 1)
    small = made.compressed(20)
    assert small.network == pytest.approx(made.network / 20)
    assert made.weight - small.weight == pytest.approx(made.network * 0.95)
    with pytest.raises(WeirError, match="ratio is at least 1"):
        made.compressed(0.5)


def test_hardware_adds_up_and_says_what_is_wrong() -> None:
    four = hardware(device("l4"), device("xeon_8380"), gpus=4)
    assert (four.gpu_memory, four.down, four.host_memory) == (96e9, 126e9, 512e9)
    assert four.with_(disk_memory="1 TB").disk_memory == 1e12
    with pytest.raises(WeirError, match="no 'disc_memory'; did you mean 'disk_memory'"):
        four.with_(disc_memory="1 TB")
    with pytest.raises(WeirError, match="states no link to a host"):
        hardware(replace(device("l4"), links=()), device("xeon_8380"))
