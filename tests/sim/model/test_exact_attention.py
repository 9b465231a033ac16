"""The nests of attention on arrays, four cells large: the closed form against every action counted as it happens."""

from __future__ import annotations

import pytest

from einsum import Cascade
from mappings import attention_arrays as nests
from mappings.tree import Nest
from sim.model.actions import Counts
from sim.model.counts import counts
from sim.model.exact import simulate
from workloads import attention

ONE = attention.one_pass(batch=2, heads=1, query=8, context=6, head_dim=3, block=2)
THREE = attention.three_pass(batch=2, heads=1, query=8, context=6, head_dim=2)
ODD = attention.three_pass(batch=1, heads=2, query=7, context=5, head_dim=2)
FLATS = [
    nests.flat(block=4, on_chip=on_chip, stationary=stationary, scores=scores, side=2)
    for on_chip in ((), ("Q", "O"), ("K", "V"))
    for stationary in ("output", "weight")
    for scores in ("buffer", "rows", "dram")
]


def totals(found: Counts) -> dict[tuple[str, str, str], int]:
    return {key: int(count) for key, count in found.table().items()}


@pytest.mark.parametrize("make", [nests.interleaved, nests.staged, nests.spilled])
@pytest.mark.parametrize("block", [2, 4, 6, 8])
def test_one_pass(make: object, block: int) -> None:
    assert callable(make)
    nest = make(block=block, side=2)
    assert totals(counts(ONE, nest)) == totals(simulate(ONE, nest))


@pytest.mark.parametrize("cascade", [THREE, ODD], ids=["even", "odd"])
@pytest.mark.parametrize("nest", [nests.unfused(block=4, side=2), *FLATS])
def test_three_passes(cascade: Cascade, nest: Nest) -> None:
    assert totals(counts(cascade, nest)) == totals(simulate(cascade, nest))


def test_points_and_sums_on_the_way() -> None:
    nest = nests.interleaved(block=4, side=2)
    closed = {c.einsum: (int(c.points), int(c.reductions)) for c in counts(ONE, nest).computes}
    exact = {c.einsum: (int(c.points), int(c.reductions)) for c in simulate(ONE, nest).computes}
    assert closed == exact
