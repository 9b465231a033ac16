"""Time per output token: steps with and without the prompts that are merged into them."""

from __future__ import annotations

import pytest

from sim.arch import cluster, tier
from sim.silicon.served import token_seconds
from workloads.transformer import model

ROW = {
    "model_path": "meta-llama/Llama-3.1-8B-Instruct", "system": "h100_sxm", "concurrency": "16", "batch_size": "",
    "isl": "1024", "tp_size": "1", "moe_ep_size": "", "moe_tp_size": "", "gemm_quant_mode": "", "precision": "bf16",
}  # fmt: skip


def test_endless_answers_are_decode_steps_alone() -> None:
    import sim

    ours = token_seconds({**ROW, "osl": "1e6"}, tier("physical"))
    step = sim.estimate(model("llama-3-8b").decode, cluster("1xh100_sxm"), b=16, c=1024 + 5e5).seconds
    assert ours == pytest.approx(step, rel=0.02)


def test_merged_prompts_cost_less_than_prompts_in_turn_and_more_than_none() -> None:
    times = [token_seconds({**ROW, "isl": "256", "osl": osl}, tier("physical")) for osl in ("32", "64", "512")]
    assert times[0] > times[1] > times[2]
    import sim

    prompt = sim.estimate(model("llama-3-8b").prefill, cluster("1xh100_sxm"), b=1, c=0, p=256).seconds
    step = sim.estimate(model("llama-3-8b").decode, cluster("1xh100_sxm"), b=16, c=256 + 16).seconds
    assert times[0] < step + prompt / 2
