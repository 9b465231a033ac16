"""Llama and its descendants: one function for each ``model_type``, from its fields to a :class:`Spec`.

The names and defaults of fields are those of the ``transformers`` library's configuration classes (version 4.5x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from workloads.fields import REQUIRED, Fields
from workloads.gates import Gate
from workloads.pieces import Norm
from workloads.spec import Attention, Experts, FeedForward, Layer, Spec

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float8_e4m3fn": "fp8", "auto": "bf16"}
# GELU by its error function and by its usual approximation count as one: they cost alike.
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
    method = inner.text("quant_method", among=("fp8", "gptq", "awq", "bitsandbytes", "mxfp4"))
    if method == "mxfp4":
        return plain  # of the experts alone, which say so themselves
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
    if fields.problems:  # what follows from a wrong number is not worth a line
        return 2
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


def windows_of(fields: Fields, layers: int, window: int, split: int | None = None) -> list[int]:
    """Each layer's window (zero: none), by ``layer_types`` if given, else windowed from layer ``split`` on."""
    types = fields.take("layer_types", None)
    if types is None:
        return [window if split is not None and i >= split else 0 for i in range(layers)]
    known = {"full_attention": 0, "sliding_attention": window}
    if not isinstance(types, list) or len(types) != layers or any(t not in known for t in types if isinstance(t, str)):
        fields.problem(f"field 'layer_types' must list {layers} of 'full_attention' or 'sliding_attention'")
        return [0] * layers
    return [known.get(t, 0) for t in types]


def kinds_of(windows: list[int], build: Callable[[int], Layer]) -> tuple[Layer, ...]:
    """Layers alike but for their window, each kind with its number."""
    counts = {w: windows.count(w) for w in dict.fromkeys(windows)}
    tail = {w: "" if len(counts) == 1 else "_local" if w else "_global" for w in counts}
    return tuple(_renamed(build(w), f"layer{tail[w]}", n) for w, n in counts.items())


def _renamed(layer: Layer, name: str, times: int) -> Layer:
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

    layers = kinds_of(windows(depth) if windows else [0] * depth, build)
    return whole(fields, width, layers, norm, tied=tied)


def whole(
    fields: Fields,
    width: int,
    layers: tuple[Layer, ...],
    norm: Norm,
    *,
    tied: bool,
    positions: str = "max_position_embeddings",
    **more: Any,
) -> Spec:
    """What every family states in the same fields, the longest context in the field ``positions``."""
    return Spec(
        name="",
        model=width,
        vocabulary=fields.count("vocab_size", high=1 << 28),
        layers=layers,
        norm=norm,
        tied=fields.flag("tie_word_embeddings", tied),
        longest=fields.count(positions, 0, high=1 << 32),
        dtype=published_type(fields),
        source=str(fields.raw.get("source", fields.where)),
        unverified=str(fields.raw.get("unverified", "")),
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
    return lambda layers: windows_of(fields, layers, window if used else 0, first if used else None)


def mixtral(fields: Fields) -> Spec:
    """Mixtral: a softmax over the chosen experts."""
    count = fields.count("num_local_experts", high=1 << 16)
    gate = Gate(chosen_of(fields, count))
    experts = Experts(count, fields.count("intermediate_size"), gate, activation(fields, "hidden_act", "silu"))
    return _llama_like(fields, network=experts, windows=_everywhere(fields))


def chosen_of(fields: Fields, count: int, name: str = "num_experts_per_tok", available: str = "experts") -> int:
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
    gate = Gate(chosen_of(fields, count), normalised=fields.flag("norm_topk_prob", False))
    hidden = fields.count("moe_intermediate_size")
    side = fields.count("shared_expert_intermediate_size") if shared else 0
    return Experts(count, hidden, gate, activation(fields, "hidden_act", "silu"), side, shared_gate=shared)


def qwen2_moe(fields: Fields) -> Spec:
    """Qwen 1.5 and 2 MoE: a gated shared expert."""
    return _llama_like(fields, network=_qwen_experts(fields, True), bias=True, windows=_late(fields))


def qwen3_moe(fields: Fields) -> Spec:
    """Qwen 3 MoE: no shared expert."""
    return _llama_like(fields, network=_qwen_experts(fields, False), head_norm=True, windows=_late(fields))
