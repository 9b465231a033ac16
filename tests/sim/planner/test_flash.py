"""Windows of neurons in closed form against replayed traces; reading by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import WeirError
from sim.arch.components import Memory
from sim.planner.flash import reading, replayed, streamed, windowed
from sim.planner.shape import shape
from workloads.transformer import model

FLASH = Memory("flash", bandwidth=6e9, latency=160e-6, concurrency=32)


@pytest.mark.parametrize(("active", "window"), [(0.03, 5), (0.1, 1), (0.5, 3), (0.2, 0)])
def test_independent_neurons_by_replay(active: float, window: int) -> None:
    used = np.random.default_rng(1).random((400, 1000)) < active
    assert replayed(used, window) == pytest.approx(windowed(active, window), abs=0.004)


@given(st.integers(0, 4), st.integers(0, 1000))
def test_a_replay_counts_what_the_definition_says(window: int, seed: int) -> None:
    used = np.random.default_rng(seed).random((9, 6)) < 0.4
    resident = [used[t - window : t].any(axis=0) for t in range(window, 9)]
    loaded = [used[t] & ~held for t, held in zip(range(window, 9), resident, strict=True)]
    assert replayed(used, window) == pytest.approx((np.mean(resident), np.mean(loaded)))


def test_neurons_that_stay_active_are_loaded_once() -> None:
    used = np.tile(np.arange(10) < 3, (20, 1))
    assert replayed(used, 1) == (0.3, 0.0)
    assert windowed(0.3, 1)[1] > 0.2  # independence would load them again and again


def test_bundles_halve_the_wait_for_first_bytes() -> None:
    made = shape(model("opt-6.7b"), 1)
    one, two = (reading(made, FLASH, resident=0.2, loaded=0.02, bundle=n) for n in (1, 2))
    assert (one.chunk, two.chunk) == (8192, 16384)
    assert one.rate == pytest.approx(8192 / (5e-6 + 8192 / 6e9))
    assert one.loaded == two.loaded == 0.02 * 32 * 16 * 4096**2
    assert two.seconds < one.seconds < streamed(2 * model("opt-6.7b").parameters, FLASH).seconds


def test_mistakes_are_named() -> None:
    made = shape(model("opt-6.7b"), 1)
    with pytest.raises(WeirError, match=r"loaded is 1\.5"):
        reading(made, FLASH, resident=0.1, loaded=1.5)
    with pytest.raises(WeirError, match="at least one row"):
        reading(made, FLASH, resident=0.1, loaded=0.5, bundle=0)
    with pytest.raises(WeirError, match="it must be shorter"):
        replayed(np.zeros((3, 3), bool), 3)
    with pytest.raises(WeirError, match="not a window and a fraction"):
        windowed(1.5, 2)
