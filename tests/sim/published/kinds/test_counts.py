from __future__ import annotations

import pytest

from einsum import WeirError
from sim.published.kinds import counts, loads


def count(model: str, part: str, context: int = 1000) -> float:
    return counts.decoding({}, model=model, part=part, context=context)


def test_a_dense_model_by_hand() -> None:
    """Llama-2-70B: 80 layers of width 8192, 64 heads and 8 pairs of 128, hidden width 28672."""
    assert count("llama-2-70b", "attention") == 80 * 64 * 128 * 1000 * 2 * 2
    assert count("llama-2-70b", "linear") == 80 * 2 * (2 * 8192 * 8192 + 2 * 8192 * 8 * 128)
    assert count("llama-2-70b", "ffn") == 80 * 2 * 3 * 8192 * 28672


def test_a_mixture_counts_the_chosen_experts_and_the_router() -> None:
    """Mixtral-8x7B: 2 of 8 experts of width 14336."""
    assert count("mixtral-8x7b", "ffn") == pytest.approx(32 * 2 * (2 * 3 * 4096 * 14336 + 4096 * 8))


def test_latent_attention_as_absorbed() -> None:
    """DeepSeek-V3: 128 heads against 576 values a key, and 512 of them averaged."""
    assert count("deepseek-v3", "attention") == 61 * 128 * 1000 * 2 * (576 + 512)


def test_projections_do_not_grow_with_context() -> None:
    for part in ("linear", "ffn"):
        assert count("qwen3-32b", part, 1) == count("qwen3-32b", part, 100_000)
    assert count("qwen3-32b", "attention", 2000) == 2 * count("qwen3-32b", "attention")


def test_state_and_weights() -> None:
    assert counts.state({}, model="llama-2-70b", context=10, dtype="fp16") == 3_276_800
    assert counts.requests({}, model="llama-2-70b", context=10, memory="32.768 MB") == pytest.approx(10)
    assert counts.stored({}, model="llama-2-70b", dtype="fp8") == pytest.approx(68.976648192)
    assert counts.parameters({}, model="llama-2-70b") == pytest.approx(68.976648192)


def test_the_embedding_table_can_be_left_out() -> None:
    whole, less = (
        counts.active_parameters({}, model="llama-2-7b", embedding=choice) for choice in ("counted", "left out")
    )
    assert whole - less == pytest.approx(32000 * 4096 / 1e9)
    with pytest.raises(WeirError, match="unknown choice 'leftout'; did you mean 'left out'"):
        counts.active_parameters({}, model="llama-2-7b", embedding="leftout")


def test_training_is_six_operations_a_weight_and_token() -> None:
    """All weights but the embedding table and the norms are multiplied once a token."""
    multiplied = 6_738_415_616 - 32000 * 4096 - 65 * 4096
    assert counts.training({}, model="llama-2-7b", tokens=10) == pytest.approx(60 * multiplied, rel=1e-4)
    assert counts.inference({}, model="llama-2-7b", tokens=10) == pytest.approx(20 * multiplied, rel=1e-4)
    assert counts.stated({}, parameters=7.0, tokens=10.0, passes=3) == 420


def test_an_unknown_part_or_model() -> None:
    with pytest.raises(WeirError, match="unknown part 'fnn'; did you mean 'ffn'"):
        count("llama-2-7b", "fnn")
    with pytest.raises(WeirError, match="llama-2-71b"):
        count("llama-2-71b", "ffn")


def test_traces() -> None:
    assert loads.requests({}, trace="azure_code") == 8819
    assert loads.mean_prompt({}, trace="azure_code") == pytest.approx(2047.85, abs=0.005)
    assert loads.mean_output({}, trace="azure_code") == pytest.approx(27.88, abs=0.005)
    with pytest.raises(WeirError, match="unknown trace 'azure_cod'"):
        loads.requests({}, trace="azure_cod")
