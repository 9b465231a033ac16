"""Gemma-2, DBRX, OPT, GPT-2, BLOOM and Falcon: one function for each ``model_type``, from fields to :class:`Spec`."""

from __future__ import annotations

from workloads.families import activation, chosen_of, head_width, heads_of, kinds_of, rope_scale, whole, windows_of
from workloads.fields import Fields
from workloads.gates import Gate
from workloads.pieces import Norm
from workloads.spec import Attention, Experts, FeedForward, Layer, Spec


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

    windows = windows_of(fields, depth, window) if fields.given("layer_types") else [window, 0] * depth
    more = {"embed_scale": width**0.5, "softcap": fields.number("final_logit_softcapping", 0.0)}
    return whole(fields, width, kinds_of(windows[:depth], build), norm, tied=True, **more)


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
    gate = Gate(chosen_of(ffn, count, "moe_top_k"))
    network = Experts(count, ffn.count("ffn_hidden_size"), gate, activation(act, "name", "silu"))
    for part in (inner, ffn):
        part.leftover()
    norm = Norm("layer", 1e-5)
    return whole(
        fields, width, (Layer("layer", depth, attention, network, norm),), norm, tied=False, positions="max_seq_len"
    )


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
    norm = Norm("layer", fields.number("layer_norm_epsilon", 1e-5, high=1.0), bias=True)
    return _biased(fields, width, depth, fields.count("n_head", high=1 << 16), network, rows, 0, norm, "n_positions")


def _biased(
    fields: Fields,
    width: int,
    depth: int,
    heads: int,
    network: FeedForward,
    rows: int,
    first: int,
    norm: Norm,
    positions: str = "max_position_embeddings",
) -> Spec:
    """GPT-2 and its kin: as many key heads as heads, learned positions, biases."""
    head = head_width(fields, width, heads, rotary=False)
    attention = Attention(heads, heads, head, head**-0.5, rotary=False, bias=True, out_bias=True)
    layers = (Layer("layer", depth, attention, network, norm),)
    return whole(fields, width, layers, norm, tied=True, positions=positions, rows=rows, first_row=first)


def bloom(fields: Fields) -> Spec:
    """BLOOM: no positions but linear biases on the scores, a normalised embedding, biases everywhere, GELU."""
    width = fields.count("hidden_size" if fields.given("hidden_size") else "n_embed")
    depth, heads = fields.count("n_layer", high=10_000), fields.count("n_head", high=1 << 16)
    fields.fixed("apply_residual_connection_post_layernorm", False, "the residual is taken before the norm")
    fields.ignored("n_embed", "hidden_size", "slow_but_exact", "masked_softmax_fusion", "attention_softmax_in_fp32",
                   "bias_dropout_fusion", "skip_bias_add", "skip_bias_add_qkv",
                   "num_attention_heads", "offset_alibi")  # fmt: skip
    norm = Norm("layer", fields.number("layer_norm_epsilon", 1e-5, high=1.0), bias=True)
    head = head_width(fields, width, heads, rotary=False)
    attention = Attention(heads, heads, head, head**-0.5, rotary=False, bias=True, out_bias=True, alibi=True)
    layers = (Layer("layer", depth, attention, FeedForward(4 * width, "gelu", gated=False, bias=True), norm),)
    return whole(fields, width, layers, norm, tied=True, positions="seq_length", embed_norm=norm)


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
    return whole(fields, width, (layer,), norm, tied=True)
