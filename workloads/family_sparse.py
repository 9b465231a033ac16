"""GPT-OSS and MiniMax-M2: one function for each ``model_type``, from its fields to a :class:`Spec`."""

from __future__ import annotations

from workloads.families import activation, chosen_of, head_width, heads_of, kinds_of, rope_scale, whole, windows_of
from workloads.fields import Fields
from workloads.gates import Gate
from workloads.pieces import Norm
from workloads.spec import Attention, Experts, Layer, Spec


def gpt_oss(fields: Fields) -> Spec:
    """GPT-OSS: alternating windows, sinks in the softmax, biases on attention and router, experts in MXFP4.

    The biases of its experts are left out (0.03 % of the parameters): published kernels add them in passing.
    """
    width, depth = fields.count("hidden_size"), fields.count("num_hidden_layers", high=10_000)
    heads, kv_heads = heads_of(fields)
    head, norm = head_width(fields, width, heads), Norm("rms", fields.number("rms_norm_eps", 1e-5, high=1.0))
    fields.fixed("attention_bias", True, "only projections with biases are modelled")
    rope_scale(fields)
    fields.ignored("initial_context_length", "experts_per_token", "router_aux_loss_coef")
    count = fields.count("num_local_experts", high=1 << 16)
    gate, packed = Gate(chosen_of(fields, count), bias=True), "int4" if fields.given("quantization_config") else ""
    hidden, limit = fields.count("intermediate_size"), fields.number("swiglu_limit", 7.0)
    experts = Experts(count, hidden, gate, activation(fields, "hidden_act", "silu"), limit=limit, dtype=packed)

    def build(window: int) -> Layer:
        attention = Attention(
            heads, kv_heads, head, head**-0.5, bias=True, out_bias=True, window=window, sinks=True
        )  # fmt: skip
        return Layer("layer", 1, attention, experts, norm)

    window = fields.count("sliding_window", 128, high=1 << 32)
    windows = windows_of(fields, depth, window) if fields.given("layer_types") else [window, 0] * depth
    return whole(fields, width, kinds_of(windows[:depth], build), norm, tied=False)


def minimax_m2(fields: Fields) -> Spec:
    """MiniMax-M2: queries and keys normalised over all heads, half of a head turned, sigmoid-gated experts."""
    width, depth = fields.count("hidden_size"), fields.count("num_hidden_layers", high=10_000)
    heads, kv_heads = heads_of(fields)
    head, norm = head_width(fields, width, heads), Norm("rms", fields.number("rms_norm_eps", 1e-6, high=1.0))
    fields.fixed("use_qk_norm", True, "queries and keys are normalised")
    fields.fixed("qk_norm_type", "per_layer", "they are normalised over all heads of a layer")
    fields.fixed("scoring_func", "sigmoid", "experts are scored by a sigmoid")
    fields.fixed("use_routing_bias", True, "a learned bias takes part in the choice of experts")
    rope_scale(fields)
    fields.ignored("attn_type_list", "use_mtp", "num_mtp_modules", "mtp_transformer_layers", "shared_intermediate_size")
    turned = fields.count("rotary_dim", head, high=head)
    attention = Attention(heads, kv_heads, head, head**-0.5, head_norm=norm, joint=True, turned=turned)
    count = fields.count("num_local_experts", high=1 << 16)
    gate = Gate(chosen_of(fields, count), "sigmoid", correction=True)
    experts = Experts(count, fields.count("intermediate_size"), gate, activation(fields, "hidden_act", "silu"))
    return whole(fields, width, (Layer("layer", depth, attention, experts, norm),), norm, tied=False)
