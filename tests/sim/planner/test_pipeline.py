"""Schedules against all orders there are, against closed forms, and against a step-by-step check of what they claim."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, WeirError
from sim.planner.flows import Stages, Vocabulary, chain, chunks, gpipe, interleaved, one_f_one_b, v_shape, vocabulary
from sim.planner.pipeline import Flow, Hold, Node, Orders, Schedule, listed, lower_bound, timed
from sim.planner.pipeline_mip import exact

TIMES = st.integers(1, 5).map(float)
TWO = Stages((1.0, 1.0), (1.0, 1.0))


def checked(made: Schedule, microbatches: int) -> None:
    """Every pass once, one at a time on each device, none before what it comes after."""
    flow = made.flow
    assert set(made.start) == {(n, k) for n in range(len(flow.nodes)) for k in range(microbatches)}
    for order in made.orders:
        assert all(made.end(a) <= made.start[b] + 1e-9 for a, b in itertools.pairwise(order))
    for (n, k), at in made.start.items():
        assert all(made.end((b, k)) + flow.nodes[n].lag <= at + 1e-9 for b in flow.before[n])
    assert made.seconds >= made.bound - 1e-9


def interleavings(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], ...]]:
    """All orders of one device that keep each list's own."""
    for places in itertools.combinations(range(len(first) + len(second)), len(first)):
        one, two = iter(first), iter(second)
        yield tuple(next(one) if n in places else next(two) for n in range(len(first) + len(second)))


def fastest(flow: Flow, microbatches: int, limits: list[int]) -> float:
    """The fastest of all orders that hold no more than the limits."""
    choices = []
    for device in range(flow.devices):
        own = [[(n, k) for k in range(microbatches)] for n, node in enumerate(flow.nodes) if node.device == device]
        found = [tuple(own[0])]
        for passes in own[1:]:
            found = [more for order in found for more in interleavings(list(order), passes)]
        choices.append(found)
    best = float("inf")
    for orders in itertools.product(*choices):
        try:
            made = timed(flow, orders)
        except WeirError:
            continue
        if all(held <= limit for held, limit in zip(made.held, limits, strict=True)):
            best = min(best, made.seconds)
    return best


