"""What an answer says of its joules: power's error and the time's, one way, and boards that were never measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

import sim
from sim.arch import Cluster, cluster, power_tested, tier
from sim.model.step import Step
from sim.model.tested import band, energy
from workloads.transformer import model


def step(on: Cluster | str, level: str = "physical") -> Step:
    return sim.estimate(model("llama-3-8b").decode, on, tier=level, b=8, c=512).step


def said(on: Cluster | str, level: str = "physical") -> tuple[str, ...]:
    found = step(on, level)
    return energy(found, band(found, tier(level)))


def test_the_errors_of_power_and_time_add_up() -> None:
    time, power = band(step("1xh200"), tier("physical")), power_tested()
    [total] = said("1xh200")
    assert f"of joules, with the step's: {time.median + power.median:.0%} and {time.p90 + power.p90:.0%}" in total


def test_a_board_that_was_not_measured_is_named() -> None:
    assert said("1xh100")[1:] == ("beyond what was tested: no board power of h100_sxm was measured",)


@pytest.mark.parametrize("where", ["a bound", "a board whose power is unknown"])
def test_nothing_is_said(where: str) -> None:
    one = cluster("1xh100")
    if where == "a bound":
        assert said(one, "limit") == ()
    else:
        [pool] = one.pools
        silent = replace(one, pools=(replace(pool, device=replace(pool.device, power=None)),))
        assert said(silent) == ()


@pytest.mark.parametrize(("state", "flagged"), [("fp8", True), ("bf16", False), ("fp16", False)])
def test_a_narrow_state_is_beyond_what_was_tested(state: str, flagged: bool) -> None:
    program = model("llama-3-8b").program(dtype_state=state)
    found = sim.estimate(program, "1xh100", tier="physical", b=8, p=1, c=512).step
    flag = f"beyond what was tested: decode with keys and values kept in {state}, which has no tested error of its own"
    assert (flag in band(found, tier("physical")).lines()) == flagged
