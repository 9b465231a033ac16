"""The host's time to launch a step's kernels: counted by hand, and nothing but their number matters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mappings.parallel import layout
from sim.model.step import Work
from sim.serving.engines import software
from sim.serving.launches import PASS, PRODUCT, launching
from workloads.transformer import model


def work(phase: str, ways: int = 1, name: str = "llama-3-8b", **sizes: float) -> Work:
    program = model(name).program(phase)
    return Work.of(program, layout(program, {"model": ways}, tp=ways), **sizes)


def test_a_layer_has_four_products_attention_and_four_passes() -> None:
    """Normalisations, activation and the residual; before and after all layers: embedding, norm, logits, choice."""
    expected = 32 * (4 * PASS + 5 * PRODUCT) + 3 * PASS + PRODUCT
    assert launching(work("decode", b=1.0, c=100.0, p=1.0)) == pytest.approx(expected)


def test_flash_attention_leaves_two_more_passes_to_launch() -> None:
    program = model("llama-3-8b").program("decode")
    one = layout(program, {"model": 1}, tp=1)
    alone, whole = (launching(Work.of(program, replace(one, flash=f), b=1.0, c=9.0, p=1.0)) for f in (True, None))
    assert alone - whole == pytest.approx(32 * 2 * PASS)


def test_collectives_are_launched_too() -> None:
    alone, divided = (launching(work("decode", ways, b=1.0, c=100.0, p=1.0)) for ways in (1, 8))
    assert divided - alone == pytest.approx((32 * 2 + 2) * PRODUCT)


def test_sizes_do_not_matter() -> None:
    small, large = (launching(work("prefill", b=b, c=0.0, p=p)) for b, p in ((1.0, 2.0), (64.0, 4096.0)))
    assert small == large


def test_tensorrt_llm_launches_take_what_was_measured() -> None:
    """30 ms for gpt-oss-120b on two devices, 886 tokens of a prompt (ai-dynamo/aisimulate issue 277)."""
    eager = launching(work("prefill", 2, "gpt-oss-120b", b=1.0, c=0.0, p=886.0))
    assert software("trtllm").rules.launches * eager == pytest.approx(0.030, rel=0.02)
