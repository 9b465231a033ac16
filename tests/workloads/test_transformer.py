"""Transformers: parameters as published, results as an independent implementation computes them, work by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Program, WeirError
from einsum.counts import footprint, operations, total_operations
from workloads import transformer
from workloads.config import read
from workloads.transformer import Transformer

Array = Any
Fields = dict[str, Any]

TINY: Fields = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 6,
    "vocab_size": 11,
    "rms_norm_eps": 1e-5,
}
LATENT: Fields = {
    "model_type": "deepseek_v3",
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "num_attention_heads": 2,
    "q_lora_rank": 5,
    "kv_lora_rank": 6,
    "qk_nope_head_dim": 3,
    "qk_rope_head_dim": 4,
    "v_head_dim": 5,
    "intermediate_size": 7,
    "moe_intermediate_size": 4,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "vocab_size": 11,
}
OTHERS: list[Fields] = [
    {**TINY, "model_type": "mistral", "sliding_window": 2},
    {**TINY, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    {**TINY, "model_type": "qwen2"},
    {**TINY, "model_type": "qwen3", "head_dim": 4},
    {
        **{**TINY, "model_type": "qwen2_moe", "num_experts": 4, "num_experts_per_tok": 2},
        **{"moe_intermediate_size": 3, "shared_expert_intermediate_size": 5},
    },
    {
        **{**TINY, "model_type": "gemma2", "head_dim": 4, "sliding_window": 2, "query_pre_attn_scalar": 4},
        **{"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    },
    {**TINY, "model_type": "phi3"},
    {**LATENT, "model_type": "deepseek_v2", "topk_method": "group_limited_greedy", "q_lora_rank": None},
    {
        **{"model_type": "dbrx", "d_model": 8, "n_layers": 1, "n_heads": 4, "vocab_size": 11},
        **{"attn_config": {"kv_n_heads": 2, "clip_qkv": 0.5}},
        **{"ffn_config": {"ffn_hidden_size": 6, "moe_num_experts": 4, "moe_top_k": 2}},
    },
    {
        **{"model_type": "opt", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 6},
        **{"vocab_size": 11, "max_position_embeddings": 16},
    },
    {"model_type": "bloom", "hidden_size": 8, "n_layer": 2, "n_head": 2, "vocab_size": 11},
    {
        **{**TINY, "model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 2},
        **{"attention_bias": True, "quantization_config": {"quant_method": "mxfp4"}},
    },
    {
        **{**TINY, "model_type": "minimax_m2", "num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 6},
        **{"rotary_dim": 4},
    },
    {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 16, "vocab_size": 11},
    {
        **{"model_type": "falcon", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"new_decoder_architecture": True, "num_kv_heads": 2, "vocab_size": 11},
    },
    {"model_type": "falcon", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 11},
]


def built(fields: Fields) -> Transformer:
    """The transformer of these fields."""
    return Transformer(read(fields, "tiny.json"))


def tokens(batch: int, count: int) -> Array:
    """Some token numbers."""
    return np.random.default_rng(7).integers(0, 11, size=(batch, count))


# An independent implementation of the Llama layer, over one request at a time.


def rms(x: Array, gain: Array) -> Array:
    """Root-mean-square norm."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * gain


def turned(x: Array) -> Array:
    """Rotary embedding of ``x[p, e]``, as complex numbers."""
    half = x.shape[-1] // 2
    angle = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(half) / half)
    z = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag], axis=-1)


def attended(q: Array, k: Array, v: Array) -> Array:
    """Causal attention of one head, query by query."""
    rows = []
    for p in range(len(q)):
        scores = k[: p + 1] @ q[p] / np.sqrt(q.shape[1])
        weight = np.exp(scores - scores.max())
        rows.append(weight / weight.sum() @ v[: p + 1])
    return np.stack(rows)


def llama_layer(x: Array, w: dict[str, Array], network: Callable[[Array, dict[str, Array]], Array]) -> Array:
    """One layer over ``x[p, d]``."""
    n = rms(x, w["WXN"])
    _, groups, each, _ = w["WQ"].shape
    added = np.zeros_like(x)
    for g in range(groups):
        k, v = turned(n @ w["WK"][:, g]), n @ w["WV"][:, g]
        for r in range(each):
            added += attended(turned(n @ w["WQ"][:, g, r]), k, v) @ w["WO"][g, r]
    x = x + added
    return x + network(rms(x, w["WAN"]), w)


def gated(n: Array, w: dict[str, Array]) -> Array:
    """SwiGLU."""
    gate = n @ w["WG"]
    return (gate / (1 + np.exp(-gate)) * (n @ w["WU"])) @ w["WD"]


def mixture(n: Array, w: dict[str, Array]) -> Array:
    """Two experts of each token, weighted by a softmax over the two."""
    out = np.zeros_like(n)
    for p, row in enumerate(n):
        scores = row @ w["WR"]
        chosen = np.argsort(-scores)[:2]
        weight = np.exp(scores[chosen]) / np.exp(scores[chosen]).sum()
        for e, share in zip(chosen, weight, strict=True):
            out[p] += share * gated(row, {k: w[k][e] for k in ("WG", "WU", "WD")})
    return out


