"""Configurations: what is read, what is refused and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from einsum import WeirError
from workloads import transformer
from workloads.config import LIMIT, read, resolve
from workloads.spec import Attention, FeedForward, Latent
from workloads.transformer import Transformer, from_config

Fields = dict[str, Any]

LLAMA: Fields = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 6,
    "vocab_size": 11,
    "rms_norm_eps": 1e-5,
}
MIXTRAL: Fields = {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
QWEN: Fields = {
    **{**LLAMA, "model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 3, "head_dim": 4},
}
DEEPSEEK: Fields = {
    **{"model_type": "deepseek_v3", "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2},
    **{"q_lora_rank": 5, "kv_lora_rank": 6, "qk_nope_head_dim": 3, "qk_rope_head_dim": 4, "v_head_dim": 5},
    **{"intermediate_size": 7, "moe_intermediate_size": 4, "n_routed_experts": 8, "num_experts_per_tok": 2},
    **{"n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "vocab_size": 11},
}
OPT: Fields = {
    **{"model_type": "opt", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 6},
    **{"vocab_size": 11},
}
GPT2: Fields = {"model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 11}
FALCON: Fields = {
    **{"model_type": "falcon", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"vocab_size": 11},
}
GEMMA: Fields = {**LLAMA, "model_type": "gemma2", "head_dim": 4}
DBRX: Fields = {
    **{"model_type": "dbrx", "d_model": 8, "n_layers": 1, "n_heads": 4, "vocab_size": 11},
    **{"attn_config": {"kv_n_heads": 2}, "ffn_config": {"ffn_hidden_size": 6, "moe_num_experts": 4, "moe_top_k": 2}},
}


def attention(fields: Fields) -> Attention:
    """The attention of the first kind of layer."""
    found = read(fields, "config.json").layers[0].attention
    assert isinstance(found, Attention)
    return found


REFUSED: list[tuple[Fields, dict[str, Any], str]] = [
    (LLAMA, {"model_type": None}, "field 'model_type' missing; known: bloom, dbrx"),
    (LLAMA, {"model_type": "lama"}, "field 'model_type' 'lama' is not one that is understood; did you mean 'llama'?"),
    (LLAMA, {"model_type": 3}, "field 'model_type' 3 is not one that is understood; known: bloom"),
    (LLAMA, {"hidden_size": None}, "field 'hidden_size' is missing"),
    (LLAMA, {"hidden_size": -8}, "field 'hidden_size' must be a whole number from 1 to 16777216, not -8"),
    (LLAMA, {"hidden_size": "8"}, "field 'hidden_size' must be a whole number from 1 to 16777216, not '8'"),
    (LLAMA, {"hidden_size": 8.0}, "field 'hidden_size' must be a whole number from 1 to 16777216, not 8.0"),
    (LLAMA, {"hidden_size": True}, "field 'hidden_size' must be a whole number from 1 to 16777216, not True"),
    (LLAMA, {"num_hidden_layers": 10**12}, "must be a whole number from 1 to 10000, not 1000000000000"),
    (LLAMA, {"num_hidden_layers": 10**5000}, "must be a whole number from 1 to 10000, not a huge number"),
    (LLAMA, {"vocab_size": 0}, "field 'vocab_size' must be a whole number from 1 to 268435456, not 0"),
    (LLAMA, {"num_key_value_heads": 3}, "field 'num_key_value_heads' (3) does not divide 'num_attention_heads' (4)"),
    (
        LLAMA,
        {"hidden_size": 10},
        "the model's width (10) is not a multiple of its heads (4), and no 'head_dim'",
    ),
    (LLAMA, {"head_dim": 5}, "a rotary embedding needs heads of even width, not 5"),
    (LLAMA, {"rms_norm_eps": float("nan")}, "field 'rms_norm_eps' must be a number above 0, not nan"),
    (LLAMA, {"rms_norm_eps": "tiny"}, "field 'rms_norm_eps' must be a number above 0, not 'tiny'"),
    (LLAMA, {"tie_word_embeddings": "no"}, "field 'tie_word_embeddings' must be true or false, not 'no'"),
    (LLAMA, {"mlp_bias": True}, "field 'mlp_bias' is True: biases in a gated network are not modelled"),
    (
        LLAMA,
        {"hidden_act": "silly"},
        "field 'hidden_act' is 'silly', which is not understood here; did you mean",
    ),
    (LLAMA, {"torch_dtype": "int3"}, "field 'torch_dtype' is 'int3', which is not understood here"),
    (
        LLAMA,
        {"rope_scaling": {"type": "spiral"}},
        "field 'rope_scaling.type' is 'spiral', which is not understood",
    ),
    (LLAMA, {"rope_scaling": "linear"}, "field 'rope_scaling' must be an object of fields, not 'linear'"),
    (LLAMA, {"quantization_config": {"quant_method": "magic"}}, "field 'quantization_config.quant_method' is 'magic'"),
    (LLAMA, {"quantization_config": {"quant_method": "gptq"}}, "field 'quantization_config.bits' is missing"),
    (
        LLAMA,
        {"attn_logit_softcapping": 50.0},
        "field 'attn_logit_softcapping' is not understood by model_type 'llama'; remove it only if the computation",
    ),
    (LLAMA, {"sliding_window": 4096}, "field 'sliding_window' is not understood by model_type 'llama'"),
    (LLAMA, {"num_heads": 4}, "field 'num_heads' is not understood by model_type 'llama'"),
    (MIXTRAL, {"num_experts_per_tok": 5}, "field 'num_experts_per_tok' (5) exceeds the 4 experts"),
    (QWEN, {"decoder_sparse_step": 2}, "field 'decoder_sparse_step' is 2: dense layers between sparse ones"),
    (QWEN, {"mlp_only_layers": [0]}, "field 'mlp_only_layers' is [0]: dense layers between sparse ones"),
    (QWEN, {"layer_types": ["full_attention"]}, "field 'layer_types' must list 2 of 'full_attention'"),
    (DEEPSEEK, {"first_k_dense_replace": 4}, "field 'first_k_dense_replace' (4) exceeds 'num_hidden_layers' (3)"),
    (DEEPSEEK, {"qk_rope_head_dim": 3}, "field 'qk_rope_head_dim' must be even for a rotary embedding, not 3"),
    (DEEPSEEK, {"n_group": 3}, "8 experts in 3 groups ('n_group'), 2 kept ('topk_group'), cannot supply 2"),
    (
        DEEPSEEK,
        {"topk_method": "greedy"},
        "field 'topk_method' is 'greedy': DeepSeek-V3 chooses with",
    ),
    (DEEPSEEK, {"num_key_value_heads": 1}, "must equal 'num_attention_heads' in latent attention"),
    (OPT, {"word_embed_proj_dim": 4}, "field 'word_embed_proj_dim' is 4: projected embeddings (OPT-350m)"),
    (OPT, {"do_layer_norm_before": False}, "field 'do_layer_norm_before' is False: only OPT's usual layers"),
    (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "is True: scores are not scaled by the layer"),
    (FALCON, {"alibi": True}, "field 'alibi' is True: linear position biases are not modelled"),
    (FALCON, {"parallel_attn": False}, "field 'parallel_attn' is False: only attention beside the network"),
    (GEMMA, {"head_dim": 3}, "a rotary embedding needs heads of even width, not 3"),
    (DBRX, {"n_heads": 3}, "2 key heads ('kv_n_heads'), 3 heads ('n_heads') and width 8 do not divide"),
    (DBRX, {"attn_config": {"kv_n_heads": 2, "twist": 1}}, "field 'attn_config.twist' is not understood by"),
]


@pytest.mark.parametrize(("base", "change", "message"), REFUSED)
def test_refused_by_name(base: Fields, change: dict[str, Any], message: str) -> None:
    read(base, "config.json")  # as it stands it is understood
    with pytest.raises(WeirError) as caught:
        read({**base, **change}, "config.json")
    assert message in str(caught.value)
    assert all(line.startswith("config.json: ") for line in str(caught.value).split("\n"))


def test_all_problems_at_once() -> None:
    with pytest.raises(WeirError) as caught:
        read({"model_type": "llama", "hiden_size": 8, "vocab_size": "many", "num_attention_heads": 0}, "config.json")
    lines = str(caught.value).split("\n")
    assert "config.json: field 'hidden_size' is missing; did you mean 'hiden_size'?" in lines
    assert "config.json: field 'vocab_size' must be a whole number from 1 to 268435456, not 'many'" in lines
    assert len(lines) == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "config.json: not readable as JSON (Expecting property name"),
        (b"[1, 2]", "config.json: expected an object of fields, not list"),
        (b"\xff\xfe{}", "config.json: not UTF-8 text (byte 0); is it compressed?"),
        (b'{"a": 1, "a": 2}', "config.json: not readable as JSON (field 'a' is given twice)"),
        (b'{"a": NaN}', "config.json: not readable as JSON (NaN is not a number)"),
        (b'{"a": -Infinity}', "config.json: not readable as JSON (-Infinity is not a number)"),
        (b"[" * 200_000, "config.json: not readable as JSON ("),
        (b'{"a": ' + b"9" * 10_000 + b"}", "config.json: not readable as JSON (Exceeds the limit"),
        (b" " * (LIMIT + 1), "config.json: larger than 1 MiB, which no model file is"),
        (b"", "config.json: not readable as JSON (Expecting value"),
        (b"{}", "config.json: field 'model_type' missing; known:"),
    ],
)
def test_hostile_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(WeirError) as caught:
        from_config(tmp_path / "config.json")
    assert message in str(caught.value)


def test_a_folder_as_downloaded(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    harmless = {"architectures": ["LlamaForCausalLM"], "use_cache": True, "rope_theta": 1e4, "sliding_window": None}
    (folder / "config.json").write_text(json.dumps({**LLAMA, **harmless, "torch_dtype": "float16"}))
    model = from_config(folder)
    assert (model.name, model.layers, model.kv_heads, model.dtype) == ("my-model", 2, 2, "fp16")
    assert from_config(folder / "config.json", name="other").name == "other"


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeirError, match=r"^no such model file: .*nothing\.json$"):
        from_config(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("llama-3-70b", "llama-3-70b"),
        ("meta-llama-3-70b", "llama-3-70b"),
        ("meta-llama/Meta-Llama-3-70B-Instruct", "llama-3-70b"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama-2-7b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("microsoft/Phi-3-mini-4k-instruct", "phi-3-mini"),
        ("google/gemma-2-9b-it", "gemma-2-9b"),
        ("huggyllama/llama-30b", "llama-1-33b"),
    ],
)
def test_names(given: str, name: str) -> None:
    assert resolve(given) == name
    assert from_config(given).name == name


def test_near_names() -> None:
    with pytest.raises(WeirError, match=r"^no model 'lama-3-70b'; did you mean 'llama-3-70b'\?$"):
        transformer.model("lama-3-70b")
    with pytest.raises(WeirError, match=r"^no model 'zzz' and no such file; see weir list models$"):
        from_config("zzz")


def test_every_bundled_file_says_where_it_is_from() -> None:
    assert len(transformer.names()) >= 25
    for name in transformer.names():
        assert "Hugging Face" in from_config(name).spec.source or "arXiv" in from_config(name).spec.source


def test_variants_are_read() -> None:
    assert attention(LLAMA) == Attention(4, 2, 2, 2**-0.5)
    assert attention({**LLAMA, "model_type": "qwen2"}).bias
    assert attention({**LLAMA, "attention_bias": True}).out_bias
    assert attention({**LLAMA, "model_type": "qwen3"}).head_norm is not None
    assert attention({**DBRX, "attn_config": {"kv_n_heads": 2, "clip_qkv": 8}}).clip == 8.0
    assert attention({**FALCON, "multi_query": True}).kv_heads == 1
    assert attention({**GEMMA, "query_pre_attn_scalar": 16, "attn_logit_softcapping": 50.0}).scale == 0.25
    assert read(GPT2, "x").layers[0].network == FeedForward(32, "gelu", gated=False, bias=True)
    assert (read(OPT, "x").rows, read(OPT, "x").first_row) == (2050, 2)


def test_windows_by_layer() -> None:
    types = ["sliding_attention", "full_attention"]
    gemma = read({**GEMMA, "sliding_window": 16}, "x")
    assert [(k.name, k.times, k.attention.window) for k in gemma.layers if isinstance(k.attention, Attention)] == [
        ("layer_local", 1, 16),
        ("layer_global", 1, 0),
    ]
    qwen = {**LLAMA, "model_type": "qwen2", "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    assert [k.name for k in read(qwen, "x").layers] == ["layer_global", "layer_local"]
    assert [k.name for k in read({**qwen, "layer_types": types}, "x").layers] == ["layer_local", "layer_global"]
    assert [k.name for k in read({**qwen, "use_sliding_window": False}, "x").layers] == ["layer"]


def test_yarn_scales_deepseek_scores_only() -> None:
    yarn = {"rope_scaling": {"type": "yarn", "factor": 40, "mscale_all_dim": 1.0}}
    latent = read({**DEEPSEEK, **yarn}, "x").layers[0].attention
    assert isinstance(latent, Latent)
    assert latent.scale == pytest.approx(7**-0.5 * (0.1 * 3.6888794541 + 1) ** 2)
    assert attention({**LLAMA, **yarn}).scale == attention(LLAMA).scale


def test_published_types() -> None:
    def dtype(**change: Any) -> str:
        return Transformer(read({**LLAMA, **change}, "x")).dtype

    assert dtype() == "bf16"
    assert dtype(torch_dtype="float16") == "fp16"
    assert dtype(dtype="float32") == "fp32"
    assert dtype(quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}) == "fp8"
    assert dtype(quantization_config={"quant_method": "awq", "bits": 4}) == "int4"
    assert dtype(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}) == "int4"


def test_a_bundled_name_means_the_bundled_model_wherever_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "llama-3-70b"
    own.mkdir()
    (own / "config.json").write_text(json.dumps(LLAMA))
    monkeypatch.chdir(tmp_path)
    assert from_config("llama-3-70b").layers == 80
    assert from_config("./llama-3-70b").layers == from_config(own).layers == LLAMA["num_hidden_layers"]


def test_a_name_longer_than_any_file_is_no_model() -> None:
    with pytest.raises(WeirError, match="no model 'xxx"):
        from_config("x" * 5000)


def test_what_nobody_has_checked_is_told() -> None:
    [note] = from_config("llama-3-70b").notes
    assert note.startswith("llama-3-70b: unverified: from memory")
