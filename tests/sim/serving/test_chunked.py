"""Prompts in chunks: by hand, against one exact iteration at a time, and the laws that any engine keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum.errors import WeirError
from sim.serving import Rules, Service, Trace, constant, simulate
from sim.serving.service import Array, Mixing
from sim.serving.simulate import holding

Machine = Callable[..., Service]
FIRST, MIXED = (Rules(schedule=name, token_budget=100) for name in ("first", "mixed"))


def mixing(token: float = 1e-4, request: float = 2e-3, kept: float = 1e-6) -> Mixing:
    """Iterations of ``token`` a token, ``request`` a decoding request, ``kept`` a new token for each cached one."""

    def shared(tokens: Array) -> Array:
        return np.asarray(token * tokens)

    def filling(n: Array, cached: Array, new: Array) -> Array:
        return np.asarray(kept * n * cached * new)

    return Mixing(shared, lambda b, c: np.asarray(request * b + 0 * c), filling)


def service(machine: Machine, **terms: float) -> Service:
    return replace(machine(fixed=0.01, each=0, token=0, **terms), mixing=mixing())


@pytest.mark.parametrize("schedule", ["first", "mixed"])
def test_a_prompt_beyond_the_budget_by_hand(machine: Machine, schedule: str) -> None:
    rules = replace(FIRST, schedule=schedule)
    served = simulate(service(machine), constant(250, 3), concurrency=1, requests=4, rules=rules, cold=True)
    chunks = 250 * 1e-4 + 1e-6 * (100 * 100 + 200 * 50)  # of 100, 100 and 50 tokens
    assert served.ttft == pytest.approx([chunks] * 4, rel=1e-3)
    assert served.tpot == pytest.approx([0.01] * 4)
    assert served.tokens == 12


def test_decoding_waits_for_prompts_or_rides_along(machine: Machine) -> None:
    """Two users with prompts of one budget: the first decodes beside the second's prompt, or not at all meanwhile."""
    load = constant(100, 4)
    by = {
        r.schedule: simulate(service(machine), load, concurrency=2, requests=8, rules=r, cold=True)
        for r in (FIRST, MIXED)
    }
    fill = 100 * 1e-4
    assert by["first"].first_token[:2] == pytest.approx([fill, 2 * fill])
    assert by["first"].finish[:2] == pytest.approx([2 * fill + 3 * 0.01] * 2)
    # 99 of the second prompt's tokens fit beside the decoding request, the last one in the iteration after
    beside = 100 * 1e-4 + 2e-3
    rest = 2 * 1e-4 + 2e-3 + 99e-6
    assert by["mixed"].first_token[:2] == pytest.approx([fill, fill + beside + rest], rel=1e-3)
    assert by["mixed"].finish[0] == pytest.approx(fill + beside + rest + 0.01, rel=1e-3)


def test_an_iteration_scheduled_ahead_is_one_more_to_wait_for(machine: Machine) -> None:
    """The second user comes while the first prompt is filled; ``ahead``, a decode step passes before it is taken in."""
    plain, ahead = (
        simulate(service(machine), constant(100, 9), concurrency=2, requests=8, rules=rules, cold=True)
        for rules in (MIXED, replace(MIXED, ahead=1))
    )
    assert ahead.admitted[:2] - plain.admitted[:2] == pytest.approx([0, 0.01])


def test_a_prompt_that_is_not_divided_waits_for_an_iteration_that_holds_it_whole(machine: Machine) -> None:
    """Prompts of 60 tokens, iterations of 100: beside the second prompt go 40 tokens of the third, or none of it.

    The first is begun alone, as the others come a moment later.
    """
    load = constant(60, 2)
    cut, whole = (
        simulate(service(machine), load, concurrency=3, requests=12, rules=replace(FIRST, divided=d), cold=True)
        for d in (True, False)
    )
    last = 20 * 40e-6  # of the third prompt, against those cached
    assert cut.first_token[:3] == pytest.approx([60e-4, 160e-4, 180e-4 + last], rel=0.01)
    assert whole.first_token[:3] == pytest.approx([60e-4, 120e-4, 180e-4], rel=0.01)


def test_the_host_launches_what_no_graph_replays(machine: Machine) -> None:
    slow = replace(service(machine), mixing=replace(mixing(), launching=0.5))
    times = [
        simulate(slow, constant(50, 1), concurrency=1, requests=4, rules=replace(FIRST, recorded=r), cold=True).ttft
        for r in (49, 50)
    ]
    assert times[0] == pytest.approx([0.5] * 4)
    assert times[1] == pytest.approx([50e-4] * 4)


