"""How sharply first tokens depend on capacity: where queues are short it is not said, near saturation it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sim.serving import Rules, Service, constant, simulate
from sim.serving.simulate import serveable
from sim.serving.strain import PART, Strain, strained

Machine = Callable[..., Service]
LOAD = constant(10, 10)


def open_loop(one: Service, share: float) -> Strain | None:
    rate = share * serveable(one, LOAD, Rules())
    served = simulate(one, LOAD, rate=rate, requests=400)
    return strained(one, LOAD, Rules(), served, rate=rate)


def test_arrivals_press_on_the_pace_only_near_what_can_be_served(machine: Machine) -> None:
    one = machine(fixed=0.01, each=0.001, token=0, capacity=20 * 20)
    assert open_loop(one, 0.3) is None
    near = open_loop(one, 1.0)
    assert near is not None
    assert near.less > near.now > near.more
    assert "less or more speed" in str(near)
    rate = serveable(one, LOAD, Rules())
    slower = machine(fixed=0.01 / 0.95, each=0.001 / 0.95, token=0, prompt=1e-5 / 0.95, capacity=20 * 20)
    assert near.less == pytest.approx(simulate(slower, LOAD, rate=rate, requests=400).ttft.mean(), rel=1e-6)


def test_users_press_on_memory_only_where_it_does_not_hold_them_all(machine: Machine) -> None:
    """Requests of 20 tokens reserve 20 bytes: of ten, nine find room beside one that waits for a whole life."""
    for room, waits in ((400, False), (205, True)):
        one = machine(fixed=0.01, each=0, token=0, capacity=room)
        served = simulate(one, LOAD, concurrency=10, requests=100, cold=True)
        found = strained(one, LOAD, Rules(), served, users=10, cold=True)
        assert (found is not None) == waits
    assert found is not None
    tight = machine(fixed=0.01, each=0, token=0, capacity=205 * (1 - PART))
    again = simulate(tight, LOAD, concurrency=10, requests=100, cold=True)
    assert found.less == pytest.approx(float(np.mean(again.ttft)))


def test_a_request_that_needs_nearly_all_memory_is_near_saturation_and_served(machine: Machine) -> None:
    """Requests of 20 tokens reserve 20 bytes: 20.5 hold one, 5 % less none."""
    one = machine(fixed=0.01, each=0, token=0, capacity=20.5)
    served = simulate(one, LOAD, concurrency=1, requests=20, cold=True)
    found = strained(one, LOAD, Rules(), served, users=1, cold=True)
    assert str(found) == "near saturation: with 5% less memory for requests the longest request would not fit"


def test_the_slope_is_in_per_cent_for_each_per_cent() -> None:
    found = Strain("speed", now=1.0, less=1.5, more=0.5)
    assert found.slope == pytest.approx(10.0)
    assert str(found).endswith("would be 1.5 s or 500 ms (10.0% for each per cent)")
    assert not Strain("speed", now=1.0, less=1.2, more=0.9).sharp


@pytest.mark.parametrize(("rate", "near"), [(2.0, False), (30.0, True)])
def test_an_answer_says_that_it_is_near_saturation(rate: float, near: bool) -> None:
    import sim

    terms = {"engine": "vllm", "prompt": 1024, "output": 256, "requests": 400}
    told, quiet = (sim.serve("llama-3-8b", "1xh100", rate=rate, sensitive=s, **terms) for s in (True, False))
    assert any("near saturation" in note for note in told.notes) == near
    assert not any("near saturation" in note for note in quiet.notes)
