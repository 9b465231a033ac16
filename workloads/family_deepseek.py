"""DeepSeek-V2 and V3: latent attention, many small experts chosen by group; from their fields to a :class:`Spec`."""

from __future__ import annotations

from workloads.families import activation, chosen_of, heads_of, rope_scale, whole
from workloads.fields import Fields
from workloads.gates import Gate
from workloads.pieces import Norm
from workloads.spec import Experts, FeedForward, Latent, Layer, Spec


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
    return whole(fields, width, tuple(k for k in kinds if k.times), norm, tied=False)


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
    chosen = chosen_of(fields, count)
    groups = fields.count("n_group", 1, high=1 << 16)
    kept = fields.count("topk_group", groups, high=1 << 16)
    if count % groups or kept > groups or chosen > count // groups * kept:
        fields.problem(
            f"{count} experts in {groups} groups ('n_group'), {kept} kept ('topk_group'), cannot supply {chosen}"
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
