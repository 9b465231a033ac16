"""What a layer keeps for its backward pass: by the live ranges of its cascades."""

import pytest

from sim.planner.skeleton import Layer, fused, transient
from workloads.pieces import Norm
from workloads.spec import Attention, Experts, FeedForward, Spec
from workloads.spec import Layer as Kind
from workloads.training import forward, loss
from workloads.transformer import model

NORM = Norm("layer", 1e-5, True)


def gpt(width: int = 64, heads: int = 4, layers: int = 6) -> Spec:
    """A GPT layer: biases, layer norms, a hidden width of four times the model's."""
    attention = Attention(heads, heads, width // heads, 0.5, rotary=False, bias=True, out_bias=True)
    kind = Kind("layer", layers, attention, FeedForward(4 * width, "gelu", False, True), NORM)
    return Spec("gpt", width, 1000, (kind,), NORM, True, 0)


def test_a_gpt_layer_keeps_sixteen_times_its_input() -> None:
    """MEMO (arXiv 2407.12117), section 3: 16 b s h elements, FlashAttention's scores computed anew."""
    layer = Layer(forward(gpt(), sequence=32, batch=2))
    unit = 2 * 32 * 64 * 2
    found = {live.tensor: live.bytes / unit for live in layer.wide}
    assert found == {"X": 1, "XN": 1, "Q": 1, "KN": 1, "VN": 1, "O": 1, "A": 1, "AN": 1, "U": 4, "H": 4}
    assert {live.tensor for live in layer.anchors} == {"X", "O"}


def test_statistics_are_small_and_scores_are_not_kept() -> None:
    layer = Layer(forward(gpt(), sequence=32))
    kept = {live.tensor for live in layer.skeletal}
    assert layer.statistics == {"XN_M", "XN_S", "AN_M", "AN_S", "GM", "SD"}
    assert layer.statistics <= kept
    assert not kept & {"QK", "SN", "AV"}


@pytest.mark.parametrize(("name", "units"), [("llama-3-8b", 1 + 1 + 1 + 0.5 + 1 + 1 + 1 + 3 * 3.5), ("opt-6.7b", 16)])
def test_other_layers(name: str, units: float) -> None:
    """Llama keeps a gate and narrower keys and values; its norms have no mean."""
    spec = model(name).spec
    layer = Layer(forward(spec, sequence=16))
    assert sum(live.bytes for live in layer.wide) / (16 * spec.model * 2) == pytest.approx(units)


@pytest.mark.parametrize("name", ["mixtral-8x7b", "qwen3-30b-a3b"])
def test_experts_keep_what_the_chosen_ones_make(name: str) -> None:
    """Gate, up and their product for each of the experts that a token goes to, and where it goes."""
    spec = model(name).spec
    [kind] = spec.layers
    made = Layer(forward(spec, sequence=16))
    found = {live.tensor: live.bytes / (16 * 2) for live in made.skeletal}
    assert isinstance(kind.network, Experts)
    for tensor in ("G", "U", "H"):
        assert found[tensor] == pytest.approx(kind.network.gate.chosen * kind.network.hidden)
    assert {"RT", "TI", "TV"} <= set(found)
    assert {live.tensor for live in made.anchors} == {"X", "O"}


def test_the_backward_pass_reads_what_is_kept_and_nothing_else() -> None:
    layer = Layer(forward(gpt(), sequence=8))
    kept = {live.tensor for live in layer.skeletal}
    assert set(layer.backward.inputs) == kept | {"DXO"} | set(layer.backward.inputs) & set(layer.weights)


def test_products_stand_alone() -> None:
    layer = Layer(forward(gpt(), sequence=8))
    groups = [tuple(e.name for e in group) for group in fused(layer.backward, layer.weights)]
    assert {("DH",), ("DWD",), ("DAN",), ("DWU",)} <= set(groups)


def test_transients_take_over_what_dies() -> None:
    """Logits and their gradient are one buffer: the softmax's slope is made place by place."""
    made = Layer(loss(gpt(), sequence=8))
    groups = fused(made.backward, made.weights)
    lives = transient(made.backward, groups, [f"D{n}" for n in made.weights], 1)
    wide = [live for live in lives if live.bytes == 8 * 1000 * 2]
    assert len(wide) == 1
    assert wide[0].first == 0
