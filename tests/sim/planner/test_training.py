"""Training steps on a toy cluster: memory, times and fractions by hand; the schedule by the checker."""

from dataclasses import replace

import pytest
from scipy.optimize import linprog

from einsum import Infeasible, WeirError
from sim.arch import cluster
from sim.planner import offsets
from sim.planner.check import check
from sim.planner.graph import graph
from sim.planner.passes import Setting, work
from sim.planner.steps import step
from sim.planner.training import STRATEGIES, fits, longest, plan
from workloads.gates import Gate
from workloads.pieces import Norm
from workloads.spec import Attention, Experts, FeedForward, Layer, Spec
from workloads.transformer import model

NORM = Norm("layer", 1e-5, True)
ATTENTION = Attention(8, 8, 16, 0.25, rotary=False, bias=True, out_bias=True)
GPT = Spec(
    "gpt", 128, 1000, (Layer("layer", 6, ATTENTION, FeedForward(512, "gelu", False, True), NORM),), NORM, True, 0
)
SETTING = Setting(GPT, cluster("4xa800_sxm_80gb"), 64 * 1024, host=1e12, link=5e9)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("split", ["tensor", "ulysses"])
def test_every_strategy_passes_the_checker(strategy: str, split: str) -> None:
    found = plan(replace(SETTING, split=split), strategy)
    check(found.problem, found.plan)
    assert 0 < found.mfu < 1
    assert found.bytes < found.capacity
    busy = sum(run.stop - run.start for run in found.plan.runs)
    assert found.seconds == pytest.approx(busy + found.stalled)


def test_seconds_are_those_of_the_passes() -> None:
    made = work(SETTING)
    ahead, behind = made.part.forward.seconds, made.part.backward.seconds
    assert plan(SETTING, "keep").seconds == pytest.approx(6 * (ahead + behind) + made.classify)
    assert plan(SETTING, "recompute").seconds == pytest.approx(6 * (2 * ahead + behind) + made.classify)


def test_operations_are_six_per_weight_and_token_and_attention() -> None:
    """6 s P + 6 n h s^2 (a causal mask's half; the diagonal adds a token), and picking each word's logit."""
    made = work(SETTING)
    s, h, n = SETTING.sequence, 128, 6
    weights = 12 * h * h * n + 1000 * h + 1
    assert made.model_operations == pytest.approx(6 * s * weights + 6 * n * h * s * (s + 1))


def test_the_fraction_is_the_linear_programme_s() -> None:
    for link, host in ((5e9, 1e12), (2e8, 1e12), (5e9, 4e8), (1e12, 1e15)):
        made = work(replace(SETTING, link=link, host=host))
        rows = [[made.others / link], [4 * made.others * 4]]
        limits = [made.forward - made.anchors / link, host - 4 * made.anchors * 4]
        best = linprog([-1.0], A_ub=rows, b_ub=limits, bounds=[(0, 1)])
        expected = float(best.x[0]) if best.x is not None else 0.0
        assert made.alpha() == pytest.approx(expected, abs=1e-9)


def test_swapping_alone_recomputes_nothing_and_the_last_two_layers_stay() -> None:
    found = plan(replace(SETTING, link=1e12), "memo")
    assert found.alpha == 1.0
    assert not [run for run in found.plan.runs if run.task.startswith("again")]
    assert {move.buffer for move in found.plan.moves} == {f"{k}{i}" for k in "XW" for i in range(4)}


def test_a_slow_link_stalls_and_says_so() -> None:
    found = plan(replace(SETTING, link=2e7), "memo")
    assert found.alpha == 0.0
    assert found.stalled > 0
    check(found.problem, found.plan)


