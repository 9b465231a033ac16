"""The exact simulator against counts worked out by hand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from einsum import Infeasible, WeirError, parse
from mappings import text
from sim.model.actions import Counts
from sim.model.exact import simulate

GEMM = "Z[m, n] = A[m, k] * B[k, n]"


def run(expression: str, nest: str, **sizes: int) -> Counts:
    return simulate(parse(expression, **sizes), text.parse(nest))


def gemm(nest: str, m: int = 4, n: int = 3, k: int = 5) -> dict[tuple[str, str, str], int]:
    return run(GEMM, nest, m=m, n=n, k=k).table()


def test_one_level() -> None:
    # 60 points: each reads A and B and updates Z; of the 60 updates of 12 elements, 12 are first and 48 read the sum
    assert gemm("keep A, B, Z in dram\nZ on mac") == {
        ("dram", "A", "reads"): 60,
        ("dram", "B", "reads"): 60,
        ("dram", "Z", "updates"): 60,
        ("dram", "Z", "reads"): 48,
    }


def test_output_stationary() -> None:
    nest = """
    keep A, B, Z in dram
    for m tile 2
      for n tile 1
        keep A, B, Z in buffer
        Z on mac
    """
    found = gemm(nest)
    assert found["buffer", "A", "fills"] == 2 * 2 * 5  # each half of A once: it stays while n moves
    assert found["buffer", "B", "fills"] == 2 * 3 * 5  # every column, for each half of A
    assert found["buffer", "Z", "drains"] == found["dram", "Z", "updates"] == 12  # each sum is finished, then leaves
    assert ("buffer", "Z", "fills") not in found
    assert ("dram", "Z", "reads") not in found


def test_weight_stationary_reads_sums_back() -> None:
    nest = """
    keep A, B, Z in dram
    for k tile 2
      for m tile 1
        keep A, B, Z in buffer
        Z on mac
    """
    found = gemm(nest)
    assert found["buffer", "B", "fills"] == 15  # two rows of B stay while m moves
    assert found["buffer", "A", "fills"] == 20
    assert found["buffer", "Z", "drains"] == 3 * 12  # three pieces of k: 2, 2 and 1
    assert found["buffer", "Z", "fills"] == found["dram", "Z", "reads"] == 36 - 12  # all but the first visit
    assert found["buffer", "Z", "reads"] == 60 - 12  # a sum is read unless it is new


def test_imperfect_factors() -> None:
    nest = """
    keep A, B, Z in dram
    for m tile 3
      keep A in buffer
      for k tile 2
        keep B in buffer
        for m tile 2
          keep A in registers
          Z on mac
    """
    found = gemm(nest)
    assert found["buffer", "A", "fills"] == 4 * 5
    assert found["buffer", "B", "fills"] == 2 * 15  # m is 3, then 1
    assert found["registers", "A", "fills"] == found["buffer", "A", "reads"] == 20
    assert found["registers", "A", "reads"] == 60
    assert found["buffer", "B", "reads"] == 60


def test_three_levels_with_bypass() -> None:
    nest = """
    keep A, B, Z in dram
    for n tile 3
      keep A, Z in cache
      for k tile 1
        keep B in registers
        for m tile 1
          keep A in registers
          Z on mac
    """
    found = gemm(nest)
    assert found["registers", "B", "fills"] == found["dram", "B", "reads"] == 15  # past the cache
    assert found["registers", "A", "fills"] == found["cache", "A", "reads"] == 20
    assert found["cache", "A", "fills"] == found["dram", "A", "reads"] == 20
    assert found["cache", "Z", "updates"] == 60


def test_halo_slides_and_is_dropped_when_a_loop_begins_again() -> None:
    slides = "keep W, I, O in dram\nfor k tile 1\n  for p tile 2\n    keep I in buffer\n    O on mac"
    found = run("O[k, p] = W[k, r] * I[p + r]", slides, k=2, p=5, r=3).table()
    # windows [0,4) [2,6) [4,7): 4, then 2 and 1 new; the second k starts at the left again, where nothing is left over
    assert found["buffer", "I", "fills"] == 2 * (4 + 2 + 1)
    whole = "keep W, I, O in dram\nfor k tile 1\n  for r tile 1\n    keep I in buffer\n    O on mac"
    found = run("O[k, p] = W[k, r] * I[p + r]", whole, k=2, p=5, r=3).table()
    assert found["buffer", "I", "fills"] == 2 * (5 + 1 + 1)  # [2,7) then [0,5): r began again, so all of it is new


def test_strided_halo() -> None:
    nest = "keep W, I, O in dram\nfor p tile 1\n  keep I in buffer\n  O on mac"
    found = run("O[p] = W[r] * I[2*p + r]", nest, p=4, r=3).table()
    assert found["buffer", "I", "fills"] == 3 + 2 + 2 + 2


def test_multicast() -> None:
    nest = """
    keep A, B, Z in dram
    spatial m tile 2 over rows
      spatial n tile 1 over columns
        keep A, B, Z in registers
        Z on mac
    """
    found = gemm(nest)
    assert found["registers", "A", "fills"] == 20 * 3  # in each column
    assert found["dram", "A", "reads"] == 20  # sent once along a row
    assert found["registers", "B", "fills"] == 15 * 2
    assert found["dram", "B", "reads"] == 15
    assert found["registers", "Z", "drains"] == found["dram", "Z", "updates"] == 12


def test_multicast_to_units() -> None:
    found = gemm("keep A, B, Z in dram\nspatial n tile 1 over columns\n  Z on mac")
    assert found["dram", "A", "reads"] == 20
    assert found["dram", "B", "reads"] == 60


def test_spatial_reduction() -> None:
    nest = """
    keep A, B, Z in dram
    for k tile 4
      spatial k tile 1 over rows
        keep Z in registers
        Z on mac
    """
    found = run(GEMM, nest, m=4, n=3, k=5)
    # four rows work on k = 0..3, then the first alone on k = 4 (the others hand over nothing but their zeros)
    assert found.get("registers", "Z", "updates") == 60
    assert found.get("registers", "Z", "reads") == 60 - 4 * 12  # only the first row meets an element again
    assert found.get("registers", "Z", "drains") == 4 * 12  # the tile of Z does not move with k: drained at the end
    assert found.get("dram", "Z", "updates") == 12
    assert found.get("dram", "Z", "reads") == 0
    assert found.computes[0].reductions == 3 * 12


def test_spatial_reduction_into_units() -> None:
    found = run(GEMM, "keep A, B, Z in dram\nspatial k tile 2 over rows\n  Z on mac", m=4, n=3, k=5)
    assert found.get("dram", "Z", "updates") == 2 * 12  # rows of 2, 2 and 1: summed over rows, twice
    assert found.computes[0].reductions == 60 - 24
    assert found.get("dram", "Z", "reads") == 12


def test_an_instance_that_never_works_is_given_nothing() -> None:
    nest = """
    keep A, B, Z in dram
    spatial k tile 3 over rows
      spatial k tile 1 over rows
        keep Z in registers
        Z on mac
    """
    found = run(GEMM, nest, m=1, n=1, k=5)
    assert found.get("registers", "Z", "drains") == 5  # 3 and 2 of the 2 x 3 instances
    assert found.computes[0].reductions == 4


def test_idle_instances_are_given_what_their_neighbours_get() -> None:
    nest = """
    keep A, B, Z in dram
    for n tile 1
      for m tile 2
        spatial m tile 1 over rows
          keep B in registers
          Z on mac
    """
    found = run(GEMM, nest, m=3, n=2, k=5).table()
    assert found["registers", "B", "fills"] == 2 * 2 * 5  # both rows, though only one works on the last m
    assert found["dram", "B", "reads"] == 2 * 5


def test_an_instance_that_is_not_visited_holds_what_it_held() -> None:
    nest = """
    keep W, I, O in dram
    for r tile 1
      spatial p tile 2 over columns
        for p tile 1
          keep O in registers
          O on mac
    """
    found = run("O[p] = W[r] * I[p + r]", nest, p=3, r=2).table()
    # the first column goes over p = 0, 1 twice; the second has p = 2 alone, and keeps its sum from r = 0 to r = 1
    assert found["registers", "O", "drains"] == 4 + 1
    assert found["registers", "O", "fills"] == 2


def test_state_is_there_before_the_run() -> None:
    nest = "keep X, S in dram\nfor p tile 1\n  keep S in buffer\n  S on mac"
    line = "S[p] = X[p, k]"
    assert run(line, nest, p=3, k=2).get("buffer", "S", "fills") == 0
    assert run(f"S[p]: state\n{line}", nest, p=3, k=2).get("buffer", "S", "fills") == 3


def test_sizes_are_given_by_call() -> None:
    cascade = parse(GEMM, m=4, n=3, k=5)
    assert simulate(cascade, text.parse("keep A, B, Z in dram\nZ on mac"), {"m": 2}).points("Z") == 30


@pytest.mark.parametrize(
    ("nest", "message"),
    [
        ("keep A, B in dram\nZ on mac", "Z touches Z, which is kept nowhere above it; add 'keep Z in LEVEL'"),
        ("keep A, B, Z in dram\nfor q tile 2\n  Z on mac", "'for q tile 2': no rank 'q'; known: k, m, n"),
        ("keep A, B, Y in dram\nZ on mac", "no tensor 'Y'"),
        ("keep A, B, Z in dram\nZZ on mac", "no Einsum 'ZZ'; did you mean 'Z'?"),
        ("keep A, B, Z in dram\nspatial m tile 1 over row\n  Z on mac", "no fan-out 'row'; did you mean 'rows'?"),
        ("keep A, B, Z in dram\nspatial m tile 1 over rows only Z\n  Z on mac", "'only' is for layouts over devices"),
    ],
)
def test_refused(nest: str, message: str) -> None:
    with pytest.raises(WeirError) as caught:
        simulate(parse(GEMM, m=4, n=3, k=5), text.parse(nest), fanouts={"rows": 4})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_pieces_than_instances() -> None:
    nest = text.parse("keep A, B, Z in dram\nspatial m tile 1 over rows\n  spatial n tile 2 over rows\n    Z on mac")
    with pytest.raises(Infeasible, match="'spatial n tile 2 over rows' needs 8 instances of 'rows'; there are 4"):
        simulate(parse(GEMM, m=4, n=3, k=5), nest, fanouts={"rows": 4})


def test_absurd_sizes_are_refused() -> None:
    nest = text.parse("keep A, B, Z in dram\nZ on mac")
    with pytest.raises(WeirError, match="points of Z are too many to simulate one by one"):
        simulate(parse(GEMM, m=4000, n=3000, k=5000), nest)
    with pytest.raises(WeirError, match="elements of state are too many to simulate"):
        simulate(parse("Y[m] = A[m]", m=1 << 27), text.parse("keep A, Y in dram\nY on alu"))


def test_scatter_is_refused() -> None:
    cascade = parse("Y[n]: bf16\nY[I[t]] = X[t]", n=3, t=4)
    with pytest.raises(WeirError, match="placed by another tensor's values"):
        simulate(cascade, text.parse("keep I, X, Y in dram\nY on alu"))


def test_without_the_compiler() -> None:
    program = (
        "from einsum import parse; from mappings import text; from sim.model.exact import simulate\n"
        f"print(simulate(parse({GEMM!r}, m=3, n=2, k=5), text.parse({NEST!r})).table())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(gemm(NEST, m=3, n=2, k=5))


NEST = "keep A, B, Z in dram\nfor k tile 2\n  spatial k tile 1 over rows\n    keep A, Z in registers\n    Z on mac"
