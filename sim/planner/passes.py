"""What a layer and the loss of a model in training do on one device of a cluster: bytes kept, seconds, operations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf

from einsum import Cascade, WeirError, hint
from einsum.counts import operations
from mappings.division import Division
from mappings.layout import Layout
from sim.arch import Cluster, tier
from sim.model.estimate import Estimate, estimate
from sim.planner.parallel import fusion
from sim.planner.parts import Part
from sim.planner.skeleton import Layer
from workloads.spec import Spec
from workloads.training import forward, loss
from workloads.transformer import Transformer

SPLITS = ("tensor", "ulysses")


@dataclass(frozen=True, slots=True)
class Setting:
    """One model on one cluster, a batch of whole sequences at a time.

    ``split`` divides every layer by ``tensor`` (heads, hidden and vocabulary ranks, the sequence between them) over the
    devices of a node, and the sequence over nodes (context parallelism, keys and values gathered); or, as
    DeepSpeed-Ulysses, by the sequence (attention by heads). ``state_bytes`` are of weights, gradients and optimiser a
    parameter (mixed-precision Adam: 2 + 2 + 12, ZeRO, arXiv 1910.02054); devices that would hold the same share them
    out (``zero`` 3, weights gathered layer by layer), or all but weights (2), or all but weights and gradients (1).
    ``eager`` computes the loss in fp32, operation by operation, as frameworks do that fuse nothing. ``pairs`` are the
    fractions of the peak that products between tokens reach, forward and backward, where they are known better than by
    the tier. ``host`` is bytes of host memory for all devices together, ``link`` bytes a second of each device to it.
    """

    spec: Spec
    cluster: Cluster
    sequence: int
    batch: int = 1
    split: str = "tensor"
    host: float = inf
    link: float = 0.0
    state_bytes: float = 16.0
    tier: str = "physical"
    zero: int = 3
    eager: bool = False
    pairs: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise WeirError(f"unknown split {self.split!r}{hint(self.split, SPLITS)}")
        if self.zero not in (1, 2, 3):
            raise WeirError(f"ZeRO stage {self.zero}: 1, 2 or 3")
        if len(self.cluster.pools) > 1:
            raise WeirError(f"{self.cluster.name}: training is planned on one pool of like devices")

    @property
    def ways(self) -> int:
        """Devices that share every layer."""
        return self.cluster.devices

    @property
    def degree(self) -> int:
        """Devices that share a layer's weights: a node's for ``tensor``, none for ``ulysses``."""
        return 1 if self.split == "ulysses" else min(self.ways, self.cluster.pools[0].node_size)

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return sum(kind.times for kind in self.spec.layers)

    @property
    def rate(self) -> float:
        """Bytes a second between a device and the host."""
        if self.link:
            return self.link
        found = self.cluster.pools[0].device.link("host")
        if found is None:
            raise WeirError(f"{self.cluster.pools[0].device.name} has no host link; give its bytes a second")
        return float(found.bandwidth)

    @property
    def division(self) -> Division:
        """How a layer is divided over the devices."""
        pool, apart = self.cluster.pools[0].name, self.ways // self.degree
        if self.split == "ulysses":
            return Division(pool, self.ways, ulysses=True)
        return Division(pool, self.degree, sequence=True, context=apart)

    def timed(self, cascade: Cascade, layout: Layout) -> Estimate:
        """A cascade on the cluster, kernel by kernel."""
        return estimate(cascade, self.cluster, layout=layout, tier=tier(self.tier))

    def part(self, ahead: Cascade) -> Part:
        """A part of the model on the devices, both passes."""
        return Part(self, ahead, self.division, fusion("fused"))


@dataclass(frozen=True)
class Work:
    """What a layer of one kind (by its number) and the loss do on one device: bytes and seconds."""

    setting: Setting
    kind: int = 0

    @cached_property
    def layer(self) -> Layer:
        """The layer's two passes."""
        s = self.setting
        return Layer(forward(s.spec, s.spec.layers[self.kind], batch=s.batch, sequence=s.sequence))

    @cached_property
    def loss(self) -> Layer:
        """The classifier's two passes."""
        s = self.setting
        return Layer(loss(s.spec, batch=s.batch, sequence=s.sequence, eager=s.eager), s.eager)

    @cached_property
    def part(self) -> Part:
        """The layer on the cluster."""
        return self.setting.part(self.layer.forward)

    @cached_property
    def last(self) -> Part:
        """The classifier and the loss on the cluster."""
        return self.setting.part(self.loss.forward)

    def seconds(self, behind: bool) -> float:
        """Seconds of a pass of the layer; products between tokens at a fraction of the peak, where one is given."""
        total = (self.part.backward if behind else self.part.forward).seconds
        if self.setting.pairs is None:
            return total
        s, step, fraction = self.setting, self.part.step, self.setting.pairs[behind]
        sizes, peak = step.bind(), s.cluster.pools[0].device.rate("mac", s.spec.dtype) * s.ways
        for _, _, one in self.part.timed[behind]:
            own = [step.einsum(name) for name in one.task.einsums]
            if any({"p", "m"} <= set(e.ranks) for e in own):
                macs = sum(float(operations(step, e, sizes).get("mac", 0.0)) for e in own if e.contraction)
                total += macs / (peak * fraction) - float(one.seconds)
        return total

    @cached_property
    def forward(self) -> float:
        """Seconds of the layer's forward pass."""
        return self.seconds(behind=False)

    @cached_property
    def backward(self) -> float:
        """Seconds of the layer's backward pass."""
        return self.seconds(behind=True)

    @cached_property
    def classify(self) -> float:
        """Seconds of the classifier and the loss, both ways."""
        return self.last.forward.seconds + self.last.backward.seconds

    @cached_property
    def input(self) -> float:
        """Bytes of a layer's input."""
        return sum(live.bytes for live in self.layer.wide if live.tensor in self.layer.streams) / self.setting.ways

    @cached_property
    def anchors(self) -> float:
        """Bytes from which the rest is computed anew without attention."""
        return sum(live.bytes for live in self.layer.anchors) / self.setting.ways

    @cached_property
    def others(self) -> float:
        """Bytes of all other skeletal tensors, statistics apart."""
        return sum(live.bytes for live in self.layer.wide) / self.setting.ways - self.anchors

    @cached_property
    def statistics(self) -> float:
        """Bytes of sums and maxima."""
        return sum(live.bytes for live in self.layer.skeletal) / self.setting.ways - self.anchors - self.others

    @cached_property
    def recomputed(self) -> float:
        """Seconds to compute all other tensors of one layer anew from the anchors."""
        layer = self.layer
        anchors = {live.tensor for live in layer.anchors}
        others = {live.tensor for live in layer.wide} - anchors
        needed = _makers(layer.forward, others, anchors)
        total = 0.0
        for _, _, one in self.part.timed[0]:
            tensor = one.task.name.rpartition(" ")[2]
            kernel = one.task.kind == "kernel" and bool(needed & set(one.task.einsums))
            if kernel or (one.task.kind != "kernel" and _between(layer.forward, tensor, needed)):
                total += float(one.seconds)
        return total

    @cached_property
    def parameters(self) -> int:
        """Weights of the whole model."""
        return Transformer(self.setting.spec).parameters

    @cached_property
    def model_operations(self) -> float:
        """Multiply-adds of a step, two operations each: those of the forward pass three times, nothing recomputed."""
        return 3 * (sum(_products(made.layer.forward) for made in stack(self.setting)) + _products(self.loss.forward))

    def alpha(self) -> float:
        """MEMO's equation: the largest fraction of tokens whose other tensors are swapped, such that every layer's
        transfer hides behind its forward pass, (anchors + alpha others) / link <= seconds, and all layers but two fit
        the host, sum of (anchors + alpha others) <= host; from 0 to 1. Statistics stay on the device."""
        s, layers = self.setting, stack(self.setting)
        swapped = layers[:-2] or layers[:1]
        hidden = min((made.forward * s.rate - made.anchors) / made.others for made in layers)
        room = s.host / s.ways - sum(made.anchors for made in swapped)
        return max(0.0, min(1.0, hidden, room / sum(made.others for made in swapped)))


