"""What a placement method may name about a model and the hardware, counted from the model's own cascades."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

from einsum import Cascade, Einsum, WeirError, hint
from einsum.counts import operations
from einsum.ops import bits
from mappings.kernels import weighted
from sim.arch import Device
from sim.units import si
from workloads.spec import Experts, FeedForward
from workloads.transformer import Transformer

_NETWORK = {"f", "s"}  # ranks of a network's weights: hidden, shared hidden


@dataclass(frozen=True, slots=True)
class Shape:
    """A model by one mean layer: bytes of a layer, of a token's state and stream, and operations of a token.

    ``weight`` is a layer's bytes, of which ``projections`` are attention's matrices and ``network`` the feed-forward's
    or all experts'; ``tables`` are the embedding and the head. ``kv`` is a layer's state for a token, ``stream`` a
    token between layers, ``ffn_stream`` inside the network. ``linear_flops`` are a token's products with weights in a
    layer (a multiply-add is two), ``network_flops`` the network's part, ``attention_flops`` those with the state for
    each token of context, ``head_flops`` a token's logits. ``working`` is what a token needs while one product runs.
    """

    name: str
    layers: int
    width: float
    heads: float
    chosen: float  # experts of a token; one where there are none
    weight: float
    projections: float
    network: float
    tables: float
    kv: float
    stream: float
    ffn_stream: float
    linear_flops: float
    network_flops: float
    attention_flops: float
    head_flops: float
    working: float

    @property
    def names(self) -> dict[str, float]:
        """The numbers by the names that methods use."""
        return {name: float(value) for name, value in asdict(self).items() if name != "name"}

    def compressed(self, ratio: float) -> Shape:
        """The same model with its feed-forward weights stored in ``ratio`` times fewer bytes (QMoE's experts)."""
        if not ratio >= 1:
            raise WeirError(f"a compression of {ratio:g}; weights take 1/ratio of their bytes, and ratio is at least 1")
        saved = self.network * (1 - 1 / ratio)
        return replace(self, weight=self.weight - saved, network=self.network - saved)


def shape(model: Transformer, context: int) -> Shape:
    """The model's shape with ``context`` tokens of state, where state seen depends on it (sliding windows)."""
    layers = [p for p in model.decode.parts if any(t.kind == "state" for t in p.cascade.tensors)]
    others = [p for p in model.decode.parts if p not in layers]
    count = sum(p.times for p in layers)
    means: dict[str, float] = {}
    for part in layers:
        for key, value in _layer(part.cascade, context).items():
            means[key] = means.get(key, 0.0) + value * part.times / count
    kinds = [kind for kind in model.spec.layers for _ in range(kind.times)]
    chosen = [kind.network.gate.chosen if isinstance(kind.network, Experts) else 1 for kind in kinds]
    shared = set(model.decode.shared)
    tables = sum(p.times * _stored(p.cascade, shared if n else set()) for n, p in enumerate(others))
    stream = model.model * bits(_stream(layers[0].cascade)) / 8
    return Shape(
        name=model.name, layers=count, width=float(model.model), heads=float(model.heads),
        chosen=sum(chosen) / count, tables=tables, stream=stream,
        head_flops=_products(others[-1].cascade), kv=float(model.state_bytes(context)) / context / count,
        ffn_stream=sum(map(_hidden, (k.network for k in kinds))) / count * stream / model.model, **means,
    )  # fmt: skip


def _products(cascade: Cascade) -> float:
    """Operations of all products, for one token of one request."""
    own = {rank for rank, _ in cascade.sizes}
    sizes = cascade.bind(**{rank: 1 for rank in ("b", "p") if rank in own})
    return sum(float(operations(cascade, e, sizes).get("mac", 0)) for e in cascade.einsums if e.contraction)


def _hidden(network: FeedForward | Experts) -> float:
    """Values of a token inside its network."""
    if isinstance(network, Experts):
        return network.gate.chosen * network.hidden + network.shared
    return network.hidden


def _stream(cascade: Cascade) -> str:
    return cascade.tensor("X").dtype


def _stored(cascade: Cascade, left_out: set[str]) -> float:
    return sum(_bytes(cascade, t.name) for t in cascade.tensors if t.kind == "weight" and t.name not in left_out)


def _bytes(cascade: Cascade, name: str) -> float:
    return float(cascade.elements(name)) * bits(cascade.tensor(name).dtype) / 8


def _layer(cascade: Cascade, context: int) -> dict[str, float]:
    """The counts of one layer, for one token of one request that sees ``context`` tokens."""
    sizes = cascade.bind(b=1, p=1, c=context - 1)
    found = dict.fromkeys(("projections", "network", "linear_flops", "network_flops", "attention_flops"), 0.0)
    working = 0.0
    for einsum in cascade.einsums:
        if not einsum.contraction:
            continue
        flops = float(operations(cascade, einsum, sizes).get("mac", 0))
        if weighted(cascade, einsum):
            size, inside = _matrix(cascade, einsum)
            found["linear_flops"] += flops
            found["network" if inside else "projections"] += size
            found["network_flops"] += flops * inside
            working = max(working, _passing(cascade, einsum, sizes))
        elif any(cascade.tensor(a.tensor).kind == "state" for a in einsum.reads):
            found["attention_flops"] += flops / context
    stream = float(sizes["d"]) * bits(_stream(cascade)) / 8
    return {**found, "weight": _stored(cascade, set()), "working": working + 2 * stream}


def _matrix(cascade: Cascade, einsum: Einsum) -> tuple[float, bool]:
    """Bytes of a product's weights, and whether they are the network's (a router is of neither kind: no bytes)."""
    read = [a for a in einsum.reads if cascade.tensor(a.tensor).kind == "weight"]
    inside = any(set(a.ranks) & _NETWORK for a in read)
    router = not inside and any("x" in a.ranks for a in read)
    return (0.0 if router else sum(_bytes(cascade, a.tensor) for a in read)), inside


def _passing(cascade: Cascade, einsum: Einsum, sizes: Any) -> float:
    """Bytes of what a product reads and writes besides weights, for one token."""
    names = {einsum.output.tensor, *(a.tensor for a in einsum.reads if cascade.tensor(a.tensor).kind == "stream")}
    return sum(float(cascade.elements(n, sizes)) * bits(cascade.tensor(n).dtype) / 8 for n in names)


@dataclass(frozen=True, slots=True)
class Hardware:
    """GPUs, their host and its disk: bytes, bytes a second, operations a second; no disk unless given.

    ``down`` is from the host to the GPUs, ``up`` back; all GPUs together.
    """

    name: str
    gpus: float
    gpu_memory: float
    gpu_bandwidth: float
    gpu_flops: float
    down: float
    up: float
    host_memory: float
    host_bandwidth: float
    host_flops: float
    disk_memory: float = 0.0
    disk_read: float = inf
    disk_write: float = inf

    @property
    def names(self) -> dict[str, float]:
        """The numbers by the names that methods use."""
        return {name: float(value) for name, value in asdict(self).items() if name != "name"}

    def with_(self, **texts: str | float) -> Hardware:
        """The hardware with numbers changed, as text with units or in SI."""
        for name in texts:
            if name not in UNITS:
                raise WeirError(f"hardware has no {name!r}{hint(name, UNITS)}")
        changes: dict[str, Any] = {name: si(text, UNITS[name], name) for name, text in texts.items()}
        return replace(self, **changes)


UNITS = {
    **dict.fromkeys(("gpu_memory", "host_memory", "disk_memory"), "B"),
    **dict.fromkeys(("gpu_bandwidth", "down", "up", "host_bandwidth", "disk_read", "disk_write"), "B/s"),
    **dict.fromkeys(("gpu_flops", "host_flops"), "op/s"),
    "gpus": "1",
}


def hardware(gpu: Device, host: Device, *, gpus: int = 1, dtype: str = "bf16") -> Hardware:
    """Some GPUs on one host, from their files: peak rates, and the GPU's link to its host in each direction."""
    link = gpu.link("host")
    if link is None:
        raise WeirError(f"{gpu.name} states no link to a host; add a [[link]] of scope 'host', or set down and up")
    return Hardware(
        name=f"{gpus}x{gpu.name} on {host.name}", gpus=gpus, gpu_memory=gpus * gpu.capacity,
        gpu_bandwidth=gpus * gpu.memory.rate, gpu_flops=gpus * gpu.rate("mac", dtype), down=gpus * link.bandwidth,
        up=gpus * link.bandwidth, host_memory=host.capacity, host_bandwidth=host.memory.rate,
        host_flops=host.rate("mac", dtype),
    )  # fmt: skip