def logits(program: Program, weights: list[list[dict[str, Array]]], ids: Array, network: Any) -> Array:
    """Logits after the last token of one request."""
    x = weights[0][0]["WE"][ids]
    for layer in weights[1]:
        x = llama_layer(x, layer, network)
    return rms(x[-1], weights[-1][0]["WHN"]) @ weights[-1][0]["WL"]


@pytest.mark.parametrize(
    ("fields", "network"),
    [(TINY, gated), ({**TINY, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}, mixture)],
)
def test_prefill_and_decode_equal_an_independent_implementation(
    running: Callable[[Program], Any], fields: Fields, network: Any
) -> None:
    run = running(built(fields).program())
    ids = tokens(2, 5)
    run.step(ids[:, :3])
    for last in (3, 4):
        run.step(ids[:, last : last + 1])
        want = [logits(run.program, run.weights, row[: last + 1], network) for row in ids]
        np.testing.assert_allclose(run.seen["head"]["L"], want, rtol=1e-8, atol=1e-10)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(1, 4), st.integers(0, 3))
def test_any_shape_equals_an_independent_implementation(
    running: Callable[[Program], Any], groups: int, each: int, half: int, layers: int, prompt: int, more: int
) -> None:
    heads = {"num_attention_heads": groups * each, "num_key_value_heads": groups, "head_dim": 2 * half}
    run = running(built({**TINY, **heads, "num_hidden_layers": layers}).program())
    ids = tokens(1, prompt + more)
    run.step(ids[:, :prompt])
    for i in range(prompt, prompt + more):
        run.step(ids[:, i : i + 1])
    want = logits(run.program, run.weights, ids[0], gated)
    np.testing.assert_allclose(run.seen["head"]["L"][0], want, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("fields", [TINY, LATENT, *OTHERS], ids=lambda f: f["model_type"])
def test_tokens_one_by_one_equal_tokens_together(running: Callable[[Program], Any], fields: Fields) -> None:
    program, ids = built(fields).program(), tokens(2, 5)
    whole, single = running(program), running(program)
    whole.step(ids)
    for column in ids.T:
        single.step(column[:, None])
    np.testing.assert_allclose(single.seen["head"]["L"], whole.seen["head"]["L"], rtol=1e-7, atol=1e-10)
    assert np.isfinite(whole.seen["head"]["L"]).all()


def test_latent_attention_absorbed_equals_naive(running: Callable[[Program], Any]) -> None:
    model, ids = built(LATENT), tokens(2, 4)
    decode, prefill = running(model.decode), running(model.prefill)
    for ours, theirs in zip(decode.weights, prefill.weights, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            for name in other:  # the same matrices, the heads under another rank
                one[name] = other[name].reshape(one[name].shape)
    assert decode.step(ids).shape == prefill.step(ids).shape == (2,)
    np.testing.assert_allclose(decode.seen["head"]["L"], prefill.seen["head"]["L"], rtol=1e-8)
    np.testing.assert_allclose(decode.seen["layer_moe"]["CKV"], prefill.seen["layer_moe"]["CKV"], rtol=1e-8)


def test_group_limited_choice_by_loops(running: Callable[[Program], Any]) -> None:
    run = running(built(LATENT).decode)
    run.step(tokens(2, 4))
    out, bias = run.seen["layer_moe"], run.weights[2][-1]["BR"]
    for b, p in np.ndindex(2, 4):
        score = 1 / (1 + np.exp(-out["RL"][b, p]))
        groups = np.sort((score + bias).reshape(4, 2), axis=1).sum(axis=1)
        kept = np.isin(np.arange(8) // 2, np.argsort(-groups)[:2])
        chosen = np.argsort(-np.where(kept, score + bias, -np.inf))[:2]
        want = np.zeros(8)
        want[chosen] = 2.5 * score[chosen] / score[chosen].sum()
        np.testing.assert_allclose(out["RT"][b, p], want, rtol=1e-9)


def test_a_window_forgets(running: Callable[[Program], Any]) -> None:
    program = built({**TINY, "model_type": "mistral", "sliding_window": 2, "num_hidden_layers": 1}).program()
    one, other = running(program), running(program)
    ids = tokens(1, 6)
    changed = ids.copy()
    changed[0, :4] = (changed[0, :4] + 1) % 11
    one.step(ids)
    other.step(changed)
    np.testing.assert_allclose(one.seen["head"]["L"], other.seen["head"]["L"], rtol=1e-10)


def test_active_parameters_by_hand() -> None:
    model = built({**TINY, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 1})
    assert model.parameters - model.active_parameters == 2 * 3 * (3 * 8 * 6)


@pytest.mark.parametrize(
    ("name", "values"),
    [("llama-3-70b", 80 * 8 * 128 * 2), ("deepseek-v3", 61 * 576), ("gpt2-xl", 48 * 1600 * 2), ("dbrx", 40 * 8 * 256)],
)
def test_state_of_a_token(name: str, values: int) -> None:
    model = transformer.model(name)
    assert model.state_bytes(1000) - model.state_bytes(999) == 2 * values
    assert model.state_bytes(10, "fp8") == 10 * values


def test_state_of_many_contexts_at_once() -> None:
    model = transformer.model("llama-3-70b")
    np.testing.assert_array_equal(model.state_bytes(np.array([1, 8192])), [327_680, 327_680 * 8192])


def test_windows_bound_the_state() -> None:
    each = transformer.model("mistral-7b").state_bytes(1)
    assert transformer.model("mistral-7b").state_bytes(10_000) == 4096 * each
    gemma = transformer.model("gemma-2-9b")
    assert gemma.state_bytes(8192) == gemma.state_bytes(1) / 2 * (4096 + 8192)


def test_products_cost_twice_the_weights() -> None:
    """Every weight but norms and the embedding is multiplied once for each token; scores come on top."""
    model = built(TINY)
    layer = model.program().part("layer").cascade.with_sizes(b=3, p=5, c=0)
    matrices = 8 * 8 * 2 + 8 * 4 * 2 + 3 * 8 * 6
    scores = 2 * 3 * 4 * 2 * sum(range(1, 6))  # (QK and AV) requests, heads, width, keys seen
    assert total_operations(layer)["mac"] == 2 * (15 * matrices + scores)


def test_the_head_costs_one_token_a_request() -> None:
    head = built(TINY).program().part("head").cascade.with_sizes(b=3, p=5)
    assert total_operations(head)["mac"] == 2 * 3 * 8 * 11


def test_sizes_may_be_arrays() -> None:
    layer = transformer.model("llama-3-8b").decode.part("layer").cascade
    at = layer.bind(b=np.array([1, 8]), c=np.array([0, 1023]))
    work = operations(layer, layer.einsum("QK"), at)["mac"]
    np.testing.assert_allclose(work, 2 * 32 * 128 * np.array([1, 8 * 1024]))


@pytest.mark.parametrize("name", transformer.names())
def test_every_model_names_its_core_alike(name: str) -> None:
    model = transformer.model(name)
    for program in (model.decode, model.prefill):
        for part in program.parts[1:-1]:
            for einsum in ("QK", "GM", "SN", "SD", "AV", "O", "Y"):
                assert {"b", "p"} <= set(part.cascade.einsum(einsum).ranks)
            assert {"g", "r", "m"} <= set(part.cascade.einsum("QK").ranks)
            order = [e.name for e in part.cascade.einsums]
            first = "CQ" if model.phased else "Q"
            assert order.index(first) < order.index("KN") < order.index("QK")
    assert sum(part.times for part in model.decode.parts) == model.layers + 2


def test_types_follow_roles() -> None:
    program = transformer.model("llama-3-70b").program(dtype_weights="int4", dtype_state="fp8")
    layer, head = program.part("layer").cascade, program.part("head").cascade
    assert [layer.tensor(n).dtype for n in ("WQ", "K", "XN", "QR")] == ["int4", "fp8", "bf16", "bf16"]
    assert head.tensor("WL").dtype == "bf16"  # as quantisers leave it
    assert head.tensor("TN").dtype == "int32"
    assert footprint(layer, "WG") == 8192 * 28672 / 2


def test_published_fp8_quantises_what_weights_multiply() -> None:
    model = transformer.model("deepseek-v3")
    layer = model.decode.part("layer_moe").cascade
    assert [layer.tensor(n).dtype for n in ("WDQ", "XN", "H", "QK", "CKV")] == ["fp8", "fp8", "fp8", "bf16", "bf16"]
    plain = model.program(dtype_weights="bf16").part("layer_moe").cascade
    assert [plain.tensor(n).dtype for n in ("WDQ", "XN")] == ["bf16", "bf16"]


def test_facts_of_a_model() -> None:
    model = transformer.model("llama-3-70b")
    assert (model.name, model.layers, model.model, model.heads, model.kv_heads) == ("llama-3-70b", 80, 8192, 64, 8)
    assert (model.longest, model.dtype, model.phased) == (8192, "bf16", False)
    assert transformer.model("deepseek-v3").phased
    assert transformer.model("deepseek-v3").kv_heads == 1
    assert transformer.model("opt-30b").dtype == "fp16"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: m.program("decoding"), "llama-3-8b: unknown phase 'decoding'; did you mean 'decode'?"),
        (
            lambda m: m.program(dtype_weights="fp"),
            "llama-3-8b: unknown data type 'fp'; write letters and a width, as in bf16, int4",
        ),
        (
            lambda m: m.program(dtype_state="8bit"),
            "llama-3-8b: unknown data type '8bit'; write letters and a width, as in bf16, int4",
        ),
    ],
)
def test_mistakes_are_named(make: Callable[[Transformer], Program], message: str) -> None:
    with pytest.raises(WeirError) as caught:
        make(transformer.model("llama-3-8b"))
    assert str(caught.value) == message
