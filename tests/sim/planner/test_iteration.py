"""An iteration: the pipeline against a simulation of its own, operations and bytes against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

import sim
from einsum import WeirError
from sim.arch import cluster
from sim.planner.iteration import Iteration
from sim.planner.parallel import Setting, fusion
from workloads.spec import Attention, Experts, FeedForward, Spec

Gpt = Callable[..., Spec]


def simulated(
    forward: list[float], backward: list[float], devices: int, batches: int, orders: list[list[str]]
) -> float:
    """Seconds of orders such as ``F2.0`` (chunk, microbatch): all starts moved later until no constraint is broken."""
    last = len(forward) - 1
    took = {f"{kind}{c}.{k}": times[c] for kind, times in (("F", forward), ("B", backward))
            for c in range(last + 1) for k in range(batches)}  # fmt: skip
    before = [(a, b) for order in orders for a, b in pairwise(order)]
    for k in range(batches):
        before += [(f"F{c}.{k}", f"F{c + 1}.{k}") for c in range(last)] + [(f"F{last}.{k}", f"B{last}.{k}")]
        before += [(f"B{c + 1}.{k}", f"B{c}.{k}") for c in range(last)]
    start, moved = dict.fromkeys(took, 0.0), True
    while moved:
        moved = False
        for a, b in before:
            if start[a] + took[a] > start[b] + 1e-12:
                start[b], moved = start[a] + took[a], True
    assert sum(map(len, orders)) == len(took)
    assert len(orders) == devices
    return max(start[one] + took[one] for one in took)


@pytest.mark.parametrize(("stages", "chunks", "batches"), [(1, 1, 4), (4, 1, 8), (4, 1, 2), (4, 2, 8), (2, 4, 6)])
def test_the_schedule_against_a_simulation(gpt: Gpt, stages: int, chunks: int, batches: int) -> None:
    made = Iteration(Setting(gpt(), cluster(f"{stages}xa100"), 512, batches, stages=stages, chunks=chunks))
    found = made.schedule
    names = [[f"{found.flow.nodes[n].name}.{k}" for n, k in order] for order in found.orders]
    times = [[one[way].seconds + made.hop for one in made.parts] for way in (0, 1)]
    assert found.seconds == pytest.approx(simulated(*times, stages, batches, names))


@pytest.mark.parametrize(("stages", "chunks", "batches"), [(4, 1, 16), (8, 1, 8), (4, 2, 16), (2, 4, 8)])
def test_what_a_pipeline_waits(gpt: Gpt, stages: int, chunks: int, batches: int) -> None:
    """(p - 1) / (m v) of the work, if all chunks are alike: Narayanan et al. (arXiv 2104.04473), section 2.2."""
    spec, where = gpt(width=4096, heads=32, vocabulary=8), cluster(f"{stages}xa100")
    made = Iteration(Setting(spec, where, 2048, batches, stages=stages, chunks=chunks))
    work = sum(seconds for name, seconds in made.terms if name not in ("pipeline", "replicas", "optimiser"))
    sends = 2 * chunks * batches * made.hop
    waits = dict(made.terms)["pipeline"] - sends
    assert waits / (work + sends) == pytest.approx((stages - 1) / (batches * chunks), rel=0.03)


def test_terms_add_up_and_interleaving_waits_less(gpt: Gpt) -> None:
    """Of passes long enough: each chunk sends as well."""
    setting = Setting(gpt(layers=16), cluster("16xa100"), 2048, 32, tensor=4, stages=2, recompute="full")
    plain, cut = Iteration(setting), Iteration(replace(setting, chunks=4))
    for made in (plain, cut):
        assert sum(seconds for _, seconds in made.terms) == pytest.approx(made.seconds)
    assert dict(cut.terms)["pipeline"] < dict(plain.terms)["pipeline"]
    assert cut.hfu > cut.mfu
    assert cut.held > plain.held


def test_operations_are_six_for_each_weight_and_token(gpt: Gpt) -> None:
    """6 N T for short sequences; and to the digit 72 b s l h^2 (1 + s / 6h + V / 12 l h), all scores counted."""
    spec, width, layers, words = gpt(), 1024, 8, 32_000
    made = Iteration(Setting(spec, cluster("8xa100"), 128, 16, tensor=4, kernels=fusion("megatron_2022")))
    model, done = made.operations
    want = 72 * 16 * 128 * layers * width**2 * (1 + 128 / (6 * width) + words / (12 * layers * width))
    assert model == done == pytest.approx(want)
    weights = 12 * layers * width**2 + words * width
    assert model == pytest.approx(6 * weights * 16 * 128, rel=0.03)
    assert made.mfu == pytest.approx(model / (made.seconds * 8 * 312e12))


def test_replicas_share_the_batch_and_the_optimiser(gpt: Gpt) -> None:
    alone = Iteration(Setting(gpt(), cluster("8xa100"), 512, 4, tensor=8))
    plain = Iteration(Setting(gpt(), cluster("32xa100"), 512, 16, tensor=8))
    shared = Iteration(replace(plain.setting, sharded=True))
    assert alone.schedule.seconds < plain.schedule.seconds < 1.01 * alone.schedule.seconds  # the slowest of more boards
    assert dict(shared.memory)["optimiser"] == pytest.approx(dict(plain.memory)["optimiser"] / 4)
    assert shared.update < plain.update
    link = plain.setting.cluster.network
    ring = 2 * 3 * (4 * plain.weights / 4 / link.bandwidth + link.latency)
    assert plain.reduction <= ring * (1 + 1e-9)
    assert plain.reduction >= 2 * 3 / 4 * 4 * plain.weights / link.bandwidth
    assert shared.reduction < plain.reduction  # weights come back in two bytes each


def test_weights_by_hand(gpt: Gpt) -> None:
    made = Iteration(Setting(gpt(), cluster("8xa100"), 512, 8, tensor=2, stages=4, spread=True))
    each = (12 * 1024**2 + (3 + 4) * 1024) / 2 + (1 + 1 + 4) * 1024  # biases of what is not divided, and norms, whole
    assert made.weights == pytest.approx(each * 2 + 32_000 * 1024 / 2)


def test_more_devices_of_a_node_take_less_time_and_memory(gpt: Gpt) -> None:
    found = [
        Iteration(Setting(gpt(width=4096, heads=32), cluster(f"{n}xa100"), 2048, 4, tensor=n)) for n in (1, 2, 4, 8)
    ]
    for fewer, more in pairwise(found):
        assert more.seconds < fewer.seconds
        assert more.bytes < fewer.bytes
        assert more.mfu < fewer.mfu


def test_from_the_front_door() -> None:
    made = sim.training_step("gpt2-xl", "8xa100", batch=16, sequence=1024, tensor=1, recompute="selective")
    table = made.frame()
    assert table["seconds"].sum() == pytest.approx(made.seconds)
    assert table["share"].sum() == pytest.approx(1)
    with pytest.raises(WeirError, match="did you mean 'selective'"):
        sim.training_step("gpt2-xl", "8xa100", batch=16, sequence=1024, recompute="selectiv")


def test_a_sweep_has_a_row_for_every_layout() -> None:
    table = sim.sweep(
        sim.training_step, model="llama-2-7b", on=["8xa100"], batch=8, sequence=2048, tensor=[1, 3, 8], stages=1
    )
    assert list(table["fits"]) == [False, False, True]
    assert table["reason"][0].startswith("does not fit: ")  # 7e9 weights of 18 bytes
    assert (
        table["reason"][1] == "8 devices are no multiple of 3 (tensor) x 1 (stages); 6 would do\n"
        "32 heads cannot be divided 3 ways; 2 would do"
    )
    alone = sim.training_step("llama-2-7b", "8xa100", batch=8, sequence=2048, tensor=8)
    assert table["seconds"][2] == alone.seconds
    units = table.attrs["units"]
    assert [units[name] for name in ("batch", "sequence")] == ["sequences", "tokens"]
    assert [units[name] for name in ("terms_pipeline", "memory_activations", "capacity")] == ["s", "B", "B"]


def test_dollars_by_hand_and_none_where_nobody_prices_the_device() -> None:
    terms: dict[str, Any] = {"batch": 8, "sequence": 512}
    found = sim.training_step("gpt2-xl", "8xa100", **terms, price={"a100": 3.6})
    assert found.usd_per_iteration == pytest.approx(8 * 1e-3 * found.seconds)
    assert found.usd == pytest.approx(found.usd_per_iteration / (8 * 512) * 1e6)
    assert sim.training_step("gpt2-xl", "8xrtx_pro_6000", **terms).usd is None
    with pytest.raises(WeirError, match="has no price for rtx_pro_6000"):
        sim.training_step("gpt2-xl", "8xrtx_pro_6000", **terms, prices="lamina_2024")


def test_a_sweep_has_dollars_from_one_book_or_none() -> None:
    terms: dict[str, Any] = {"model": "gpt2-xl", "batch": 8, "sequence": 512}
    table = sim.sweep(sim.training_step, on=["8xa100", "8xh100"], **terms, **{"price.a100": [1.0, 2.0]})
    assert list(table["usd_per_hour"][:2]) == [8.0, 16.0]
    assert table["usd_per_hour"][2] == table["usd_per_hour"][3]
    assert table.attrs["units"]["usd_per_iteration"] == "USD"
    bare = sim.sweep(sim.training_step, on=["8xa100", "8xrtx_pro_6000"], **terms)
    assert bare["fits"].all()
    assert bare["usd_per_hour"].isna().all()


def test_a_sweep_names_an_unknown_axis_and_counts_below_one() -> None:
    with pytest.raises(WeirError, match="takes no 'tensors'; did you mean 'tensor'"):
        sim.sweep(sim.training_step, model="gpt2-xl", on=["8xa100"], batch=8, sequence=512, tensors=[1])
    with pytest.raises(WeirError, match="tensor 0: at least 1"):
        sim.training_step("gpt2-xl", "8xa100", batch=8, sequence=512, tensor=0)


def by_hand(spec: Spec, sequence: int) -> float:
    """Operations of a sequence's forward and backward pass, from the model's widths: products of each kind of layer,
    half of all scores and the diagonal, chosen experts and the router, the output layer."""
    d, pairs, total = spec.model, sequence * (sequence + 1) / 2, 0.0
    for kind in spec.layers:
        a, n = kind.attention, kind.network
        assert isinstance(a, Attention)
        assert isinstance(n, Experts | FeedForward)
        seen = pairs if not a.window else sum(min(i + 1, a.window) for i in range(sequence))
        each = sequence * 2 * d * a.head_dim * (a.heads + a.kv_heads) + 2 * a.heads * a.head_dim * seen
        if isinstance(n, Experts):
            each += sequence * d * (3 * n.gate.chosen * n.hidden + n.count + 3 * n.shared)
        else:
            each += sequence * d * n.hidden * (3 if n.gated else 2)
        total += kind.times * each
    return 6 * (total + sequence * d * spec.vocabulary)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("mixtral-8x7b", {"tensor": 2}),
        ("mixtral-8x7b", {"tensor": 2, "experts": 8, "spread": True}),
        ("qwen3-30b-a3b", {"tensor": 8}),
        ("qwen1.5-moe-a2.7b", {"experts": 4}),
        ("gemma-2-2b", {"tensor": 4}),
        ("gpt-oss-20b", {"tensor": 4, "experts": 4}),
    ],
)
def test_operations_of_experts_and_of_layers_of_several_kinds(name: str, how: dict[str, Any]) -> None:
    made = sim.training_step(name, "8xh100", batch=8, sequence=512, **how)
    assert made.operations[0] == pytest.approx(8 * by_hand(made.setting.spec, 512), rel=1e-4)


@pytest.mark.parametrize("experts", [1, 2, 8])
def test_weights_and_gradients_of_experts(experts: int) -> None:
    """All devices hold the model as often as there are replicas; experts as often as replicas hold the same ones."""
    made = sim.training_step("mixtral-8x7b", "8xh100", batch=8, sequence=512, tensor=2, experts=experts, spread=True)
    routed = 32 * 8 * 3 * 4096 * 14336
    copies = max(1, experts // 2)
    assert made.holders == (4, 4 // copies)
    assert made.routed == pytest.approx(routed / 2 / copies)
    attention = 32 * 2 * 4096 * 128 * (32 + 8) / 2
    router_and_norms = 32 * (4096 * 8 + 2 * 4096)
    tables = 4096 * 2 * 32000 / 2
    assert made.weights - made.routed == pytest.approx(attention + router_and_norms + tables, rel=1e-6)
    assert made.gradients == pytest.approx((4 * (made.weights - made.routed), 4 * made.routed))


def test_tokens_travel_to_experts_and_back() -> None:
    """Two copies of each token, or as many as have an expert there, each way: Lepikhin et al. (arXiv 2006.16668)."""
    made = sim.training_step("mixtral-8x7b", "8xh100", batch=8, sequence=512, experts=8)
    sent = {one.task.name: float(one.task.size) for _, _, one in made.layer.timed[0] if one.task.kind != "kernel"}
    met = 1 - (6 / 8) * 1  # an expert of eight is among the two that a token chose
    each = 2 * 8 * 512 * 4096 * met
    assert sent["all-to-all AN"] == pytest.approx(each, rel=1e-6)
    assert sent["reduce-scatter Z"] == pytest.approx(each, rel=1e-6)
    assert not [name for name in sent if name.startswith("all-reduce")]
    alone = sim.training_step("mixtral-8x7b", "8xh100", batch=8, sequence=512)
    assert alone.reduction > made.reduction  # each replica has an eighth of the experts
    assert alone.memory[0][1] > made.memory[0][1]


@pytest.mark.parametrize(("node", "link"), [(8, (450e9, 0.8e-6)), (4, (50e9, 16.5e-6))])
def test_experts_on_two_nodes_are_reached_over_the_network(node: int, link: tuple[float, float]) -> None:
    """Four replicas of two neighbours exchange tokens: four ways, over all eight devices."""
    where = cluster("8xh100").with_("model.node_size", node)
    made = sim.training_step(
        "mixtral-8x7b", where, batch=8, sequence=512, tensor=2, experts=8, spread=True, tier="limit"
    )
    [one] = [one for _, _, one in made.layer.timed[0] if one.task.name == "all-to-all AN"]
    assert (one.task.ways, one.task.reach) == (8, 8)
    assert one.seconds == pytest.approx(link[1] + one.task.size * 7 / 8 / link[0], rel=1e-6)


def test_layers_of_several_kinds_fill_stages_in_order() -> None:
    made = sim.training_step("deepseek-v2", "4xh100", batch=8, sequence=512, stages=4, experts=1)
    first, second = made.layers
    assert [len(chunk) for chunk in made.chunks] == [15] * 4
    assert made.stack == (first, *[second] * 59)
    ends = made.ends
    assert made.parts[0][0].seconds == pytest.approx(
        first.forward.seconds + 14 * second.forward.seconds + ends[0].forward.seconds
    )
    assert made.parts[3][1].seconds == pytest.approx(15 * second.backward.seconds + ends[1].backward.seconds)
