from __future__ import annotations

from collections.abc import Callable

import pytest

from einsum import WeirError
from mappings.arrays import Grid, RowStationary, input_stationary, output_stationary, row_stationary, weight_stationary
from mappings.text import parse
from mappings.tree import Nest


def test_a_weight_stationary_product_reads_as_a_loop_nest() -> None:
    text = """\
keep A, B, Z in dram
keep A, B, Z in buffer
for k tile 4
  for n tile 8
    spatial k tile 1 over rows
      spatial n tile 1 over columns
        keep B in register double
        Z on pe"""
    assert str(weight_stationary(Grid(4, 8), double=True)) == text


@pytest.mark.parametrize(
    ("dataflow", "down", "across", "stays"),
    [
        (output_stationary, "m", "n", "Z"),
        (weight_stationary, "k", "n", "B"),
        (input_stationary, "k", "m", "A"),
    ],
)
def test_what_stays_has_the_ranks_that_lie_over_rows_and_columns(
    dataflow: Callable[[Grid], Nest], down: str, across: str, stays: str
) -> None:
    text = str(dataflow(Grid(2, 3)))
    assert f"for {down} tile 2\n  for {across} tile 3" in text
    assert f"keep {stays} in register" in text


def test_weights_through_a_fifo_leave_activations_in_the_buffer() -> None:
    text = str(weight_stationary(Grid(4, 4), fifo="fifo"))
    assert text.startswith("keep B in dram\nkeep A, Z in buffer\n")
    assert "    keep B in fifo double\n" in text


SHAPE = RowStationary(taps=3, m=64, n=4, e=13, p=16, q=3, r=2, t=2)


@pytest.mark.parametrize(
    "nest",
    [
        output_stationary(Grid(3, 5)),
        weight_stationary(Grid(3, 5), fifo="fifo"),
        input_stationary(Grid(1, 1), double=True),
        row_stationary(SHAPE),
    ],
)
def test_a_nest_reads_back_from_its_text(nest: Nest) -> None:
    assert parse(str(nest)) == nest


def test_row_stationary_passes_by_the_papers_letters() -> None:
    text = str(row_stationary(SHAPE))
    assert SHAPE.units == 3 * 13 * 2 * 2
    assert "for c tile 6" in text  # q r channels
    assert "for m tile 32" in text  # p t filters
    assert "spatial m tile 16 over pes" in text
    assert "spatial c tile 3 over pes" in text


@pytest.mark.parametrize("rows", [0, -1, 1.5, True, 1 << 60])
def test_a_grid_has_whole_sides(rows: int) -> None:
    with pytest.raises(WeirError, match=r"grid: rows=.* must be a whole number of 1 or more"):
        Grid(rows, 4)


def test_a_pass_has_whole_parts() -> None:
    with pytest.raises(WeirError, match="row stationary: q=0 must be a whole number of 1 or more"):
        RowStationary(taps=3, m=64, n=4, e=13, p=16, q=0)
