"""Training on long sequences: activations kept, swapped and recomputed; what fits, and how fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from einsum.counts import operations
from einsum.errors import WeirError
from sim.arch import cluster
from sim.planner.passes import Setting, Work, work
from sim.planner.problem import Buffer, Problem, Tier
from sim.planner.skeleton import Layer
from sim.planner.training import GRAIN, plan, requests
from sim.planner.training import longest as longest_that_fits
from sim.published.calls import number, table, text
from sim.units import si
from workloads import spec as described
from workloads.pieces import Norm

__all__ = [
    "alpha",
    "anchor_share",
    "attention_share",
    "bilevel_gap",
    "crossover",
    "elements",
    "hiding_rate",
    "longest",
    "mfu",
    "over_first_fit",
    "skeletal",
    "tokens",
]

K = 1024


def _setting(
    inputs: Mapping[str, Any], model: str, sequence: int, split: str = "tensor", how: str = ""
) -> Setting:  # fmt: skip
    """The paper's servers and one of its models, ``sequence`` in units of 1024 tokens; ``how`` names other settings of
    the inputs."""
    share = number(inputs, "share")
    made = cluster(text(inputs, "models", model, "cluster"))
    [pool] = made.pools
    link = pool.device.link("host")
    if link is None:
        raise WeirError(f"inputs: the devices of {made.name} have no host link")
    host = si(text(inputs, "host"), "B", "host") * -(-pool.count // pool.node_size)
    other = dict(table(inputs, "settings", how)) if how else {}
    if "pairs" in other:
        other["pairs"] = tuple(other["pairs"])
    rate = link.bandwidth / share
    return Setting(_spec(inputs, model), made, sequence * K, split=split, host=host, link=rate, **other)


def _spec(inputs: Mapping[str, Any], model: str) -> described.Spec:
    """A GPT of the paper's table 2: layer norms, biases, learned positions left out."""
    width, heads = int(number(inputs, "models", model, "model")), int(number(inputs, "models", model, "heads"))
    head = width // heads
    attention = described.Attention(heads, heads, head, head**-0.5, rotary=False, bias=True, out_bias=True)
    network = described.FeedForward(int(number(inputs, "models", model, "hidden")), "gelu", gated=False, bias=True)
    norm = Norm("layer", 1e-5, True)
    layers = int(number(inputs, "models", model, "layers"))
    kind = described.Layer("layer", layers, attention, network, norm)
    return described.Spec(model, width, int(number(inputs, "vocabulary")), (kind,), norm, True, 0)


def skeletal(inputs: Mapping[str, Any], *, model: str, sequence: int) -> float:
    """GiB that all layers keep for the backward pass, statistics apart, by the live ranges of the derived cascade."""
    made = work(_setting(inputs, model, sequence))
    return made.setting.layers * sum(live.bytes for live in made.layer.wide) / 2**30


def elements(inputs: Mapping[str, Any], *, model: str, which: str = "wide") -> float:
    """Elements that one layer keeps for each element of its input: all but statistics, or statistics alone."""
    made = work(_setting(inputs, model, 64))
    kept = sum(live.bytes for live in made.layer.wide)
    if which == "statistics":
        kept = sum(live.bytes for live in made.layer.skeletal) - kept
    return kept / sum(live.bytes for live in made.layer.wide if live.tensor in made.layer.streams)


def anchor_share(inputs: Mapping[str, Any], *, model: str, tensor: str) -> float:
    """Percent of the skeletal bytes in one tensor."""
    layer = work(_setting(inputs, model, 64)).layer
    return 100 * sum(live.bytes for live in layer.wide if live.tensor == tensor) / sum(b.bytes for b in layer.wide)


def alpha(inputs: Mapping[str, Any], *, model: str, sequence: int) -> float:
    """The fraction of tokens whose tensors are swapped."""
    return work(_setting(inputs, model, sequence)).alpha()


def attention_share(inputs: Mapping[str, Any], *, model: str, sequence: int) -> float:
    """Percent of a forward layer's multiply-adds between pairs of tokens, masked ones left out."""
    cascade = work(_setting(inputs, model, sequence)).layer.forward
    at = cascade.bind()
    macs = {e.name: float(operations(cascade, e, at).get("mac", 0.0)) for e in cascade.einsums}
    pairs = sum(count for e, count in ((e, macs[e.name]) for e in cascade.einsums) if {"p", "m"} <= set(e.ranks))
    return 100 * pairs / sum(macs.values())


