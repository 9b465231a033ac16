"""Keys and values in memory: replays against closed forms and against sets of numbered pages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Infeasible, WeirError
from sim.planner.cache import (
    Allocator,
    Store,
    compare,
    contiguous,
    frame,
    largest,
    most_waste,
    paged,
    replay,
    static,
    store,
)
from sim.planner.shape import shape
from sim.serving.trace import Trace, constant, trace
from workloads.transformer import model

SMALL = Store(4, 8.0, 32.0 * 100)  # a hundred tokens


def lengths(prompt: list[int], output: list[int]) -> Trace:
    ones = np.ones(len(prompt))
    return Trace("made", np.empty(0), np.array(prompt), np.array(output), ones, "", True)


@pytest.mark.parametrize("unit", [1, 4, 16, 30])
def test_equal_requests_in_closed_form(unit: int) -> None:
    how = paged(unit)
    found = replay(SMALL, constant(20, 10, 12), how, requests=12, most=3)
    held = [20 + t for t in range(1, 11)]
    reserved = [-(-tokens // unit) * unit for tokens in held]
    assert found.waste == pytest.approx(1 - sum(held) / sum(reserved))
    assert (found.largest, found.batch, found.steps, found.preempted) == (3, 3, 40, 0)


@pytest.mark.parametrize("tokens", [10, 25, 50])
def test_a_static_batch_is_capacity_over_the_longest(tokens: int) -> None:
    how = static(tokens)
    found = replay(SMALL, constant(5, 5, 40), how, requests=40)
    assert found.largest == largest(SMALL, how, 10) == 100 // tokens


class Pages:
    """Every page by its number, in the plainest way."""

    def __init__(self, how: Allocator, room: int) -> None:
        self.how, self.free = how, set(range(room))
        self.held: dict[int, set[int]] = {}

    def reserve(self, request: int, tokens: int) -> bool:
        mine = self.held.setdefault(request, set())
        short = max(0, -(-tokens // self.how.unit) - len(mine))
        if short > len(self.free):
            return False
        mine |= {self.free.pop() for _ in range(short)}
        return True


def plainly(how: Allocator, prompt: list[int], output: list[int], room: int) -> list[tuple[int, int, int]]:
    """Batch, tokens and pages of every step."""
    pages, waiting, active, rows = Pages(how, room), list(range(len(prompt))), dict[int, int](), []
    while waiting or active:
        while waiting and pages.reserve(waiting[0], prompt[waiting[0]] + 1):
            active[waiting.pop(0)] = 0
        if waiting:
            pages.free |= pages.held.pop(waiting[0], set())
        while True:  # all grow, or the youngest leaves
            short = sum(max(0, -(-(prompt[r] + n + 1) // how.unit) - len(pages.held[r])) for r, n in active.items())
            if short <= len(pages.free):
                break
            youngest = list(active)[-1]
            pages.free |= pages.held.pop(youngest)
            waiting.insert(0, youngest)
            del active[youngest]
        for request in active:
            assert pages.reserve(request, prompt[request] + active[request] + 1)
            active[request] += 1
        tokens = sum(prompt[r] + n for r, n in active.items())
        rows.append((len(active), tokens, sum(len(pages.held[r]) for r in active)))
        for request in [r for r, n in active.items() if n == output[r]]:
            pages.free |= pages.held.pop(request)
            del active[request]
    return rows


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=12), st.integers(1, 20),
    st.booleans(),
)  # fmt: skip
@settings(deadline=None)
def test_units_are_counted_as_pages_are(requests: list[tuple[int, int]], unit: int, deferred: bool) -> None:
    prompt, output = [p for p, _ in requests], [o for _, o in requests]
    how = Allocator("any", unit, calls=4, seconds=1.0, deferred=deferred)
    if how.units(max(p + o for p, o in requests)) > 100 // unit:
        with pytest.raises(Infeasible):
            replay(SMALL, lengths(prompt, output), how, requests=len(requests))
        return
    found = replay(SMALL, lengths(prompt, output), how, requests=len(requests))
    rows = plainly(how, prompt, output, 100 // unit)
    batch, tokens, pages = (np.array(column) for column in zip(*rows, strict=True))
    assert (found.steps, found.largest) == (len(rows), batch.max())
    assert found.waste == pytest.approx(1 - tokens.sum() / (pages.sum() * unit))


def test_deferred_reclamation_maps_less() -> None:
    load = constant(20, 10, 30)
    eager, deferred = (Allocator("v", 5, 4, 1e-3, deferred=d) for d in (False, True))
    before, after = compare(SMALL, load, (eager, deferred), requests=30)
    assert after.stall < before.stall
    assert after.batch == before.batch  # what is spare is taken back when it is needed


def test_small_pages_waste_less_and_hold_more_on_a_trace() -> None:
    held = store(shape(model("llama-3-8b"), 4096), 20e9)
    found = compare(
        held,
        trace("azure_conv"),
        (static(8192), paged(16), contiguous(held, 2**16), contiguous(held, 2**21)),
        requests=200,
    )
    waste = [usage.waste for usage in found]
    assert waste[0] > waste[3] > waste[2] > waste[1]
    assert found[0].largest < found[3].largest <= found[1].largest
    assert found[1].stall == 0 < found[3].stall
    assert found[3].hidden < found[3].stall
    table = frame(found)
    assert list(table.allocator) == ["static", "paged 16", "contiguous 64 KiB", "contiguous 2048 KiB"]


def test_vattention_by_hand() -> None:
    held = Store(120, 1024.0, 20e9)  # Yi-34B on two devices
    how = contiguous(held, 2**21)
    assert how.unit == 2048
    assert how.calls * how.seconds == pytest.approx(4.8e-3)
    assert most_waste(held, how) == 120 * 1024 * 2047
    assert held.virtual(500, 200_000) == pytest.approx((204.8e6, 102.4e9, 12.288e12))


def test_mistakes_are_named() -> None:
    with pytest.raises(Infeasible, match="longer than the 8 reserved"):
        replay(SMALL, constant(20, 10, 2), static(8), requests=2)
    with pytest.raises(Infeasible, match="paged 16: a request of 130 tokens"):
        replay(SMALL, constant(100, 30, 2), paged(16), requests=2)
    with pytest.raises(WeirError, match="at least one must fit"):
        contiguous(SMALL, 4)
    with pytest.raises(WeirError, match="both must be positive"):
        store(shape(model("llama-3-8b"), 1), 0)
