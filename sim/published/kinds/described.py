"""Work that a paper gives as operations and bytes, timed and priced on the catalogue's devices like any other task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch import Cluster, cluster, device, tier
from sim.arch.prices import prices
from sim.model.task import Task
from sim.model.timing import Clock
from sim.published.calls import number, table, text, texts
from sim.published.kinds.counts import decoding, state
from sim.units import si

__all__ = [
    "minimum_sparsity",
    "scaled_throughput",
    "usd_counted",
    "usd_per_byte",
    "usd_per_million",
    "usd_per_operation",
]

PARTS = ("attention", "ffn", "total")
COUNTED = ("kv", "attention", "linear", "ffn")
DTYPE = "fp8"  # in which all the described work is done; what has no such unit runs it in a wider type


def _hardware(inputs: Mapping[str, Any], written: str) -> Cluster:
    """A cluster with the paper's own figures where its inputs state them."""
    made = cluster(written)
    for pool in made.pools:
        for name in table(inputs, "devices") if "devices" in inputs else ():
            if device(name).name == pool.device.name:
                for path, value in table(inputs, "devices", name).items():
                    made = made.with_(f"{pool.name}.{path}", value)
    return made


def _clock(inputs: Mapping[str, Any], written: str) -> Clock:
    return Clock(_hardware(inputs, written), tier("limit"))


def _task(operations: float, size: float) -> Task:
    return Task("described", "kernel", "model", size, (("mac", DTYPE, operations),))


def _usd_per_second(inputs: Mapping[str, Any], name: str) -> float:
    """USD of a second of a device, in the book of prices that the paper's inputs name."""
    return prices([name], text(inputs, "book")).of(name).usd_per_hour / 3600


def usd_per_operation(inputs: Mapping[str, Any], *, device: str) -> float:
    """USD of a device's time for one operation."""
    return float(_clock(inputs, f"1x{device}").time(_task(1.0, 0.0)).seconds) * _usd_per_second(inputs, device)


def usd_per_byte(inputs: Mapping[str, Any], *, device: str) -> float:
    """USD of a device's time for one byte through its memory."""
    return float(_clock(inputs, f"1x{device}").time(_task(0.0, 1.0)).seconds) * _usd_per_second(inputs, device)


def usd_per_million(inputs: Mapping[str, Any], *, model: str, part: str, context: str, device: str) -> float:
    """USD to decode a million tokens by the paper's counts, on a device or the ``cheapest`` of some for each part.

    ``attention`` is with its linear layers, ``ffn`` the feed-forward network, ``total`` both.
    """
    work = {key: number(inputs, "work", context, model, key) for key in COUNTED}
    devices = texts(inputs, "cheapest") if device == "cheapest" else (device,)
    return sum(min(_usd(inputs, work, one, name) for name in devices) for one in _parts(part)) * 1e6


def usd_counted(inputs: Mapping[str, Any], *, model: str, part: str, context: int, device: str) -> float:
    """USD to decode a million tokens by the counts of a bundled model's cascades, its keys and values in 8 bits."""
    work = {key: decoding(inputs, model=model, part=key, context=context) for key in ("attention", "linear", "ffn")}
    work["kv"] = state(inputs, model=model, context=context, dtype=DTYPE)
    return sum(_usd(inputs, work, one, device) for one in _parts(part)) * 1e6


def _parts(part: str) -> tuple[str, ...]:
    if part not in PARTS:
        raise WeirError(f"unknown part {part!r}{hint(part, PARTS)}")
    return PARTS[:2] if part == "total" else (part,)


def _usd(inputs: Mapping[str, Any], work: Mapping[str, float], part: str, device: str) -> float:
    """USD of a device's time for one part of one token, kernels one after another."""
    todo = [_task(work["ffn"], 0.0)]
    if part == "attention":
        todo = [_task(work["attention"], work["kv"]), _task(work["linear"], 0.0)]
    clock = _clock(inputs, f"1x{device}")
    return sum(float(clock.time(task).seconds) for task in todo) * _usd_per_second(inputs, device)


def minimum_sparsity(
    inputs: Mapping[str, Any], *, device: str, network: str, width: int, layers: int, stage: str
) -> float:
    """Share of the experts a token must activate for computing on them to take as long as reading their weights.

    Tokens come over ``network`` in one byte a value and return in two, as many as fit in a layer's share of ``stage``.
    """
    made = _hardware(inputs, f"1x{device}_1x{device}").with_("network.bandwidth", network).with_("network.latency", 0.0)
    clock = Clock(made, tier("limit"))
    sent = Task("dispatch", "transfer", "attention", float(width), source="model")
    returned = Task("combine", "transfer", "model", 2.0 * width, source="attention")
    token = sum(float(clock.time(task).seconds) for task in (sent, returned))
    batch = si(stage, "s", "stage") / layers / token
    weights = 1e9  # bytes, one a weight; any number gives the same ratio
    experts = clock.time(_task(2 * weights * batch, weights))
    return float(experts.memory / experts.compute)


def scaled_throughput(
    inputs: Mapping[str, Any],
    *,
    model: str,
    device: str,
    base: int,
    rate: float,
    attention: int,
    ffn: int,
    context: int,
) -> float:
    """Tokens/s per device at ``context`` tokens, from ``rate`` at ``base``: attention's servers grow with its time.

    Keys, values and operations of attention are taken in proportion to the context, from the paper's at 8,192 tokens.
    """
    operations, size = (number(inputs, "work", "8k", model, key) / 8192 for key in ("attention", "kv"))
    clock = _clock(inputs, f"1x{device}")
    at = {c: clock.time(_task(operations * c, size * c)).seconds for c in (base, context)}
    servers = attention * at[context] / at[base]
    return float(rate * (attention + ffn) / (servers + ffn))
