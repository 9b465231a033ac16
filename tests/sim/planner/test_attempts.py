"""How searches take turns."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from sim.planner import anneal, attempts, kernel
from sim.planner.packing import pack
from sim.planner.problem import Buffer, Problem, Tier


def test_lengths_of_restarts_are_lubys() -> None:
    assert [attempts.luby(k) for k in range(1, 16)] == [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]


def aligned() -> Problem:
    """Thirty buffers with two alignments, whose lowest placement wastes space."""
    draw = np.random.default_rng(7)
    rows = [(int(draw.integers(1, 60)), *sorted(draw.choice(9, 2, replace=False).tolist())) for _ in range(30)]
    buffers = (Buffer(str(i), size, ((a, b),), 8 if i % 3 else 1) for i, (size, a, b) in enumerate(rows))
    return Problem("aligned", tuple(buffers), (Tier("memory"),))


def sought(problem: Problem) -> attempts.Work:
    packing = pack(problem)
    work = attempts.Work(packing, 20, True, "highs", None)
    work.take(np.cumsum([0, *(packing.shape.size[:-1] + 8) // 8 * 8]), "pile")
    work.raise_bound(packing.bound)
    attempts.seek(work, kernel.overlaps(packing.shape), 20)
    return work


def test_a_placement_is_sought_until_it_is_as_low_as_the_bound() -> None:
    work = sought(aligned())
    assert work.done
    assert work.height == work.bound > work.packing.live.max()


def test_annealing_has_its_share_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr(anneal, "place", lambda *a: steps.append(a[4]) or np.zeros(0, np.int64))
    monkeypatch.setattr(attempts, "ANNEALING", 50)
    work, efforts = attempts.Work(pack(aligned()), 0.5, True, "highs", None), []
    monkeypatch.setattr(attempts, "_Effort", lambda *a, **k: efforts.append(kept(*a, **k)) or efforts[-1])
    attempts.seek(work, kernel.overlaps(work.packing.shape), 0.5)
    [effort] = efforts
    assert 0 < sum(steps) <= attempts.ANNEALED * (effort.spent + effort.valleys)


kept = attempts._Effort


def test_what_fits_is_enough_unless_the_lowest_is_sought() -> None:
    problem = Problem("p", (Buffer("a", 4, ((0, 1),)), Buffer("b", 4, ((1, 2),))), (Tier("m", 10),))
    for lowest, done in ((False, True), (True, False)):
        work = attempts.Work(pack(problem), inf, lowest, "highs", None)
        work.take(np.array([0, 1]), "by hand")
        assert work.done is done
