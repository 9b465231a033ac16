from __future__ import annotations

import pytest

from einsum.errors import WeirError
from mappings import attention_arrays
from mappings.attention_arrays import flat, interleaved, product, spilled, staged, unfused
from mappings.text import parse
from mappings.tree import Nest
from sim.arch import Device, device
from sim.model.legal import check
from workloads import attention

ONE = attention.one_pass(batch=2, heads=2, query=1024, context=2048, head_dim=64)
THREE = attention.three_pass(batch=2, heads=2, query=1024, context=1024, head_dim=64)
FUSEMAX, FLAT = device("fusemax_cloud"), device("flat_cloud")
NESTS = {
    "interleaved": interleaved(block=512),
    "staged": staged(block=512),
    "spilled": spilled(block=512),
    "unfused": unfused(block=512),
    "flat": flat(block=512),
    "flat, some on chip": flat(block=512, on_chip=("Q", "K", "V", "O")),
    "flat, scores away": flat(block=512, scores="rows"),
    "flat, all away": flat(block=512, scores="dram"),
    "flat, weights stay": flat(block=512, on_chip=("Q", "O"), stationary="weight", scores="rows"),
    "product": product(block=512),
}


@pytest.mark.parametrize("name", [*NESTS])
def test_a_nest_reads_back(name: str) -> None:
    assert parse(str(NESTS[name])) == NESTS[name]


@pytest.mark.parametrize(
    ("nest", "on"),
    [(NESTS["interleaved"], FUSEMAX), (NESTS["staged"], FUSEMAX), (NESTS["spilled"], FLAT)],
)
def test_one_pass_nests_are_legal(nest: Nest, on: Device) -> None:
    check(ONE, nest, on)


@pytest.mark.parametrize("name", [n for n in NESTS if n.startswith(("flat", "unfused"))])
def test_three_pass_nests_are_legal(name: str) -> None:
    check(THREE, NESTS[name], FLAT)


def test_three_passes_cannot_stream_keys() -> None:
    """The study's reason for another cascade: softmax over a block of keys alone is not softmax."""
    nest = parse(
        "keep Q, K, V, O in dram\nfor b tile 1\n  for h tile 1\n    for p tile 256\n      for m tile 256\n"
        "        keep QK, GM, SN, SD, A in buffer\n        interleave\n"
        + "".join(f"          {name} on vector\n" for name in ("QK", "GM", "SN", "SD", "A", "O"))
    )
    with pytest.raises(WeirError, match="GM is complete only when all of m has been traversed"):
        check(THREE, nest, FLAT)


def test_flats_array_can_do_no_more_than_products() -> None:
    from sim.model.spatial import evaluate

    with pytest.raises(WeirError, match="no unit runs 'max' on 'bf16' values"):
        evaluate(ONE, NESTS["interleaved"], FLAT)


def test_scores_of_a_whole_head_do_not_fit() -> None:
    long = attention.three_pass(batch=1, heads=1, query=8192, context=8192, head_dim=64)
    with pytest.raises(WeirError, match=r"'buffer' must hold 268\d{6} bytes at once"):
        check(long, flat(block=8192), FLAT)


def test_catalogue_is_what_a_design_may_name() -> None:
    assert set(attention_arrays.__all__) == {"flat", "interleaved", "product", "spilled", "staged", "unfused"}
