from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einsum import Part, Program, parse
from mappings.parallel import layout
from sim.arch import Cluster, cluster, tier
from sim.model.step import Step, Work

LAYER = """
WQ[d, g, r, e]: weight
WK[d, g, e]: weight
WV[d, g, e]: weight
WO[g, r, e, d]: weight
W1[d, f]: weight
W3[d, f]: weight
W2[f, d]: weight
K[b, g, m, e]: state
V[b, g, m, e]: state
Q[b, g, r, p, e] = X[b, p, d] * WQ[d, g, r, e]
KN[b, g, p, e] = X[b, p, d] * WK[d, g, e]
VN[b, g, p, e] = X[b, p, d] * WV[d, g, e]
K[b, g, C + p, e] = KN[b, g, p, e]
V[b, g, C + p, e] = VN[b, g, p, e]
QK[b, g, r, p, m] = Q[b, g, r, p, e] * K[b, g, m, e]
GM[b, g, r, p] = max[m](QK[b, g, r, p, m])
SN[b, g, r, p, m] = exp(QK[b, g, r, p, m] - GM[b, g, r, p])
SD[b, g, r, p] = SN[b, g, r, p, m]
AV[b, g, r, p, e] = SN[b, g, r, p, m] * V[b, g, m, e]
O[b, g, r, p, e] = AV[b, g, r, p, e] / SD[b, g, r, p]
Y1[b, p, d] = O[b, g, r, p, e] * WO[g, r, e, d]
X2[b, p, d] = X[b, p, d] + Y1[b, p, d]
F1[b, p, f] = X2[b, p, d] * W1[d, f]
F3[b, p, f] = X2[b, p, d] * W3[d, f]
H[b, p, f] = silu(F1[b, p, f]) * F3[b, p, f]
Y2[b, p, d] = H[b, p, f] * W2[f, d]
Y[b, p, d] = X2[b, p, d] + Y2[b, p, d]
"""
HEAD = "WU[d, v]: weight\nL[b, v] = X[b, P - 1, d] * WU[d, v]"
SHAPE: dict[str, Any] = {"b": 1, "p": 1, "c": 999, "m": "C + P", "d": 8192, "g": 8, "r": 8, "e": 128, "f": 28672}
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "alone": ("1xh100", {}),
    "tensor": ("4xh100", {"tp": 4}),
    "staged": ("4xh100", {"tp": 2, "pp": 2}),
    "copies": ("4xh100", {"tp": 2, "replicas": 2}),
    "heads": ("2xh100_4xh20", {"attention": "heads"}),
    "requests": ("2xh100_4xh20", {"attention": "requests", "batches": 3}),
}
KIND = st.sampled_from(sorted(LAYOUTS))
TIER = st.sampled_from(["limit", "physical"])
QUICK = settings(max_examples=25, deadline=None)


@cache
def llama(layers: int = 80) -> Program:
    """A decoder of Llama 3 70B's shape (norms, rotation and embedding left out)."""
    head = parse(HEAD, name="head", b=1, p=1, d=8192, v=128256)
    return Program("llama", (Part(parse(LAYER, name="layer", **SHAPE), layers), Part(head)))


def step(kind: str, level: str = "limit", on: Cluster | None = None, **sizes: Any) -> Step:
    text, degrees = LAYOUTS[kind]
    where = on or cluster(text)
    laid = layout(llama(), {p.name: p.count for p in where.pools}, **degrees)
    return Work.of(llama(), laid, **sizes).on(where, tier(level))


@pytest.mark.parametrize(("b", "m"), [(1, 1000), (64, 4000), (512, 300)])
def test_llama_3_70b_on_four_h100s_is_a_sum_of_rooflines(b: int, m: int) -> None:
    """Every number below is written out: nothing of the model under test is used."""
    mac, vector, special, memory, link, way = 989e12, 33.5e12, 3.865e12, 3.35e12, 450e9, 0.8e-6
    d, heads, groups, e, f, v, n = 8192, 64, 8, 128, 28672, 128256, 4

    def product(read: float, weights: float, written: float) -> float:
        return max(2 * b * weights / n / mac, 2 * (read + weights / n + written) / memory)

    def pointwise(elements: float) -> float:
        return 2 * elements / memory

    def all_reduce() -> float:
        size = 2 * b * d
        return min(way + (n - 1) * size / link, 2 * (way + (n - 1) / n * size / link))

    scores = b * heads / n * m
    cache_bytes = 2 * 2 * b * groups / n * m * e
    ends = 2 * (b * heads / n * e * 2 + 4 * b * groups / n * e)  # Q, O; KN, VN in and the new K, V out
    attention = max(
        (2 * 2 * scores * e) / mac,
        scores / special,
        (scores * 3 + b * heads / n * e) / vector,  # subtract, maximum and sum of the scores; one division
        (cache_bytes + ends) / memory,
    )
    layer = product(b * d, d * (heads + 2 * groups) * e, b * (heads + 2 * groups) / n * e) + attention
    layer += product(b * heads / n * e, heads * e * d, b * d) + all_reduce() + pointwise(3 * b * d)
    layer += product(b * d, 2 * d * f, 2 * b * f / n)
    layer += max(pointwise(3 * b * f / n), b * f / n / special, 3 * b * f / n / vector)
    layer += product(b * f / n, f * d, b * d) + all_reduce() + pointwise(3 * b * d)
    gather = way + 2 * b * v * (n - 1) / n / link
    expected = 80 * layer + product(b * d, d * v, b * v / n) + gather
    assert step("tensor", b=b, c=m - 1).latency == pytest.approx(expected, rel=1e-9)


