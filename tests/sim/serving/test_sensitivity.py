"""What an answer hangs on: each parameter against the steady state of changed hardware, asked for on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import sim
from sim.serving.deploy import Deployment
from sim.serving.sensitivity import NUDGE, sensitivities
from sim.serving.steady import Lengths, largest_batch, lengths, steady

ASKED: list[tuple[str, str, dict[str, Any]]] = [
    ("llama-3-8b", "1xh100", {}),
    ("llama-3-8b", "2xmi300x", {"layout": "tp=2", "price": {"mi300x": 2.0}}),
    ("llama-3-8b", "1xh100_2xh20", {"batch": 24}),
    ("llama-3-70b", "2xh100_4xh20", {"prefill": "elsewhere"}),
    ("mixtral-8x7b", "4xh100", {"layout": "tp=2,pp=2", "host": 1e-3}),
    ("llama-3-8b", "16xh100", {"layout": "tp=8,cp=2"}),
]


@pytest.mark.parametrize(("model", "on", "terms"), ASKED)
def test_all_at_once_are_those_found_one_by_one(model: str, on: str, terms: dict[str, Any]) -> None:
    answer = sim.serve(model, on, prompt=700, output=150, **terms)
    fixed, load = "batch" in terms, lengths(700, 150)
    deployment, batch = answer.choice.deployment, answer.choice.batch
    before = rate(deployment, load, answer, batch)
    for one in answer.sensitivities:
        changed = fresh(deployment, one.parameter)
        held = batch if fixed else max(1, round(batch * fitting(changed, load) / fitting(deployment, load)))
        speed, per_dollar = rate(changed, load, answer, held)
        assert one.speed == pytest.approx(speed / before[0] - 1, rel=1e-9, abs=1e-12)
        assert one.per_dollar == pytest.approx(per_dollar / before[1] - 1, rel=1e-9, abs=1e-12)
    assert max(one.speed for one in answer.sensitivities) > 0.001


def fresh(known: Deployment, parameter: str) -> Deployment:
    """A deployment that remembers nothing, with one parameter a tenth larger."""
    cluster, tier = known.cluster, known.tier
    if parameter == "kernel launch":
        tier = replace(tier, launch=tier.launch * NUDGE)
    else:
        cluster = cluster.with_(parameter, cluster.get(parameter) * NUDGE)
    return Deployment(known.model, cluster, known.layout, tier, known.usd_per_hour, known.host, known.reserve)


def fitting(deployment: Deployment, load: Lengths) -> int:
    return largest_batch(deployment.service(), load.prompt, load.output)


def rate(deployment: Deployment, load: Lengths, answer: Any, batch: int) -> tuple[float, float]:
    at = steady(deployment.service(), load.prompt, load.output, batch, prefill=answer.prefill)
    return float(at.tokens_per_second[0]), float(at.tokens_per_dollar[0])


def test_a_fixed_batch_gains_nothing_from_more_memory_and_a_free_one_does() -> None:
    choice = sim.serve("llama-3-70b", "4xh100", prompt=500, output=2000, sensitive=False).choice
    found = {
        fixed: {s.parameter: s for s in sensitivities(choice, lengths(500, 2000), "here", fixed=fixed)}
        for fixed in (True, False)
    }
    assert found[True]["model.hbm.capacity"].speed == 0.0
    assert found[False]["model.hbm.capacity"].speed > 0.0


def test_the_network_counts_where_devices_of_one_replica_are_on_several_nodes() -> None:
    found = sim.serve("llama-3-8b", "16xh100", prompt=700, output=150, layout="tp=8,cp=2").sensitivities
    speeds = {one.parameter: one.speed for one in found}
    assert speeds["network.latency"] < 0 < speeds["network.bandwidth"]
    apart = sim.serve("llama-3-8b", "16xh100", prompt=700, output=150, layout="tp=8").sensitivities
    assert not [one for one in apart if one.parameter.startswith("network")]
