"""A model laid out on a cluster: what fits, how batches overlap, which layout is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from einsum import Infeasible
from sim.arch import cluster, tier
from sim.model.timing import Clock
from sim.serving.answer import serve
from sim.serving.deploy import Deployment, deployments, filled
from workloads.transformer import from_config

ONE = np.ones(1)


def deployed(layout: str, on: str = "4xh100") -> Deployment:
    [found] = deployments(from_config("llama-3-70b"), cluster(on), tier("limit"), 1.0, layout=layout)
    return found


def test_one_request_is_one_batch_in_flight_however_many_there_could_be() -> None:
    """Alone, a request's tokens follow each other after one latency; nobody else takes turns."""
    split = deployed("tp=2,attention=heads,batches=2", "2xh100_4xh20")
    alone, two = (split.decoding(np.array([n]), np.array([1000.0])) for n in (1.0, 2.0))
    assert float(alone.period[0]) == pytest.approx(float(alone.latency[0]))
    assert float(two.period[0]) == pytest.approx(max(2 * float(t[0]) for t in two.busy.values()))
    assert float(two.latency[0]) < float(two.period[0]) < 2 * float(two.latency[0])


def sent(deployment: Deployment) -> dict[str, float]:
    """Seconds of each collective of a decoding step of 8 requests at 999 tokens."""
    rows = deployment.decoding(np.array([8.0]), np.array([999.0])).rows
    return {one.task.name: float(np.ravel(one.seconds)[0]) for _, timed in rows for one in timed
            if one.task.kind != "kernel"}  # fmt: skip


NETWORK, FABRIC = (50e9, 16.5e-6), (450e9, 0.8e-6)  # bytes a second and seconds, of two nodes and inside one


@pytest.mark.parametrize(("node", "link"), [(8, FABRIC), (4, NETWORK)])
def test_what_is_added_up_over_parts_of_the_context_goes_over_the_link_between_them(
    node: int, link: tuple[float, float]
) -> None:
    """Two devices of a group are four apart; an all-reduce of two is one exchange of all that each holds."""
    where = cluster("8xh100").with_("model.node_size", node)
    [found] = deployments(from_config("llama-3-70b"), where, tier("limit"), 1.0, layout="tp=4,cp=2")
    seconds = sent(found)
    partial = 8 * (64 / 4) * 128 * 2  # bytes of sums on a device: requests, heads, elements, bf16
    assert seconds["all-reduce AV"] == pytest.approx(link[1] + partial / link[0], rel=1e-6)
    inside = FABRIC[1] + 3 * 8 * 8192 * 2 / FABRIC[0]  # all of it from each of three neighbours, on any node
    assert seconds["all-reduce Y"] == pytest.approx(inside, rel=1e-6)


@pytest.mark.parametrize(("node", "link"), [(8, FABRIC), (4, NETWORK)])
def test_tokens_go_to_experts_over_the_link_between_the_furthest(node: int, link: tuple[float, float]) -> None:
    """Requests of two groups of four devices to experts on all eight: two ways, but from one node to the other."""
    where = cluster("8xh100").with_("model.node_size", node)
    [found] = deployments(from_config("mixtral-8x7b"), where, tier("limit"), 1.0, layout="tp=4,dp=2,ep=8")
    seconds = sent(found)
    met = 1 - (6 / 8) * 1  # an expert of eight is among the two that a token chose
    tokens = 8 * 4096 * 2 * met
    assert seconds["all-to-all AN"] == pytest.approx(link[1] + tokens / 2 / link[0], rel=1e-6)


@pytest.mark.parametrize(("layout", "node"), [("tp=4,dp=2", 4), ("tp=2,cp=2,replicas=2", 4), ("tp=8", 8)])
def test_what_stays_inside_nodes_is_as_fast_on_small_ones(layout: str, node: int) -> None:
    small, large = (cluster("8xh100").with_("model.node_size", n) for n in (node, 8))
    one, two = (
        deployments(from_config("llama-3-70b"), where, tier("limit"), 1.0, layout=layout) for where in (small, large)
    )
    assert sent(next(iter(one))) == sent(next(iter(two)))


@pytest.mark.parametrize(("node", "link"), [(8, FABRIC), (4, NETWORK)])
def test_stages_on_two_nodes_hand_over_through_the_network(node: int, link: tuple[float, float]) -> None:
    """Of eight requests in flight, each stage has four."""
    where = cluster("8xh100").with_("model.node_size", node)
    [found] = deployments(from_config("llama-3-70b"), where, tier("limit"), 1.0, layout="tp=4,pp=2")
    step = found.decoding(np.array([8.0]), np.array([999.0]))
    layers = sum(part.times * sum(float(one.seconds[0]) for one in timed) for part, timed in step.rows)
    assert float(step.latency[0]) - layers == pytest.approx(link[1] + 4 * 8192 * 2 / link[0], rel=1e-4)


def test_one_prompt_is_not_cut_over_the_stages() -> None:
    staged = deployed("tp=1,pp=4")
    one, four = (staged.prefilling(np.array([n]), np.array([1000.0])) for n in (1.0, 4.0))
    assert float(filled(one)[0]) == pytest.approx(float(one.latency[0]))
    assert float(filled(four)[0]) == pytest.approx(float(four.latency[0] + 3 * four.busy["model"][0]))


