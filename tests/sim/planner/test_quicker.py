"""What would help an iteration, against the influences of its history."""

from __future__ import annotations

import pytest

import sim
from sim.explain.figures import explained
from sim.planner.quicker import iterated


def test_a_tenth_more_gives_what_the_influence_says() -> None:
    """What is divided by a bandwidth is a share of the seconds, its influence; a tenth more takes an eleventh of it."""
    made = sim.training_step("gpt2-xl", "32xa100", batch=32, sequence=512, stages=2, sharded=True, tier="limit")
    rests = {term.name: -term.influence for term in explained(made, "seconds", slight=0.0, depth=1).rests}
    lines = {line.split()[1]: float(line.split("-> +")[1].split("%")[0]) for line in list(iterated(made))[1:]}
    names = {"network.bandwidth": "network.bandwidth", "model.hbm.bandwidth": "a100_sxm_80gb hbm.bandwidth"}
    assert names.keys() <= lines.keys()
    for path, name in names.items():
        assert lines[path] == pytest.approx(100 * (1 / (1 - rests[name] / 11) - 1), rel=0.02, abs=0.051)
