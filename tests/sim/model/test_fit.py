from __future__ import annotations

import numpy as np
import pytest

from einsum import parse as cascade_of
from einsum.errors import WeirError
from mappings.text import parse
from sim.arch import device
from sim.model.fit import largest, occupancy
from sim.model.legal import check
from sim.model.nests import Mapped
from sim.model.sized import Sized

ON = device("fusemax_cloud")
MATMUL = cascade_of("Z[m, n] = A[m, k] * B[k, n]", m=64, n=32, k=16)
RUNNING = cascade_of(
    """
    R[p, 0] = 0
    R[p, m + 1] = R[p, m] + A[p, m]
    O[p] = R[p, M] / 2
    """,
    m=8,
    p=4,
)
STREAM = """
keep A, O in dram
keep R in buffer
sequence
  R.init on vector
  for m tile {tile}
    R on vector
  O on vector
"""


def test_a_tile_by_hand() -> None:
    nest = parse("keep A, B, Z in dram\nfor m tile 8\n  keep A in buffer double\n  keep Z in buffer\n  Z on array")
    held = occupancy(Sized.of(Mapped(MATMUL, nest), MATMUL.bind()))
    assert held["buffer"] == 2 * (8 * 16) * 2 + (8 * 32) * 2  # two pieces of A, one of Z, two bytes a value
    assert held["dram"] == 2 * (64 * 16 + 16 * 32 + 64 * 32)


def test_tiles_may_be_given_for_many_points() -> None:
    nest = parse("keep A, B, Z in dram\nfor m tile 8\n  keep A in buffer\n  Z on array")
    held = occupancy(Sized.of(Mapped(MATMUL, nest), MATMUL.bind(), {"m.0": np.array([1, 8, 100])}))
    assert held["buffer"].tolist() == [32, 256, 64 * 32]


def test_a_value_that_replaces_the_one_before_takes_its_place() -> None:
    """R[m] and R[m + 1] are needed together for the sum, so two of the nine values are held."""
    held = occupancy(Sized.of(Mapped(RUNNING, parse(STREAM.format(tile=1))), RUNNING.bind()))
    assert held["buffer"] == 2 * 4 * 2


def test_values_that_more_than_single_steps_pass_are_all_kept() -> None:
    held = occupancy(Sized.of(Mapped(RUNNING, parse(STREAM.format(tile=2))), RUNNING.bind()))
    assert held["buffer"] == 9 * 4 * 2


def test_values_read_outside_the_loop_are_all_kept() -> None:
    history = cascade_of("R[p, 0] = 0\nR[p, m + 1] = R[p, m] + A[p, m]\nO[p, m] = R[p, m] / 2", m=8, p=4)
    held = occupancy(Sized.of(Mapped(history, parse(STREAM.format(tile=1))), history.bind()))
    assert held["buffer"] == 9 * 4 * 2


def test_the_largest_tile_that_fits() -> None:
    nest = parse("keep A, B, Z in dram\nfor m tile 1\n  keep A in buffer\n  Z on array")
    small = ON.with_("buffer.capacity", "600 B")
    assert largest(Mapped(MATMUL, nest), small, MATMUL.bind(), "m.0", (4, 1, 16, 64)) == 16  # 32 bytes a row


def test_the_largest_tile_problem_by_problem() -> None:
    nest = parse("keep A, B, Z in dram\nfor m tile 1\n  keep A in buffer\n  Z on array")
    small = ON.with_("buffer.capacity", "600 B")
    sizes = MATMUL.bind(k=np.array([4, 16, 1000]))
    assert largest(Mapped(MATMUL, nest), small, sizes, "m.0", (1, 4, 16, 64)).tolist() == [64, 16, 1]


def test_what_does_not_fit_is_refused_at_the_tiles_given() -> None:
    nest = parse("keep A, B, Z in dram\nfor m tile 1\n  keep A in buffer\n  Z on array")
    small = ON.with_("buffer.capacity", "600 B")
    check(MATMUL, nest, small)
    with pytest.raises(
        WeirError, match="'buffer' must hold 2048 bytes at once \\(A 2048\\); fusemax_cloud gives it 600"
    ):
        check(MATMUL, nest, small, tiles={"m.0": 64})
