"""Time of fills, wavefronts and ports, and energy of lines and leakage, by hand on a two by two array."""

from __future__ import annotations

import numpy as np
import pytest

from einsum import Cascade, parse
from mappings.text import parse as read
from sim.arch import Compute, Device, Fanout, Memory
from sim.model.spatial import MappedEstimate, evaluate

INF = float("inf")


def array(
    *, buffer: float = INF, shift: float = 0.0, skew: float = 0.0, line: float = 0.0, write: float | None = None
) -> Device:
    """2 x 2 units of one multiply-accumulate a second, fed at ``buffer`` bytes a second."""
    return Device(
        name="toy",
        title="Toy",
        vendor="Nobody",
        architecture="Paper",
        year=2026,
        memories=(
            Memory("dram"),
            Memory("buffer", "dram", bandwidth=buffer, write_bandwidth=write, line=line, energy=1.0, leakage=0.5),
            Memory("register", "columns"),
        ),
        fanouts=(Fanout("rows", "buffer", 2, skew=skew, shift=shift), Fanout("columns", "rows", 2, skew=skew)),
        computes=(Compute("pe", "register", rates=(("mac", "int8", 2.0),)),),
        links=(),
        power=None,
        source="invented for this test",
    )


def product(m: int = 5, n: int = 4, k: int = 4) -> Cascade:
    return parse("Z[m, n] = A[m, k] * B[k, n]", dtype="int8", m=m, n=n, k=k)


def stationary(device: Device, kept: str = "", cascade: Cascade | None = None) -> MappedEstimate:
    """Weights in the units: four tiles of 2 x 2, five rows through each."""
    text = f"""
keep A, B, Z in dram
keep A, B, Z in buffer
for k tile 2
  for n tile 2
    spatial k tile 1 over rows
      spatial n tile 1 over columns
        keep B in register{kept}
        Z on pe
"""
    return evaluate(cascade or product(), read(text), device)


def test_without_wavefronts_and_waiting_only_the_rows_count() -> None:
    assert stationary(array()).seconds == 4 * 5


def test_each_tile_is_handed_on_before_the_rows_come() -> None:
    assert stationary(array(shift=3.0)).seconds == 4 * (3 + 5)


def test_a_second_piece_is_handed_on_meanwhile() -> None:
    assert stationary(array(shift=3.0), " double").seconds == 4 * 5
    assert stationary(array(shift=7.0), " double").seconds == 4 * 7
    assert stationary(array(shift=7.0), " double").bound == "fills"


def test_the_array_drains_before_new_weights_come_unless_they_follow_at_its_heels() -> None:
    assert stationary(array(skew=1.0)).seconds == 4 * (1 + 1 + 5)
    assert stationary(array(skew=1.0), " double").seconds == 1 + 1 + 4 * 5


def test_a_short_tile_is_handed_on_all_the_way() -> None:
    """Three rows of weights: the second tile has one, and still takes the shift."""
    made = stationary(array(shift=3.0), cascade=product(k=3))
    assert made.seconds == 4 * (3 + 5)


def test_weights_that_stay_from_one_tile_to_the_next_are_not_handed_on_again() -> None:
    text = """
keep A, B, Z in buffer
for k tile 2
  for m tile 1
    spatial k tile 1 over rows
      spatial n tile 1 over columns
        keep B in register
        Z on pe
"""
    made = evaluate(product(n=2), read(text), array(shift=3.0))
    assert made.seconds == 2 * 3 + 2 * 5  # m moves five times in each of two tiles


def test_a_fill_takes_the_time_of_what_is_read_once_for_all_who_share_it() -> None:
    """B has no m: both rows of units get one copy of its four elements from the buffer, at a byte a second."""
    text = """
keep A, Z in dram
keep B in buffer
spatial m tile 1 over rows
  spatial n tile 1 over columns
    keep B in register
    keep A, Z in register
    Z on pe
"""
    cascade = product(m=2, n=2, k=2)
    made = evaluate(cascade, read(text), array(buffer=1.0))
    assert made.counts.get("register", "B", "fills") == 2 * 4
    assert made.filling.total == 4
    assert made.seconds == 4 + 2  # the fill, then two points in each unit


def test_after_standing_still_the_first_piece_of_what_is_double_is_waited_for() -> None:
    """Two tiles of B stop the units; each time the first row of A (two elements) comes before they begin again."""
    text = """
keep Z in dram
keep A, B in buffer
for k tile 2
  for m tile 1
    spatial k tile 1 over rows
      spatial n tile 1 over columns
        keep B in register
        keep A in register double
        keep Z in register
        Z on pe
"""
    made = evaluate(product(n=2), read(text), array(buffer=1.0))
    weights, rows = 2 * 4, 2 * 5 * 2  # B once; A once, shared along the columns
    assert made.filling.total == weights + 2 * 2
    assert made.seconds == weights + rows  # the buffer is never idle: what units wait for is part of it


def test_two_ports_read_and_write_at_once() -> None:
    shared, apart = stationary(array(buffer=1.0)), stationary(array(buffer=1.0, write=1.0))
    out, into = shared.traffic("buffer", "reads", "drains"), shared.traffic("buffer", "fills", "updates")
    assert shared.level_seconds["buffer"] == out + into
    assert apart.level_seconds["buffer"] == max(out, into)


def test_lines_move_whole() -> None:
    """Sixteen weights fill two lines of ten bytes, whatever of the second is used."""
    assert stationary(array(line=10.0)).spent("buffer", "fills", tensor="B") == 20
    assert stationary(array()).spent("buffer", "fills", tensor="B") == 16


def test_leakage_is_power_for_as_long_as_it_takes() -> None:
    made = stationary(array())
    assert made.joules_by["buffer"] == made.spent("buffer") + 0.5 * 20


def test_many_tile_sizes_at_once_are_as_one_by_one() -> None:
    text = "keep A, B, Z in buffer\nfor k tile 2\n  for m tile 3\n    keep B in register\n    Z on pe"
    device, cascade, tiles = array(buffer=3.0, shift=2.0), product(m=7, k=9), np.array([1, 2, 4, 9])
    every = evaluate(cascade, read(text), device, tiles={"k.0": tiles})
    alone = [evaluate(cascade, read(text.replace("k tile 2", f"k tile {t}")), device).seconds for t in tiles]
    assert every.seconds == pytest.approx(alone)


def test_a_unit_that_skips_zeros_is_busy_for_the_products_that_are_left() -> None:
    text = "A[m, k]: uniform(0.5)\nB[k, n]: uniform(0.25)\nZ[m, n] = A[m, k] * B[k, n]"
    made = evaluate(parse(text, dtype="int8", m=4, n=4, k=8), read("keep A, B, Z in buffer\nZ on pe"), array())
    assert made.seconds == 4 * 4 * 8 / 8
    assert made.utilisation("pe") == 1 / 4  # all of one unit's time, of four
