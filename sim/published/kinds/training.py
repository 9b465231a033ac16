"""Iterations of training on clusters: seconds, shares of the peak, what a layer keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from einsum.errors import WeirError
from sim.arch import cluster
from sim.planner.iteration import Iteration
from sim.planner.parallel import Setting, fusion
from sim.published.calls import number, pick, table, text
from workloads.pieces import Norm
from workloads.spec import Attention, FeedForward, Layer, Spec

__all__ = ["error", "kept", "layer", "seconds", "share"]


def _gpt(inputs: Mapping[str, Any], model: str) -> Spec:
    """A GPT: layer norms, biases, learned positions, a hidden width of four times the model's."""
    layers, width, heads = (int(number(inputs, "models", model, key)) for key in ("layers", "model", "heads"))
    head = width // heads
    attention = Attention(heads, heads, head, head**-0.5, rotary=False, bias=True, out_bias=True)
    norm = Norm("layer", 1e-5, True)
    kind = Layer("layer", layers, attention, FeedForward(4 * width, "gelu", gated=False, bias=True), norm)
    rows = int(number(inputs, "sequence"))
    return Spec(model, width, int(number(inputs, "vocabulary")), (kind,), norm, True, rows, rows)


def _iteration(inputs: Mapping[str, Any], model: str, mode: str, devices: int = 0, hidden: bool = True) -> Iteration:
    """One of the paper's runs; other ``devices`` make replicas, with as much larger a batch. Collectives run beside
    kernels as its code has them begin, or wait (not ``hidden``)."""
    run, how = dict(table(inputs, "models", model)), dict(table(inputs, "modes", mode))
    own = int(run["tensor"] * run["stages"])
    count = devices or own
    where = cluster(f"{count}x{text(inputs, 'device')}").with_("network.bandwidth", text(inputs, "network"))
    kernels = fusion(text(inputs, "kernels"))
    setting = Setting(
        _gpt(inputs, model), where, int(number(inputs, "sequence")), int(run["batch"]) * count // own,
        microbatch=int(run["microbatch"]), tensor=int(run["tensor"]), stages=int(run["stages"]),
        chunks=int(run["chunks"]), kernels=kernels if hidden else replace(kernels, beside=False), **how,
    )  # fmt: skip
    return _made(setting)


@lru_cache(maxsize=64)
def _made(setting: Setting) -> Iteration:
    return Iteration(setting)


def seconds(inputs: Mapping[str, Any], *, model: str, mode: str, hidden: bool = True) -> float:
    """Seconds of an iteration."""
    return _iteration(inputs, model, mode, hidden=hidden).seconds


def share(inputs: Mapping[str, Any], *, model: str, mode: str, devices: int) -> float:
    """Percent of the devices' peak that the model's operations come to."""
    return 100 * _iteration(inputs, model, mode, devices).mfu


def layer(inputs: Mapping[str, Any], *, model: str, mode: str, way: str) -> float:
    """Milliseconds of one layer, ``forward`` or ``backward`` (what is computed anew with it)."""
    found = _iteration(inputs, model, mode).layer
    passes = {"forward": found.forward, "backward": found.backward}
    if way not in passes:
        raise WeirError(f"{way!r}: a pass is forward or backward")
    return passes[way].seconds * 1e3


def kept(inputs: Mapping[str, Any], *, model: str, mode: str) -> float:
    """Bytes that a device keeps of a layer for each element of its input, sums and maxima with them."""
    found = _iteration(inputs, model, mode)
    s = found.setting
    return found.layer.kept / (s.sequence * s.microbatch * s.spec.model)


def error(inputs: Mapping[str, Any], *, hidden: bool = True) -> float:
    """Percent by which the paper's iterations are off on average, whatever the sign."""
    measured = pick(inputs, "measured")
    return float(
        np.mean([abs(100 * (seconds(inputs, model=m, mode=w, hidden=hidden) / t - 1)) for m, w, t in measured])
    )
