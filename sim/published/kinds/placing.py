"""Where tensors lie: offloading policies, networks read from flash, sliding windows, compressed weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
from sim.arch import device as found_device
from sim.arch.components import Memory
from sim.planner import flash, window
from sim.planner.policy import Load, Policy, best, place
from sim.planner.shape import Shape, hardware, shape
from sim.published.calls import number, table, text
from sim.units import si
from workloads.spec import Attention, Layer, Spec
from workloads.transformer import Transformer
from workloads.transformer import model as bundled

__all__ = [
    "accuracy",
    "bits_per_parameter",
    "busy",
    "devices_needed",
    "dictionary_rate",
    "end_to_end",
    "entropy_rate",
    "faster",
    "flash_milliseconds",
    "flash_rate",
    "hop_latencies",
    "policy",
    "speedup",
    "streamed_seconds",
    "transfer_milliseconds",
    "waiting_milliseconds",
    "window_gigabytes",
]


def policy(inputs: Mapping[str, Any], *, case: str, what: str) -> float:
    """Something of the best placement of a case: ``tokens_per_second``, ``seconds`` of a stage over all its layers
    (``decode``), a fraction (``weights.gpu``) or a quantity of the method."""
    given = dict(table(inputs, "cases", case))
    if "like" in given:  # another case with something changed
        given = {**table(inputs, "cases", str(given.pop("like"))), **given}
    constants = table(inputs, str(given.pop("constants"))) if "constants" in given else {}
    found = _policy(_frozen({**given, "settings": {**constants, **given.get("settings", {})}}))
    if what == "tokens_per_second":
        return found.tokens_per_second
    known = {**{name: s * found.placement.known["layers"] for name, s in found.stages.items()}, **found.fractions}
    known |= found.loads
    if what not in known:
        raise WeirError(f"unknown quantity {what!r}{hint(what, known)}")
    return float(known[what])


def busy(inputs: Mapping[str, Any], *, case: str, part: str, whole: str) -> float:
    """Percent that one quantity of a case's best placement is of another: how busy a unit is in a stage."""
    return 100 * policy(inputs, case=case, what=part) / policy(inputs, case=case, what=whole)


def faster(inputs: Mapping[str, Any], *, which: str) -> float:
    """How many times the tokens a second of one method those of another are, by their programmes on the same hardware
    and the same host memory: the ``mean`` or the ``largest`` over the inputs' ``grid``."""
    grid, ratios = table(inputs, "grid"), []
    for size in grid["cache"]:
        memory = si(size, "B", "cache") + si(text(grid, "weights"), "B", "weights")
        for prompt, output in grid["loads"]:
            rates = [
                policy({"cases": {"at": {**table(grid, method), "prompt": prompt, "output": output,
                                         "set": {**grid["set"], "host_memory": memory / table(grid, method)["share"]},
                                         }}}, case="at", what="tokens_per_second")
                for method in ("one", "other")
            ]  # fmt: skip
            ratios.append(rates[0] / rates[1])
    if which not in ("mean", "largest"):
        raise WeirError(f"unknown choice {which!r}{hint(which, ('mean', 'largest'))}")
    return float(np.mean(ratios)) if which == "mean" else max(ratios)


def accuracy(inputs: Mapping[str, Any]) -> float:
    """Mean accuracy in percent of predicted tokens a second against the ``measured`` ones of the inputs; not a number
    where there are none."""
    found = [
        1 - abs(policy(inputs, case=case, what="tokens_per_second") / rate - 1)
        for case, rate in table(inputs, "measured").items()
    ]
    return 100 * float(np.mean(found)) if found else math.nan


def _frozen(case: Any) -> tuple[tuple[str, Any], ...]:
    """A table that can be remembered by."""
    return tuple((key, _frozen(value) if isinstance(value, Mapping) else value) for key, value in case.items())


