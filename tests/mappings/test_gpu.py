"""FlashAttention on an H100: legal, exact, and as little traffic as its blocking promises."""

from __future__ import annotations

import pytest

from einsum import WeirError
from mappings.gpu import flash_attention
from mappings.text import parse
from sim.arch import device
from sim.model.exact import simulate
from sim.model.legal import check
from sim.model.spatial import evaluate
from workloads import attention

HEADS, QUERY, KEYS, WIDTH = 8, 1024, 2048, 64
LAYER = attention.one_pass(batch=2, heads=HEADS, query=QUERY, context=KEYS, head_dim=WIDTH, block=64)
QUERIES, PAIRS = 2 * HEADS * QUERY * WIDTH, 2 * HEADS * KEYS * WIDTH  # elements of Q or O, of K or V


@pytest.mark.parametrize(("blocks", "heads"), [(1, 1), (8, 4), (4, 8)])
def test_what_stays_in_the_cache_leaves_the_memory_once(blocks: int, heads: int) -> None:
    made = evaluate(LAYER, flash_attention(blocks=blocks, heads=heads), device("h100_sxm"))
    assert made.traffic("hbm") == 2 * (2 * QUERIES + 2 * PAIRS)


@pytest.mark.parametrize("block_q", [64, 128])
@pytest.mark.parametrize("blocks", [1, 4])
def test_without_the_cache_each_wave_of_blocks_reads_keys_and_values_again(block_q: int, blocks: int) -> None:
    nest = flash_attention(block_q=block_q, blocks=blocks, heads=8, resident=False)
    waves = QUERY // (block_q * blocks)
    made = evaluate(LAYER, nest, device("h100_sxm"))
    assert made.traffic("hbm") == 2 * (2 * QUERIES + waves * 2 * PAIRS)
    assert made.counts.get("hbm", "K", "reads") == waves * PAIRS


def test_each_processor_reads_keys_and_values_once_a_block_of_queries() -> None:
    made = evaluate(LAYER, flash_attention(blocks=8, heads=8), device("h100_sxm"))
    assert made.counts.get("smem", "K", "fills") == QUERY // 128 * PAIRS
    assert made.counts.get("l2", "K", "reads") == PAIRS  # shared by the processors at work on one head


def test_closed_form_and_exact_simulator_agree() -> None:
    small = attention.one_pass(batch=2, heads=3, query=7, context=8, head_dim=2, block=2)
    for resident in (True, False):
        nest = flash_attention(block_q=2, blocks=2, heads=2, resident=resident)
        assert evaluate(small, nest, device("h100_sxm")).counts.table() == simulate(small, nest).table()


def test_taking_turns_is_faster_and_exponentials_wait_for_their_own_unit() -> None:
    h100 = device("h100_sxm")
    turns, waits = (
        evaluate(LAYER, flash_attention(blocks=8, heads=8, overlap=overlap), h100) for overlap in (True, False)
    )
    assert turns.seconds < waits.seconds
    scores = 2 * HEADS * QUERY * KEYS
    [exponentials] = [busy for busy in turns.leaves if busy.einsum == "SLN"]
    spread = 64 / 132  # processors at work
    each = 1 / h100.rate("exp", "fp32") + 1 / h100.rate("add", "fp32")
    assert exponentials.seconds == pytest.approx(scores * each / spread)


def test_no_faster_than_the_tensor_cores() -> None:
    made = evaluate(LAYER, flash_attention(blocks=8, heads=8), device("h100_sxm"))
    assert made.seconds > 4 * 2 * HEADS * QUERY * KEYS * WIDTH / 989e12


def test_more_blocks_than_processors_are_refused() -> None:
    with pytest.raises(WeirError, match=r"needs 256 instances of 'sm'; h100_sxm has 132"):
        evaluate(
            attention.one_pass(heads=32, query=1024, context=1024, head_dim=64, block=64),
            flash_attention(blocks=8, heads=32), device("h100_sxm"),
        )  # fmt: skip


def test_what_does_not_fit_the_registers_is_refused() -> None:
    wide = attention.one_pass(query=512, context=512, head_dim=256, block=128)
    with pytest.raises(WeirError, match="'registers' must hold"):
        evaluate(wide, flash_attention(blocks=4), device("h100_sxm"))


def test_a_tensor_may_pass_by_a_level_outside_of_where_another_stays() -> None:
    nest = str(flash_attention(blocks=4))
    assert "keep Q, RM" in nest
    assert nest.index("in registers") < nest.index("K, V in smem")
    moved = parse(nest.replace("keep K, V in smem double", "keep K, V, Q in smem double"))
    with pytest.raises(WeirError, match="level 'smem' is not inside 'registers'"):
        check(LAYER, moved, device("h100_sxm"))  # Q already stays further in
    beyond = parse(nest.replace("keep K, V in smem double", "keep K, V in l2 double"))
    with pytest.raises(WeirError, match="level 'l2' is not inside 'registers'"):
        check(LAYER, beyond, device("h100_sxm"))  # there is one for all processors
