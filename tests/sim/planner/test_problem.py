"""A problem that makes no sense is refused, with everything that is wrong with it."""

from __future__ import annotations

import pytest

from einsum import WeirError
from sim.planner.problem import Buffer, Problem, Task, Tier, validate

HBM = (Tier("hbm", 10),)


def test_a_sensible_problem_passes() -> None:
    validate(Problem("p", (Buffer("a", 1, ((0, 1), (1, 2))),), HBM, (Task("t", 1, ("a",), ("a",)),), ("a",), ("a",)))


@pytest.mark.parametrize(
    ("problem", "why"),
    [
        (Problem("p", (), ()), "no tier"),
        (Problem("p", (Buffer("a", 1), Buffer("a", 2)), HBM), "buffer 'a' is there twice"),
        (Problem("p", (Buffer("a", -1),), HBM), "has -1 bytes"),
        (Problem("p", (Buffer("a", 1, align=0),), HBM), "aligned to 0"),
        (Problem("p", (Buffer("a", 1, ((2, 2),)),), HBM), "live from 2 to 2"),
        (Problem("p", (Buffer("a", 1, ((0, 5), (4, 6))),), HBM), "overlap"),
        (Problem("p", (Buffer("a", 1, tiers=("hmb",)),), HBM), "did you mean 'hbm'"),
        (Problem("p", (Buffer("acts", 1),), HBM, (Task("t", 1, ("act",)),)), "did you mean 'acts'"),
        (Problem("p", (), HBM, (Task("t", float("nan")),)), "takes nan s"),
        (Problem("p", (), (Tier("hbm", -1),)), "capacity of -1"),
        (Problem("p", (), HBM, kept=("z",)), "no buffer 'z'"),
    ],
)
def test_what_makes_no_sense_is_named(problem: Problem, why: str) -> None:
    with pytest.raises(WeirError, match=why):
        validate(problem)


def test_everything_is_said_at_once() -> None:
    with pytest.raises(WeirError) as refusal:
        validate(Problem("p", (Buffer("a", -1), Buffer("b", -2)), HBM))
    assert len(str(refusal.value).splitlines()) == 2