@given(st.tuples(TIMES, TIMES), st.tuples(TIMES, TIMES), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_exact_is_the_best_of_all_orders(
    forward: tuple[float, ...], backward: tuple[float, ...], microbatches: int, first: int, second: int
) -> None:
    flow, limits = chain(Stages(forward, backward)), [first, second]
    found = exact(flow, microbatches, limits)
    checked(found, microbatches)
    assert found.proven
    assert found.seconds == pytest.approx(fastest(flow, microbatches, limits))
    assert all(held <= limit for held, limit in zip(found.held, limits, strict=True))
    assert listed(flow, microbatches, limits).seconds >= found.seconds - 1e-9


@given(st.tuples(TIMES, TIMES), st.tuples(TIMES, TIMES), st.tuples(st.floats(0, 1), st.floats(0, 1)), st.integers(1, 2))
@settings(max_examples=5, deadline=None)
def test_exact_is_the_best_where_weights_gradients_are_apart(
    forward: tuple[float, ...], backward: tuple[float, ...], share: tuple[float, ...], first: int
) -> None:
    apart = tuple(b * part for b, part in zip(backward, share, strict=True))
    flow = chain(Stages(forward, backward, 0.0, apart))
    found = exact(flow, 2, [first, 2])
    checked(found, 2)
    assert found.proven
    assert found.seconds == pytest.approx(fastest(flow, 2, [first, 2]))
    assert found.seconds <= exact(chain(Stages(forward, backward)), 2, [first, 2]).seconds + 1e-6


@given(
    st.integers(1, 4).flatmap(lambda p: st.tuples(*[st.lists(TIMES, min_size=p, max_size=p)] * 4)), st.integers(1, 6),
    st.integers(0, 3), st.sampled_from([1, 2]), st.floats(0, 2),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_list_schedules_are_schedules(
    times: tuple[list[float], ...], microbatches: int, extra: int, barriers: int, lag: float
) -> None:
    forward, backward, s, t = map(tuple, times)
    flow = vocabulary(Stages(forward, backward, lag), Vocabulary(s, t, lag, barriers))
    limits = [1 + extra] * len(forward)
    made = listed(flow, microbatches, limits)
    checked(made, microbatches)
    assert max(made.held) <= 1 + extra


@pytest.mark.parametrize("p", [1, 2, 4, 8])
@pytest.mark.parametrize("microbatches", [8, 16])
def test_even_stages_in_closed_form(p: int, microbatches: int) -> None:
    stages = Stages((1.0,) * p, (2.0,) * p)
    made, all_first = one_f_one_b(stages, microbatches), gpipe(stages, microbatches)
    assert made.seconds == all_first.seconds == made.bound == 3 * (microbatches + p - 1)
    assert made.held == tuple(float(p - i) for i in range(p))
    assert all_first.held == (float(microbatches),) * p
    assert made.idle == pytest.approx((p - 1) / (microbatches + p - 1))


@pytest.mark.parametrize("ways", [2, 4])
def test_interleaving_divides_the_bubble(ways: int) -> None:
    p, microbatches = 4, 16
    made = interleaved(Stages((4.0,) * p, (8.0,) * p), microbatches, ways)
    checked(made, microbatches)
    assert made.seconds == pytest.approx(12 * (microbatches + (p - 1) / ways))
    assert made.held[0] == pytest.approx(p + (p - 1) / ways)


def test_a_slow_stage_binds() -> None:
    made = one_f_one_b(Stages((1.0, 1.0, 5.0), (2.0, 2.0, 7.0)), 50)
    assert made.bound == 2 + 50 * 12 + 4
    assert made.seconds == pytest.approx(made.bound)


def test_a_lag_is_waited_for() -> None:
    made = one_f_one_b(Stages((1.0, 1.0), (1.0, 1.0), 0.5), 1)
    assert made.seconds == 5
    assert made.bound == lower_bound(made.flow, 1) == 5
    table = made.frame()
    assert list(table.node) == ["F0", "F1", "B1", "B0"]
    assert list(table.start) == [0, 1.5, 2.5, 4]


def test_orders_and_limits_that_cannot_be_are_named() -> None:
    flow = chain(TWO)
    backward_first: Orders = (((flow.index["B0"], 0), (flow.index["F0"], 0)), ((1, 0), (2, 0)))
    with pytest.raises(WeirError, match="the orders wait for one another: B0 of microbatch 0"):
        timed(flow, backward_first)
    with pytest.raises(Infeasible, match="device 0 holds 1 for one microbatch; its limit is 0"):
        listed(flow, 2, [0, 1])
    with pytest.raises(WeirError, match="several things"):
        exact(v_shape(TWO), 2, [2, 2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stages((1.0, 1.0), (1.0, 1.0), 0.0, (1.0,)), "1 times for 2 stages"),
        (lambda: Stages((1.0,), (1.0,), 0.0, (2.0,)), "weights' gradients take 2 s of a backward pass of 1 s"),
        (lambda: Stages((1.0,), (1.0, 2.0)), "one of each a stage"),
        (lambda: interleaved(TWO, 3), "not a multiple of 2"),
        (lambda: interleaved(TWO, 4, 1), "at least two"),
        (lambda: chunks(Stages((1.0,), (1.0,)), [0, 1]), "1 chunks on 2 devices"),
        (lambda: Vocabulary((1.0,), (1.0,), barriers=3), "one or two"),
        (lambda: Flow((Node("F", 0, 1.0, ("G",)),), ()), "comes after 'G'"),
        (lambda: Flow((Node("F", 0, -1.0),), ()), "given twice, or negative"),
        (lambda: Flow((Node("F", 0, 1.0),), (Hold("F", "B"),)), "no such nodes"),
    ],
)
def test_stages_and_flows_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(WeirError, match=message):
        make()
