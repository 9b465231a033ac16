"""Sliding windows: the paper's formulas against sums over the model's own blocks, its conditions against simulation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einsum import WeirError
from sim.planner.shape import shape
from sim.planner.window import Pace, blocks, hops, peak, stalls, steady, tight
from workloads.transformer import model

EXAMPLE = Pace(11, 17, 14, 18, 30)
TIMES = st.integers(0, 12)


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-2-70b", "llama-3-8b"])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 20])
def test_the_papers_formula_is_the_fullest_window(name: str, window: int) -> None:
    made, spec = model(name), model(name).spec
    h, v, s, p = made.model, spec.vocabulary, made.spec.layers[0].network.hidden, 1 / 8  # type: ignore[union-attr]
    attention, network = 2 * (1 + made.kv_heads / made.heads) * h * h * p + h, 3 * h * s * p + h
    most = [h * v + h, 2 * h * v + h][min(window, 2) - 1]
    if window >= 3:
        most += (window - 2) // 2 * attention + (window - 1) // 2 * network
    ours = peak(blocks(shape(made, 1), 8), window) / 2  # values, not bytes
    assert ours == pytest.approx(most, abs=h)  # the head's norm is halved between the tables


@given(st.builds(Pace, TIMES, TIMES, TIMES, TIMES, TIMES, st.integers(0, 3)), st.integers(1, 6))
def test_steady_is_what_a_simulation_does_not_wait_in(pace: Pace, layers: int) -> None:
    waits = [stalls(pace, 2 * layers, first=first) for first in (0, 1)]
    if steady(pace, layers):
        assert min(waits) == 0
    elif pace.work(0) + pace.work(1) >= pace.load_attention + pace.load_network:
        assert min(waits) > 0


@given(st.builds(Pace, TIMES, TIMES, TIMES, TIMES, TIMES))
def test_tight_is_a_window_of_two_that_never_waits(pace: Pace) -> None:
    assert tight(pace) == (stalls(pace, 12, window=2) == 0)


@given(st.builds(Pace, TIMES, TIMES, TIMES, TIMES, TIMES), st.integers(2, 6))
def test_a_wider_window_waits_no_longer(pace: Pace, window: int) -> None:
    waits = [stalls(pace, 20, window=w) for w in (window, window + 1, None)]
    assert waits == sorted(waits, reverse=True)


def test_the_example_of_the_paper() -> None:
    assert steady(EXAMPLE, 80)
    assert not tight(EXAMPLE)
    assert stalls(EXAMPLE, 160, first=0) == 5  # the first stretch from attention on does wait: 25 < 30
    assert not steady(Pace(5, 5, 5, 18, 30), 80)
    assert steady(Pace(11, 9, 14, 18, 30, kept=2), 80)  # every other feed-forward block is there already


def test_hops_and_mistakes() -> None:
    assert [hops(kind, 8) for kind in ("ring", "tree", "star")] == [14, 4, 2]
    with pytest.raises(WeirError, match="did you mean 'star'"):
        hops("stra", 8)
    with pytest.raises(WeirError, match="the model has 3"):
        peak((1.0, 2.0, 3.0), 4)
    with pytest.raises(WeirError, match="at least one is needed"):
        blocks(shape(model("llama-2-7b"), 1), 0)
    with pytest.raises(WeirError, match="negative"):
        Pace(-1, 0, 0, 0, 0)
