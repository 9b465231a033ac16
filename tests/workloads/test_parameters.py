"""Numbers of parameters, as published."""

from __future__ import annotations

import pytest

from workloads import transformer

# Totals in the published checkpoints' metadata, tied weights once.  Recalled, as the configurations are, and not looked
# up again; the check is that widths recalled separately give these totals to the last digit.
PUBLISHED = {
    "llama-1-33b": 32_528_943_616,
    "llama-1-65b": 65_285_660_672,
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-2-70b": 68_976_648_192,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_620_634_112,
    "dbrx": 131_596_523_520,
    "qwen1.5-moe-a2.7b": 14_315_784_192,
    "qwen2-7b": 7_615_616_512,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-32b": 32_762_123_264,
    "qwen3-235b-a22b": 235_093_634_560,
    "deepseek-v2": 235_741_434_880,
    "deepseek-v3": 671_026_419_200,  # without the multi-token prediction layer
    "gpt-oss-20b": 20_914_757_184 - 24 * 32 * 3 * 2880,  # the biases of its experts are left out
    "gpt-oss-120b": 116_829_156_672 - 36 * 128 * 3 * 2880,
    "minimax-m2": 228_689_764_864,  # as its files' total of about 229 B says
    "bloom-176b": 176_247_271_424,
    "opt-6.7b": 6_658_473_984,
    "opt-30b": 29_974_540_288,
    "gpt2-xl": 1_557_611_200,
    "falcon-7b": 7_217_189_760 - 65_024 * 4_544,  # the checkpoint stores the tied head a second time
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "gemma-2-27b": 27_227_128_320,
    "phi-3-mini": 3_821_079_552,
}
ROUNDED = {"opt-175b": (175e9, 0.003), "falcon-40b": (40e9, 0.04)}  # published as a name only


@pytest.mark.parametrize("name", transformer.names())
def test_parameters_are_the_published_ones(name: str) -> None:
    model = transformer.from_config(name)
    if name in ROUNDED:
        near, tolerance = ROUNDED[name]
        assert model.parameters == pytest.approx(near, rel=tolerance)
    else:
        assert model.parameters == PUBLISHED[name]
    assert model.decode.parameters == model.prefill.parameters


@pytest.mark.parametrize(
    ("name", "billions"),
    [("mixtral-8x7b", 12.9), ("dbrx", 36.5), ("deepseek-v3", 37.6), ("qwen3-235b-a22b", 22.2), ("llama-3-8b", 8.0)],
)
def test_active_parameters(name: str, billions: float) -> None:
    assert round(transformer.model(name).active_parameters / 1e9, 1) == billions