@QUICK
@given(kind=KIND, level=TIER, b=st.integers(1, 512), c=st.integers(0, 100_000))
def test_numbers_and_arrays_agree(kind: str, level: str, b: int, c: int) -> None:
    one = step(kind, level, b=b, c=c)
    many = step(kind, level, b=np.array([1.0, b, 77.0]), c=np.array([5.0, c, 1234.0]))
    for name in ("latency", "period", "joules"):
        assert getattr(many, name)[1] == pytest.approx(float(getattr(one, name)), rel=1e-12), name


FASTER = (
    "model.hbm.bandwidth",
    "model.tensor.device_rate.mac.bf16",
    "model.nvlink.bandwidth",
    "model.sfu.device_rate.exp.fp32",
    "network.bandwidth",
)


@QUICK
@given(kind=KIND, level=TIER, path=st.sampled_from(FASTER), more=st.floats(1, 10), b=st.integers(1, 512))
def test_better_parts_never_slow_a_step(kind: str, level: str, path: str, more: float, b: int) -> None:
    base = cluster(LAYOUTS[kind][0])
    better = base.with_(path, base.get(path) * more)
    slow, fast = step(kind, level, base, b=b, c=4096), step(kind, level, better, b=b, c=4096)
    assert fast.latency <= slow.latency * (1 + 1e-12)
    assert fast.period <= slow.period * (1 + 1e-12)


@QUICK
@given(kind=KIND, level=TIER, b=st.integers(1, 400), c=st.integers(0, 50_000), more=st.integers(0, 5_000))
def test_more_work_is_never_faster(kind: str, level: str, b: int, c: int, more: int) -> None:
    base = step(kind, level, b=b, c=c)
    for larger in (step(kind, level, b=b + more, c=c), step(kind, level, b=b, c=c + more)):
        assert larger.latency >= base.latency * (1 - 1e-12)
        assert larger.period >= base.period * (1 - 1e-12)


@QUICK
@given(kind=KIND, level=TIER, b=st.integers(1, 400), c=st.integers(0, 50_000))
def test_periods_obey_the_law_and_energy_the_boards(kind: str, level: str, b: int, c: int) -> None:
    found = step(kind, level, b=b, c=c)
    assert found.period >= found.latency
    assert all(found.period >= found.in_flight * busy * (1 - 1e-12) for busy in found.busy.values())
    copies = found.work.layout.replicas
    boards = [(p.count / copies, p.device.power) for p in found.cluster.pools if p.device.power]
    assert found.joules >= sum(n * power.idle for n, power in boards) * found.period * (1 - 1e-12)
    assert found.joules <= sum(n * power.tdp for n, power in boards) * found.period * (1 + 1e-12)


@QUICK
@given(kind=KIND, b=st.integers(1, 64).map(lambda n: 4 * n), c=st.integers(0, 50_000))
def test_devices_do_the_work_of_one_between_them_and_beat_no_limit(kind: str, b: int, c: int) -> None:
    def macs(one: Step) -> float:
        counts = {p.pool: p.count for p in one.work.layout.places}
        return sum(
            part.times * float(n) * counts[t.pool]
            for part, found in one.work.parts for t in found for op, _, n in t.ops if op == "mac"
        )  # fmt: skip

    found, alone = step(kind, b=b, c=c), step("alone", b=b, c=c)
    assert macs(found) == pytest.approx(macs(alone))
    peak = max(p.device.rate("mac", "bf16") for p in found.cluster.pools)
    devices = sum(p.count for p in found.work.layout.places)
    assert found.latency >= macs(alone) / (peak * devices)
    memory = max(p.device.memory.bandwidth for p in found.cluster.pools)
    assert found.latency >= 2 * llama().parameters / (memory * devices)


def test_the_engine_adds_its_seconds_to_every_step() -> None:
    bare = step("tensor", b=8)
    hosted = bare.work.on(bare.cluster, tier("limit"), host=0.5)
    assert hosted.latency == pytest.approx(float(bare.latency) + 0.5)
    assert hosted.bound == "host overhead"


def test_what_binds_is_named() -> None:
    assert step("tensor", b=1, c=10).bound == "model memory"
    assert step("tensor", b=4096, c=1).bound == "model compute"
    assert step("heads", b=64, c=200_000).bound == "attention memory"


def test_devices_that_a_layout_leaves_out_stay_idle() -> None:
    """A layout over one device of four draws one device's work and three devices' idle watts."""
    used = step("alone", b=8)
    four = used.work.on(cluster("4xh100"), tier("limit"))
    idle = 3 * cluster("1xh100").get("model.power.idle") * used.period
    assert four.joules == pytest.approx(float(used.joules) + idle)