def test_longer_with_less_kept() -> None:
    small = SETTING.cluster.with_("model.hbm.capacity", 1e10)
    deep = replace(SETTING, cluster=small, spec=replace(GPT, layers=(replace(GPT.layers[0], times=40),)), host=1e14)
    most = {s: longest(deep, s, top=6 * 1024 * 1024) for s in ("keep", "recompute", "memo")}
    assert max(most.values()) < 6 * 1024 * 1024
    assert 0 < most["keep"] < most["recompute"] < most["memo"]
    assert fits(replace(deep, sequence=most["keep"]), "keep")
    assert not fits(replace(deep, sequence=most["keep"] + 65536), "keep")
    with pytest.raises(Infeasible, match=f"{most['keep']:,} tokens would do"):
        plan(replace(deep, sequence=most["keep"] + 65536), "keep")


def test_weights_and_states_by_zero_stage_and_split() -> None:
    """Mixed-precision Adam: 2 + 2 + 12 bytes a weight, of which a stage divides the last, two or all terms."""
    weights = work(SETTING).parameters
    for zero, whole, part in ((1, 4, 12), (2, 2, 14), (3, 0, 16)):
        memory = dict(plan(replace(SETTING, split="ulysses", zero=zero), "recompute").memory)
        assert memory["weights, gradients, optimiser"] == pytest.approx(weights * (whole + part / 4))
        assert (memory["weights gathered"] > 0) == (zero == 3)
    with pytest.raises(WeirError, match="ZeRO stage 4"):
        replace(SETTING, zero=4)