def test_another_device_never_serves_less() -> None:
    rates = [
        serve("mixtral-8x7b", f"{n}xh100", prompt=512, output=128, sensitive=False).choice.tokens_per_second
        for n in (2, 3, 4, 5, 6, 7)
    ]
    assert rates == sorted(rates)


@pytest.mark.parametrize("layout", [None, "tp=4"])
def test_a_limit_holds_at_the_95th_percentile(layout: str | None) -> None:
    answer = serve("llama-3-70b", "4xh100", trace="azure_conv", tpot="60ms", layout=layout, sensitive=False)
    assert float(np.percentile(answer.served.tpot, 95)) <= 0.060


def test_the_nearest_miss_is_told() -> None:
    with pytest.raises(Infeasible, match=r"one request alone has tpot 3\d\.\d+ ms"):
        serve("llama-3-70b", "2xh100_4xh20", prompt=1024, output=256, tpot="20ms", prefill="elsewhere")


def test_what_does_not_fit_says_what_would() -> None:
    with pytest.raises(Infeasible, match=r"of weights on each device of.*the model needs at least 12 of them"):
        serve("llama-3.1-405b", "8xh100", layout="tp=8")
    with pytest.raises(Infeasible, match="divide further"):
        serve("llama-3-70b", "4xh100", layout="dp=4")


def test_an_answer_says_what_it_rests_on() -> None:
    notes = serve("llama-3-70b", "5xh100", prompt=64, output=8, layout="tp=3", sensitive=False).notes
    assert "2 of 5 devices are not used by this layout, but paid for" in notes
    assert any(note.startswith("uneven: rank d of 8192 over 3 devices, rank r of 8 over 3") for note in notes)
    assert any(note.startswith("llama-3-70b: unverified: from memory") for note in notes)
    assert any("--prices BOOK takes another" in note for note in notes)


def test_the_parts_of_an_iteration_make_up_whole_steps() -> None:
    made = deployed("tp=4")
    mixing = made.service().mixing
    assert mixing is not None
    one, prompt, batch, context = (np.array([x]) for x in (1.0, 700.0, 16.0, 900.0))
    whole = mixing.shared(prompt) + mixing.filling(one, 0 * one, prompt)
    assert whole == pytest.approx(np.ravel(made.prefilling(one, prompt).latency))
    assert mixing.decoding(batch, context) == pytest.approx(np.ravel(made.decoding(batch, context).attending))
    assert mixing.filling(one, 2000 * one, prompt) > mixing.filling(one, 0 * one, prompt)
    assert deployed("tp=2,pp=2").service().mixing is None


def test_what_is_kept_may_be_a_share_of_what_weights_leave() -> None:
    """A tenth of 80 GB, or of what 16 GB of weights leave of them."""
    import sim

    whole, free = (sim.serve("llama-3-8b", "1xh100", engine=name, prompt=64, output=8, batch=2, sensitive=False)
                   for name in ("vllm", "trtllm"))  # fmt: skip
    [of_all], [of_free] = (one.choice.deployment.free().values() for one in (whole, free))
    weights = 80e9 * 0.9 - of_all
    assert of_free == pytest.approx((80e9 - weights) * 0.9)
    assert any("10% of what weights leave of each device" in note for note in free.notes)


def test_weights_that_do_not_fit_name_what_is_kept_where_it_is_of_the_whole() -> None:
    import sim

    for name, said in (("vllm", "80 GB, of which 10% is kept"), ("trtllm", "80 GB: the model needs at least 2")):
        with pytest.raises(Infeasible, match=said):
            sim.serve("llama-3-70b", "1xh100", engine=name, prompt=64, output=8, sensitive=False)


def test_a_share_of_what_weights_leave_asks_for_no_more_devices() -> None:
    """141 GB of weights: two devices of 75 GB hold them, three where a tenth of each is kept in any case."""
    import sim

    small = sim.cluster("1xh100").with_("model.hbm.capacity", "75 GB")
    for name, least in (("vllm", 3), ("trtllm", 2)):
        with pytest.raises(Infeasible, match=f"needs at least {least} of them"):
            sim.serve("llama-3-70b", small, engine=name, prompt=64, output=8, sensitive=False)


def test_a_prefill_with_flash_attention_is_its_tasks_timed_so() -> None:
    """80 layers: attention as that kernel, and what turns positions and copies into the cache, for the vendor's one."""
    on, level, llama = cluster("4xh100"), tier("physical"), from_config("llama-3-70b")
    plain, own = (
        next(iter(deployments(llama, on, level, 1.0, layout="tp=4", flash=flash))).prefilling(ONE, 1024 * ONE)
        for flash in (None, True)
    )
    [(part, timed)] = [(part, timed) for part, timed in plain.rows if part.times > 1]
    [(_, cut)] = [(part, timed) for part, timed in own.rows if part.times > 1]
    [vendors] = [one for one in timed if one.task.attends and one.task.products]
    [turn, copy, flash] = [one for one in cut if one.task.einsums[:1] in (("QR",), ("V",), ("QK",))]
    alone = Clock(on, level, plain.work.layout).time(replace(vendors.task, flash=True))
    np.testing.assert_allclose(flash.seconds, alone.seconds, rtol=1e-12)
    more = part.times * (turn.seconds + copy.seconds + flash.seconds - vendors.seconds)
    np.testing.assert_allclose(own.latency, plain.latency + more, rtol=1e-12)
    assert float(abs(flash.seconds / vendors.seconds - 1)[0]) > 0.05
