from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import WeirError
from sim.model.sparse.contention import Requests, contended
from sim.model.sparse.share import efficiency, loads, spans

WORK = np.array([8.0, 1, 1, 1, 1, 1, 1, 2])


def test_by_hand() -> None:
    edges = np.array([0, 8])
    assert loads(WORK, edges, 4, "contiguous").tolist() == [[9, 2, 2, 3]]
    assert loads(WORK, edges, 4, "cyclic").tolist() == [[9, 2, 2, 3]]
    assert loads(WORK, edges, 4, "dynamic").tolist() == [[8, 2, 2, 4]]
    assert loads(WORK, np.array([0, 4, 8]), 2, "contiguous").tolist() == [[9, 2], [2, 3]]
    assert efficiency(loads(WORK, np.array([0, 4, 8]), 2, "contiguous"), "contiguous") == 16 / (2 * 12)
    with pytest.raises(WeirError, match="'random'"):
        loads(WORK, edges, 2, "random")


@settings(deadline=None, max_examples=50)
@given(
    work=st.lists(st.integers(0, 20), min_size=1, max_size=40),
    workers=st.integers(1, 9),
    share=st.sampled_from(["contiguous", "cyclic", "dynamic"]),
)
def test_nothing_is_lost_and_polling_is_within_one_piece_of_perfect(work: list[int], workers: int, share: str) -> None:
    given = np.array(work, float)
    [found] = loads(given, np.array([0, len(work)]), workers, share)
    assert found.sum() == given.sum()
    if share == "dynamic":
        assert found.max() <= given.sum() / workers + given.max()


def test_the_span_of_a_window() -> None:
    found = np.array([[10.0, 2, 2, 2]])
    assert spans(found, "dynamic", 1, 0.0, 16.0) == 10.0  # waiting alone: the busiest worker
    assert spans(found, "dynamic", 1, 16.0, 16.0) == 16.0  # one instruction at a time, whoever it is for
    assert 10 < spans(found, "dynamic", 1, 8.0, 16.0) < 16  # slowed down while others are at work, then alone


def test_groups_take_windows_side_by_side() -> None:
    found = loads(np.ones(8), np.arange(0, 9, 2), 2, "dynamic")
    assert efficiency(found, "dynamic", 4) == 1.0
    assert spans(found, "dynamic", 4, 0.0, 8.0) == 1.0


def test_an_engine_delays_threads_but_the_channel_loses_nothing() -> None:
    threads, engine = Requests(1000, 64), Requests(1000, 64)
    alone = 1000 * 2e-9
    found = contended(alone, threads, engine, 1.5e-9, 90e-9)
    assert alone < found <= 2000 * 1.5e-9 * 1.05
    assert contended(alone, threads, Requests(0, 64), 1.5e-9, 90e-9) == alone
    assert contended(alone, threads, engine, 1e-15, 90e-9) == pytest.approx(alone, rel=1e-3)
