"""Training layers: the derived backward pass against finite differences, for several architectures."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from einsum import Cascade, interpret
from workloads.layers import embedding
from workloads.pieces import INFERENCE, Style
from workloads.spec import Attention, FeedForward, Spec
from workloads.training import backward, forward, loss, optimiser, step
from workloads.transformer import model


def small(name: str) -> Spec:
    """A bundled model's first layer, a few values wide."""
    spec = model(name).spec
    kind = spec.layers[0]
    assert isinstance(kind.attention, Attention)
    assert isinstance(kind.network, FeedForward)
    grouped = kind.attention.kv_heads < kind.attention.heads
    attention = replace(kind.attention, heads=4, kv_heads=2 if grouped else 4, head_dim=4)
    return replace(
        spec,
        model=6,
        vocabulary=7,
        layers=(replace(kind, attention=attention, network=replace(kind.network, hidden=5)),),
    )


EAGER = Style(eager=True, dropout=0.25)


def drawn(cascade: Cascade, rng: np.random.Generator) -> dict[str, Any]:
    """A layer's inputs: masks of zeros and ones (a causal one over scores), all else normal."""
    given = {n: rng.normal(size=cascade.shape(n)) * 0.5 for n in cascade.inputs}
    masks = [n for n in given if cascade.tensor(n).dtype == "int8"]
    given |= {n: rng.integers(0, 2, size=given[n].shape) for n in masks}
    return given | ({"MS": np.tril(np.ones(given["MS"].shape, int))} if "MS" in given else {})


@pytest.mark.parametrize(
    ("name", "style"),
    [(n, INFERENCE) for n in ("gpt2-xl", "llama-3-8b", "gemma-2-2b", "opt-6.7b", "falcon-7b", "qwen3-32b")]
    + [(n, EAGER) for n in ("gpt2-xl", "llama-3-8b", "gemma-2-2b")],
)
def test_a_layer_s_gradients_are_those_measured(name: str, style: Style) -> None:
    ahead = forward(small(name), batch=2, sequence=4, style=style)
    behind = backward(ahead)
    rng = np.random.default_rng(3)
    given = drawn(ahead, rng)
    out = interpret(ahead, given)
    weigh = rng.normal(size=out["XO"].shape)
    values = {**given, **out, "DXO": weigh}
    slopes = interpret(behind, {n: values[n] for n in behind.inputs})
    step = 1e-6
    for tensor in sorted(n for n in ahead.inputs if n not in ("COS", "SIN") and ahead.tensor(n).dtype != "int8"):
        along = rng.normal(size=given[tensor].shape)
        ends = [interpret(ahead, {**given, tensor: given[tensor] + s * along})["XO"] for s in (step, -step)]
        measured = float(((ends[0] - ends[1]) * weigh).sum()) / (2 * step)
        assert float((slopes[f"D{tensor}"] * along).sum()) == pytest.approx(measured, rel=1e-5, abs=1e-6), tensor


def test_the_loss_is_the_cross_entropy() -> None:
    spec = small("gpt2-xl")
    made = loss(spec, sequence=3)
    rng = np.random.default_rng(0)
    stream, table, words = rng.normal(size=(1, 3, 6)), rng.normal(size=(7, 6)), np.array([[1, 0, 6]])
    logits = stream @ table.T
    by_hand = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, words[..., None], -1)[..., 0]
    np.testing.assert_allclose(interpret(made, {"X": stream, "WE": table, "T": words})["LOSS"], by_hand)
    slopes = backward(made)
    given = {"X": stream, "WE": table, "T": words}
    out = interpret(
        slopes, {n: {**given, **interpret(made, given), "DLOSS": np.ones((1, 3))}[n] for n in slopes.inputs}
    )
    soft = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) - np.eye(7)[words]
    np.testing.assert_allclose(out["DX"], soft @ table)
    np.testing.assert_allclose(out["DWE"], np.einsum("bpv,bpd->vd", soft, stream))


def test_attention_is_the_same_however_it_is_computed() -> None:
    fused, eager = (forward(small("gpt2-xl"), sequence=5, style=style) for style in (INFERENCE, Style(eager=True)))
    given = drawn(eager, np.random.default_rng(4))
    one = interpret(fused, {n: given[n] for n in fused.inputs})["XO"]
    np.testing.assert_allclose(one, interpret(eager, given)["XO"], rtol=1e-9)


def test_a_step_is_both_passes_with_gradients_added_up() -> None:
    ahead = forward(small("gpt2-xl"), batch=2, sequence=3, style=EAGER)
    pairs = ["QK", "QM", "LS", "PR", "PRK"]
    whole = step(ahead, recompute=pairs, rerun=["O"])
    rng = np.random.default_rng(5)
    given = {**drawn(whole, rng), **drawn(ahead, rng)}
    out = interpret(whole, given)
    first = interpret(ahead, {n: given[n] for n in ahead.inputs})
    behind = backward(ahead)
    slopes = interpret(behind, {n: {**given, **first}[n] for n in behind.inputs})
    np.testing.assert_allclose(out["DX"], slopes["DX"])
    for name in (t.name for t in ahead.tensors if t.kind == "weight"):
        np.testing.assert_allclose(out[f"D{name}_SUM"], given[f"D{name}_OLD"] + slopes[f"D{name}"], err_msg=name)
    np.testing.assert_allclose(out["O_R"], first["O"])
    assert not {*pairs, "O"} - {"O"} & {n for e in whole.einsums[len(ahead.einsums) :] for n in e.inputs}


def test_a_table_s_gradient_is_added_up_whole() -> None:
    spec = small("gpt2-xl")
    ahead = embedding(spec).cascade("embedding").with_sizes(b=2, p=3)
    whole = step(ahead)
    given = drawn(whole, np.random.default_rng(7))
    given["T"] = np.array([[1, 1, 4], [0, 1, 6]])
    out = interpret(whole, given)
    want = given["DWE_OLD"].copy()
    np.add.at(want, given["T"].ravel(), given["DX"].reshape(6, -1))
    np.testing.assert_allclose(out["DWE_SUM"], want)


def test_weights_gradients_wait_for_the_stream_s() -> None:
    names = [e.name for e in step(forward(small("llama-3-8b"), sequence=3)).einsums]
    onward = names.index("DXN_1")
    assert names[onward : onward + 4] == ["DXN_1", "DXN_2", "DXN_3", "DXN"]
    assert {"DWQ", "DWK", "DWV"} <= set(names[onward + 4 : onward + 10])


def test_the_optimiser_is_adam_on_clipped_gradients() -> None:
    made = optimiser(2000, scaled=True)
    rng = np.random.default_rng(6)
    given = {n: np.abs(rng.normal(size=made.shape(n))) for n in made.inputs}
    out = interpret(made, given)
    grad = given["G"] * given["SCALE"]
    grad = grad * min(1, 1 / np.sqrt((grad**2).sum()))
    first, second = 0.9 * given["M"] + 0.1 * grad, 0.95 * given["V"] + 0.05 * grad**2
    np.testing.assert_allclose(out["W"], given["P"] - 1e-4 * first / np.sqrt(second + 1e-16))
    assert not out["GZ"].any()


@pytest.mark.parametrize(("name", "added"), [("gpt2-xl", ["DA_1", "DA_P"]), ("llama-3-8b", ["DA_1", "DA_P"])])
def test_what_a_residual_hands_on_is_added_after_what_the_norm_makes(name: str, added: list[str]) -> None:
    ahead = forward(small(name), sequence=3)
    whole = step(ahead)
    [last] = [e for e in whole.einsums if e.output.tensor == "DA"]
    assert sorted(last.inputs) == added
