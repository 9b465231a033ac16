"""What is said to bind a plan does, and what is said to help is what the plan computed again gives."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sim.arch import device
from sim.planner import flows
from sim.planner.advice import laid, offloaded, piped, ranged
from sim.planner.answers import Laid, Piped
from sim.planner.offsets import plan
from sim.planner.policy import Load, place
from sim.planner.problem import Buffer, Problem, Tier
from sim.planner.ranges import Holder, Network, flow, limiting
from sim.planner.ranges import place as spread
from sim.planner.shape import hardware, shape
from workloads.transformer import from_config


def test_buffers_of_the_fullest_moment_are_named() -> None:
    buffers = (Buffer("a", 5, ((0, 4),)), Buffer("b", 7, ((2, 6),)), Buffer("c", 3, ((4, 9),)))
    problem = Problem("p", buffers, (Tier("memory"),))
    [said] = laid(Laid(problem, plan(problem)))
    assert said.startswith("fullest at 2: 12 B live, b (7 B), a (5 B);")


def test_nothing_is_said_of_no_buffers() -> None:
    problem = Problem("p", (), (Tier("memory"),))
    assert list(laid(Laid(problem, plan(problem)))) == []


def test_the_slow_node_of_a_chain_is_full_and_its_speed_helps() -> None:
    network = Network(2, (Holder("fast", (10.0,)), Holder("slow", (4.0,))), {})
    found = spread(network, seconds=1.0)
    assert limiting(network, found.ranges) == {"slow": 4.0}
    assert list(ranged(found)) == [
        "full on every way of a token: slow",
        "+10% speed of these devices -> +10.0% tokens/s with these ranges",
    ]


def test_a_narrow_link_is_what_is_full() -> None:
    network = Network(2, (Holder("a", (10.0,)), Holder("b", (10.0,))), {(0, 1): 3.0, (1, 0): 3.0})
    found = spread(network, seconds=1.0)
    [(name, rate)] = limiting(network, found.ranges).items()
    assert name.startswith("link from")
    assert rate == 3.0
    assert sum(limiting(network, found.ranges).values()) == pytest.approx(flow(network, found.ranges), rel=1e-6)
    assert list(ranged(found))[1] == "+10% bandwidth of all links -> +10.0% tokens/s with these ranges"


def test_one_slow_stage_keeps_a_pipeline_waiting() -> None:
    stages = flows.Stages((1.0, 5.0), (1.0, 5.0))
    said = list(piped(Piped("gpipe", flows.gpipe(stages, 10))))
    assert said[0].startswith("gpipe: device 1 is busiest, at work 98% of the time")
    assert said[1] == "+10% speed of all devices -> +10.0% microbatches/s in this order"


def test_a_numbers_gain_is_that_of_the_block_planned_on_it() -> None:
    model, load = from_config("opt-30b"), Load(512, 32)
    here, made = hardware(device("t4"), device("xeon_8380")), shape(model, 544)
    found = place(made, here, load, micro=8, batches=2)
    wider = place(made, replace(here, down=here.down * 1.1), load, micro=8, batches=2)
    gain = wider.tokens_per_second / found.tokens_per_second - 1
    said = list(offloaded(found))
    assert said[0].startswith("decode takes 9")
    assert said[1] == f"+10% down -> {gain:+.1%} tokens/s at this block"