def crossover(inputs: Mapping[str, Any], *, model: str) -> float:
    """The shortest sequence, in K tokens, at which swapping everything hides behind a layer's forward pass."""
    low, high = 1, 4096
    while high - low > 1:
        middle = (low + high) // 2
        made = work(_setting(inputs, model, middle))
        hidden = (made.anchors + made.others) / made.setting.rate <= made.forward
        low, high = (low, middle) if hidden else (middle, high)
    return float(high)


def hiding_rate(inputs: Mapping[str, Any], *, model: str, sequence: int, mfu: float) -> float:
    """GB/s at which all that a layer keeps leaves a device during its forward pass, at a percentage of the peak."""
    made = work(_setting(inputs, model, sequence))
    s = made.setting
    peak = s.cluster.pools[0].device.rate("mac", s.spec.dtype)
    once = sum(float(operations(made.layer.forward, e, made.layer.forward.bind()).get("mac", 0.0))
               for e in made.layer.forward.einsums if e.contraction)  # fmt: skip
    return (made.anchors + made.others) * s.ways * peak * mfu / 100 / once / 1e9


def mfu(
    inputs: Mapping[str, Any], *, model: str, sequence: int, strategy: str = "memo", split: str = "tensor",
    how: str = "",
) -> float:  # fmt: skip
    """Percent of the devices' peak that the model's own operations come to."""
    return 100 * plan(_setting(inputs, model, sequence, split, how), strategy).mfu


def tokens(inputs: Mapping[str, Any], *, model: str, sequence: int, mfu: float) -> float:
    """Tokens a second and device at a given percentage of the peak."""
    made = work(_setting(inputs, model, sequence))
    s = made.setting
    peak = s.cluster.pools[0].device.rate("mac", "bf16")
    return s.sequence * mfu / 100 * peak / made.model_operations


def longest(
    inputs: Mapping[str, Any], *, model: str, strategy: str = "memo", split: str = "tensor", how: str = ""
) -> float:  # fmt: skip
    """The longest sequence that fits, in K tokens, a multiple of 64."""
    return longest_that_fits(_setting(inputs, model, GRAIN // K, split, how), strategy) / K


def _requests(made: Work, layers: int) -> tuple[list[Buffer], list[list[Buffer]]]:
    """Transient requests of ``layers`` layers and the loss, forward and backward, in one line; and pass by pass."""
    passes: list[tuple[Layer, bool]] = [(made.layer, False)] * layers + [(made.loss, False), (made.loss, True)]
    passes += [(made.layer, True)] * layers
    flat, apart, start = list[Buffer](), list[list[Buffer]](), 0.0
    for place, (layer, back) in enumerate(passes):
        own = requests(made, layer, back)
        apart.append(own)
        for buffer in own:
            span = tuple((first + start, last + start) for first, last in buffer.live)
            flat.append(replace(buffer, name=f"{place} {buffer.name}", live=span))
        start += max(last for b in own for _, last in b.live)
    return flat, apart


def bilevel_gap(inputs: Mapping[str, Any], *, model: str, sequence: int, layers: int) -> float:
    """Percent by which placing pass by pass, then passes as single requests, is above placing all requests at once."""
    from sim.planner.training import height

    flat, apart = _requests(work(_setting(inputs, model, sequence)), layers)
    levels = [height(str(i), own, 5.0) for i, own in enumerate(apart)]
    whole = [Buffer(str(i), size, ((i, i + 1),)) for i, size in enumerate(levels)]
    return 100 * (height("levels", whole, 5.0) / height("flat", flat, 20.0) - 1)


def over_first_fit(inputs: Mapping[str, Any], *, model: str, sequence: int) -> float:
    """Height of a layer's requests, both passes, over what first fit by size comes to; at most one."""
    from sim.planner.training import height

    flat, _ = _requests(work(_setting(inputs, model, sequence)), 1)
    return height("flat", flat, 20.0) / _first_fit(Problem("flat", tuple(flat), (Tier("memory"),)))


def _first_fit(problem: Problem) -> float:
    """Height when buffers, largest first, go to the lowest place that is free over all their life."""
    placed: list[tuple[float, float, int, int]] = []
    for buffer in sorted(problem.buffers, key=lambda b: -b.size):
        [(first, last)] = buffer.live
        taken = sorted((low, high) for f, t, low, high in placed if f < last and first < t)
        offset = 0
        for low, high in taken:
            if offset + buffer.size <= low:
                break
            offset = max(offset, high)
        placed.append((first, last, offset, offset + buffer.size))
    return float(max(high for *_, high in placed))
