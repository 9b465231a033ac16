from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import WeirError
from sim.published.kinds import described

# One token: 1.98e12 operations are a millisecond of an H800 (1.98e15 op/s), 3.35e9 bytes another (3.35e12 B/s).
WORK = {"kv": 3.35e9, "attention": 0.99e12, "linear": 1.98e12, "ffn": 3.96e12}
INPUTS: dict[str, Any] = {"book": "step3_2025", "cheapest": ["h800", "h20"], "work": {"8k": {"toy": WORK}}}
MILLISECOND = 2 / 3600 * 1e-3  # USD of an H800 at 2 USD/h


def usd(part: str, device: str = "h800", **work: float) -> float:
    inputs = {**INPUTS, "work": {"8k": {"toy": {**WORK, **work}}}}
    return described.usd_per_million(inputs, model="toy", part=part, context="8k", device=device) / 1e6


def test_a_token_by_hand() -> None:
    assert usd("attention") == pytest.approx(2 * MILLISECOND)  # bytes hide the 0.5 ms of operations; then the linear
    assert usd("attention", attention=5.94e12) == pytest.approx(4 * MILLISECOND)  # operations hide the bytes
    assert usd("ffn") == pytest.approx(2 * MILLISECOND)
    assert usd("total") == pytest.approx(4 * MILLISECOND)


def test_the_cheapest_device_is_chosen_part_by_part() -> None:
    each = {d: {p: usd(p, d) for p in ("attention", "ffn")} for d in ("h800", "h20")}
    assert usd("total", "cheapest") == pytest.approx(
        sum(min(e[p] for e in each.values()) for p in ("attention", "ffn"))
    )


def test_a_device_without_8_bit_units_computes_in_16() -> None:
    """312 TFLOP/s at 0.75 USD/h, whatever the width asked for."""
    assert described.usd_per_operation(INPUTS, device="a800") == pytest.approx(0.75 / 3600 / 312e12)
    assert described.usd_per_operation(INPUTS, device="h800") == pytest.approx(2 / 3600 / 1.98e15)


def test_the_papers_own_figure_of_a_device_replaces_ours() -> None:
    stated = {"book": "step3_2025", "devices": {"a800": {"hbm.bandwidth": "1 TB/s"}}}
    assert described.usd_per_byte(stated, device="a800") == pytest.approx(0.75 / 3600 / 1e12)
    assert described.usd_per_byte(INPUTS, device="a800") == pytest.approx(0.75 / 3600 / 2.039e12)
    assert described.usd_per_byte(stated, device="h20") == pytest.approx(0.8 / 3600 / 4e12)


@given(
    device=st.sampled_from([("h800", 1.98e15, 3.35e12), ("h20", 296e12, 4e12), ("910b", 280e12, 1.6e12)]),
    network=st.floats(10, 1000),
    width=st.integers(128, 16384),
    layers=st.integers(1, 200),
)
def test_the_minimum_sparsity_is_the_closed_form(
    device: tuple[str, float, float], network: float, width: int, layers: int
) -> None:
    """Their S = H F L / (network x bandwidth x 2/3 of a stage): two operations a byte, three bytes a value sent."""
    name, rate, bandwidth = device
    found = described.minimum_sparsity(
        {}, device=name, network=f"{network} GB/s", width=width, layers=layers, stage="15 ms"
    )
    assert found == pytest.approx(width * rate * layers / (network * 1e9 * bandwidth * 10e-3))


def test_more_attention_servers_serve_more_context() -> None:
    def rate(context: int) -> float:
        return described.scaled_throughput(
            INPUTS, model="toy", device="h800", base=4096, rate=900, attention=1, ffn=2, context=context
        )

    assert rate(4096) == pytest.approx(900)
    assert rate(8192) == pytest.approx(900 * 3 / 4)  # two servers and two
    assert rate(40960) == pytest.approx(900 * 3 / 12)


def test_own_counts_cost_what_the_described_ones_do() -> None:
    """Qwen3-32B at 32k: table 6 of Step-3 says 0.248 USD, from cascades and from its own counts alike."""
    own = described.usd_counted(INPUTS, model="qwen3-32b", part="attention", context=32768, device="h20")
    assert own == pytest.approx(0.248, abs=0.0015)
    parts = [
        described.usd_counted(INPUTS, model="qwen3-32b", part=p, context=8192, device="h20") for p in described.PARTS
    ]
    assert parts[2] == pytest.approx(parts[0] + parts[1])


def test_an_unknown_part_or_model() -> None:
    with pytest.raises(WeirError, match="unknown part 'atention'; did you mean 'attention'"):
        usd("atention")
    with pytest.raises(WeirError, match=r"inputs: no 'work.8k.toi.kv'; did you mean 'toy'"):
        described.usd_per_million(INPUTS, model="toi", part="ffn", context="8k", device="h800")


def test_inputs_of_the_wrong_kind() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"work": INPUTS["work"], "cheapest": ["h20"]}, "inputs: no 'book'"),
        ({**INPUTS, "book": 2025}, "'book' must be text, not 2025"),
        ({**INPUTS, "cheapest": []}, "'cheapest' must be a list of texts"),
        ({**INPUTS, "devices": "a800"}, "'devices' must be a table, not 'a800'"),
    ]
    for inputs, message in wrong:
        with pytest.raises(WeirError, match=message):
            described.usd_per_million(inputs, model="toy", part="ffn", context="8k", device="cheapest")