@lru_cache(maxsize=32)
def _policy(frozen: tuple[tuple[str, Any], ...]) -> Policy:
    case = dict(frozen)
    load = Load(int(case["prompt"]), int(case["output"]))
    where = hardware(found_device(case["gpu"]), found_device(case["host"])).with_(**dict(case.get("set", ())))
    model = shape(bundled(case["model"]), load.prompt + load.output)
    fixed = {f"{c}.{t}": float(share) for c, tiers in case.get("fixed", ()) for t, share in tiers}
    asked: dict[str, Any] = {"method": case["method"], "fixed": fixed, "settings": dict(case.get("settings", ()))}
    if "micro" not in case:
        return best(model, where, load, **asked)
    return place(
        model, where, load, **asked, micro=case["micro"], batches=case["batches"], within=case.get("within", True)
    )


def _flash(inputs: Mapping[str, Any]) -> Memory:
    """The flash memory of a paper's inputs."""
    return Memory(
        "flash",
        bandwidth=si(text(inputs, "flash", "bandwidth"), "B/s"),
        latency=si(text(inputs, "flash", "latency"), "s"),
        concurrency=number(inputs, "flash", "concurrency"),
    )


def flash_rate(inputs: Mapping[str, Any], *, chunk: str) -> float:
    """GB/s of random requests of so many bytes."""
    return float(_flash(inputs).scattered(si(chunk, "B", "chunk"))) / 1e9


def flash_milliseconds(
    inputs: Mapping[str, Any], *, model: str, resident: float, loaded: str = "", bundle: int = 1, rate: str = ""
) -> float:
    """Milliseconds to read what a token needs: the part of the model that is not ``resident``, end to end, or
    ``loaded`` bytes of its network in requests of ``bundle`` rows (at the rate of such requests, or at ``rate``)."""
    made, memory = shape(bundled(model), 1), _flash(inputs)
    if not loaded:
        whole = made.weight * made.layers + made.tables
        return flash.streamed(whole * (1 - resident), memory).seconds * 1e3
    share = si(loaded, "B", "loaded") / (made.network * made.layers)
    read = flash.reading(made, memory, resident=resident, loaded=share, bundle=bundle)
    return (read.loaded / si(rate, "B/s", "rate") if rate else read.seconds) * 1e3


def end_to_end(inputs: Mapping[str, Any], *, io: float, memory: float, compute: float) -> float:
    """Milliseconds of a token when reading, managing memory and computing follow one another."""
    return io + memory + compute


def speedup(inputs: Mapping[str, Any], *, before: float, after: float) -> float:
    """How many times faster."""
    return before / after


def known_shape(inputs: Mapping[str, Any], model: str) -> Shape:
    """A bundled model's shape, or that of a model given by its widths and which bundled one it is like."""
    return shape(Transformer(known_spec(inputs, model)), 1)


def known_spec(inputs: Mapping[str, Any], model: str) -> Spec:
    """A bundled model, or one given by its widths and which bundled one it is like."""
    if model not in inputs.get("models", {}):
        return bundled(model).spec
    like = bundled(text(inputs, "models", model, "like")).spec
    wide = {key: int(number(inputs, "models", model, key)) for key in ("width", "ffn", "heads", "kv_heads", "layers")}
    return _resized(like, wide, int(number(inputs, "models", model, "vocabulary")), model)


def _resized(like: Spec, wide: Mapping[str, int], vocabulary: int, name: str) -> Spec:
    from dataclasses import replace

    kind: Layer = like.layers[0]
    attention = kind.attention
    if not isinstance(attention, Attention):
        raise WeirError(f"{name}: {like.name} has no grouped attention to resize")
    head_dim = wide["width"] // wide["heads"]
    attention = replace(attention, heads=wide["heads"], kv_heads=wide["kv_heads"], head_dim=head_dim)
    network = replace(kind.network, hidden=wide["ffn"])
    layer = replace(kind, times=wide["layers"], attention=attention, network=network)
    return replace(like, name=name, model=wide["width"], vocabulary=vocabulary, layers=(layer,))


def window_gigabytes(inputs: Mapping[str, Any], *, model: str, devices: int, blocks: int) -> float:
    """GB at the fullest moment on the first of some devices, in fp32, with a window of so many blocks."""
    made = known_shape(inputs, model)
    sizes = [2 * size for size in window.blocks(made, devices)]  # shapes are in 16 bits
    most = window.peak(tuple(sizes), blocks)
    return (number(inputs, "measured", "factor") * most + si(text(inputs, "measured", "fixed"), "B")) / 1e9


