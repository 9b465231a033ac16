"""Whole models: measured runs served again, and single batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mappings.parallel import layout
from sim.arch import cluster, tier
from sim.model.step import Work
from sim.serving import Served
from sim.serving.engines import software
from sim.silicon.served import cannot, errors, measured_run
from workloads.transformer import model

PHYSICAL = tier("physical")
ROW = {
    "model_path": "meta-llama/Llama-3.1-8B-Instruct", "system": "h100_sxm", "backend": "trtllm", "concurrency": "16",
    "batch_size": "256", "attention_dp_size": "", "isl": "1024", "osl": "64", "tp_size": "1", "moe_ep_size": "",
    "moe_tp_size": "", "gemm_quant_mode": "", "precision": "bf16", "measured": "", "silicon_ttft_ms": "50",
    "silicon_tpot_ms": "10",
}  # fmt: skip
# Means of measured runs on H100 (InferenceX and ai-dynamo/aiconfigurator, Apache-2.0): first token and each one, in ms.
RUNS = (
    ({"model_path": "Qwen/Qwen3-32B", "backend": "sglang", "isl": "4096", "osl": "256", "tp_size": "8"},
     802.36, 10.686),
    ({"model_path": "meta-llama/Llama-3.1-70B", "backend": "vllm", "isl": "8192", "osl": "1024", "tp_size": "8",
      "precision": "fp8", "measured": "2025-10-29"}, 482.89, 15.853),
    ({"model_path": "Qwen/Qwen3-235B-A22B-FP8", "isl": "256", "osl": "256", "tp_size": "8", "concurrency": "32",
      "moe_tp_size": "1", "moe_ep_size": "8", "precision": "fp8", "gemm_quant_mode": "fp8_block"}, 246.23, 18.006),
)  # fmt: skip


def served(**changed: str) -> Served:
    return measured_run({**ROW, **changed}, PHYSICAL).served()


@pytest.mark.parametrize(("row", "first", "each"), RUNS, ids=["prompts first", "mixed", "launched"])
def test_measured_runs_are_met_within_the_tested_errors(row: dict[str, str], first: float, each: float) -> None:
    ours = served(**row)
    assert ours.ttft.mean() * 1e3 == pytest.approx(first, rel=0.3)
    assert ours.tpot.mean() * 1e3 == pytest.approx(each, rel=0.2)


def test_one_user_waits_for_server_and_prefill_and_then_for_decode_steps() -> None:
    import sim

    ours, on, llama, own = served(concurrency="1"), cluster("1xh100_sxm"), model("llama-3-8b"), software("trtllm")
    prefill = sim.estimate(llama.prefill, on, b=1, c=0, p=1024).seconds
    decode = sim.estimate(llama.decode, on, b=1, c=1024 + 32).seconds
    assert ours.ttft.mean() == pytest.approx(own.front + own.host + prefill, rel=0.01)
    assert ours.tpot.mean() == pytest.approx(own.host + decode, rel=0.02)


@pytest.mark.parametrize("name", ["vllm", "sglang", "trtllm"])
def test_measured_runs_have_the_attention_of_their_engine(name: str) -> None:
    ours, llama = served(concurrency="1", backend=name), model("llama-3-8b")
    laid = replace(layout(llama.decode, {"model": 1}, tp=1), flash=software(name).flash)
    step = Work.of(llama.decode, laid, b=1.0, c=1024.0 + 32, p=1.0).on(cluster("1xh100"), PHYSICAL)
    assert ours.tpot.mean() == pytest.approx(software(name).host + float(step.latency), rel=0.005)


def test_prompts_before_decoding_let_those_that_are_filled_wait() -> None:
    mixed, first = (served(concurrency="32", backend=name) for name in ("trtllm", "sglang"))
    assert first.first_token[:32].max() < mixed.first_token[:32].max()
    assert first.finish[0] - first.first_token[0] > mixed.finish[0] - mixed.first_token[0]
    assert first.finish.max() == pytest.approx(mixed.finish.max(), rel=0.25)  # the work is the same


def test_a_dated_row_has_random_lengths() -> None:
    dated = served(measured="2026-01-01")
    assert dated.prompt.min() >= 819
    assert np.ptp(dated.prompt) > 100
    assert np.ptp(served().prompt) == 0


def test_narrow_state_lets_more_requests_in() -> None:
    """128 requests of Qwen3 32B do not fit on one device beside its fp8 weights unless their state is fp8 too."""
    long = {"model_path": "Qwen/Qwen3-32B", "concurrency": "128", "isl": "2048", "osl": "32"}
    both = served(**long, gemm_quant_mode="fp8"), served(**long, gemm_quant_mode="fp8_block")
    queued = [(one.admitted - one.arrival)[:128].max() for one in both]
    assert queued[0] < queued[1]


def test_runs_that_cannot_be_compared_are_counted_with_the_reason(tmp_path: Path) -> None:
    others = ({"concurrency": ""}, {"batch_size": "8"}, {"attention_dp_size": "4"}, *[{"model_path": "some/other"}] * 2)
    lines = (",".join({**ROW, **other}.values()) for other in ({}, *others))
    (tmp_path / "e2e_inferencex_agg.csv").write_text("\n".join((",".join(ROW), *lines)), encoding="utf-8")
    found = {name: error["limit"] for name, _, error in errors(tmp_path, {"limit": tier("limit")})}
    kinds = ("first token, trtllm", "first token, unsaturated", "first token")
    assert set(found) == {"token of llama-3-8b", *kinds}
    assert all(len(error) == 1 for error in found.values())
    ours = measured_run(ROW, tier("limit")).served()
    assert found["first token"] == pytest.approx(ours.ttft.mean() / 0.05 - 1)
    assert found["token of llama-3-8b"] == pytest.approx(ours.tpot.mean() / 0.01 - 1)
    reasons = (
        "not named",
        "how many replicas",
        "several groups of devices",
        "cannot: 2 runs of some/other: not in the",
    )
    for said, reason in zip(cannot(tmp_path), reasons, strict=True):
        assert reason in said


def test_lone_batches_are_a_prefill_and_then_decode_steps(tmp_path: Path) -> None:
    import sim

    head = "model,hardware,tensor_parallel,prompt_size,batch_size,output_tokens,prompt_time_ms,token_time_ms"
    rows = ("llama2-70b,a100-80gb,8,512,2,128,100,20", "another,a100-80gb,8,512,2,128,100,20")
    (tmp_path / "e2e_splitwise.csv").write_text("\n".join((head, *rows)), encoding="utf-8")
    found = {name: error["physical"] for name, _, error in errors(tmp_path, {"physical": PHYSICAL})}
    assert set(found) == {"prompt of llama-2-70b", "lone token of llama-2-70b"}
    on, llama = cluster("8xa100"), model("llama-2-70b")
    prompt = sim.estimate(llama.prefill, on, b=2, c=0, p=512).seconds
    # 80 layers of 4 passes and 7 products and collectives, and 3 of each before and after: slower than the devices
    token = (80 * 4 + 3) * 45e-6 + (80 * 7 + 3) * 21e-6
    assert token > sim.estimate(llama.decode, on, b=2, c=512 + 64).seconds
    assert any("Ray" in reason for reason in cannot(tmp_path))
    assert found["prompt of llama-2-70b"] == pytest.approx(prompt / 0.1 - 1)
    assert found["lone token of llama-2-70b"] == pytest.approx(token / 0.02 - 1)
