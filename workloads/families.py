"""One function for each ``model_type`` of Hugging Face configurations: from its fields to a :class:`Spec`.

The names and defaults of fields are those of the ``transformers`` library's configuration classes (version 4.5x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from workloads.fields import REQUIRED, Fields
from workloads.gates import Gate
from workloads.pieces import Norm
from workloads.spec import Attention, Experts, FeedForward, Latent, Layer, Spec

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float8_e4m3fn": "fp8", "auto": "bf16"}
_ACTIVATIONS = {
    **{"silu": "silu", "swish": "silu", "relu": "relu"},
    **dict.fromkeys(("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"), "gelu"),
}
# Rotary variants that only change the values of the table, not the work done with it.
_ROPE = ("default", "linear", "dynamic", "yarn", "llama3", "longrope", "su")


def published_type(fields: Fields) -> str:
    """The weights' type: as quantised, or as ``torch_dtype`` says; bf16 if neither does."""
    fields.ignored("dtype")
    given = "dtype" if fields.given("dtype") else "torch_dtype"
    plain = _DTYPES.get(fields.text(given, "bfloat16", among=tuple(_DTYPES)), "bf16")
    if not fields.given("quantization_config"):
        return plain
    inner = fields.inner("quantization_config")
    inner.ignored(*inner.raw)  # how weights are packed; only their width matters here
    method = inner.text("quant_method", among=("fp8", "gptq", "awq", "bitsandbytes"))
    if method in ("gptq", "awq"):
        return f"int{inner.count('bits', high=16)}"
    if method == "bitsandbytes":
        return "int4" if inner.flag("load_in_4bit", False) else "int8"
    return "fp8"


def rope_scale(fields: Fields) -> float:
    """Factor on the scores that the rotary variant asks for; variants that do more than fill a table are refused."""
    name = "rope_parameters" if fields.given("rope_parameters") else "rope_scaling"
    if not fields.given(name):
        return 1.0
    rope = fields.inner(name)
    rope.ignored(*rope.raw)
    given = "rope_type" if rope.given("rope_type") else "type"
    kind = rope.text(given, "default", among=_ROPE)
    if fields.kind not in ("deepseek_v2", "deepseek_v3") or kind != "yarn":
        return 1.0
    spread = rope.number("mscale_all_dim", 0.0)
    factor = rope.number("factor")
    gain = 0.1 * spread * math.log(factor) + 1.0 if factor > 1 else 1.0
    return gain * gain


def activation(fields: Fields, name: str, default: Any = REQUIRED) -> str:
    """The network's activation, in weir's words."""
    return _ACTIVATIONS.get(fields.text(name, default, among=tuple(_ACTIVATIONS)), "silu")


def heads_of(fields: Fields, name: str = "num_attention_heads", kv: str = "num_key_value_heads") -> tuple[int, int]:
    """Query heads and key heads, the first a multiple of the second."""
    heads = fields.count(name, high=1 << 16)
    kv_heads = fields.count(kv, heads, high=1 << 16)
    if heads % kv_heads:
        fields.problem(f"field {kv!r} ({kv_heads}) does not divide {name!r} ({heads})")
        return heads, heads
    return heads, kv_heads


