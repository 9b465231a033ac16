"""Repeating patterns against a search of all starts on a grid, and what papers say that they hold."""

from __future__ import annotations

import itertools
from math import ceil, inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, WeirError
from sim.planner.flows import (
    Stages,
    Vocabulary,
    chain,
    filled,
    one_f_one_b,
    v_half,
    v_shape,
    vocabulary,
    vocabulary_parallel,
)
from sim.planner.pipeline import Flow
from sim.planner.repeating import Pattern, repeating

WHOLE = st.integers(1, 3)


def least(flow: Flow, every: int) -> float:
    """The least that the fullest device holds, of all whole starts up to a few intervals."""
    best = inf
    spans = [range(2 * every)] * (len(flow.nodes) - 1)
    for rest in itertools.product(*spans):
        start = (0, *rest)
        if any(start[n] < start[b] + flow.nodes[b].seconds for n, earlier in enumerate(flow.before) for b in earlier):
            continue
        taken = [
            (flow.nodes[n].device, (start[n] + t) % every)
            for n in range(len(start))
            for t in range(round(flow.nodes[n].seconds))
        ]
        if len(set(taken)) == len(taken):
            best = min(best, max(Pattern(flow, start, every, 0, 0, True).means))
    return best


@given(st.tuples(WHOLE, WHOLE), st.tuples(WHOLE, WHOLE))
@settings(max_examples=15, deadline=None)
def test_no_pattern_on_a_grid_holds_less(forward: tuple[int, int], backward: tuple[int, int]) -> None:
    flow = chain(Stages(tuple(map(float, forward)), tuple(map(float, backward))))
    found = repeating(flow)
    assert found.proven
    assert found.held == pytest.approx(least(flow, round(flow.busiest)), rel=1e-4)


@pytest.mark.parametrize("p", [2, 4, 8])
def test_one_forward_one_backward_is_the_least(p: int) -> None:
    found = repeating(chain(Stages((1.0,) * p, (2.0,) * p)))
    assert found.held == pytest.approx(p, rel=1e-5)
    made = found.unrolled(3 * p)
    assert made.held == tuple(float(p - i) for i in range(p))
    assert made.seconds == pytest.approx(made.bound)


@pytest.mark.parametrize(("p", "most"), [(4, 3), (8, 5)])
def test_a_v_holds_half_and_alike(p: int, most: int) -> None:
    stages = Stages((1.0,) * p, (1.0,) * p)
    made = v_half(stages, 4 * p)
    assert max(made.held) == most == p // 2 + 1
    assert repeating(v_shape(stages)).proven


def test_no_pattern_on_a_grid_holds_less_where_weights_gradients_are_apart() -> None:
    flow = chain(Stages((1.0, 1.0), (2.0, 2.0), 0.0, (1.0, 1.0)))
    found = repeating(flow)
    assert found.proven
    assert found.held == pytest.approx(least(flow, 3), rel=1e-4)


@pytest.mark.parametrize("p", [4, 6])
def test_a_v_with_weights_gradients_apart_holds_half_and_waits_less(p: int) -> None:
    """Qi et al. (arXiv 2405.15362): V-Half holds half of what 1F1B does."""
    whole = Stages((1.0,) * p, (2.0,) * p)
    split = Stages(whole.forward, whole.backward, 0.0, (1.0,) * p)
    made, plain = v_half(split, 4 * p), one_f_one_b(whole, 4 * p)
    assert max(made.held) == p / 2 == max(plain.held) / 2
    assert made.idle < plain.idle
    assert v_half(whole, 4 * p).idle >= made.idle


def test_weights_gradients_fill_what_1f1b_waits() -> None:
    """ZB-H1 (arXiv 2401.10241): no more held than 1F1B, and a smaller bubble."""
    whole, m = Stages((1.0,) * 4, (2.0,) * 4), 12
    split = Stages(whole.forward, whole.backward, 0.0, (1.0,) * 4)
    made, plain = filled(repeating(chain(split)), m), one_f_one_b(whole, m)
    assert max(made.held) == max(plain.held)
    assert made.seconds < plain.seconds
    assert made.seconds >= made.bound


@pytest.mark.parametrize("barriers", [1, 2])
def test_a_divided_vocabulary_holds_one_more_when_its_passes_are_short(barriers: int) -> None:
    stages, vocab = Stages((11.0,) * 4, (22.0,) * 4), Vocabulary((1.0,) * 4, (1.0,) * 4, 0.0, barriers)
    found = repeating(vocabulary(stages, vocab))
    assert found.proven
    assert ceil(found.held - 1e-6) == 5
    made = vocabulary_parallel(stages, vocab, 64)
    assert max(made.held) == 5
    assert made.seconds < made.bound * 1.05


def test_all_reduces_that_take_long_cost_more_microbatches() -> None:
    stages = Stages((1.0,) * 3, (2.0,) * 3)
    held = [repeating(vocabulary(stages, Vocabulary((0.5,) * 3, (0.5,) * 3, late, 2))).held for late in (0.0, 1.0, 2.0)]
    assert held == sorted(held)
    assert ceil(held[2]) >= 5


def test_what_is_wrong_is_named() -> None:
    flow = chain(Stages((1.0, 1.0), (2.0, 2.0)))
    with pytest.raises(WeirError, match=r"an interval of 2 s; the busiest device works 3 s"):
        repeating(flow, interval=2.0)
    assert repeating(flow, interval=6.0).held < repeating(flow).held
    assert issubclass(Infeasible, WeirError)


PASSES = st.lists(st.floats(0.1, 9), min_size=2, max_size=6)


@given(PASSES, st.floats(0, 1), st.floats(1, 1.5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_start_keeps_to_dependences_and_to_one_pass_at_a_time(
    times: list[float], lag: float, slack: float, divided: bool
) -> None:
    p = len(times)
    stages = Stages(tuple(times), tuple(times[::-1]), lag)
    flow = vocabulary(stages, Vocabulary((0.3,) * p, (0.4,) * p, lag)) if divided else v_shape(stages)
    found = repeating(flow, interval=flow.busiest * slack, seconds=0)
    every = found.interval
    for n, node in enumerate(flow.nodes):
        for b in flow.before[n]:
            assert found.start[n] >= found.start[b] + flow.nodes[b].seconds + node.lag - 1e-6 * every
    for a, b in itertools.permutations(range(len(flow.nodes)), 2):
        if flow.nodes[a].device == flow.nodes[b].device:
            assert (found.start[b] - found.start[a] + 1e-6 * every) % every >= flow.nodes[a].seconds - 1e-6 * every
    assert found.held == pytest.approx(max(found.means))
    made = found.unrolled(5)
    assert made.seconds <= 4 * every + max(t + n.seconds for t, n in zip(found.start, flow.nodes, strict=True)) + 1e-6


@pytest.mark.parametrize(("barriers", "p"), [(1, 32), (2, 32)])
def test_a_start_holds_what_the_paper_says(barriers: int, p: int) -> None:
    stages, vocab = Stages((11.0,) * p, (22.0,) * p), Vocabulary((1.0,) * p, (1.0,) * p, 0.2, barriers)
    assert ceil(repeating(vocabulary(stages, vocab), seconds=0).held) == p + barriers
