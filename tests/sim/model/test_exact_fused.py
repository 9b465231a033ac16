"""The exact simulator against counts worked out by hand: Einsums that share loops."""

from __future__ import annotations

from einsum import parse
from mappings import text
from sim.model.actions import Counts
from sim.model.counts import counts
from sim.model.exact import simulate


def run(expression: str, nest: str, **sizes: int) -> Counts:
    return simulate(parse(expression, **sizes), text.parse(nest))


FUSED = """
U[b, f] = X[b, d] * W[d, f]
H[b, f] = relu(U[b, f])
Z[b, g] = H[b, f] * V[f, g]
"""


def test_an_intermediate_that_never_leaves() -> None:
    nest = """
    keep X, W, V, Z in dram
    for b tile 1
      keep U, H in buffer
      sequence
        U on mac
        H on alu
        Z on mac
    """
    found = run(FUSED, nest, b=2, f=3, d=4, g=5)
    table = found.table()
    assert {key: n for key, n in table.items() if key[1] == "U"} == {
        ("buffer", "U", "updates"): 24,
        ("buffer", "U", "reads"): 24 - 6 + 6,  # sums, then one for each H
    }
    assert {key: n for key, n in table.items() if key[1] == "H"} == {
        ("buffer", "H", "updates"): 6,
        ("buffer", "H", "reads"): 2 * 3 * 5,
    }
    assert [found.points(name) for name in "UHZ"] == [24, 6, 30]


def test_an_intermediate_that_is_spilled() -> None:
    nest = """
    keep X, W, V, U, H, Z in dram
    sequence
      for b tile 1
        keep U in buffer
        U on mac
      for b tile 1
        keep U in buffer
        H on alu
      Z on mac
    """
    found = run(FUSED, nest, b=2, f=3, d=4, g=5).table()
    assert found["buffer", "U", "drains"] == found["dram", "U", "updates"] == 6
    assert found["buffer", "U", "fills"] == found["dram", "U", "reads"] == 6


def test_recomputation_is_made_afresh() -> None:
    nest = """
    keep X, W, V, Z in dram
    for g tile 2
      keep U, H in buffer
      sequence
        U on mac
        H on alu
        Z on mac
    """
    found = run(FUSED, nest, b=2, f=3, d=4, g=5)  # three pieces of g: U and H are made three times
    assert [found.points(name) for name in "UHZ"] == [3 * 24, 3 * 6, 30]
    assert found.get("buffer", "U", "reads") == 3 * (24 - 6) + 3 * 6


RUNNING = """
S[0, p] = 0
L[m, p] = X[k, m, p]
S[m + 1, p] = S[m, p] + L[m, p]
"""


def test_a_running_sum_slides_along_its_rank() -> None:
    nest = """
    keep X, S in dram
    keep L in buffer
    sequence
      S.init on alu
      L on alu
      for m tile 1
        keep S in buffer
        S on alu
    """
    found = run(RUNNING, nest, k=2, m=3, p=4)
    # S[m] and S[m + 1] are held: 2 places of 4, then one more for each step; a place leaves when the window has passed
    assert found.get("buffer", "S", "drains") == 4 * 4
    assert found.get("buffer", "S", "fills") == 0
    assert found.get("dram", "S", "updates") == 4 + 16  # the initial values, then what is drained
    assert found.get("buffer", "S", "reads") == 12


COPIES = """
keep X, W, V, U, H, Z in dram
sequence
  spatial g tile 2 over columns
    keep U, H in buffer
    sequence
      U on mac
      H on mac
  Z on mac
"""


def test_copies_over_a_rank_that_an_einsum_lacks_are_not_sums() -> None:
    found = run(FUSED, COPIES, b=2, f=3, d=4, g=4)  # two instances make U and H, and each hands its copy over
    assert found.get("dram", "U", "updates") == found.get("buffer", "U", "drains") == 2 * 6
    assert found.get("buffer", "U", "fills") == 0  # each instance's first
    assert [c.reductions for c in found.computes] == [0, 0, 0]


IDLE = """
keep X, W, V, Z in dram
spatial g tile 2 over columns
  for g tile 1
    keep U, H in buffer
    sequence
      U on mac
      H on mac
      Z on mac
"""


def test_an_instance_without_a_piece_for_a_repetition_begins_no_sums() -> None:
    found = run(FUSED, IDLE, b=2, f=3, d=4, g=3)  # the second instance has one piece of g, the first has two
    assert found.points("U") == 3 * 24
    assert found.get("buffer", "U", "reads") == 3 * (24 - 6) + 3 * 6  # sums added to, then one for each H
    assert counts(parse(FUSED, b=2, f=3, d=4, g=3), text.parse(IDLE)).table() == found.table()


def test_what_instances_share_is_read_once_and_copied() -> None:
    nest = """
    keep A, B, Z in dram
    spatial m tile 1 over rows
      keep A in buffer
      spatial n tile 2 over columns
        Z on mac
    """
    cascade = parse("Z[m, n] = A[m, k] * B[k, n]", m=3, n=4, k=5)
    found = simulate(cascade, text.parse(nest))
    assert found.get("dram", "B", "reads") == 20  # each for three rows; a point of two at once, over each column
    assert found.get("buffer", "A", "reads") == 3 * 5 * 2  # the two columns take it together
    assert found.multicasts() == {("dram", "B"): 60 - 20, ("buffer", "A"): 60 - 30}
    assert counts(cascade, text.parse(nest)).multicasts() == found.multicasts()
