"""Training layers: the derived backward pass against finite differences, for several architectures."""

from dataclasses import replace

import numpy as np
import pytest

from einsum import interpret
from workloads.spec import Attention, FeedForward, Spec
from workloads.training import backward, forward, loss
from workloads.transformer import model


def small(name: str) -> Spec:
    """A bundled model's first layer, a few values wide."""
    spec = model(name).spec
    kind = spec.layers[0]
    assert isinstance(kind.attention, Attention)
    assert isinstance(kind.network, FeedForward)
    grouped = kind.attention.kv_heads < kind.attention.heads
    attention = replace(kind.attention, heads=4, kv_heads=2 if grouped else 4, head_dim=4)
    return replace(
        spec,
        model=6,
        vocabulary=7,
        layers=(replace(kind, attention=attention, network=replace(kind.network, hidden=5)),),
    )


@pytest.mark.parametrize("name", ["gpt2-xl", "llama-3-8b", "gemma-2-2b", "opt-6.7b", "falcon-7b", "qwen3-32b"])
def test_a_layer_s_gradients_are_those_measured(name: str) -> None:
    ahead = forward(small(name), batch=2, sequence=4)
    behind = backward(ahead)
    rng = np.random.default_rng(3)
    given = {n: rng.normal(size=ahead.shape(n)) * 0.5 for n in ahead.inputs}
    out = interpret(ahead, given)
    weigh = rng.normal(size=out["XO"].shape)
    values = {**given, **out, "DXO": weigh}
    slopes = interpret(behind, {n: values[n] for n in behind.inputs})
    step = 1e-6
    for tensor in sorted(set(ahead.inputs) - {"COS", "SIN"}):
        along = rng.normal(size=given[tensor].shape)
        ends = [interpret(ahead, {**given, tensor: given[tensor] + s * along})["XO"] for s in (step, -step)]
        measured = float(((ends[0] - ends[1]) * weigh).sum()) / (2 * step)
        assert float((slopes[f"D{tensor}"] * along).sum()) == pytest.approx(measured, rel=1e-5, abs=1e-6), tensor


def test_the_loss_is_the_cross_entropy() -> None:
    spec = small("gpt2-xl")
    made = loss(spec, sequence=3)
    rng = np.random.default_rng(0)
    stream, table, words = rng.normal(size=(1, 3, 6)), rng.normal(size=(7, 6)), np.array([[1, 0, 6]])
    logits = stream @ table.T
    by_hand = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, words[..., None], -1)[..., 0]
    np.testing.assert_allclose(interpret(made, {"X": stream, "WE": table, "T": words})["LOSS"], by_hand)
    slopes = backward(made)
    assert {"DX", "DWE"} <= set(slopes.produced)