def head_width(fields: Fields, width: int, heads: int, *, rotary: bool = True) -> int:
    """A head's width: stated, or the model's divided by the heads."""
    if not fields.given("head_dim") and width % heads:
        fields.problem(
            f"the model's width ({width}) is not a multiple of its heads ({heads}), and no 'head_dim' is given"
        )
        return 2
    head = fields.count("head_dim", max(width // heads, 1), high=1 << 16)
    if rotary and head % 2:
        fields.problem(f"a rotary embedding needs heads of even width, not {head}")
        return head + 1
    return head


def _windows(fields: Fields, layers: int, window: int, split: int | None = None) -> list[int]:
    """Each layer's window (zero: none), by ``layer_types`` if given, else windowed from layer ``split`` on."""
    types = fields.take("layer_types", None)
    if types is None:
        return [window if split is not None and i >= split else 0 for i in range(layers)]
    known = {"full_attention": 0, "sliding_attention": window}
    if not isinstance(types, list) or len(types) != layers or any(t not in known for t in types if isinstance(t, str)):
        fields.problem(f"field 'layer_types' must list {layers} of 'full_attention' or 'sliding_attention'")
        return [0] * layers
    return [known.get(t, 0) for t in types]


def _kinds(windows: list[int], build: Callable[[int], Layer]) -> tuple[Layer, ...]:
    """Layers alike but for their window, each kind with its number."""
    counts = {w: windows.count(w) for w in dict.fromkeys(windows)}
    tail = {w: "" if len(counts) == 1 else "_local" if w else "_global" for w in counts}
    return tuple(_renamed(build(w), f"layer{tail[w]}", n) for w, n in counts.items())


def _renamed(layer: Layer, name: str, times: int) -> Layer:
    from dataclasses import replace

    return replace(layer, name=name, times=times)


def _llama_like(
    fields: Fields,
    *,
    network: FeedForward | Experts | None = None,
    bias: bool = False,
    head_norm: bool = False,
    windows: Callable[[int], list[int]] | None = None,
    tied: bool = False,
) -> Spec:
    """RMS norms, rotary grouped-query attention, a gated network: what most families share."""
    width, depth = fields.count("hidden_size"), fields.count("num_hidden_layers", high=10_000)
    heads, kv_heads = heads_of(fields)
    norm = Norm("rms", fields.number("rms_norm_eps", 1e-6, high=1.0))
    head = head_width(fields, width, heads)
    both = fields.flag("attention_bias", False)
    scale = head**-0.5 * rope_scale(fields)
    dense = network or FeedForward(fields.count("intermediate_size"), activation(fields, "hidden_act", "silu"))

    def build(window: int) -> Layer:
        attention = Attention(
            heads,
            kv_heads,
            head,
            scale,
            bias=bias or both,
            out_bias=both,
            head_norm=norm if head_norm else None,
            window=window,
        )
        return Layer("layer", 1, attention, dense, norm)

    layers = _kinds(windows(depth) if windows else [0] * depth, build)
    return _spec(fields, width, layers, norm, tied=tied)


def _spec(fields: Fields, width: int, layers: tuple[Layer, ...], norm: Norm, *, tied: bool, **more: Any) -> Spec:
    """What every family states in the same fields."""
    return Spec(
        name="",
        model=width,
        vocabulary=fields.count("vocab_size", high=1 << 28),
        layers=layers,
        norm=norm,
        tied=fields.flag("tie_word_embeddings", tied),
        longest=fields.count("max_position_embeddings", 1 << 17, high=1 << 32),
        dtype=published_type(fields),
        source=str(fields.raw.get("source", fields.where)),
        **more,
    )


def llama(fields: Fields) -> Spec:
    """Llama 1 to 3."""
    fields.fixed("mlp_bias", False, "biases in a gated network are not modelled")
    return _llama_like(fields)


def mistral(fields: Fields) -> Spec:
    """Mistral: Llama with an optional sliding window in every layer."""
    return _llama_like(fields, windows=_everywhere(fields))


def phi3(fields: Fields) -> Spec:
    """Phi-3: projections are stored fused, which changes neither counts nor results."""
    fields.fixed("partial_rotary_factor", 1.0, "only whole-head rotary embeddings are modelled")
    return _llama_like(fields, windows=_everywhere(fields))


def _everywhere(fields: Fields) -> Callable[[int], list[int]]:
    window = fields.count("sliding_window", 0, high=1 << 32)
    return lambda layers: [window] * layers


def qwen2(fields: Fields) -> Spec:
    """Qwen 2 and 2.5: biases on queries, keys and values."""
    return _llama_like(fields, bias=True, windows=_late(fields))


def qwen3(fields: Fields) -> Spec:
    """Qwen 3: queries and keys normalised within heads."""
    return _llama_like(fields, head_norm=True, windows=_late(fields))


def _late(fields: Fields) -> Callable[[int], list[int]]:
    """Qwen's windows, if used: in layers from ``max_window_layers`` on."""
    used = fields.flag("use_sliding_window", False)
    window = fields.count("sliding_window", 0, high=1 << 32)
    first = fields.count("max_window_layers", 0, low=0, high=10_000)
    return lambda layers: _windows(fields, layers, window if used else 0, first if used else None)


def mixtral(fields: Fields) -> Spec:
    """Mixtral: a softmax over the chosen experts."""
    count = fields.count("num_local_experts", high=1 << 16)
    gate = Gate(_chosen(fields, count))
    experts = Experts(count, fields.count("intermediate_size"), gate, activation(fields, "hidden_act", "silu"))
    return _llama_like(fields, network=experts, windows=_everywhere(fields))


def _chosen(fields: Fields, count: int, name: str = "num_experts_per_tok", available: str = "experts") -> int:
    chosen = fields.count(name, high=1 << 16)
    if chosen > count:
        fields.problem(f"field {name!r} ({chosen}) exceeds the {count} {available}")
        return count
    return chosen


def _qwen_experts(fields: Fields, shared: bool) -> Experts:
    fields.fixed("decoder_sparse_step", 1, "dense layers between sparse ones are not modelled")
    fields.fixed("mlp_only_layers", [], "dense layers between sparse ones are not modelled")
    fields.ignored("intermediate_size")  # of dense layers, of which there are none
    count = fields.count("num_experts", high=1 << 16)
    gate = Gate(_chosen(fields, count), normalised=fields.flag("norm_topk_prob", False))
    hidden = fields.count("moe_intermediate_size")
    side = fields.count("shared_expert_intermediate_size") if shared else 0
    return Experts(count, hidden, gate, activation(fields, "hidden_act", "silu"), side, shared_gate=shared)


def qwen2_moe(fields: Fields) -> Spec:
    """Qwen 1.5 and 2 MoE: a gated shared expert."""
    return _llama_like(fields, network=_qwen_experts(fields, True), bias=True, windows=_late(fields))


def qwen3_moe(fields: Fields) -> Spec:
    """Qwen 3 MoE: no shared expert."""
    return _llama_like(fields, network=_qwen_experts(fields, False), head_norm=True, windows=_late(fields))


def gemma2(fields: Fields) -> Spec:
    """Gemma 2: alternating windows, soft-capped scores and logits, norms before and after."""
    width, depth = fields.count("hidden_size"), fields.count("num_hidden_layers", high=10_000)
    heads, kv_heads = heads_of(fields)
    head = fields.count("head_dim", 256, high=1 << 16)
    if head % 2:
        fields.problem(f"a rotary embedding needs heads of even width, not {head}")
    fields.fixed("attention_bias", False, "Gemma's projections have no bias here")
    fields.ignored("hidden_act", "use_bidirectional_attention")
    rope_scale(fields)
    norm = Norm("rms", fields.number("rms_norm_eps", 1e-6, high=1.0), offset=1)
    cap = fields.number("attn_logit_softcapping", 0.0)
    scale = fields.number("query_pre_attn_scalar", 256.0) ** -0.5
    network = FeedForward(
        fields.count("intermediate_size"), activation(fields, "hidden_activation", "gelu_pytorch_tanh")
    )
    window = fields.count("sliding_window", 4096, high=1 << 32)

    def build(seen: int) -> Layer:
        attention = Attention(heads, kv_heads, head, scale, softcap=cap, window=seen)
        return Layer("layer", 1, attention, network, norm, post_norm=True)

    windows = _windows(fields, depth, window) if fields.given("layer_types") else [window, 0] * depth
    more = {"embed_scale": width**0.5, "softcap": fields.number("final_logit_softcapping", 0.0)}
    return _spec(fields, width, _kinds(windows[:depth], build), norm, tied=True, **more)


def deepseek_v2(fields: Fields) -> Spec:
    """DeepSeek-V2: softmax scores, a group as good as its best expert."""
    method = fields.text("topk_method", "greedy", among=("greedy", "group_limited_greedy"))
    fields.fixed("scoring_func", "softmax", "DeepSeek-V2 scores by softmax")
    return _deepseek(fields, score="softmax", limited=method != "greedy")


def deepseek_v3(fields: Fields) -> Spec:
    """DeepSeek-V3 and R1: sigmoid scores, a learned bias on the choice, a group as good as its two best experts."""
    fields.fixed("topk_method", "noaux_tc", "DeepSeek-V3 chooses with a correction bias")
    fields.fixed("scoring_func", "sigmoid", "DeepSeek-V3 scores by sigmoid")
    fields.ignored("num_nextn_predict_layers")  # multi-token prediction: extra layers that plain decoding does not run
    return _deepseek(fields, score="sigmoid", limited=True)


def _deepseek(fields: Fields, *, score: str, limited: bool) -> Spec:
    width, depth = fields.count("hidden_size"), fields.count("num_hidden_layers", high=10_000)
    dense = fields.count("first_k_dense_replace", 0, low=0, high=10_000)
    if dense > depth:
        fields.problem(f"field 'first_k_dense_replace' ({dense}) exceeds 'num_hidden_layers' ({depth})")
    fields.fixed("moe_layer_freq", 1, "dense layers between sparse ones are not modelled")
    act = activation(fields, "hidden_act", "silu")
    norm = Norm("rms", fields.number("rms_norm_eps", 1e-6, high=1.0))
    attention = _latent(fields)
    hidden = fields.count("intermediate_size")
    experts = _deepseek_experts(fields, act, score, limited)
    kinds = (
        Layer("layer_dense", dense, attention, FeedForward(hidden, act), norm),
        Layer("layer_moe", max(depth - dense, 0), attention, experts, norm),
    )
    return _spec(fields, width, tuple(k for k in kinds if k.times), norm, tied=False)


def _latent(fields: Fields) -> Latent:
    fields.fixed("attention_bias", False, "latent attention is modelled without biases")
    heads, kv_heads = heads_of(fields)
    if heads != kv_heads:
        fields.problem(f"field 'num_key_value_heads' ({kv_heads}) must equal 'num_attention_heads' in latent attention")
    nope, rope = fields.count("qk_nope_head_dim"), fields.count("qk_rope_head_dim")
    for name in ("head_dim", "qk_head_dim"):  # restated by some files: the rotary part's width, and the whole
        fields.ignored(name)
    if rope % 2:
        fields.problem(f"field 'qk_rope_head_dim' must be even for a rotary embedding, not {rope}")
    scale = (nope + rope) ** -0.5 * rope_scale(fields)
    low, rank = fields.count("q_lora_rank", 0), fields.count("kv_lora_rank")
    value = fields.count("v_head_dim")
    return Latent(heads, low, rank, nope, rope, value, scale, Norm("rms", 1e-6))


def _deepseek_experts(fields: Fields, act: str, score: str, limited: bool) -> Experts:
    count, hidden = fields.count("n_routed_experts", high=1 << 16), fields.count("moe_intermediate_size")
    chosen = _chosen(fields, count)
    groups = fields.count("n_group", 1, high=1 << 16)
    kept = fields.count("topk_group", groups, high=1 << 16)
    if count % groups or kept > groups or chosen > count // groups * kept:
        fields.problem(
            f"{count} experts in {groups} groups ('n_group'), {kept} kept ('topk_group'), cannot supply {chosen} a token"
        )
        groups = kept = 1
    v3 = score == "sigmoid"
    gate = Gate(
        chosen,
        score,
        normalised=fields.flag("norm_topk_prob", v3),
        over_all=True,
        correction=v3,
        groups=groups if limited else 1,
        groups_kept=kept if limited else 1,
        group_best=min(2, count // groups) if v3 else 1,
        factor=fields.number("routed_scaling_factor", 1.0),
    )
    shared = fields.count("n_shared_experts", 0, low=0, high=1 << 10)
    return Experts(count, hidden, gate, act, shared * hidden)


def dbrx(fields: Fields) -> Spec:
    """DBRX: layer norms without bias, clipped projections, fine-grained experts."""
    width, depth = fields.count("d_model"), fields.count("n_layers", high=10_000)
    heads = fields.count("n_heads", high=1 << 16)
    inner, ffn = fields.inner("attn_config"), fields.inner("ffn_config")
    inner.ignored("model_type", "rope_theta", "attn_pdrop")
    ffn.ignored("model_type", "moe_jitter_eps", "moe_loss_weight", "uniform_expert_assignment")
    kv_heads = inner.count("kv_n_heads", heads, high=1 << 16)
    if heads % kv_heads or width % heads:
        fields.problem(
            f"{kv_heads} key heads ('kv_n_heads'), {heads} heads ('n_heads') and width {width} do not divide"
        )
        heads = kv_heads = 1
    head = width // heads
    attention = Attention(heads, kv_heads, head, max(head, 1) ** -0.5, clip=inner.number("clip_qkv", 0.0))
    act = ffn.inner("ffn_act_fn")
    act.ignored(*act.raw)
    count = ffn.count("moe_num_experts", high=1 << 16)
    ffn.fixed("moe_normalize_expert_weights", 1, "only weights that sum to one are modelled")
    gate = Gate(_chosen(ffn, count, "moe_top_k"))
    network = Experts(count, ffn.count("ffn_hidden_size"), gate, activation(act, "name", "silu"))
    for part in (inner, ffn):
        part.leftover()
    fields.raw.setdefault("max_position_embeddings", fields.take("max_seq_len", None))
    norm = Norm("layer", 1e-5)
    return _spec(fields, width, (Layer("layer", depth, attention, network, norm),), norm, tied=False)


def opt(fields: Fields) -> Spec:
    """OPT: learned positions from row two on, biases everywhere, ReLU."""
    width, depth = fields.count("hidden_size"), fields.count("num_hidden_layers", high=10_000)
    fields.fixed("word_embed_proj_dim", width, "projected embeddings (OPT-350m) are not modelled")
    for name in ("do_layer_norm_before", "enable_bias", "layer_norm_elementwise_affine"):
        fields.fixed(name, True, "only OPT's usual layers are modelled (not OPT-350m's)")
    fields.fixed("_remove_final_layer_norm", False, "the final norm is needed")
    network = FeedForward(fields.count("ffn_dim"), activation(fields, "activation_function", "relu"), False, True)
    heads = fields.count("num_attention_heads", high=1 << 16)
    rows = fields.count("max_position_embeddings", 2048, high=1 << 32) + 2
    return _biased(fields, width, depth, heads, network, rows, 2, Norm("layer", 1e-5, bias=True))


def gpt2(fields: Fields) -> Spec:
    """GPT-2: learned positions, biases everywhere, GELU."""
    width, depth = fields.count("n_embd"), fields.count("n_layer", high=10_000)
    fields.fixed("scale_attn_weights", True, "scores are scaled by the head's width")
    fields.fixed("scale_attn_by_inverse_layer_idx", False, "scores are not scaled by the layer")
    fields.fixed("add_cross_attention", False, "there is no encoder to attend to")
    fields.ignored("n_ctx", "reorder_and_upcast_attn", *(n for n in fields.raw if n.startswith("summary_")))
    network = FeedForward(
        fields.count("n_inner", 4 * width), activation(fields, "activation_function", "gelu_new"), False, True
    )
    rows = fields.count("n_positions", 1024, high=1 << 32)
    fields.raw.setdefault("max_position_embeddings", rows)
    norm = Norm("layer", fields.number("layer_norm_epsilon", 1e-5, high=1.0), bias=True)
    return _biased(fields, width, depth, fields.count("n_head", high=1 << 16), network, rows, 0, norm)


def _biased(
    fields: Fields, width: int, depth: int, heads: int, network: FeedForward, rows: int, first: int, norm: Norm
) -> Spec:
    """GPT-2 and its kin: as many key heads as heads, learned positions, biases."""
    head = head_width(fields, width, heads, rotary=False)
    attention = Attention(heads, heads, head, head**-0.5, rotary=False, bias=True, out_bias=True)
    layers = (Layer("layer", depth, attention, network, norm),)
    return _spec(fields, width, layers, norm, tied=True, positions=rows, first_position=first)


def falcon(fields: Fields) -> Spec:
    """Falcon: attention and network side by side, few key heads."""
    width, depth = fields.count("hidden_size"), fields.count("num_hidden_layers", high=10_000)
    heads = fields.count("num_attention_heads", high=1 << 16)
    new = fields.flag("new_decoder_architecture", False)
    fields.fixed("alibi", False, "linear position biases are not modelled")
    fields.fixed("bias", False, "biases are not modelled for Falcon")
    fields.fixed("apply_residual_connection_post_layernorm", False, "the residual is taken before the norm")
    if not fields.flag("parallel_attn", True) and not new:
        fields.problem("field 'parallel_attn' is False: only attention beside the network is modelled for Falcon")
    many = fields.count("num_kv_heads", heads, high=1 << 16) if new else 1
    fields.ignored("num_kv_heads")
    if not fields.flag("multi_query", True) and not new:
        many = heads
    if heads % many:
        fields.problem(f"field 'num_kv_heads' ({many}) does not divide 'num_attention_heads' ({heads})")
        many = heads
    norms = fields.count("num_ln_in_parallel_attn", 2 if new else 1, high=2)
    rope_scale(fields)
    head = head_width(fields, width, heads)
    network = FeedForward(
        fields.count("ffn_hidden_size", 4 * width), activation(fields, "activation", "gelu"), gated=False
    )
    norm = Norm("layer", fields.number("layer_norm_epsilon", 1e-5, high=1.0), bias=True)
    attention = Attention(heads, many, head, head**-0.5)
    layer = Layer("layer", depth, attention, network, norm, parallel="two" if new and norms == 2 else "one")
    return _spec(fields, width, (layer,), norm, tied=True)


FAMILIES: dict[str, Callable[[Fields], Spec]] = {
    family.__name__: family
    for family in (
        *(llama, mistral, phi3, qwen2, qwen3, mixtral, qwen2_moe, qwen3_moe),
        *(gemma2, deepseek_v2, deepseek_v3, dbrx, opt, gpt2, falcon),
    )
}
