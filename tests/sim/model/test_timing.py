from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.arch import Tier, cluster, tier
from sim.model.task import Task
from sim.model.timing import Clock, Timed, schedule

LIMIT = tier("limit")


def task(pool: str, seconds: float, *after: int, kind: str = "kernel", launch: float = 0.0) -> Timed:
    return Timed(Task("t", kind, pool, 0.0, after=after), seconds, launch=launch)


def test_a_chain_takes_its_sum_and_one_pool_one_task_at_a_time() -> None:
    assert schedule((task("a", 1), task("a", 2, 0), task("a", 4, 1))) == 7
    assert schedule((task("a", 1), task("a", 2), task("a", 4))) == 7


def test_unlike_pools_work_side_by_side() -> None:
    assert schedule((task("a", 3), task("b", 5))) == 5
    assert schedule((task("a", 3), task("b", 5, 0), task("a", 4))) == 8


def test_a_transfer_overlaps_the_computation_after_it() -> None:
    sent = task("b", 5, 0, kind="transfer")
    assert schedule((task("a", 1), sent, task("a", 4, 0), task("b", 2, 1, 2))) == 1 + 5 + 2


def test_a_message_in_flight_leaves_the_link_free() -> None:
    """Two messages of 3 s on the wire and 10 s of way: the second is sent as the first leaves the wire."""
    two = (task("b", 13, kind="transfer", launch=10), task("b", 13, kind="transfer", launch=10))
    assert schedule(two) == 3 + 3 + 10


def test_kernels_take_the_longest_of_what_they_need() -> None:
    here = cluster("1xh100")
    kernel = Task("t", "kernel", "model", 3.35e12, (("mac", "bf16", 989e12 * 2), ("exp", "fp32", 3.865e12 * 3)))
    timed = Clock(here, LIMIT).time(kernel)
    assert (timed.compute, timed.memory, timed.seconds) == pytest.approx((3.0, 1.0, 3.0))
    harder = replace(LIMIT, compute=0.5, memory=0.1, launch=1.0)
    assert Clock(here, harder).time(kernel).seconds == pytest.approx(1.0 + max(3 / 0.5, 1 / 0.1))


def test_operations_of_one_unit_add_up() -> None:
    kernel = Task("t", "kernel", "model", 0.0, (("add", "fp32", 33.5e12), ("mul", "fp32", 33.5e12)))
    assert Clock(cluster("1xh100"), LIMIT).time(kernel).seconds == pytest.approx(2.0)


@pytest.mark.parametrize(("senders", "receivers", "seconds"), [(4, 2, 1.0), (2, 4, 2.0), (1, 1, 1.0)])
def test_transfers_wait_for_the_narrower_side(senders: int, receivers: int, seconds: float) -> None:
    """50 GB into each receiver over 400 Gb/s; senders that are fewer send for several."""
    moved = Task("t", "transfer", "attention", 50e9, source="model", senders=senders, receivers=receivers)
    timed = Clock(cluster("4xh100_4xh20"), LIMIT).time(moved)
    assert timed.seconds == pytest.approx(seconds + 16.5e-6)
    assert timed.held == pytest.approx(seconds)


def test_collectives_stay_in_the_node_while_they_fit() -> None:
    clock = Clock(cluster("16xh100"), LIMIT)
    inside, across = (clock.time(Task("t", "all-gather", "model", 450e9, ways=w)).seconds for w in (8, 16))
    assert inside == pytest.approx(7 / 8 * 1 + 0.8e-6)
    assert across == pytest.approx(15 / 16 * 9 + 16.5e-6)


Loads = list[tuple[int, float]]  # (resource, seconds) of one batch's tasks, a cycle


def simulated_period(loads: Sequence[tuple[int, float]], batches: int, rounds: int = 100) -> float:
    """Seconds a round of batches that cycle over resources, first come first served; fill and drain shared out."""
    stage, free = [0] * batches, dict.fromkeys({r for r, _ in loads}, 0.0)
    order = count()
    queue = [(0.0, next(order), b) for b in range(batches)]
    end = 0.0
    while queue:
        at, _, batch = heappop(queue)
        resource, seconds = loads[stage[batch] % len(loads)]
        done = free[resource] = max(at, free[resource]) + seconds
        stage[batch] += 1
        end = max(end, done)
        if stage[batch] < rounds * len(loads):
            heappush(queue, (done, next(order), batch))
    return end / rounds


def law(loads: Sequence[tuple[int, float]], batches: int) -> float:
    """The bottleneck law: one batch's latency, or all batches on the busiest resource."""
    busy = [sum(s for r, s in loads if r == one) for one in {r for r, _ in loads}]
    return max(sum(s for _, s in loads), batches * max(busy))


@settings(max_examples=60, deadline=None)
@given(
    loads=st.lists(st.tuples(st.integers(0, 2), st.floats(0.1, 10)), min_size=1, max_size=6),
    batches=st.integers(1, 4),
)
def test_no_order_of_service_beats_the_law_of_the_period(loads: Loads, batches: int) -> None:
    simulated = simulated_period(loads, batches)
    assert simulated >= law(loads, batches) * (1 - 1e-9)
    assert simulated <= batches * sum(s for _, s in loads) * (1 + 1e-9)


@pytest.mark.parametrize("batches", [1, 2, 3, 4])
def test_balanced_pools_reach_the_law(batches: int) -> None:
    """Model, link, attention, link in turn, as long each: staggered batches never wait."""
    for loads in ([(0, 1.0), (1, 1.0)], [(0, 1.0), (1, 0.5), (2, 1.0)], [(0, 2.0), (1, 1.0), (2, 3.0)]):
        assert simulated_period(loads, batches) == pytest.approx(law(loads, batches), rel=0.03)


def test_resources_that_come_round_twice_may_fall_short_of_the_law() -> None:
    """A cycle that returns to a busy pool makes batches wait in turn: the law is a bound, here near it on average."""
    ratios = []
    rng = np.random.default_rng(0)
    for _ in range(100):
        loads = [(r, float(s)) for r, s in zip((0, 1, 2, 1, 0), rng.uniform(0.1, 1, 5), strict=True)]
        ratios.append(simulated_period(loads, 2) / law(loads, 2))
    assert min(ratios) >= 1 - 1e-9
    assert max(ratios) < 1.6
    assert np.mean(ratios) < 1.2


def test_tiers_only_slow_down() -> None:
    kernel = Task("t", "kernel", "model", 1e9, (("mac", "bf16", 1e12),))
    shared = Task("t", "all-reduce", "model", 1e6, ways=4)

    def seconds(one: Tier) -> list[float]:
        clock = Clock(cluster("4xh100"), one)
        return [clock.time(t).seconds for t in (kernel, shared)]

    assert all(p > q for p, q in zip(seconds(tier("physical")), seconds(LIMIT), strict=True))
