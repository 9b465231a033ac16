"""What is said to bind a plan does, and what is said to help is what the plan computed again gives."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest

from sim.arch import book, device
from sim.planner import advice, flows
from sim.planner.advice import offloaded, piped, ranged
from sim.planner.answers import Piped
from sim.planner.cache import Replayed, Usage, paged, room
from sim.planner.offers import Rented
from sim.planner.policy import Load, place
from sim.planner.purchase import Bucket, Template, rent
from sim.planner.ranges import Holder, Network, flow, limiting
from sim.planner.ranges import place as spread
from sim.planner.shape import hardware, shape
from workloads.transformer import from_config


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


def rental(load: list[list[float]], prices: dict[str, float]) -> Rented:
    offers = tuple(Template(name, usd) for name, usd in prices.items())
    wanted = tuple(Bucket(100.0 * (n + 1), 10.0, 1.0) for n in range(len(load)))
    held = np.array(load)
    return Rented("model", rent(wanted, offers, held), book("market_2026"), held, {})


def test_a_rented_templates_room_and_the_price_at_which_another_wins() -> None:
    found = list(advice.rented(rental([[0.5, 1.0]], {"a": 3.0, "b": 4.0})))
    assert found[0] == "busy: a 50%; 100% more requests before more is rented, shared as they are"
    assert "helps: none" in found[1]  # one copy is the least, however quick
    assert found[2] == "b, now 4.00 USD/h, would be rented below 3.00 USD/h"


def test_a_quicker_template_saves_its_last_copy() -> None:
    found = list(advice.rented(rental([[2.1, inf]], {"a": 2.0, "b": 1.0})))
    assert found[0].startswith("busy: a 70%")
    assert found[1] == "+10% speed of a -> +50.0% requests/USD"  # 2.1 copies of load become 1.91: two instead of three
    assert len(found) == 2  # b can serve nothing at any price


def test_more_memory_holds_more_tokens() -> None:
    where = device("a100")
    usage = Usage(paged(16), 4, 3.5, 90.0, 100.0, 0.0, 0.0, 0.0, 0, 10)
    found = list(advice.stored(Replayed("model", where, 16e9, 131072.0, (usage,))))
    assert found[0].startswith("paged 16 wastes least, 10.0%: 3.5 requests at once")
    more = room(where.with_(f"{where.memory.name}.capacity", 1.1 * where.capacity), 16e9) / room(where, 16e9) - 1
    assert found[1] == f"+10% capacity of the device -> +{more:.1%} tokens held"
