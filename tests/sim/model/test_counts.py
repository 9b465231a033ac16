"""Counts in closed form: by hand, over arrays, and for sparse operands on average."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import parse
from mappings.text import parse as read
from sim.model.counts import counts
from sim.model.nests import Mapped

GEMM = parse("Z[m, n] = A[m, k] * B[k, n]", m=8, n=6, k=4)
NEST = read("""\
keep A, B, Z in dram
for m tile 4
  for k tile 2
    keep A, B, Z in buffer
    for n tile 3
      keep B, Z in registers
      Z on mac""")


def test_a_gemm_by_hand() -> None:
    found = counts(GEMM, NEST).table()
    assert found["buffer", "A", "fills"] == 8 * 4  # every piece of A once
    assert found["buffer", "B", "fills"] == 2 * 4 * 6  # B again for each piece of m
    assert found["registers", "B", "fills"] == 2 * 4 * 6
    assert found["buffer", "B", "reads"] == 2 * 4 * 6
    assert found["buffer", "A", "reads"] == 8 * 6 * 4  # one a point
    assert found["registers", "Z", "updates"] == 8 * 6 * 4
    assert found["registers", "Z", "reads"] == 8 * 6 * 4 - 8 * 6  # added to, but for the first touch
    assert found["registers", "Z", "drains"] == 2 * 8 * 6  # left once for each piece of k
    assert found["registers", "Z", "fills"] == 8 * 6  # and came back once
    assert found["buffer", "Z", "drains"] == 8 * 6
    assert found["dram", "Z", "updates"] == 8 * 6
    assert ("dram", "Z", "reads") not in found


def test_instances_that_need_the_same_share_one_read() -> None:
    nest = read("""\
keep A, B, Z in dram
spatial n tile 1 over columns
  keep A, B, Z in registers
  Z on mac""")
    found = counts(GEMM, nest).table()
    assert found["registers", "A", "fills"] == 6 * 8 * 4
    assert found["dram", "A", "reads"] == 8 * 4
    assert found["dram", "B", "reads"] == 4 * 6


def test_sums_over_instances_are_added_on_the_way() -> None:
    nest = read("""\
keep A, B, Z in dram
spatial k tile 1 over rows
  keep A, B in registers
  Z on mac""")
    result = counts(GEMM, nest)
    assert result.get("dram", "Z", "updates") == 8 * 6
    assert result.computes[0].reductions == 8 * 6 * 4 - 8 * 6


tile = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(tile, tile, tile), min_size=1, max_size=5))
def test_many_tile_shapes_at_once_are_the_same_as_one_by_one(shapes: list[tuple[int, int, int]]) -> None:
    mapped = Mapped(GEMM, NEST)
    columns = np.array(shapes).T
    together = counts(GEMM, mapped, tiles=dict(zip(("m.0", "k.0", "n.0"), columns, strict=True))).table()
    for i, (m, k, n) in enumerate(shapes):
        alone = counts(GEMM, mapped, tiles={"m.0": m, "k.0": k, "n.0": n}).table()
        for key, value in alone.items():
            assert np.broadcast_to(together[key], len(shapes))[i] == value


def test_many_problem_sizes_at_once_are_the_same_as_one_by_one() -> None:
    sizes = np.array([3, 8, 17])
    together = counts(GEMM, NEST, GEMM.bind(m=sizes)).table()
    for i, size in enumerate(sizes):
        alone = counts(GEMM, NEST, GEMM.bind(m=int(size))).table()
        assert all(np.broadcast_to(together[key], 3)[i] == value for key, value in alone.items())


def test_a_sparse_operand_scales_counts_by_what_is_expected_to_be_there() -> None:
    sparse = parse("A[m, k]: uniform(0.25)\nZ[m, n] = A[m, k] * B[k, n]", m=40, n=6, k=50)
    nest = read("keep A, B, Z in dram\nfor m tile 8\n  keep A, B, Z in buffer\n  Z on mac")
    result = counts(sparse, nest)
    rng = np.random.default_rng(0)
    [pattern] = sparse.tensor("A").patterns
    present = np.array([pattern.mask({"m": 40, "k": 50}, rng).sum() for _ in range(400)])
    error = 4 * present.std() / np.sqrt(len(present))  # four standard errors of the mean
    assert result.get("buffer", "A", "fills") == pytest.approx(present.mean(), abs=error)
    assert result.points("Z") == pytest.approx(6 * present.mean(), abs=6 * error)
    assert result.get("buffer", "B", "fills") == 50 * 6  # B stays: all of it is needed by some row
