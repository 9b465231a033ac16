"""The benchmark of mapped nests: no mapping twice, and the two ways of counting agree."""

from __future__ import annotations

from itertools import islice

import pytest

from benchmarks import nest_speed
from einsum import parse
from mappings.text import parse as read
from sim.model.counts import counts


def test_mappings_are_fresh_every_time() -> None:
    made = [*islice(nest_speed.matmuls(text=False), 50), *islice(nest_speed.attentions(), 50)]
    assert len(set(made)) == 100
    assert nest_speed.through(nest_speed.matmuls(text=True), repeat=1) > 0


def test_the_simulator_counts_what_the_closed_form_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    matmul = parse(nest_speed.MATMUL, m=6, n=5, k=4)
    name, slow, quick, points = nest_speed.compared(matmul, "a small one", nest_speed.gemm(4, 4, 4))
    assert (name, points) == ("a small one", 120)
    assert slow > 0 < quick
    other = counts(parse(nest_speed.MATMUL, m=6, n=5, k=3), read(nest_speed.gemm(4, 4, 4)))
    monkeypatch.setattr(nest_speed, "counts", lambda *_: other)
    with pytest.raises(AssertionError):
        nest_speed.compared(matmul, "another", nest_speed.gemm(4, 4, 4))