def test_a_host_that_is_ahead_launches_while_the_devices_run(machine: Machine) -> None:
    """Prompts of 50 tokens, one an iteration: 40 ms of the host; decode steps of 10 ms are replayed.

    The first user's second request comes at 0.21 s. Scheduled ahead, it is taken in a step later, but its kernels are
    launched during that step.
    """
    slow = replace(service(machine), mixing=replace(mixing(), launching=0.04))
    rules = Rules(schedule="mixed", token_budget=60, divided=False, recorded=0)
    for ahead, admitted in ((0, 0.22), (1, 0.23)):
        told = replace(rules, ahead=ahead)
        served = simulate(slow, constant(50, 9), concurrency=4, requests=16, rules=told, cold=True)
        assert served.first_token[:4] == pytest.approx([0.04, 0.08, 0.12, 0.16])
        assert served.arrival[4] == pytest.approx(0.21)
        assert served.admitted[4] == pytest.approx(admitted)
        assert served.first_token[4] == pytest.approx(0.26)


def test_a_first_token_waits_for_server_and_client_and_then_for_an_iteration(machine: Machine) -> None:
    alone, fronted = (
        simulate(service(machine), constant(50, 3), concurrency=1, requests=4, rules=replace(FIRST, front=f), cold=True)
        for f in (0.0, 0.007)
    )
    assert fronted.ttft - alone.ttft == pytest.approx([0.007] * 4)
    assert fronted.tpot == pytest.approx(alone.tpot)
    late = simulate(
        service(machine), constant(50, 9), concurrency=2, requests=8, rules=replace(FIRST, front=0.013), cold=True
    )
    assert (late.admitted - late.arrival).min() == pytest.approx(0.013)
    open_loop = simulate(service(machine), constant(50, 3), rate=0.01, requests=20, rules=replace(FIRST, front=0.007))
    assert open_loop.ttft == pytest.approx(50 * 1e-4 + 0.007)


def test_iterations_grow_for_prompts_that_are_not_divided_and_say_so() -> None:
    rules = replace(FIRST, divided=False)
    assert holding(rules, constant(80, 2), 20) == (rules, ())
    grown, (said,) = holding(rules, constant(80, 2), 21)
    assert grown.token_budget == 101
    assert "iterations of 101 tokens instead of 100" in said
    assert holding(FIRST, constant(999, 2), 5) == (FIRST, ())


def plainly(load: Trace, users: int, rules: Rules, room: float, parts: Mixing) -> tuple[Array, Array]:
    """First tokens and finishes after arrival, one iteration at a time, by lists of requests alone."""

    def cost(curve: Callable[..., Array], *at: float) -> float:
        return float(curve(*(np.array([x], float) for x in at))[0])

    n, now, sent = len(load), 0.0, min(users, len(load))
    arrival, first, finish = np.zeros(n), np.full(n, np.nan), np.full(n, np.nan)
    cached, made, due, looked = np.zeros(n), np.zeros(n), np.full(n, rules.front), 0.0
    rest = np.array(load.prompt, float) if not rules.divided else np.ones(n)  # tokens that must find room at once
    inside: list[int] = []
    waiting = list(range(sent))
    while np.isnan(finish).any():
        if not inside and waiting:
            now = looked = max(now, due[waiting[0]])
        decoding = [i for i in inside if cached[i] >= load.prompt[i]]
        left = rules.token_budget - (len(decoding) if rules.schedule == "mixed" else 0)
        chunks = []
        for i in [j for j in inside if cached[j] < load.prompt[j]] + waiting:
            taken = sum(load.prompt[j] + load.output[j] for j in inside)
            late = (inside and due[i] >= looked) or taken + load.prompt[i] + load.output[i] > room
            if left <= 0 or (i in waiting and (late or left < rest[i])):
                break
            inside += [i] * (i in waiting)
            chunks.append((i, cached[i], min(left, load.prompt[i] - cached[i])))
            left -= chunks[-1][2]
        waiting = [i for i in waiting if i not in inside]
        began, launch = now, 0.0
        beside = decoding if rules.schedule == "mixed" or not chunks else []
        if chunks:
            count, kept, new = len(chunks), np.mean([c for _, c, _ in chunks]), np.mean([t for *_, t in chunks])
            spent = cost(parts.shared, count * new + len(beside)) + cost(parts.filling, count, kept, new)
            spent += cost(parts.decoding, len(beside), 0)
            launch = parts.launching * rules.launches * (count * new + len(beside) > rules.recorded)
            now = max(now + spent, looked + launch)
        else:
            now += 0.01
        looked = max(looked + launch, began) if rules.ahead else now
        for i, _, new in chunks:
            cached[i] += new
        for i in beside + [i for i, *_ in chunks if cached[i] >= load.prompt[i]]:
            made[i] += 1
            first[i] = now if np.isnan(first[i]) else first[i]
            finish[i] = now if made[i] == load.output[i] else finish[i]
        for i in [i for i in inside if made[i] == load.output[i]]:
            inside.remove(i)
            if sent < n:
                arrival[sent], due[sent] = now, now + rules.front
                waiting.append(sent)
                sent += 1
    return first - arrival, finish - arrival


