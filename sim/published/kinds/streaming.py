"""Weights streamed from host memory: tokens that keep the GPU busy, and what staggering requests gains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from einsum import Cascade
from einsum.counts import operations, reads
from einsum.errors import WeirError
from mappings.kernels import weighted
from sim.arch import Cluster, cluster, tier
from sim.model.task import Task
from sim.model.timing import Clock
from sim.published.calls import text
from sim.serving import Service, largest_batch
from workloads.moe import top_k
from workloads.spec import Experts
from workloads.transformer import model as bundled

__all__ = ["staggering_gain", "state_to_saturate", "tokens_per_capacity", "tokens_to_saturate"]

MOST = 1e7  # tokens, the upper end of the search
GPU = "1xa40"  # stands for every GPU of the table, with the peak rate and the link that the table gives
CAPACITY = 1e9  # tokens that fit in memory; any large number gives the same ratios


def tokens_to_saturate(inputs: Mapping[str, Any], *, model: str, gpu: str, link: str) -> float:
    """Tokens at which the experts' products take as long as all experts' weights need to cross the host link."""
    made = cluster(GPU).with_("model.tensor.device_rate.mac.bf16", text(inputs, "rates", gpu))
    made = made.with_("model.pcie.bandwidth", link)
    cascade = _experts(model)
    host = made.pool("model").device.link("host")
    streamed = sum(size for name, size in reads(cascade).items() if cascade.tensor(name).kind == "weight")
    seconds = host.seconds(streamed) - host.latency if host else np.inf
    low, high = 1.0, MOST
    while high - low > 1e-9 * high:
        tokens = (low + high) / 2
        low, high = (tokens, high) if _computing(cascade, made, tokens) < seconds else (low, tokens)
    return high


def _experts(model: str) -> Cascade:
    """One layer's mixture of experts of a bundled model, with so many tokens that every expert is met."""
    spec = bundled(model).spec
    experts = next((kind.network for kind in spec.layers if isinstance(kind.network, Experts)), None)
    if experts is None:
        raise WeirError(f"{model} has no experts to stream; name a mixture of experts, for example mixtral-8x7b")
    chosen = experts.gate.chosen
    return top_k(
        batch=int(MOST), query=1, model=spec.model, hidden=experts.hidden, experts=experts.count, chosen=chosen
    )


def _computing(cascade: Cascade, made: Cluster, tokens: float) -> float:
    """Seconds of the products with weights, at the peak rate."""
    sizes = cascade.bind(b=tokens)
    clock = Clock(made, tier("limit"))
    total = 0.0
    for einsum in cascade.einsums:
        if weighted(cascade, einsum):
            count = operations(cascade, einsum, sizes)["mac"]
            total += float(clock.time(Task(einsum.name, "kernel", "model", 0.0, (("mac", "bf16", count),))).compute)
    return total


def state_to_saturate(inputs: Mapping[str, Any], *, model: str, gpu: str, link: str, context: int) -> float:
    """GB of keys and values when every token that saturates the GPU decodes a sequence of ``context`` tokens."""
    tokens = tokens_to_saturate(inputs, model=model, gpu=gpu, link=link)
    return tokens * float(bundled(model).state_bytes(context)) / 1e9


def _in_flight(prompt: int, output: int, reserve: str) -> int:
    """Requests that fit, of which each token takes one of ``CAPACITY`` places."""
    unit = Service(
        decode=lambda b, c: np.ones_like(b),
        prefill=lambda b, p: np.ones_like(b),
        decode_joules=lambda b, c: np.zeros_like(b),
        prefill_joules=lambda b, p: np.zeros_like(b),
        state=lambda c: np.asarray(c, float),
        capacity=CAPACITY,
        usd_per_hour=0.0,
        max_batch=int(CAPACITY),
    )
    return largest_batch(unit, prompt, output, reserve="mean" if reserve == "mean" else "whole")


def tokens_per_capacity(inputs: Mapping[str, Any], *, prompt: int, output: int) -> float:
    """Prompt and output tokens processed in a pass, per token of capacity, by staggered requests.

    Of those in flight one in ``output`` ends with each pass, and one enters with its whole prompt.
    """
    return _in_flight(prompt, output, "mean") / output * (prompt + output) / CAPACITY


def staggering_gain(inputs: Mapping[str, Any], *, prompt: int, output: int) -> float:
    """Requests that fit when they are staggered, over those that fit when all reach their full length together."""
    return _in_flight(prompt, output, "mean") / _in_flight(prompt, output, "whole")
