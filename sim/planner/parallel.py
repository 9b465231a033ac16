"""What a training iteration is asked about: the model, the cluster, how they are divided, and the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from einsum import Cascade, WeirError, hint
from einsum.errors import raise_all
from mappings.layout import Layout
from mappings.training import Kernels
from sim.arch import Cluster
from sim.arch.components import Quantity
from sim.arch.files import Table
from sim.model.estimate import Estimate, estimate
from workloads.spec import Experts, Spec

RECOMPUTE = ("none", "selective", "full")
FOLDER = Path(__file__).parents[2] / "mappings" / "data" / "training"
_NUMBERS = {"dropout": Quantity("1"), "channels": Quantity("1")}
_LISTS = ("begin", "anew")
_FLAGS = ("eager", "added", "beside", "scaled")


def fusions() -> tuple[str, ...]:
    """Names of the sets of kernels that come with weir."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@lru_cache(maxsize=16)
def fusion(name: str) -> Kernels:
    """The set of kernels of that name, or in a ``.toml`` file of the user's own."""
    path = Path(name)
    if path.suffix != ".toml":
        if name not in fusions():
            raise WeirError(f"no kernels {name!r:.40}: {', '.join(fusions())}, or a .toml file{hint(name, fusions())}")
        path = FOLDER / f"{name}.toml"
    table = Table.read(path, "kernels", ("title", "source", *_NUMBERS, *_LISTS, *_FLAGS))
    texts: dict[str, Any] = {key: table.texts(key) for key in _LISTS}
    numbers: dict[str, Any] = {key: table.number(key, kind, 0.0) for key, kind in _NUMBERS.items()}
    flags: dict[str, Any] = {key: table.flag(key) for key in _FLAGS}
    made = Kernels(table.text("title"), source=table.text("source"), **texts, **numbers, **flags)
    if not 0 <= made.dropout < 1:
        table.refuse(f"{made.dropout:g} must be at least 0 and less than 1", "dropout")
    table.source.finish()
    return made


@dataclass(frozen=True, slots=True)
class Setting:
    """A model in training on one pool of like devices.

    ``batch`` sequences of ``sequence`` tokens make an iteration, ``microbatch`` of them a pass. Weights are divided
    over ``tensor`` devices and ``stages`` of a pipeline, each with ``chunks`` of layers in turn (one: 1F1B, more:
    interleaved); what is left over makes replicas. ``spread``: activations between the divided products are divided
    by positions (sequence parallelism); ``sharded``: replicas share out the optimiser's states (ZeRO-1).
    """

    spec: Spec
    cluster: Cluster
    sequence: int
    batch: int
    microbatch: int = 1
    tensor: int = 1
    stages: int = 1
    chunks: int = 1
    recompute: str = "none"
    spread: bool = False
    sharded: bool = False
    kernels: Kernels = field(default_factory=lambda: fusion("fused"))
    tier: str = "physical"

    def __post_init__(self) -> None:
        """Refuse what does not go round, every reason at once."""
        raise_all(list(self._small()))
        raise_all([*self._known(), *self._uneven()])

    def _small(self) -> Iterator[str]:
        for name in ("sequence", "batch", "microbatch", "tensor", "stages", "chunks"):
            if getattr(self, name) < 1:
                yield f"{name} {getattr(self, name)}: at least 1"

    def _known(self) -> Iterator[str]:
        name = self.spec.name
        if self.recompute not in RECOMPUTE:
            yield f"recompute {self.recompute!r:.40}: one of {', '.join(RECOMPUTE)}{hint(self.recompute, RECOMPUTE)}"
        if len(self.spec.layers) > 1 or isinstance(self.spec.layers[0].network, Experts):
            yield f"{name}: an iteration is timed for dense layers of one kind only"
        if len(self.cluster.pools) > 1:
            yield f"{self.cluster.name}: training is timed on one pool of like devices"

    def _uneven(self) -> Iterator[str]:
        spec, each, passes = self.spec, self.tensor * self.stages, self.microbatch * max(self.replicas, 1)
        if self.cluster.devices % each:
            yield f"{self.cluster.devices} devices are no multiple of {self.tensor} (tensor) x {self.stages} (stages)"
        elif self.batch % passes:
            yield f"a batch of {self.batch} is no multiple of {passes}: {self.replicas} replicas x {self.microbatch}"
        elif self.chunks > 1 and self.microbatches % self.stages:
            yield f"{self.microbatches} microbatches are no multiple of {self.stages} stages, which interleaving needs"
        if self.layers % (self.stages * self.chunks):
            yield f"{self.layers} layers do not go round {self.stages} stages of {self.chunks} chunks"
        if self.tensor > (node := self.cluster.pools[0].node_size):
            yield f"{self.tensor} ways of tensor parallelism reach beyond a node of {node} devices"
        if spec.layers[0].attention.heads % self.tensor:
            yield f"{spec.layers[0].attention.heads} heads cannot be divided {self.tensor} ways"

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return self.spec.layers[0].times

    @property
    def replicas(self) -> int:
        """Copies of the model that share the batch."""
        return self.cluster.devices // (self.tensor * self.stages)

    def timed(self, cascade: Cascade, layout: Layout) -> Estimate:
        """A cascade on the cluster, kernel by kernel."""
        return estimate(cascade, self.cluster, layout=layout, tier=self.tier)

    @property
    def slowed(self) -> float:
        """The fraction of a device's multiprocessors that a collective takes while it runs."""
        device = self.cluster.pools[0].device
        sm = device.multiprocessor
        return min(self.kernels.channels / (sm.count * device.instances(sm.name)), 0.5) if sm else 0.0

    @property
    def microbatches(self) -> int:
        """Passes of each replica in an iteration."""
        return self.batch // (self.microbatch * self.replicas)
