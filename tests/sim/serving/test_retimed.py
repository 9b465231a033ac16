"""A step timed again where its hardware changed: against the whole step timed anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.arch import cluster, tier
from sim.serving.deploy import Deployment, deployments
from workloads.transformer import from_config

CASES = {  # described multiprocessors, a chip without, two pools, stages and parts of the context on two nodes
    "4xh100": "tp=4",
    "2xmi300x": "tp=2",
    "2xh100_4xh20": "tp=2,attention=heads",
    "16xh100": "tp=8,pp=2",
    "16xa100": "tp=8,cp=2",
}
FLASH = ("4xh100",)  # where attention is FlashAttention's, as an engine may have it

READ = (".bandwidth", ".capacity", ".latency", ".clock", "_clock", ".bf16", ".fp32", ".idle", ".tdp")
SIZES = (np.array([4.0, 32.0]), np.array([500.0, 4000.0]))


def deployed(on: str, level: str) -> Deployment:
    [found] = deployments(
        from_config("llama-3-8b"), cluster(on), tier(level), 1.0, layout=CASES[on], host=1e-4, flash=on in FLASH or None
    )
    return found


MADE = {(on, level): deployed(on, level) for on in CASES for level in ("physical", "limit")}
CHANGES = [
    (*key, path)
    for key, made in MADE.items()
    for path in made.cluster.paths
    if path.endswith(READ) and made.cluster.get(path)  # a clock that is not stated cannot be changed
]


def agree(one: Deployment, whole: Deployment) -> None:
    pairs = [(one.decoding(*SIZES), whole.decoding(*SIZES)), (one.prefilling(*SIZES), whole.prefilling(*SIZES))]
    for known, anew in pairs:
        for what in ("latency", "period", "joules"):
            np.testing.assert_allclose(getattr(known, what), getattr(anew, what), rtol=1e-12)


def timed(before: Deployment) -> Deployment:
    before.decoding(*SIZES), before.prefilling(*SIZES)
    return before


@settings(max_examples=60, deadline=None)
@given(change=st.sampled_from(CHANGES), factor=st.sampled_from((0.5, 1.1, 3.0)))
def test_nothing_that_a_changed_number_reaches_is_missed(change: tuple[str, str, str], factor: float) -> None:
    on, level, path = change
    before = timed(MADE[on, level])
    value = before.cluster.get(path)
    changed = before.cluster.with_(path, value * factor if np.isfinite(value) else 1e9)
    agree(before.nudged(changed), before.on(changed))


@settings(max_examples=30, deadline=None)
@given(
    key=st.sampled_from(list(MADE)), name=st.sampled_from(("launch", "compute", "memory", "collective", "constants"))
)
def test_nor_by_a_changed_tier(key: tuple[str, str], name: str) -> None:
    before = timed(MADE[key])
    old = getattr(before.tier, name)
    new: Any = None if name == "constants" else old / 2 + 1e-6
    level = replace(before.tier, **{name: new})
    agree(before.nudged(before.cluster, level), before.on(before.cluster, level))


def test_other_tasks_are_kept_as_they_are() -> None:
    before = timed(MADE["2xh100_4xh20", "physical"])
    after = before.nudged(before.cluster.with_("network.latency", 1e-3))
    old, new = (d.decoding(*SIZES) for d in (before, after))
    pairs = [(a, b) for (_, r), (_, s) in zip(old.rows, new.rows, strict=True) for a, b in zip(r, s, strict=True)]
    assert {a.task.kind for a, b in pairs if a is not b} == {"transfer"}
    assert any(a.task.kind == "kernel" for a, b in pairs if a is b)
