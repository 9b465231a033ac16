"""Where Einsums can run."""

from __future__ import annotations

from typing import Any

import pytest

from einsum import Cascade, parse
from sim.arch import Fanout, device
from sim.mapper import sites
from sim.mapper.sites import able, full, spread, ways
from workloads import attention


def test_an_einsum_without_operations_runs_on_every_unit() -> None:
    cascade, chip = attention.one_pass(query=8, context=8, head_dim=8), device("fusemax_cloud")
    [start] = [e for e in cascade.einsums if str(e).startswith("RM[b, h, p, 0]")]
    assert set(able(cascade, start, chip, dict(cascade.bind()))) == {unit.name for unit in chip.computes}


PRODUCT = parse("Z[m, n] = A[m, k] * B[k, n]", m=8, n=6, k=9)


def fans(*counts: int) -> tuple[Fanout, ...]:
    return tuple(Fanout(f"fan{n}", "buffer", count) for n, count in enumerate(counts))


def chosen(cascade: Cascade, *counts: int) -> dict[str, str]:
    [einsum] = cascade.einsums
    return spread(einsum, fans(*counts), cascade.bind(), tuple("mnk"))


def test_of_too_many_ways_larger_fan_outs_choose_first(monkeypatch: pytest.MonkeyPatch) -> None:
    every = [chosen(PRODUCT, *counts) for counts in ((8, 3), (3, 9, 2), (4, 3))]
    monkeypatch.setattr(sites, "MOST", 1)
    assert [chosen(PRODUCT, *counts) for counts in ((8, 3), (3, 9, 2), (4, 3))] == every


@pytest.mark.parametrize("count", [9, 20, 60])
def test_any_number_of_fan_outs_is_given_ranks(count: int) -> None:
    [einsum] = PRODUCT.einsums
    some = fans(*([2] * count))
    [given] = ways(einsum, some, PRODUCT.bind(), tuple("mnk"))
    assert sorted(given) == sorted(("m", "n", "k", *[""] * (count - 3)))


def test_of_ways_that_are_nearly_as_good_some_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, Any] = dict.fromkeys("mnk", 7 * 8 * 9 * 10)
    [einsum] = PRODUCT.einsums
    every = full(einsum, fans(7, 8, 9), sizes, tuple("mnk"))
    assert len(every) == 6
    monkeypatch.setattr(sites, "TAKEN", 4)
    assert full(einsum, fans(7, 8, 9), sizes, tuple("mnk")) == every[:4]