def _makers(cascade: Cascade, wanted: set[str], there: set[str]) -> set[str]:
    """Names of the Einsums that make the ``wanted`` tensors from those that are ``there``."""
    found: set[str] = set()
    missing = set(wanted)
    for einsum in reversed(cascade.einsums):
        if einsum.output.tensor in missing:
            found.add(einsum.name)
            missing |= set(einsum.inputs) - there
    return found


def _between(cascade: Cascade, tensor: str, needed: set[str]) -> bool:
    """Whether a tensor passes from one needed Einsum (or from outside) to another."""
    makers = {e.name for e in cascade.einsums if e.output.tensor == tensor}
    readers = {e.name for e in cascade.einsums if tensor in e.inputs}
    return bool(readers & needed) and (not makers or bool(makers & needed))


def _products(cascade: Cascade) -> float:
    sizes = cascade.bind()
    return float(sum(operations(cascade, e, sizes).get("mac", 0.0) for e in cascade.einsums if e.contraction))


@lru_cache(maxsize=64)
def work(setting: Setting, kind: int = 0) -> Work:
    """The work of a setting, computed once."""
    return Work(setting, kind)


def stack(setting: Setting) -> tuple[Work, ...]:
    """The work of each layer; kinds come one after the other, as the model lists them."""
    return tuple(work(setting, kind) for kind, one in enumerate(setting.spec.layers) for _ in range(one.times))