@settings(max_examples=30, deadline=None)
@given(
    users=st.integers(1, 9), seed=st.integers(0, 50), budget=st.integers(20, 400), room=st.integers(700, 3000),
    schedule=st.sampled_from(["first", "mixed"]), ahead=st.integers(0, 1), divided=st.booleans(),
    recorded=st.sampled_from([0, 200, math.inf]), front=st.sampled_from([0.0, 0.0234]),
)  # fmt: skip
def test_jumping_equals_one_iteration_at_a_time(
    machine: Machine, users: int, seed: int, budget: int, room: int, schedule: str, ahead: int, divided: bool,
    recorded: float, front: float,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    n = 4 * users
    load = Trace("some", np.empty(0), rng.integers(1, 500, n), rng.integers(1, 20, n), np.ones(n), "a test", True)
    rules = Rules(
        schedule=schedule, token_budget=budget, ahead=ahead, divided=divided, recorded=recorded, launches=2.0,
        front=front,
    )  # fmt: skip
    rules, _ = holding(rules, load, users)
    parts = replace(mixing(), launching=0.03)
    own = replace(service(machine, capacity=room), mixing=parts)
    served = simulate(own, load, concurrency=users, requests=n, rules=rules, cold=True)
    drawn = replace(load, prompt=served.prompt, output=served.output)
    ttft, e2e = plainly(drawn, users, rules, room, parts)
    assert served.ttft == pytest.approx(ttft, rel=0.01)
    assert served.e2e == pytest.approx(e2e, rel=0.01)
    assert served.tokens == load.output.sum()
    assert served.peak_state <= room


@pytest.mark.parametrize("rules", [FIRST, MIXED], ids=["first", "mixed"])
def test_arrivals_of_their_own_and_littles_law(machine: Machine, rules: Rules) -> None:
    served = simulate(service(machine), constant(150, 12), rate=4.0, requests=300, rules=rules)
    assert (served.arrival <= served.admitted).all()
    assert (served.admitted < served.first_token).all()
    assert (served.first_token <= served.finish).all()
    assert served.tokens == 300 * 12
    alone = simulate(service(machine), constant(150, 12), rate=0.01, requests=50, rules=rules)
    assert np.median(alone.ttft) == pytest.approx(150 * 1e-4 + 1e-6 * 100 * 50, rel=1e-3)
    assert served.ttft.mean() > alone.ttft.mean()


def test_what_cannot_be_scheduled_so_is_refused(machine: Machine) -> None:
    with pytest.raises(WeirError, match="one pool without pipeline stages"):
        simulate(machine(), constant(10, 10), concurrency=1, rules=MIXED)
    with pytest.raises(WeirError, match="a prompt of 101 tokens is not divided, and an iteration takes 100"):
        simulate(service(machine), constant(101, 2), concurrency=1, rules=replace(FIRST, divided=False), cold=True)
    with pytest.raises(WeirError, match="prefill elsewhere"):
        Rules(schedule="mixed", prefill="elsewhere")
    with pytest.raises(WeirError, match="front is of engines"):
        Rules(front=0.01)
    for name, value in (("front", -1.0), ("front", math.nan), ("launches", math.inf)):
        with pytest.raises(WeirError, match=f"{name} is {value}; a finite number of at least 0"):
            replace(MIXED, **{name: value})
    with pytest.raises(WeirError, match="ahead is 2"):
        Rules(schedule="mixed", ahead=2)
    with pytest.raises(WeirError, match="schedule 'mixt'"):
        Rules(schedule="mixt")  # type: ignore[arg-type]
