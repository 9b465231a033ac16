"""What a row's source says of the kernels that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sim.arch import tier
from sim.serving.launches import PASS, PRODUCT
from sim.silicon.cases import cases, predict
from sim.silicon.measured import Measured, read

ATTENTION = "device,batch,seq,heads,kv_heads,head_dim,attn_dtype,kv_dtype,latency_us,source"
SHORT = "h200_sxm,1,4096,48,1,128,bfloat16,bfloat16,13"
GEMM = "device,dtype,m,n,k,latency_us,source"


def written(folder: Path, operation: str, *lines: str) -> Measured:
    path = folder / f"{operation}.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read(path, operation)


def seconds(rows: Measured, level: str = "physical") -> np.ndarray:
    return predict(cases(rows), tier(level), len(rows))


@pytest.mark.parametrize("operation", ["attention_decode", "attention_prefill"])
def test_engines_with_flash_attention_are_timed_with_it_and_the_vendors_is_not(tmp_path: Path, operation: str) -> None:
    engines = ("aiconfigurator:vllm/0.22.0", "aiconfigurator:sglang/0.5", "aiconfigurator:trtllm/1.3.0", "mine")
    rows = written(tmp_path, operation, ATTENTION, *(f"{SHORT},{name}" for name in engines))
    vllm, sglang, vendor, mine = seconds(rows)
    assert vllm == sglang < vendor
    assert mine == (vllm_or_vendor(operation, vllm, vendor))


def test_a_measured_prompt_of_one_token_is_one_alone_and_beside_longer_ones(tmp_path: Path) -> None:
    line = "h100_sxm,8,{},96,1,128,bfloat16,bfloat16,36,aiconfigurator:trtllm/1.3.0"
    both = seconds(written(tmp_path, "attention_prefill", ATTENTION, line.format(1), line.format(512)))
    [alone] = seconds(written(tmp_path, "attention_prefill", ATTENTION, line.format(1)))
    [decoded] = seconds(written(tmp_path, "attention_decode", ATTENTION, line.format(1)))
    assert alone == pytest.approx(both[0], rel=1e-12)
    assert alone > 1.2 * decoded  # which neither turns positions nor writes a prompt's cache in kernels of its own


def vllm_or_vendor(operation: str, vllm: float, vendor: float) -> float:
    """With 48 queries a key head the better kernel is FlashAttention's in decoding; prompts take the vendor's."""
    return vllm if operation == "attention_decode" else vendor


def test_the_host_launches_block_scaled_products_of_vllms_benchmark_one_by_one(tmp_path: Path) -> None:
    """A pass that narrows values and a product, 66 us; others come from a recorded graph, as all of the vendor's do."""
    kinds = [("fp8_block", "vllm/0.22.0"), ("fp8", "vllm/0.22.0"), ("fp8_block", "trtllm/1.3.0")]
    lines = [f"h200_sxm,{dtype},16,1024,1024,50,aiconfigurator:{engine}" for dtype, engine in kinds]
    alone, recorded, vendors = seconds(written(tmp_path, "gemm", GEMM, *lines))
    assert alone == pytest.approx(PASS + PRODUCT)
    assert max(recorded, vendors) < alone / 2
    assert seconds(written(tmp_path, "gemm", GEMM, *lines), "limit")[0] < 1e-6


def test_a_long_product_hides_the_host(tmp_path: Path) -> None:
    lines = [f"h200_sxm,fp8_block,8192,8192,8192,900,aiconfigurator:{engine}/1" for engine in ("vllm", "trtllm")]
    alone, recorded = seconds(written(tmp_path, "gemm", GEMM, *lines))
    assert alone == recorded > 10 * (PASS + PRODUCT)