def _pace(inputs: Mapping[str, Any]) -> window.Pace:
    def seconds(name: str) -> float:
        return si(text(inputs, "pace", name), "s", name)

    computed = (seconds("attention"), seconds("network"), seconds("all_reduce"))
    return window.Pace(*computed, seconds("load_attention"), seconds("load_network"))


def waiting_milliseconds(inputs: Mapping[str, Any], *, blocks: int, first: int, window_blocks: int) -> float:
    """Milliseconds that computing waits for loading over some blocks, simulated (a window of zero is boundless)."""
    return window.stalls(_pace(inputs), blocks, window=window_blocks or None, first=first) * 1e3


def streamed_seconds(inputs: Mapping[str, Any], *, model: str, devices: int, rate_of: str) -> float:
    """Seconds of a token when each device loads its blocks while others are computed, from a disk as fast as the
    measured token of another model (``rate_of``) shows it to be."""
    known = _streamed(inputs, rate_of, devices, 1.0)
    per_byte = number(inputs, "seconds_per_token", rate_of) / known
    return _streamed(inputs, model, devices, per_byte)


def _streamed(inputs: Mapping[str, Any], model: str, devices: int, per_byte: float) -> float:
    """Seconds to load every attention and feed-forward block of one device, all-reduces and waiting with it."""
    sizes = [2 * size for size in window.blocks(known_shape(inputs, model), devices)[1:-1]]  # shapes are in 16 bits
    reduce = si(text(inputs, "pace", "all_reduce"), "s") if per_byte < 1 else 0.0
    pace = window.Pace(0.0, 0.0, reduce, sizes[0] * per_byte, sizes[1] * per_byte)
    waited = window.stalls(pace, len(sizes)) + pace.load(0)  # the first block is loaded too, under the head
    return waited + reduce * len(sizes)


def transfer_milliseconds(inputs: Mapping[str, Any], *, model: str, link: str, links: int) -> float:
    """Milliseconds for one hidden state in fp32 to reach the hub over some links, and back."""
    hidden = 4 * bundled(model).model
    return 2 * links * hidden / si(link, "B/s", "link") * 1e3


def hop_latencies(inputs: Mapping[str, Any], *, topology: str, devices: int, links: int) -> float:
    """Latencies of single links that an all-reduce waits for, each message passing ``links`` of them."""
    return links * window.hops(topology, devices)


def bits_per_parameter(inputs: Mapping[str, Any]) -> float:
    """Bits of storage for each parameter, from the sizes before (16 bits each) and after."""
    return 16 * si(text(inputs, "compressed"), "B") / si(text(inputs, "plain"), "B")


def devices_needed(inputs: Mapping[str, Any], *, size: str, device: str) -> float:
    """Devices whose memories together hold weights of one of the paper's sizes."""
    return math.ceil(si(text(inputs, size), "B") / found_device(device).capacity)


def dictionary_rate(inputs: Mapping[str, Any], *, zeros: float, model: int, hidden: int, row_bits: int) -> float:
    """How many times smaller an expert's two matrices of random ternary weights become than in 16 bits.

    One has rows as wide as the model, the other as the hidden layer; each row has ``row_bits`` of scales and offset.
    """
    from workloads.kernels import qmoe

    weights, size, rows = 0, 0.0, 128
    draw = np.random.default_rng(0)
    for columns in (model, hidden):
        chance = draw.random((rows, columns))
        some = np.where(chance < zeros, 0, np.where(chance < (1 + zeros) / 2, 1, 2)).astype(np.uint8)
        codes, _ = qmoe.encode(some, zeros=zeros)
        share = model * hidden / some.size  # rows are alike: so many times those drawn
        weights += model * hidden
        size += share * (16 * len(codes) + row_bits * rows)
    return 16 * weights / size


def entropy_rate(inputs: Mapping[str, Any], *, zeros: float) -> float:
    """The most times that independent ternary weights can be smaller than in 16 bits: 16 over their entropy."""
    other = (1 - zeros) / 2
    return 16 / -(zeros * math.log2(zeros) + 2 * other * math.log2(other))
