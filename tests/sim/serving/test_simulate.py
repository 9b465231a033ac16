from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum.errors import Infeasible, WeirError
from sim.serving import Rules, Served, Service, Trace, constant, respecting, simulate, steady, trace
from sim.serving.answer import serve
from sim.serving.served import at_percentile

Machine = Callable[..., Service]
ELSEWHERE = Rules(prefill="elsewhere")


def poisson(n: int, rate: float, seed: int = 0) -> Trace:
    """Requests of mixed lengths with arrival times of their own."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / rate, n))
    prompt, output = rng.integers(20, 900, n), rng.integers(1, 120, n)
    return Trace("mixed", arrival - arrival[0], prompt, output, np.ones(n), "a test", True, rate, 1.0)


def stepping(service: Service, load: Trace, rules: Rules) -> tuple[list[float], list[float], float, float]:
    """The same engine, one exact iteration at a time: first tokens, finishes, joules, most memory in use."""
    n = len(load)
    prompt, output = load.prompt.tolist(), load.output.tolist()
    first, finish, made = [0.0] * n, [0.0] * n, [0] * n
    waiting, flying, arrived, now, joules, peak = deque[int](), list[int](), 0, 0.0, 0.0, 0.0

    def cost(curve: Callable[..., np.ndarray], x: float, y: float) -> float:
        return float(curve(np.array([float(x)]), np.array([float(y)]))[0])

    def hold(i: int) -> float:
        return float(service.state(np.array(prompt[i] + output[i])))

    while arrived < n or waiting or flying:
        while arrived < n and load.arrival[arrived] <= now:
            waiting.append(arrived)
            arrived += 1
        group: list[int] = []
        while waiting and len(flying) + len(group) < service.max_batch:
            if sum(map(hold, [*flying, *group, waiting[0]])) > service.capacity:
                break
            full = sum(prompt[i] for i in [*group, waiting[0]]) > rules.token_budget
            if group and full and rules.prefill == "here":
                break
            group.append(waiting.popleft())
        flying += group
        peak = max(peak, sum(map(hold, flying)))
        if group and rules.prefill == "here":
            now += sum(cost(service.prefill, len(group), prompt[i]) for i in group) / len(group)
            joules += sum(cost(service.prefill_joules, len(group), prompt[i]) for i in group) / len(group)
            continue
        if not flying:
            now = float(load.arrival[arrived])
            continue
        mean = sum(prompt[i] + made[i] for i in flying) / len(flying) + 0.5
        now += cost(service.decode, len(flying), mean)
        joules += cost(service.decode_joules, len(flying), mean)
        for i in flying:
            made[i] += 1
            first[i] = first[i] or now
            finish[i] = now
        flying = [i for i in flying if made[i] < output[i]]
    return first, finish, joules, peak


@pytest.mark.parametrize("rate", [2.0, 20.0, 200.0])
@pytest.mark.parametrize("rules", [Rules(), ELSEWHERE, Rules(token_budget=1000)], ids=["here", "elsewhere", "budget"])
def test_jumping_equals_stepping(machine: Machine, rate: float, rules: Rules) -> None:
    load = poisson(300, rate)
    service = machine(capacity=9000, token=1e-6, prompt=2e-5)
    served = simulate(service, load, replay=True, rules=rules)
    first, finish, joules, peak = stepping(service, load, rules)
    latency = np.array(finish) - load.arrival
    assert served.e2e.mean() == pytest.approx(latency.mean(), rel=0.005)
    assert served.ttft.mean() == pytest.approx((np.array(first) - load.arrival).mean(), rel=0.005)
    assert served.finish.max() == pytest.approx(max(finish), rel=0.005)
    assert served.joules == pytest.approx(joules, rel=0.005)
    assert served.peak_state <= service.capacity
    assert served.peak_state == pytest.approx(peak, rel=0.05)


def test_jumping_over_a_bend_stays_within_half_a_percent(machine: Machine) -> None:
    def decode(b: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(0.01, 4e-4 * b) + 1e-7 * b * c)

    service = replace(machine(capacity=30_000), decode=decode)
    load = poisson(300, 60.0, seed=4)
    served = simulate(service, load, replay=True)
    _, finish, _, _ = stepping(service, load, Rules())
    assert served.e2e.mean() == pytest.approx((np.array(finish) - load.arrival).mean(), rel=0.005)


@settings(max_examples=25, deadline=None)
@given(rate=st.floats(0.5, 300), seed=st.integers(0, 50), room=st.integers(1100, 20_000), here=st.booleans())
def test_conservation_and_littles_law(machine: Machine, rate: float, seed: int, room: int, here: bool) -> None:
    load = poisson(120, rate, seed)
    served = simulate(machine(capacity=room), load, replay=True, rules=Rules() if here else ELSEWHERE)
    assert served.tokens == load.output.sum()
    assert np.isfinite(served.finish).all()
    assert (served.arrival <= served.admitted).all()
    assert (served.admitted < served.first_token).all()
    assert (served.first_token <= served.finish).all()
    assert served.peak_state <= room
    # L = lambda W, of the requests in flight
    throughput = 120 / served.seconds
    assert served.mean_batch == pytest.approx(throughput * (served.finish - served.admitted).mean(), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(users=st.integers(1, 60), seed=st.integers(0, 9))
def test_littles_law_in_the_closed_loop(machine: Machine, users: int, seed: int) -> None:
    served = simulate(machine(), trace("azure_code"), concurrency=users, seed=seed, requests=1500)
    finished = served.tokens / served.output[served.first : served.last].mean() / served.seconds
    assert served.mean_batch == pytest.approx(users, rel=0.02)
    assert finished * served.e2e.mean() == pytest.approx(users, rel=0.12)


@settings(max_examples=25, deadline=None)
@given(prompt=st.integers(50, 3000), output=st.integers(20, 300), users=st.integers(1, 120), here=st.booleans())
def test_closed_form_equals_closed_loop(machine: Machine, prompt: int, output: int, users: int, here: bool) -> None:
    rules = Rules() if here else ELSEWHERE
    served = simulate(machine(), constant(prompt, output), concurrency=users, rules=rules)
    formula = steady(machine(), prompt, output, users, prefill=rules.prefill).at(0)
    assert served.tokens_per_second == pytest.approx(formula["tokens_per_second"], rel=0.01)
    assert served.joules_per_token == pytest.approx(formula["joules_per_token"], rel=0.01)
    assert served.usd_per_million_tokens == pytest.approx(formula["usd_per_million_tokens"], rel=0.01)
    assert served.tpot.mean() == pytest.approx(formula["tpot"], rel=0.01)
    assert served.e2e.mean() == pytest.approx(formula["e2e"], rel=0.01)


def test_one_user_by_hand(machine: Machine) -> None:
    service = machine(fixed=0.01, each=0, token=0, prompt=1e-4)
    served = simulate(service, constant(100, 20), concurrency=1, requests=8)
    assert served.ttft == pytest.approx(np.full(6, 0.02))
    assert served.tpot == pytest.approx(np.full(6, 0.01))
    assert served.e2e == pytest.approx(np.full(6, 0.21))
    assert served.tokens_per_second == pytest.approx(20 / 0.21)


def test_a_deterministic_server_queues_as_pollaczek_and_khinchine_say(machine: Machine) -> None:
    service = machine(fixed=0.1, each=0, token=0, max_batch=1)  # one request of one token at a time: M/D/1
    served = simulate(service, constant(10, 1), rate=6.0, requests=40_000, rules=ELSEWHERE)
    rho = 0.6
    waiting = (served.admitted - served.arrival).mean()
    assert waiting == pytest.approx(0.1 * rho / (2 * (1 - rho)), rel=0.05)
    assert np.isnan(served.summary()["tpot_mean"])  # a request of one token has no time between tokens


def test_memory_makes_users_wait(machine: Machine) -> None:
    service = machine(capacity=10 * 120)
    served = simulate(service, constant(100, 20), concurrency=25)
    assert served.mean_batch == pytest.approx(10, rel=0.01)
    assert served.peak_state == 10 * 120
    assert any("25 users, but about 10 requests fit in memory" in note for note in served.notes)
    assert simulate(service, constant(100, 20)).load == "closed loop of 10"
    assert simulate(service, constant(100, 20), rules=Rules(reserve="mean")).load == "closed loop of 10"
    assert simulate(machine(capacity=1210), constant(100, 20), rules=Rules(reserve="mean")).load == "closed loop of 11"


@settings(max_examples=25, deadline=None)
@given(prompt=st.integers(10, 2000), output=st.integers(5, 200), more=st.floats(1, 3), room=st.integers(1, 40))
def test_more_memory_or_speed_never_hurts(machine: Machine, prompt: int, output: int, more: float, room: int) -> None:
    def rate(speed: float, space: float) -> float:
        service = machine(
            fixed=0.01 / speed, each=1e-5 / speed, token=1e-8 / speed, prompt=1e-5 / speed, capacity=space
        )
        return simulate(service, constant(prompt, output), requests=600).tokens_per_second

    space = float(room * (prompt + output))
    assert rate(more, space) >= rate(1, space) * (1 - 1e-9)
    assert rate(1, space * more) >= rate(1, space) * 0.995  # the evenness of a staggered batch differs a little


def test_overload_is_said(machine: Machine) -> None:
    service = machine(capacity=5000)
    calm = simulate(service, constant(100, 20), rate=1.0)
    assert not any("overloaded" in note for note in calm.notes)
    wild = simulate(service, constant(100, 20), rate=1000.0)
    assert any(note.startswith("overloaded: 1000 requests/s arrive and about") for note in wild.notes)
    assert any("requests were waiting when the last one arrived" in note for note in wild.notes)
    assert wild.ttft[-1] > 10 * calm.ttft.mean()


def test_a_run_is_repeatable_and_the_seed_matters(machine: Machine) -> None:
    def finish(seed: int) -> list[float]:
        return simulate(machine(), trace("azure_conv"), rate=5.0, requests=50, seed=seed).finish.tolist()

    assert finish(1) == finish(1)
    assert finish(1) != finish(2)


def test_respecting_a_limit(machine: Machine) -> None:
    service, t = machine(each=1e-3, capacity=1e5), trace("azure_conv")
    best = respecting(service, t, tpot=0.05, rules=ELSEWHERE)
    users = int(best.load.split()[-1])
    assert np.percentile(best.tpot, 95) <= 0.05
    over = simulate(service, t, concurrency=users + 3, requests=len(best.arrival), rules=ELSEWHERE)
    assert np.percentile(over.tpot, 95) > 0.05
    assert respecting(service, t, tpot=10.0).load == simulate(service, t).load


def test_a_limit_nobody_can_meet(machine: Machine) -> None:
    with pytest.raises(Infeasible) as error:
        respecting(machine(fixed=0.2), constant(100, 20), tpot=0.05, rules=ELSEWHERE, requests=40_000)
    assert "no concurrency meets p95 of tpot <= 50 ms: one user alone has tpot 200" in str(error.value)


def test_a_result_prints_and_becomes_a_table(machine: Machine) -> None:
    served = simulate(machine(capacity=1e5), trace("azure_conv"), concurrency=20)
    assert isinstance(served, Served)
    text = str(served).splitlines()
    assert text[0].startswith("closed loop of 20: ")
    assert text[1].split() == ["seconds", "mean", "p50", "p90", "p95", "p99"]
    assert [line.split()[0] for line in text[2:5]] == ["ttft", "tpot", "e2e"]
    frame = served.frame()
    assert len(frame) == 2000
    assert frame["measured"].sum() == 2000 - 2 * 20
    s = served.summary()
    assert s["ttft_p50"] <= s["ttft_p90"] <= s["ttft_p95"] <= s["ttft_p99"]
    assert s["usd_per_million_tokens"] == pytest.approx(1e6 / s["tokens_per_dollar"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"concurrency": 4, "rate": 1.0}, "give one of concurrency, rate and replay"),
        ({"concurrency": 0}, "concurrency is 0; at least one user is needed"),
        ({"concurrency": 100, "requests": 300}, "300 requests are too few for 100 users"),
        ({"rate": float("nan")}, "rate is nan requests/s; it must be positive and finite"),
        ({"rate": -1.0}, "rate is -1.0 requests/s"),
        ({"rate": 1.0, "requests": -3}, "-3 requests asked for; give 1 to 5,000,000"),
        ({"replay": True}, "has no arrival times to replay; give a rate, or a concurrency"),
    ],
)
def test_bad_arguments(machine: Machine, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(WeirError) as error:
        simulate(machine(), constant(100, 20), **arguments)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_bad_rules_and_requests_too_large(machine: Machine) -> None:
    with pytest.raises(WeirError, match="reserve 'hole' is not understood; did you mean 'whole'"):
        Rules(reserve="hole")  # type: ignore[arg-type]
    with pytest.raises(WeirError, match="token_budget is 0"):
        Rules(token_budget=0)
    with pytest.raises(WeirError, match="percentile is 101"):
        respecting(machine(), constant(1, 1), percentile=101)
    mixed = Trace("mixed", np.empty(0), np.array([10, 900]), np.array([5, 50]), np.array([99, 1]), "", True)
    with pytest.raises(Infeasible, match=r"mixed: a request of 900 \+ 50 tokens needs 950 B of state, 500 B are free"):
        simulate(machine(capacity=500), mixed, concurrency=2)


def test_percentiles_are_numpys() -> None:
    rng = np.random.default_rng(3)
    for n in (1, 2, 7, 100):
        values = rng.random(n)
        for q in (0, 5, 50, 95, 100):
            assert at_percentile(values, q) == pytest.approx(np.percentile(values, q))


def test_joules_of_a_device_without_power_are_unknown() -> None:
    answer = serve("llama-3-8b", "1xtpu_v5p", prompt=100, output=10, price={"tpu_v5p": 4.2}, sensitive=False)
    assert answer.cluster.pools[0].device.power is None
    assert answer.tokens_per_second > 0
    assert np.isnan(answer.served.joules_per_token)
