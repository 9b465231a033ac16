"""What a training iteration is asked about: the model, the cluster, how they are divided, and the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from einsum import Cascade, WeirError, hint
from einsum.errors import raise_all
from mappings.division import Division
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
_LISTS = ("begin", "anew", "held")
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


def _above(count: int, unit: int) -> int:
    """The next multiple of a unit from a count on."""
    return -(-count // unit) * unit


@dataclass(frozen=True, slots=True)
class Setting:
    """A model in training on one pool of like devices.

    ``batch`` sequences of ``sequence`` tokens make an iteration, ``microbatch`` of them a pass. Weights are divided
    over ``tensor`` devices and ``stages`` of a pipeline, each with ``chunks`` of layers in turn (one: 1F1B, more:
    interleaved); what is left over makes replicas. ``spread``: activations between the divided products are divided
    by positions (sequence parallelism); ``sharded``: replicas share out the optimiser's states (ZeRO-1). ``experts``
    are divided so many ways over the tensor-parallel devices, and beyond them over replicas; what those leave divides
    each expert's hidden rank.
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
    experts: int = 1
    kernels: Kernels = field(default_factory=lambda: fusion("fused"))
    tier: str = "physical"

    def __post_init__(self) -> None:
        """Refuse what does not go round, every reason at once."""
        raise_all(list(self._small()))
        raise_all([*self._known(), *self._uneven()])

    def _small(self) -> Iterator[str]:
        for name in ("sequence", "batch", "microbatch", "tensor", "stages", "chunks", "experts"):
            if getattr(self, name) < 1:
                yield f"{name} {getattr(self, name)}: at least 1"

    def _known(self) -> Iterator[str]:
        if self.recompute not in RECOMPUTE:
            yield f"recompute {self.recompute!r:.40}: one of {', '.join(RECOMPUTE)}{hint(self.recompute, RECOMPUTE)}"
        if len(self.cluster.pools) > 1:
            yield f"{self.cluster.name}: training is timed on one pool of like devices"

    def _uneven(self) -> Iterator[str]:
        each, passes = self.tensor * self.stages, self.microbatch * max(self.replicas, 1)
        count = self.cluster.devices
        if count % each:
            would = each * max(1, count // each)
            asked = f"{self.tensor} (tensor) x {self.stages} (stages)"
            yield f"{count} devices are no multiple of {asked}; {would} would do"
        elif self.batch % passes:
            whole = f"{self.replicas} replicas x {self.microbatch}; {_above(self.batch, passes)} would do"
            yield f"a batch of {self.batch} is no multiple of {passes}: {whole}"
        elif self.chunks > 1 and self.microbatches % self.stages:
            would = _above(self.batch, passes * self.stages)
            yield (
                f"{self.microbatches} microbatches are no multiple of {self.stages} stages, which interleaving needs; "
                f"a batch of {would} would do"
            )
        yield from self._stages()
        yield from self._shared()
        if self.experts > 1:
            yield from self._spread()

    def _stages(self) -> Iterator[str]:
        """Whether layers go round the stages, and what would do."""
        if self.layers % (self.stages * self.chunks):
            would = max(n for n in range(1, self.stages + 1) if not self.layers % n)
            of = f"{would} of one chunk would do"
            yield f"{self.layers} layers do not go round {self.stages} stages of {self.chunks} chunks; {of}"

    def _shared(self) -> Iterator[str]:
        """Whether a layer can be divided over its devices, and what would do."""
        node, counts = self.cluster.pools[0].node_size, {kind.attention.heads for kind in self.spec.layers}
        would = max(n for n in range(1, min(self.tensor, node) + 1) if not any(count % n for count in counts))
        if self.tensor > node:
            yield f"{self.tensor} ways of tensor parallelism reach beyond a node of {node} devices; {would} would do"
        for count in sorted(counts):
            if count % self.tensor:
                yield f"{count} heads cannot be divided {self.tensor} ways; {would} would do"

    def _spread(self) -> Iterator[str]:
        """Whether experts can be divided as asked for, and what would do."""
        counts = {k.network.count for k in self.spec.layers if isinstance(k.network, Experts)}
        group = self.tensor * max(self.replicas, 1)
        if not counts:
            yield f"{self.spec.name} has no experts to divide {self.experts} ways; 1 would do"
            return
        ways = [n for n in range(1, min(counts) + 1) if not any(count % n for count in counts) and self._rounds(n)]
        if self.experts not in ways:
            yield (
                f"{min(counts)} experts cannot be divided {self.experts} ways over {self.tensor} devices of "
                f"{group // self.tensor} replicas; {', '.join(map(str, ways))} would do"
            )
        elif self.experts > self.tensor > 1 and not self.spread:
            yield "experts divided over replicas of several devices need their positions divided (sequence parallel)"

    def _rounds(self, ways: int) -> bool:
        """Whether so many ways are a part of the tensor-parallel devices, or these and a part of the replicas."""
        return not self.tensor % ways or not (ways % self.tensor or self.replicas % (ways // self.tensor))

    @property
    def division(self) -> Division:
        """How a layer is divided over devices."""
        pool = self.cluster.pools[0].name
        return Division(pool, self.tensor, self.spread, experts=self.experts, copies=self.copies)

    @property
    def copies(self) -> int:
        """Replicas over which experts are divided."""
        return max(1, self.experts // self.tensor)

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return sum(kind.times for kind in self.spec.layers)

    @property
    def replicas(self) -> int:
        """Copies of the model that share the batch."""
        return self.cluster.devices // (self.tensor * self.stages)

    def timed(self, cascade: Cascade, layout: Layout) -> Estimate:
        """A cascade on the cluster, kernel by kernel, on the slowest of all devices: each waits for the others."""
        groups = self.cluster.devices // layout.places[0].count  # of devices that all do the same
        laid = replace(layout, replicas=groups, together=self.cluster.devices)
        return estimate(cascade, self.cluster, layout=laid, tier=self.tier)

    @property
    def microbatches(self) -> int:
        """Passes of each replica in an iteration."""
        return self.batch // (self.microbatch * self.replicas)
