"""Nests under which a value would be read before it is there, after it is gone, or at another step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einsum import WeirError, parse
from mappings.text import parse as read
from sim.model.legal import check

RUNNING = """
S[0, p] = 0
T[m, p] = S[m, p] * W[m, p]
S[m + 1, p] = T[m, p] + X[m, p]
"""
TWO = "U[b, f] = X[b, d] * W[d, f]\nZ[b, g] = U[b, f] * V[f, g]"


def refusal(text: str, nest: str, **sizes: Any) -> str:
    """Why a nest is refused; nothing if it is not."""
    try:
        check(parse(text, **sizes), read(nest))
    except WeirError as error:
        return str(error)
    return ""


def running(nest: str, m: int = 4) -> str:
    return refusal(RUNNING, f"keep S, T, W, X in dram\nsequence\n  S.init on alu\n{nest}", m=m, p=3)


STEP = "  for m tile 1\n    sequence\n      T on alu\n      S on alu"


def test_a_recurrence_goes_step_by_step() -> None:
    assert running(STEP) == ""
    apart = running("  for m tile 1\n    T on alu\n  for m tile 1\n    S on alu")
    assert apart == "mapping: T reads S, which S makes one step of m later: both belong under one 'for m tile 1'"
    assert running(STEP.replace("tile 1", "tile 2")) == apart
    assert running(STEP.replace("tile 1", "tile 2"), m=1) == ""


def test_a_recurrence_may_go_by_blocks_with_other_loops_between() -> None:
    nest = STEP.replace("\n", "\n    ").replace(
        "  for m tile 1", "  for m tile 2\n    for p tile 1\n      for m tile 1", 1
    )
    assert running(nest) == ""


def test_steps_are_never_side_by_side() -> None:
    found = running(STEP.replace("for m tile 1", "spatial m tile 1 over rows"))
    assert "'spatial m tile 1 over rows': S makes each step of m from the one before" in found
    alone = "keep S, L in dram\nsequence\n  S.init on alu\n  spatial m tile 2 over rows\n    S on alu"
    text = "S[0, p] = 0\nS[m + 1, p] = S[m, p] + L[m, p]"
    assert "looped over in time only" in refusal(text, alone, m=4, p=3)
    assert refusal(text, alone, m=2, p=3) == ""  # a single piece


def test_the_last_step_is_read_after_the_loop() -> None:
    text = RUNNING + "Y[p] = S[M, p]"
    within = "keep S, T, W, X, Y in dram\nsequence\n  S.init on alu\n" + STEP + "\n      Y on alu"
    assert "Y reads S[M, p] under 'for m tile 1', where S has made only its piece" in refusal(text, within, m=4, p=3)
    assert refusal(text, within.replace("      Y on", "  Y on"), m=4, p=3) == ""


@pytest.mark.parametrize(("above", "lost"), [("", True), (", U", False)])
def test_what_is_made_is_kept_until_it_is_read(above: str, lost: bool) -> None:
    stage = "  for b tile 1\n    keep U in buffer\n    {} on mac\n"
    nest = f"keep X, W, V, Z{above} in dram\nsequence\n" + stage.format("U") + stage.format("Z")
    found = refusal(TWO, nest, b=2, f=3, d=4, g=5)
    assert ("Z reads U, but no one keep of U stands above it and U, which makes it" in found) == lost


def test_only_the_piece_that_was_made_is_read() -> None:
    text = "T[p] = I[p]\nG[p, q] = T[p] * T[q]"
    fused = "keep T, I, G in dram\nfor p tile {}\n  sequence\n    T on alu\n    G on alu"
    found = refusal(text, fused.format(1), p=4, q=4)
    assert found == (
        "mapping: G reads T[q] under 'for p tile 1', where T has made only its piece of T[p]: read it after that loop"
    )
    assert refusal(text, fused.format(4), p=4, q=4) == ""


def test_what_instances_make_alike_is_not_written_to_one_place() -> None:
    above = "keep X, W, V, Z{} in dram\nspatial g tile 2 over columns\n  keep U in buffer\n"
    nest = above + "  sequence\n    U on mac\n    Z on mac"
    sizes = {"b": 2, "f": 3, "d": 4, "g": 4}
    assert refusal(TWO, nest.format(""), **sizes) == ""
    assert "'spatial g tile 2 over columns' makes the same U, for U has no g" in refusal(
        TWO, nest.format(", U"), **sizes
    )
    assert refusal(TWO, nest.format(", U"), **{**sizes, "g": 2}) == ""  # a single instance


def test_a_part_of_a_sum_is_not_added_twice() -> None:
    nest = "keep X, W, V, U, Z in dram\nsequence\n  for {} tile 2\n    for {} tile 2\n      U on mac\n  Z on mac"
    sizes = {"b": 2, "f": 3, "d": 4, "g": 4}
    assert "'for g tile 2' runs U, which has no g, again within 'for d tile 2'" in refusal(
        TWO, nest.format("d", "g"), **sizes
    )
    assert refusal(TWO, nest.format("g", "d"), **sizes) == ""


def test_given_tile_sizes_are_those_that_are_checked() -> None:
    cascade = parse(TWO, b=4, d=4, f=4, g=4)
    nest = read(
        "keep X, W, V, U, Z in dram\nfor f tile 4\n  for d tile 4\n    sequence\n      U on mac\n      Z on mac"
    )
    check(cascade, nest)
    with pytest.raises(WeirError, match="still reducing d"):
        check(cascade, nest, tiles={"d.0": np.array([4, 2])})