def test_two_nodes_share_the_sequence_and_each_its_layers() -> None:
    two = replace(SETTING, cluster=cluster("16xa800_sxm_80gb"))
    found = plan(two, "memo")
    assert (two.degree, two.ways) == (8, 16)
    half = plan(replace(two, cluster=cluster("8xa800_sxm_80gb"), sequence=two.sequence // 2), "memo")
    memory, other = dict(found.memory), dict(half.memory)
    assert memory["activations"] == pytest.approx(other["activations"])  # as many tokens on a device
    assert memory["weights, gradients, optimiser"] == pytest.approx(other["weights, gradients, optimiser"] / 2)
    assert work(two).layer.skeletal == work(replace(two, split="ulysses")).layer.skeletal
    for timed in work(two).part.timed:
        tasks = [one.task for _, _, one in timed]
        sent = {task.name.rpartition(" ")[2].removesuffix("_R") for task in tasks if task.kind != "kernel"}
        assert {"K", "V"} <= sent  # keys and values of the other node
        between = [task for task in tasks if {"QK", "QK_R"} & set(task.einsums)]
        assert sum(float(task.size) for task in between) < 1e9  # nothing of p by m is stored


@pytest.mark.parametrize(("name", "devices"), [("llama-3-8b", 4), ("qwen3-30b-a3b", 8), ("mixtral-8x7b", 8)])
def test_the_stream_s_gradients_are_reduced_once_and_weights_gradients_stay(name: str, devices: int) -> None:
    """As sequence parallelism does (arXiv 2205.05198, section 4.2); few key-value heads and experts change nothing."""
    made = work(Setting(model(name).spec, cluster(f"{devices}xh100"), 4096))
    tasks = [one.task for _, _, one in made.part.timed[1] if one.task.kind != "kernel"]
    scattered = [task.name for task in tasks if task.kind == "reduce-scatter" and float(task.size) > 1e6]
    whole = [name for name in scattered if name in ("reduce-scatter DXN", "reduce-scatter DAN")]
    assert len(whole) == 2
    assert not [name for name in scattered if name.startswith(("reduce-scatter DXN_", "reduce-scatter DAN_"))]
    weights = {f"D{weight}" for weight in made.layer.weights}
    large = {task.name.split()[1] for task in tasks if float(task.size) > 1e6}
    assert not large & weights


def test_an_unfused_loss_in_fp32_takes_more_memory() -> None:
    wide = replace(SETTING, spec=replace(GPT, vocabulary=100_000))
    logits = wide.sequence * 100_000 / 4
    fused, eager = (dict(plan(replace(wide, eager=e), "recompute").memory)["transient"] for e in (False, True))
    assert fused >= 2 * logits
    assert eager >= 4 * logits
    assert eager > fused


def test_products_between_tokens_at_a_measured_rate() -> None:
    rated = replace(SETTING, pairs=(0.5, 0.125))
    made, plain = work(rated), work(SETTING)
    peak = SETTING.cluster.pools[0].device.rate("mac", "bf16") * 4
    pairs = 4 * 128 * SETTING.sequence * (SETTING.sequence + 1) / 2  # two products, two operations each, half masked
    core = [one for _, _, one in plain.part.timed[0] if "QK" in one.task.einsums]
    assert made.forward == pytest.approx(plain.forward - sum(float(r.seconds) for r in core) + pairs / (0.5 * peak))
    assert made.backward > 2.5 * pairs / (0.125 * peak)  # five products
    assert plan(rated, "keep").seconds > plan(SETTING, "keep").seconds


@pytest.mark.parametrize("host", [1_987_654_321, 2.1e9, 1_587_654_323.7])
def test_a_host_that_binds_is_never_short_of_a_rounded_byte(host: float) -> None:
    deep = replace(SETTING, spec=replace(GPT, layers=(replace(GPT.layers[0], times=37),)), host=host, link=1e12)
    found = plan(deep, "memo")
    assert 0 < found.alpha < 1
    check(found.problem, found.plan)


def test_a_host_too_small_for_the_anchors() -> None:
    with pytest.raises(Infeasible, match=r"bytes of the host, which has 1,000,000; .* would do"):
        plan(replace(SETTING, host=1e6), "memo")


EXPERTS = replace(GPT.layers[0], name="experts", times=2, network=Experts(8, 256, Gate(2), "silu"))
MIXED = replace(SETTING, spec=replace(GPT, layers=(replace(GPT.layers[0], times=2), EXPERTS)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_layers_of_several_kinds_each_take_what_their_own_passes_do(strategy: str) -> None:
    found, alone = plan(MIXED, strategy), [plan(replace(SETTING, spec=replace(GPT, layers=(kind,))), strategy)
                                           for kind in MIXED.spec.layers]  # fmt: skip
    check(found.problem, found.plan)
    runs = {run.task: run.stop - run.start for run in found.plan.runs}
    for kind, made in enumerate(alone):
        for place, one in ((2 * kind, 0), (2 * kind + 1, 1)):
            own = {run.task: run.stop - run.start for run in made.plan.runs}
            assert runs[f"backward {place}"] == pytest.approx(own[f"backward {one}"])
    if strategy == "keep":
        kept, *parts = (dict(made.memory)["activations"] for made in (found, *alone))
        assert kept == pytest.approx(sum(parts))


def test_a_mixed_step_as_a_graph_takes_what_its_passes_take() -> None:
    made = [work(MIXED, kind) for kind in (0, 0, 1)]
    passes = sum(one.forward + one.backward for one in made)
    assert graph(step(MIXED, 3)).once == pytest.approx(passes + made[0].classify)


def test_what_is_not_planned_says_so() -> None:
    with pytest.raises(WeirError, match="unknown split 'tensors'; did you mean 'tensor'"):
        replace(SETTING, split="tensors")
    with pytest.raises(WeirError, match="unknown strategy 'swap'"):
        plan(SETTING, "swap")
    with pytest.raises(WeirError, match="one pool"):
        replace(SETTING, cluster=cluster("2xh100_4xh20"))


def test_too_little_time_finds_no_sequence_and_does_not_say_that_none_fits() -> None:
    tight = replace(SETTING, cluster=SETTING.cluster.with_("model.hbm.capacity", 1e8), sequence=1024 * 1024)
    assert longest(tight, "keep", top=tight.sequence, seconds=0) == 0
    with pytest.raises(Infeasible, match="what would do was not found in time"):
        plan(tight, "keep", seconds=1e-9)
    with pytest.raises(Infeasible, match="not even the shortest sequence fits"):
        plan(tight, "keep")


def test_placing_searches_nothing_where_the_first_placement_is_as_low_as_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A minute of compilation, where kernels are called for the first time."""
    monkeypatch.setattr(offsets, "_compile_searches", lambda packing: pytest.fail("compiled"))
    assert all(plan(SETTING, strategy).seconds for strategy in STRATEGIES)
