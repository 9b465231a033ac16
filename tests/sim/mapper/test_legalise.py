"""What weir offers in place of a fusion that passes forbid."""

from __future__ import annotations

import pytest

from einsum import WeirError, parse
from mappings.text import parse as read
from mappings.tree import Nest
from sim.arch import Compute, Device, Memory
from sim.mapper import alternatives
from sim.model.legal import check
from sim.model.spatial import evaluate
from workloads import attention

RATES = (("mac", "bf16", 2e9), ("map", "bf16", 1e9), ("exp", "bf16", 1e9))


def device(buffer: float) -> Device:
    """A memory, a buffer of so many bytes and one unit."""
    memories = (Memory("dram", capacity=1e9, bandwidth=1e9), Memory("buffer", "dram", capacity=buffer, bandwidth=1e9))
    unit = Compute("alu", "buffer", RATES)
    return Device("toy", "Toy", "none", "none", 2026, memories, (), (unit,), (), None, "made up")


THREE = attention.three_pass(query=1024, context=1024, head_dim=4)
FUSED = read("""\
keep Q, K, V, O in dram
for p tile 32
  keep Q, GM, SD, O in buffer
  for m tile 1
    keep K, V, QK, SN, A in buffer
    sequence
      QK on alu
      GM on alu
      SN on alu
      SD on alu
      A on alu
      O on alu""")
ROW = 1024 * 2  # bytes of one softmax row


def test_three_passes_fused_under_the_key_rank_are_refused_by_pass() -> None:
    with pytest.raises(WeirError) as refused:
        check(THREE, FUSED, device(ROW / 2))
    first, second = str(refused.value).split("\n")
    assert "SN reads GM under 'for m tile 1', over which GM is still reducing m" in first
    assert "pass 2 of 3" in first
    assert "A reads SD" in second
    assert "pass 3 of 3" in second


def test_with_half_a_row_of_buffer_the_best_is_to_recompute_at_twice_the_one_pass_traffic() -> None:
    recompute, spill = alternatives(THREE, FUSED, device(ROW / 2))
    assert recompute.how == "recompute in each pass"
    one_pass = 1024 * 4 * 2 * 2 + 32 * 1024 * 4 * 2 * 2  # Q and O once; K and V once for each of 32 blocks of queries
    assert recompute.estimate.traffic("dram") == one_pass + 2 * 32 * 1024 * 4 * 2  # K twice more
    rows = 1024 * 1024 * 2
    assert spill.estimate.traffic("dram") == one_pass + 4 * rows  # QK and SN written once and read once
    assert spill.estimate.traffic("dram") >= 4 * rows / 2  # no legal nest that spills can hold more than half a row


def test_recomputation_adds_lines_that_mean_the_same() -> None:
    recompute, _ = alternatives(THREE, FUSED, device(ROW / 2))
    lines = str(recompute.cascade).splitlines()
    assert "QK_2[b, h, p, m] = Q[b, h, p, e] * K[b, h, m, e]" in lines
    assert sum(c.points for c in recompute.estimate.counts.computes if c.einsum.startswith("QK")) == 3 * 4 * 1024 * 1024


def test_alternatives_that_do_not_fit_are_not_offered() -> None:
    assert alternatives(THREE, FUSED, device(64)) == ()


def test_a_legal_nest_has_no_alternatives() -> None:
    one = parse("Z[m] = exp(A[m])", m=4)
    assert alternatives(one, read("keep A, Z in dram\nfor m tile 1\n  Z on alu"), device(1024)) == ()


def _nest(text: str) -> Nest:
    return read(text)


GEMM = parse("Z[m, n] = A[m, k] * B[k, n]", m=8, n=8, k=8)
BAD = [
    ("keep A, B, Z in dram\nY on alu", "mapping: no Einsum 'Y' in cascade; known: Z"),
    ("keep A, B, Z in dram\nsequence\n  Z on alu\n  Z on alu", "mapping: Einsum 'Z' runs twice"),
    ("keep A, B, Z in dram\nfor q tile 2\n  Z on alu", "mapping: 'for q tile 2': no rank 'q'; known: k, m, n"),
    ("keep A, X, Z in dram\nZ on alu", "mapping: 'keep A, X, Z in dram': no tensor 'X'"),
    ("keep A, Z in dram\nZ on alu", "mapping: Z touches B, which no level above it keeps"),
    (
        "keep A, B, Z in drum\nZ on alu",
        "mapping: 'keep A, B, Z in drum': toy has no level 'drum'; did you mean 'dram'?",
    ),
    ("keep A, B, Z in dram\nZ on mac", "mapping: 'Z on mac': toy has no unit 'mac'; known: alu"),
    ("keep A, B, Z in buffer\nkeep A in dram\nZ on alu", "level 'dram' is not inside 'buffer' on toy"),
    (
        "keep A, B, Z in dram\nspatial m ways 2 over rows\n  Z on alu",
        "on an array, say how many elements each instance takes",
    ),
    ("keep A, B, Z in dram\nspatial m tile 2\n  Z on alu", "say over which fan-out: spatial m tile 2 over NAME"),
    ("keep A, B, Z in dram\nspatial m tile 2 over rows\n  Z on alu", "toy has no fan-out 'rows'"),
    (
        "keep A, B, Z in dram\nkeep A, B, Z in buffer\nZ on alu",
        "'buffer' must hold 384 bytes at once (A 128, B 128, Z 128); toy gives it 256",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_cannot_run_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(WeirError) as refused:
        evaluate(GEMM, _nest(text), device(256))
    assert message in str(refused.value)
