"""What holds of every dataflow on every array."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Cascade, parse
from mappings.arrays import Grid, RowStationary, input_stationary, output_stationary, row_stationary, weight_stationary
from sim.arch import Device, device
from sim.model.fit import occupancy
from sim.model.sized import Sized
from sim.model.spatial import MappedEstimate, evaluate

DATAFLOWS = (output_stationary, weight_stationary, input_stationary)
CYCLE = 1e-9
sides = st.integers(1, 9)
extents = st.integers(1, 20)


def array(rows: int, columns: int, step: float = 0.0) -> Device:
    """A plain array in which a step to a neighbour takes ``step`` seconds."""
    made = device("systolic_32x32")
    changes = {"rows.count": rows, "columns.count": columns, "rows.shift": rows * step}
    changes |= {"rows.skew": (rows - 1) * step, "columns.skew": (columns - 1) * step}
    for path, value in changes.items():
        made = made.with_(path, value)
    return made


def product(m: int, n: int, k: int) -> Cascade:
    return parse("Z[m, n] = A[m, k] * B[k, n]", dtype="int8", m=m, n=n, k=k)


def run(which: int, rows: int, columns: int, cascade: Cascade, step: float = 0.0) -> MappedEstimate:
    return evaluate(cascade, DATAFLOWS[which](Grid(rows, columns)), array(rows, columns, step))


@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, 2), rows=sides, columns=sides, more=sides, m=extents, n=extents, k=extents)
def test_more_units_are_never_slower_when_neighbours_are_near(
    which: int, rows: int, columns: int, more: int, m: int, n: int, k: int
) -> None:
    work = product(m, n, k)
    few, many = run(which, rows, columns, work), run(which, rows + more, columns + more, work)
    assert many.seconds <= few.seconds * (1 + 1e-12)


@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, 2), rows=sides, columns=sides, m=extents, n=extents, k=extents)
def test_work_is_conserved_and_no_unit_is_busier_than_time_passes(
    which: int, rows: int, columns: int, m: int, n: int, k: int
) -> None:
    made = run(which, rows, columns, product(m, n, k), CYCLE)
    assert made.counts.points("Z") == m * n * k
    assert 0 < made.utilisation("pe") <= 1 + 1e-12
    assert made.seconds * rows * columns >= m * n * k * CYCLE * (1 - 1e-12)


@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, 2), rows=sides, columns=sides, m=extents, n=extents, k=extents)
def test_traffic_is_at_least_compulsory_and_the_buffer_saves_the_rest(
    which: int, rows: int, columns: int, m: int, n: int, k: int
) -> None:
    made = run(which, rows, columns, product(m, n, k))
    for tensor, size in {"A": m * k, "B": k * n}.items():
        assert made.counts.get("dram", tensor, "reads") == size
        assert made.counts.get("buffer", tensor, "reads") >= size
    assert made.counts.get("dram", "Z", "updates") == m * n
    assert made.counts.get("buffer", "Z", "updates") >= m * n


@settings(max_examples=60, deadline=None)
@given(
    which=st.integers(0, 2), rows=sides | st.integers(1, 300), columns=sides | st.integers(1, 300),
    m=extents | st.integers(1, 5000), n=extents | st.integers(1, 5000), k=extents | st.integers(1, 5000),
)  # fmt: skip
def test_cycles_are_tiles_times_a_wavefront(which: int, rows: int, columns: int, m: int, n: int, k: int) -> None:
    """What streams through a tile, one way in and one way out; operands that stay are handed down the rows first.

    SCALE-Sim's cycles, plus the one that it leaves out: of arrays of any sides, products of any size.
    """
    down, across, stream, rest = [(m, n, k, 0), (k, n, m, rows), (k, m, n, rows)][which]
    tiles = -(-down // rows) * -(-across // columns)
    made = run(which, rows, columns, product(m, n, k), CYCLE)
    assert made.seconds / CYCLE == pytest.approx(tiles * (rest + rows + columns - 2 + stream))


def test_many_problem_sizes_at_once() -> None:
    """One nest counted for an array of products."""
    sizes = {"m": np.array([1, 5, 64]), "n": np.array([3, 5, 70]), "k": np.array([9, 4, 33])}
    nest, on = weight_stationary(Grid(4, 4)), array(4, 4, CYCLE)
    every = evaluate(product(1, 1, 1), nest, on, sizes=sizes)
    for place, seconds in enumerate(every.seconds):
        m, n, k = (int(sizes[rank][place]) for rank in "mnk")
        assert seconds == pytest.approx(float(run(1, 4, 4, product(m, n, k), CYCLE).seconds))


def convolution(n: int, m: int, c: int, side: int, taps: int) -> Cascade:
    return parse(
        "O[n, g, m, e, f] = I[n, g, c, e + r, f + s] * W[g, m, c, r, s]", dtype="int16",
        n=n, g=1, m=m, c=c, e=side, f=side, r=taps, s=taps,
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 3), m=st.integers(1, 9), c=st.integers(1, 7), side=st.integers(1, 7), p=st.integers(1, 4),
    q=st.integers(1, 3), r=st.integers(1, 2), t=st.integers(1, 2), e=st.integers(1, 7),
)  # fmt: skip
def test_row_stationary_does_all_the_work_and_reads_all_the_data(
    n: int, m: int, c: int, side: int, p: int, q: int, r: int, t: int, e: int
) -> None:
    shape = RowStationary(taps=3, m=2 * p * t, n=n, e=e, p=p, q=q, r=r, t=t)
    made = evaluate(convolution(n, m, c, side, 3), row_stationary(shape), device("eyeriss"))
    assert made.counts.points("O") == n * m * c * side**2 * 9
    assert made.counts.get("dram", "I", "reads") >= n * c * (side + 2) ** 2
    assert made.counts.get("dram", "W", "reads") >= m * c * 9
    assert made.counts.get("dram", "O", "updates") == n * m * side**2
    assert made.counts.get("glb_ifmap", "I", "reads") >= made.counts.get("glb_ifmap", "I", "fills")
    assert made.utilisation("pe") <= min(1, shape.units / 168) + 1e-12


def test_a_pass_by_hand() -> None:
    """One pass: 2 filters, 1 channel, 3 taps, 4 rows of 4 outputs: 2 * 3 * 4 cycles of computing.

    Its 2 * 9 filter words come four a cycle, its first window of 6 rows * 3 words one a cycle.
    """
    shape = RowStationary(taps=3, m=2, n=1, e=4, p=2, q=1)
    made = evaluate(convolution(1, 2, 1, 4, 3), row_stationary(shape), device("eyeriss"))
    cycle = 1 / 200e6
    assert made.compute_seconds == pytest.approx(24 * cycle)
    assert made.filling.total == pytest.approx((18 / 4 + 18) * cycle)
    assert made.level_seconds["glb_ifmap"] == pytest.approx(36 * cycle)  # the image, once, half of it while computing
    assert made.seconds == pytest.approx((24 + 18 / 4 + 18) * cycle)


def test_images_and_sums_share_a_hundred_kilobytes() -> None:
    """The largest of AlexNet's layers on the published mapping."""
    shape = RowStationary(taps=3, m=64, n=4, e=13, p=16, q=4, t=4)
    work = convolution(4, 384, 256, 13, 3)
    made = evaluate(work, row_stationary(shape), device("eyeriss"))
    held = occupancy(Sized.of(made.mapped, work.bind()))
    assert held["glb_psum"] + held["glb_ifmap"] <= 100 * 1024
