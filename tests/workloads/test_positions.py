"""Positions, sinks and norms of single layers, against the softmax and the rotation written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from einsum import Program
from workloads.config import read
from workloads.transformer import Transformer

Array = Any
Fields = dict[str, Any]

SPARSE: Fields = {
    **{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2},
    **{"intermediate_size": 6, "vocab_size": 11, "num_local_experts": 4, "num_experts_per_tok": 2},
    "rms_norm_eps": 1e-5,
}
GPT_OSS = {**SPARSE, "model_type": "gpt_oss", "attention_bias": True, "layer_types": ["full_attention"]}
MINIMAX = {**SPARSE, "model_type": "minimax_m2", "head_dim": 6, "rotary_dim": 4}
BLOOM = {"model_type": "bloom", "hidden_size": 8, "n_layer": 1, "n_head": 2, "vocab_size": 11}


def built(fields: Fields) -> Transformer:
    """The transformer of these fields."""
    return Transformer(read(fields, "tiny.json"))


def tokens(batch: int, count: int) -> Array:
    """Some token numbers."""
    return np.random.default_rng(7).integers(0, 11, size=(batch, count))


def turned(x: Array) -> Array:
    """Rotary embedding of ``x[p, e]``, as complex numbers."""
    half = x.shape[-1] // 2
    z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * np.arange(len(x))[:, None] * 1e4 ** (-np.arange(half) / half))
    return np.concatenate([z.real, z.imag], axis=-1)


def heads_of(run: Any, layer: str) -> tuple[Array, Array, Array]:
    """Scores before the softmax, values and outputs of the first request's heads in a layer that was run."""
    out = run.seen[layer]
    groups, each = out["QK"].shape[1:3]
    values = np.repeat(out["V"][0], each, axis=0)
    return out["QK"][0].reshape(groups * each, *out["QK"].shape[3:]), values, out["O"][0].reshape(groups * each, -1)


def softmax(scores: Array) -> Array:
    """Along the last axis."""
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def test_a_sink_takes_its_share_of_the_softmax(running: Callable[[Program], Any]) -> None:
    run = running(built({**GPT_OSS, "sliding_window": 64}).program())
    run.step(tokens(1, 5))
    run.step(tokens(1, 1))
    scores, values, out = heads_of(run, "layer")
    for head, sink in enumerate(run.weights[1][0]["WS"].ravel()):
        shares = softmax(np.append(scores[head, 0], sink))[:-1]
        np.testing.assert_allclose(out[head], shares @ values[head], rtol=1e-9)


def test_linear_biases_lower_scores_with_distance(running: Callable[[Program], Any]) -> None:
    run = running(built(BLOOM).program())
    run.step(tokens(1, 5))
    run.step(tokens(1, 1))
    scores, values, out = heads_of(run, "layer")
    for head, slope in enumerate((1 / 16, 1 / 256)):  # of two heads: 2^-4 and 2^-8
        shares = softmax(scores[head, 0] - slope * (5 - np.arange(6)))
        np.testing.assert_allclose(out[head], shares @ values[head], rtol=1e-9)


def test_half_of_a_head_is_turned_after_a_norm_over_all_heads(running: Callable[[Program], Any]) -> None:
    run = running(built(MINIMAX).program())
    run.step(tokens(1, 4))
    out, gain = run.seen["layer"], run.weights[1][0]["WKNN"]
    keys = out["KN"][0]  # (g, p, e)
    normed = keys / np.sqrt((keys**2).mean(axis=(0, 2), keepdims=True) + 1e-5) * gain[:, None]
    for group, rows in enumerate(normed):
        np.testing.assert_allclose(out["K"][0, group], np.hstack([turned(rows[:, :4]), rows[:, 4:]]), rtol=1e-8)
