"""A training iteration unfolded: its parts by hand, and what would help against the influences of its history."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import sim
from sim.arch.prices import prices
from sim.explain.figures import explained
from sim.planner.iteration import Iteration

TIMES = re.compile(r"(?:(\d+) x )?(forward|backward) pass of chunk (\d+)")


@pytest.fixture(scope="module")
def made() -> Iteration:
    return sim.training_step("gpt2-xl", "32xa100", batch=32, sequence=512, stages=2, sharded=True, tier="limit")


def test_seconds_are_passes_reductions_and_the_optimiser(made: Iteration) -> None:
    """The last of two stages has the output layer: it is always busy, after one pass and before one of the first."""
    whole, *inside = explained(made, "seconds", slight=0.0, depth=1).terms
    passes = next(term for term in inside if term.name == "passes of all microbatches")
    assert whole.formula == "passes of all microbatches + gradients added up over replicas + optimiser"
    assert passes.value == made.schedule.seconds
    batches = made.setting.microbatches
    counts = {(way, int(c)): int(n or 1) for n, way, c in TIMES.findall(passes.formula)}
    assert counts == {("forward", 0): 1, ("forward", 1): batches, ("backward", 1): batches, ("backward", 0): 1}


def test_money_follows_prices_and_tokens(made: Iteration) -> None:
    book = prices([made.setting.cluster.pools[0].device], None, {"a100_sxm_80gb": "2"})
    priced = replace(made, prices=book)
    found = explained(priced, "usd_per_million_tokens", slight=0.0, depth=9)
    assert found.value == priced.usd == pytest.approx(32 * 2 / 3600 * made.seconds / (32 * 512) * 1e6)
    assert {term.name: term.influence for term in found.rests}["price of a100_sxm_80gb"] == pytest.approx(1)


def test_numbers_called_alike_are_told_apart() -> None:
    """Keys are summed over a head's width for scores, and over positions for the gradients of queries."""
    made = sim.training_step("gpt2-xl", "1xa100", batch=1, sequence=512)
    rests = explained(made, "seconds", slight=0.0, depth=1).rests
    assert len({term.name for term in rests}) == len(rests)
    depths = {term.value for term in rests if term.name.startswith("depth of the product with K ")}
    assert depths == {64, 512}
