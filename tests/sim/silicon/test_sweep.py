"""The order of a published sweep: what ran before a case, by hand from the loops of its source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sim.silicon.measured import Measured
from sim.silicon.sweep import before, decoding, places, products, prompts

VLLM = "aiconfigurator:vllm/0.22.0"


def gemm(n: int, k: int, dtype: str, source: str = VLLM) -> Measured:
    cells = {"device": "h200", "dtype": dtype, "m": "64", "n": str(n), "k": str(k), "source": source}
    return Measured("gemm", {name: (cell,) for name, cell in cells.items()}, np.array([1e-4]))


def attention(kind: str, batch: int, length: int, stored: str, heads: int = 24, keys: int = 8) -> Measured:
    cells = {
        "device": "h200", "batch": str(batch), "seq": str(length), "heads": str(heads), "kv_heads": str(keys),
        "head_dim": "128", "attn_dtype": "bfloat16", "kv_dtype": stored, "source": VLLM,
    }  # fmt: skip
    return Measured(f"attention_{kind}", {name: (cell,) for name, cell in cells.items()}, np.array([1e-4]))


def earlier(rows: Measured, boards: int, deep: int, *names: str) -> list[tuple[str, ...]]:
    found = before(rows, boards, deep)
    return list(zip(*(found.columns[name] for name in names), strict=True))


def test_a_product_comes_after_its_other_types_and_wider_inputs() -> None:
    """512 inputs come after 768: types in turn, bf16 first; block-scaled values only of whole blocks."""
    found = earlier(gemm(512, 512, "fp8_block"), 1, 4, "n", "k", "dtype")
    assert found == [("512", "512", "fp8"), ("512", "512", "bf16"), ("512", "768", "bfp8"), ("512", "768", "fp8")]
    assert {dtype for n, _, dtype in products() if n == 64} == {"bf16", "fp8"}


def test_as_many_products_are_swept_as_their_maintainers_count() -> None:
    """35742 shapes with 74 numbers of tokens (ai-dynamo/aiconfigurator, pull request 1113)."""
    assert 74 * len({(n, k) for n, k, _ in products()}) == 35742


def test_on_several_boards_the_case_before_is_that_many_back() -> None:
    one = attention("prefill", 1, 16, "bfloat16")
    assert earlier(one, 1, 3, "batch", "seq", "kv_dtype") == [
        ("2", "16", "fp8"), ("2", "16", "bf16"), ("4", "16", "fp8"),
    ]  # fmt: skip
    assert earlier(one, 2, 1, "batch", "seq", "kv_dtype") == [("2", "16", "bf16")]
    assert earlier(one, 8, 2, "batch", "kv_dtype") == [("16", "bf16"), ("256", "bf16")]


def test_decoding_goes_from_short_contexts_to_long_ones() -> None:
    one = attention("decode", 4, 8, "bfloat16")
    assert earlier(one, 1, 2, "batch", "seq", "kv_dtype") == [("4", "4", "fp8"), ("4", "4", "bf16")]


def test_the_first_of_a_turn_comes_after_the_last_of_one_alike() -> None:
    """The longest prompts that fit in one batch run first, after single tokens."""
    first = attention("prefill", 8, 16384, "bfloat16")
    assert places(first).tolist() == [0]
    assert earlier(first, 1, 1, "batch", "seq", "kv_dtype") == [("1", "1", "fp8")]


@pytest.mark.parametrize(("batch", "longest"), [(1, 131072), (128, 8192), (256, 2048)])
def test_what_is_decoded_fits_and_large_batches_leave_their_longest_out(batch: int, longest: int) -> None:
    """2**24 tokens over 12 heads: 128 of 10922, 256 of 5461; and 256 go only to half as many."""
    assert max(s for b, s, _ in decoding(12, 4, 128) if b == batch) == longest


def test_prompts_with_a_key_head_a_query_head_come_in_half_the_batches() -> None:
    most = {alone: max(b * s for b, s, _ in prompts(8, 8 if alone else 2, 128)) for alone in (True, False)}
    assert most == {True: 65536, False: 131072}
    assert max(b for b, _, _ in prompts(8, 8, 128)) == 128


def test_rows_of_no_case_and_of_other_benchmarks_have_no_place() -> None:
    assert places(gemm(500, 512, "bfloat16")).tolist() == [-1]
    assert places(gemm(512, 512, "bfloat16", source="aiconfigurator:trtllm/1.0")).tolist() == [-1]
    assert places(gemm(512, 512, "bfloat16")).tolist() >= [0]
    whole = attention("decode", 4, 8, "bfloat16")
    fraction = replace(whole, columns={**whole.columns, "heads": ("0.5",)})
    assert places(fraction).tolist() == [-1]


def test_what_ran_before_is_of_the_same_turn_of_the_outer_loops() -> None:
    found = before(attention("decode", 4, 8, "bfloat16", heads=12, keys=4), 8, 3)
    assert {name: set(found.columns[name]) for name in ("heads", "kv_heads", "device")} == {
        "heads": {"12"}, "kv_heads": {"4"}, "device": {"h200"},
    }  # fmt: skip
    assert len(found) == 3
