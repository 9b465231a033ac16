from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum.errors import Infeasible, WeirError
from sim.serving import Service, largest_batch, largest_within, steady, trace

Machine = Callable[..., Service]


def test_decode_elsewhere_by_hand(machine: Machine) -> None:
    s = steady(machine(fixed=0.01, each=0, token=1e-6), 100, 20, 10, prefill="elsewhere").at(0)
    step = 0.01 + 1e-6 * 10 * 110  # mean context: 100 + 20/2
    assert s["step"] == s["tpot"] == s["ttft"] == pytest.approx(step)
    assert s["tokens_per_second"] == pytest.approx(10 / step)
    assert s["joules_per_token"] == pytest.approx(100 * step / 10)
    assert s["e2e"] == pytest.approx(20 * step)
    assert s["tokens_per_dollar"] == pytest.approx(10 / step * 1000)  # 3.6 USD/h is 0.001 USD/s
    assert s["usd_per_million_tokens"] == pytest.approx(100 * step)


def test_prefill_here_by_hand(machine: Machine) -> None:
    s = steady(machine(fixed=0.01, each=0, token=0, prompt=1e-4), 100, 20, 10).at(0)
    assert s["e2e"] == pytest.approx(20 * 0.01 + 10 * 0.01)  # its own steps, and everybody's prompt of 10 ms once
    assert s["tpot"] == pytest.approx(0.01 + 9 * 0.01 / 19)  # the other nine prompts, between its tokens
    assert s["ttft"] == pytest.approx(0.01 + 0.01)
    assert s["tokens_per_second"] == pytest.approx(1 / (0.01 / 10 + 0.01 / 20))
    assert s["joules_per_token"] == pytest.approx(100 * (0.01 / 10 + 0.01 / 20))


def test_prompts_that_come_together_share_a_floor_up_to_the_budget(machine: Machine) -> None:
    service = machine(fixed=0.01, each=0, token=0, prompt=0, floor=0.05)
    shared = steady(service, 100, 10, 40).at(0)  # four finish at each step, one pass of 50 ms for them
    assert shared["tpot"] == pytest.approx(0.06)
    single = steady(service, 100, 10, 40, token_budget=100).at(0)
    assert single["ttft"] == pytest.approx(4 * 0.05 + 0.01)  # four in a row, then the step
    assert single["tpot"] == pytest.approx(0.01 + 36 * 0.05 / 9)
    assert single["tokens_per_second"] == pytest.approx(40 / (0.01 + 4 * 0.05))


def test_figures_are_vectorised_over_the_batch(machine: Machine) -> None:
    service, t = machine(), trace("azure_conv")
    batch = np.arange(1.0, 50)
    many = steady(service, t.prompt, t.output, batch, weight=t.weight)
    one = steady(service, t.prompt, t.output, 7, weight=t.weight)
    assert many.at(6) == pytest.approx(one.at(0))
    assert list(many.frame().columns) == list(many.at(0))
    assert len(many.frame()) == 49


def test_largest_batch_by_hand(machine: Machine) -> None:
    service = machine(capacity=1000)  # a byte a token
    assert largest_batch(service, 80, 40) == 10  # mean context 100
    assert largest_batch(service, 80, 40, reserve="whole") == 8
    assert largest_batch(machine(capacity=1000, max_batch=3), 80, 40) == 3
    assert largest_batch(machine(capacity=float("inf")), 80, 40) == 4096
    # in flight in proportion to the output: (10*15 + 30*115)/40 = 90 bytes each
    assert largest_batch(service, [10, 100], [10, 30]) == 11


def test_no_request_fits(machine: Machine) -> None:
    with pytest.raises(Infeasible) as error:
        largest_batch(machine(capacity=100), 90, 40)
    assert str(error.value) == (
        "not one request fits: its state is 110 B at 110 tokens of context, 100 B are free;"
        " use shorter requests or more memory"
    )


@settings(max_examples=40, deadline=None)
@given(limit=st.floats(0.0105, 0.2), each=st.floats(1e-5, 1e-2))
def test_largest_within_is_the_last_batch_that_meets_the_limit(machine: Machine, limit: float, each: float) -> None:
    service = machine(fixed=0.0, each=each, token=0, capacity=300.0 * 10)
    fits = largest_batch(service, 5, 10)
    meets = [b for b in range(1, fits + 1) if each * b <= limit]
    assert largest_within(service, 5, 10, tpot=limit, prefill="elsewhere") == len(meets)


def test_limits_that_cannot_be_met(machine: Machine) -> None:
    with pytest.raises(Infeasible) as error:
        largest_within(machine(fixed=0.5, each=0, token=0), 100, 10, tpot=0.1, ttft=0.2, prefill="elsewhere")
    assert "no batch meets tpot <= 100 ms and ttft <= 200 ms: one request alone has tpot 500 ms" in str(error.value)
    assert largest_within(machine(max_batch=9), 100, 10) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"batch": float("nan")}, "batch must be at least 1"),
        ({"prompt": -5}, "prompt lengths must be finite numbers of at least 1"),
        ({"output": float("nan")}, "output lengths must be finite numbers of at least 1"),
        ({"weight": -1}, "weight lengths must be finite numbers of at least 0"),
        ({"prefill": "there"}, "prefill 'there' is not understood; did you mean 'here'?"),
    ],
)
def test_bad_arguments(machine: Machine, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(WeirError) as error:
        steady(machine(), **({"prompt": 10, "output": 10, "batch": 1} | arguments))  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_bad_limits(machine: Machine, limit: float) -> None:
    with pytest.raises(WeirError, match=r"the limit on tpot is .* it must be positive and finite"):
        largest_within(machine(), 10, 10, tpot=limit)
