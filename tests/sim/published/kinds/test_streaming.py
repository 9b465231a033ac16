from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import WeirError
from sim.published.kinds import streaming

INPUTS = {"rates": {"toy": "100 TFLOP/s", "fast": "300 TFLOP/s"}}


def tokens(gpu: str = "toy", link: str = "10 GB/s", model: str = "mixtral-8x7b") -> float:
    return streaming.tokens_to_saturate(INPUTS, model=model, gpu=gpu, link=link)


def test_tokens_to_saturate_by_hand() -> None:
    """Rate over bandwidth, times the experts over those chosen: 1e14 / 1e10 x 8 / 2; two bytes and two operations."""
    assert tokens() == pytest.approx(40_000, rel=1e-3)
    assert tokens("fast") == pytest.approx(120_000, rel=1e-3)
    assert tokens(link="40 GB/s") == pytest.approx(10_000, rel=1e-3)
    assert tokens(model="qwen3-30b-a3b") == pytest.approx(1e4 * 128 / 8, rel=2e-2)  # a router of 128 counts a little


def test_state_to_saturate_is_a_sequence_a_token() -> None:
    """131,072 bytes a token of Mixtral-8x7B."""
    found = streaming.state_to_saturate(INPUTS, model="mixtral-8x7b", gpu="toy", link="10 GB/s", context=256)
    assert found == pytest.approx(tokens() * 256 * 131_072 / 1e9)


@settings(max_examples=30)
@given(prompt=st.integers(1, 2000), output=st.integers(1, 500))
def test_staggering_against_enumeration(prompt: int, output: int) -> None:
    """A request of age j has grown from prompt + j tokens to one more in the pass: its mean there is half-way."""
    held = [prompt + j + 0.5 for j in range(output)]
    assert streaming.tokens_per_capacity({}, prompt=prompt, output=output) == pytest.approx(
        (prompt + output) / sum(held), rel=1e-5
    )
    assert streaming.staggering_gain({}, prompt=prompt, output=output) == pytest.approx(
        (prompt + output) / (sum(held) / output), rel=1e-5
    )


def test_a_model_without_experts_or_an_unknown_gpu() -> None:
    with pytest.raises(WeirError, match="llama-2-7b has no experts to stream"):
        tokens(model="llama-2-7b")
    with pytest.raises(WeirError, match=r"inputs: no 'rates.toys'; did you mean 'toy'"):
        tokens("toys")
