from __future__ import annotations

from typing import Any

import pytest

from einsum import WeirError
from mappings.parallel import layout as parallel
from sim.model.task import Task
from sim.model.timing import Timed, schedule
from sim.model.work import tasks
from sim.published import paper
from sim.published.kinds import offload
from workloads.transformer import model as bundled

INPUTS = paper("lamina").figures[0].call.inputs

# Queries are made and sent, then keys; attention elsewhere needs both, the rest of the layer needs attention.
SLICE = (
    Task("queries", "kernel", "model", 0.0),
    Task("send queries", "transfer", "attention", 0.0, source="model", after=(0,)),
    Task("keys", "kernel", "model", 0.0),
    Task("send keys", "transfer", "attention", 0.0, source="model", after=(2,)),
    Task("attention", "kernel", "attention", 0.0, after=(1, 3)),
    Task("send back", "transfer", "model", 0.0, source="attention", after=(4,)),
    Task("rest", "kernel", "model", 0.0, after=(5,)),
)
SECONDS = {"queries": 3.0, "keys": 4.0, "attention": 10.0, "rest": 5.0, "merge": 0.5}  # any message takes one


def seconds(found: tuple[Task, ...]) -> Any:
    return schedule(tuple(Timed(task, SECONDS.get(task.name, 1.0)) for task in found))


def test_sending_early_or_together_by_hand() -> None:
    assert seconds(SLICE) == 3 + 4 + 1 + 10 + 1 + 5  # queries travel while keys are made
    assert seconds(offload.sent_together(SLICE, "attention")) == 3 + 4 + 1 + 1 + 10 + 1 + 5
    assert seconds(offload.sent_early(SLICE, "attention")) == 3 + 1 + 10 + 0.5 + 1 + 5  # keys come meanwhile


def test_the_last_keys_are_waited_for() -> None:
    slow = {**SECONDS, "keys": 40.0}
    early = offload.sent_early(SLICE, "attention")
    assert schedule(tuple(Timed(t, slow.get(t.name, 1.0)) for t in early)) == 3 + 40 + 1 + 0.5 + 1 + 5


def test_a_slice_that_sends_nothing_stays() -> None:
    alone = SLICE[:1]
    assert offload.sent_early(alone, "attention") == alone
    assert offload.sent_together(alone, "attention") == alone


@pytest.mark.parametrize("model", ["llama-1-65b", "llama-2-70b", "deepseek-v3"])
def test_rearranged_tasks_are_the_same_work_in_a_possible_order(model: str) -> None:
    program = bundled(model).decode
    laid = parallel(program, {"model": 2, "attention": 4}, batches=1)
    for part in program.parts:
        found = tasks(part.cascade, laid, part.cascade.bind())
        for order in (offload.sent_early, offload.sent_together):
            made = order(found, "attention")
            assert sorted(t.name for t in made if t.name != "merge") == sorted(t.name for t in found)
            assert all(before < n for n, task in enumerate(made) for before in task.after)


def test_prices_and_round_trips() -> None:
    assert offload.usd_per_hour({}, cluster="2xh100_4xh20", book="lamina_2024") == pytest.approx(2 * 11.06 + 4 * 4.63)
    assert offload.round_trip({}, cluster="lamina_2_4") == pytest.approx(33.0)


def test_the_needed_bandwidth_is_near_the_papers_formula() -> None:
    """(2 + 2/G) e d B L over the slack of the time of weights and of attention, for 100 requests of 4,096 tokens."""
    found = offload.needed_bandwidth(
        {}, model="llama-2-70b", cluster="1xh100_1xh20", tier="limit", batch=100, context=4096, slack=0.2
    )
    weights, keys = 137.95e9 / 3.35e12, 100 * 4096 * 327_680 / 4e12
    formula = (2 + 2 / 8) * 2 * 8192 * 100 * 80 / (0.2 * (weights + keys)) / 1e9
    assert found == pytest.approx(formula, rel=0.1)


def test_twice_the_slack_needs_half_the_bandwidth() -> None:
    def needed(slack: float) -> float:
        return offload.needed_bandwidth(
            {}, model="llama-2-70b", cluster="1xh100_1xh20", tier="limit", batch=20, context=1024, slack=slack
        )

    assert needed(0.1) == pytest.approx(2 * needed(0.2), rel=1e-3)


def test_a_batch_by_hand() -> None:
    """Four H20 keep 90 % of 96 GB each for keys and values of 327,680 bytes a token:
    a request holds its prompt and half its output, 1,154.7 + 211.1 / 2 tokens."""
    found = offload.batch(INPUTS, model="llama-2-70b", trace="azure_conv", system="lamina")
    assert found == pytest.approx(4 * 0.9 * 96e9 / (1260.3 * 327_680), rel=0.01)
    baseline = offload.batch(INPUTS, model="llama-2-70b", trace="azure_conv", system="baseline")
    assert baseline == pytest.approx((4 * 0.9 * 80e9 - 137.95e9) / (1260.3 * 327_680), rel=0.01)


def test_a_handicapped_baseline_raises_the_gain() -> None:
    plain = offload.gain(INPUTS, which="least", tier="limit")
    assert plain < offload.gain(INPUTS, which="largest", tier="limit")
    assert plain < offload.gain(INPUTS, which="least", tier="limit", efficiency=0.5, host="10 ms")


def test_mistakes_are_named() -> None:
    with pytest.raises(WeirError, match="unknown system 'lamna'; did you mean 'lamina'"):
        offload.batch(INPUTS, model="llama-2-70b", trace="azure_conv", system="lamna")
    with pytest.raises(WeirError, match="unknown choice 'lest'; did you mean 'least'"):
        offload.gain(INPUTS, which="lest")
    with pytest.raises(WeirError, match="did you mean 'llama-2-70b'"):
        offload.batch(INPUTS, model="llama-2-70", trace="azure_conv", system="lamina")
    with pytest.raises(WeirError, match="'10' has no unit"):
        offload.gain(INPUTS, which="least", host="10")
