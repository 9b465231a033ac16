"""One iteration of training a transformer on a cluster: tensor, sequence, pipeline and data parallelism together.

A layer's forward and backward pass is one cascade; which of its Einsums share a kernel is a :class:`Kernels` value, what
is sent follows from how ranks are divided. Passes of all microbatches are laid out in a pipeline's schedule; gradients
of replicas are reduced, and weights updated, after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from einsum import Cascade, Einsum, WeirError, hint
from einsum.errors import raise_all
from einsum.counts import footprint, operations
from mappings.kernels import divisions, kernels
from mappings.layout import Layout, Place
from mappings.training import Kernels, layout
from sim.arch import Cluster, tier
from sim.arch.components import Quantity
from sim.arch.files import Table, read
from sim.model.collectives import collective
from sim.model.estimate import estimate
from sim.model.timing import Timed
from sim.planner.flows import Stages, interleaved_chunks, one_f_one_b
from sim.planner.pipeline import Schedule
from sim.planner.skeleton import inside
from workloads.layers import embedding
from workloads.pieces import Types, typed
from workloads.spec import Experts, Spec
from workloads.training import forward, loss, optimiser, step
from workloads.transformer import Transformer

RECOMPUTE = ("none", "selective", "full")
TERMS = ("matrix products", "attention", "elementwise", "collectives", "pipeline", "replicas", "optimiser")
FOLDER = Path(__file__).parents[2] / "mappings" / "data" / "training"
FRACTION = Quantity("1")
WHOLE = 4.0  # bytes of a gradient, which is added up in fp32
STATE = 12.0  # bytes of the optimiser's: a master weight and two moments in fp32


def fusions() -> tuple[str, ...]:
    """Names of the sets of kernels that come with weir."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@lru_cache(maxsize=16)
def fusion(name: str) -> Kernels:
    """The set of kernels of that name, or in a ``.toml`` file of the user's own."""
    path = Path(name)
    if path.suffix != ".toml":
        if name not in fusions():
            raise WeirError(f"no kernels {name!r:.40}{hint(name, fusions()) or '; one of ' + ', '.join(fusions())}")
        path = FOLDER / f"{name}.toml"
    flags = ("eager", "added", "beside", "scaled")
    table = Table(read(path, "kernels"), path.name, ("title", "source", "dropout", "channels", "begin", *flags), [])
    made = Kernels(
        table.text("title"), dropout=table.number("dropout", FRACTION, 0.0), begin=table.texts("begin"),
        channels=table.number("channels", FRACTION, 0.0), source=table.text("source"),
        **{flag: table.flag(flag) for flag in flags},
    )  # fmt: skip
    raise_all(table.problems)
    return made


@dataclass(frozen=True, slots=True)
class Setting:
    """A model in training on one pool of like devices.

    ``batch`` sequences of ``sequence`` tokens make an iteration, ``microbatch`` of them a pass. Weights are divided over
    ``tensor`` devices and ``stages`` of a pipeline, each with ``chunks`` of layers in turn (one: 1F1B, more: interleaved);
    what is left over makes replicas. ``spread``: activations between the divided products are divided by positions
    (sequence parallelism); ``sharded``: replicas share out the optimiser's states (ZeRO-1).
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
    kernels: Kernels = Kernels("fused")
    tier: str = "physical"

    def __post_init__(self) -> None:
        """Refuse what does not go round."""
        if self.recompute not in RECOMPUTE:
            raise WeirError(f"--recompute {self.recompute!r:.40}{hint(self.recompute, RECOMPUTE)}; one of none, selective, full")
        if len(self.spec.layers) > 1 or isinstance(self.spec.layers[0].network, Experts):
            raise WeirError(f"{self.spec.name}: an iteration is timed for dense layers of one kind only")
        if len(self.cluster.pools) > 1:
            raise WeirError(f"{self.cluster.name}: training is timed on one pool of like devices")
        each = self.tensor * self.stages
        if self.cluster.devices % each:
            raise WeirError(f"{self.cluster.devices} devices are not a multiple of {self.tensor} x {self.stages}")
        if self.batch % (self.microbatch * self.replicas):
            raise WeirError(
                f"a batch of {self.batch} is not a multiple of {self.replicas} replicas with microbatches of {self.microbatch}"
            )
        if self.layers % (self.stages * self.chunks):
            raise WeirError(f"{self.layers} layers of {self.spec.name} do not go round {self.stages} stages of "
                            f"{self.chunks} chunks")  # fmt: skip
        if self.tensor > self.cluster.pools[0].node_size:
            raise WeirError(f"{self.tensor} ways of tensor parallelism leave the node of {self.cluster.pools[0].node_size}")

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return self.spec.layers[0].times

    @property
    def replicas(self) -> int:
        """Copies of the model that share the batch."""
        return self.cluster.devices // (self.tensor * self.stages)

    @property
    def slowed(self) -> float:
        """The fraction of a device's multiprocessors that a collective takes while it runs."""
        sm = next((f for f in self.cluster.pools[0].device.fanouts if f.name == "sm"), None)
        return min(self.kernels.channels / sm.count, 0.5) if sm else 0.0

    @property
    def microbatches(self) -> int:
        """Passes of each replica in an iteration."""
        return self.batch // (self.microbatch * self.replicas)


Numbered = tuple[int, str, Timed]  # a task's number in its cascade, the term it counts towards, its seconds


@dataclass(frozen=True)
class Pass:
    """One way through a part of the model on one device: seconds from start to end, and of these by term."""

    seconds: float
    terms: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, timed: list[Numbered], setting: Setting) -> Pass:
        """Tasks in order."""
        seconds = makespan(timed, setting.kernels.beside, setting.slowed)
        terms = {term: sum(float(one.seconds) for _, name, one in timed if name == term) for term in TERMS[:4]}
        terms["collectives"] = seconds - sum(terms[t] for t in TERMS[:3])  # what kernels wait for
        return cls(seconds, tuple(terms.items()))

    def __add__(self, other: Pass) -> Pass:
        theirs = dict(other.terms)
        return Pass(self.seconds + other.seconds, tuple((name, t + theirs[name]) for name, t in self.terms))

    def __mul__(self, times: float) -> Pass:
        return Pass(times * self.seconds, tuple((name, times * t) for name, t in self.terms))


NOTHING = Pass(0.0, tuple((term, 0.0) for term in TERMS[:4]))


def makespan(timed: list[Numbered], beside: bool, slowed: float = 0.0) -> float:
    """Seconds of tasks in order: each when its inputs and its resource are ready, links a resource of their own if
    collectives run ``beside`` kernels, which are ``slowed`` by a fraction meanwhile; what was made before the first of
    them is there."""
    ends: dict[int, float] = {}
    kernel = link = 0.0
    for number, _, one in issued(timed) if beside else timed:
        ready = max((ends.get(before, 0.0) for before in one.task.after), default=0.0)
        seconds = float(one.seconds)
        if beside and one.task.kind != "kernel":
            ends[number] = link = max(link, ready) + seconds
            continue
        begin = max(kernel, ready)
        shared = min(max(0.0, link - begin), seconds / (1 - slowed))  # with a collective on the link
        ends[number] = kernel = begin + seconds + slowed * shared
    return max(kernel, link)


def issued(timed: list[Numbered]) -> list[Numbered]:
    """The tasks with each collective begun ahead of the kernel before it, where it does not wait for that."""
    order: list[Numbered] = []
    for one in timed:
        early = order and one[2].task.kind != "kernel" and order[-1][2].task.kind == "kernel"
        place = len(order) - 1 if early and order[-1][0] not in one[2].task.after else len(order)
        order.insert(place, one)
    return order


@dataclass(frozen=True)
class Part:
    """A part of the model, forward and backward, as one cascade divided over the devices of a stage."""

    setting: Setting
    ahead: Cascade

    @cached_property
    def again(self) -> frozenset[str]:
        """What the backward pass computes anew: what never leaves a kernel (sums and maxima apart), and with selective
        recomputation all that has an element for every pair of positions."""
        s = self.setting
        groups = kernels(self.ahead, self._layout(self.ahead, ""))
        hidden = inside(self.ahead, groups)
        sums = {e.output.tensor for e in self.ahead.einsums if e.reduced and not e.contraction}
        if s.recompute != "selective":
            return hidden - sums
        pairs = {e.output.tensor for e in self.ahead.einsums if {"p", "m"} <= set(e.output.ranks)}
        return (hidden - sums) | pairs

    @cached_property
    def step(self) -> Cascade:
        """Both passes."""
        return step(self.ahead, sorted(self.again))

    @cached_property
    def turn(self) -> str:
        """The Einsum with which the backward pass begins."""
        return self.step.einsums[len(self.ahead.einsums)].name

    @cached_property
    def layout(self) -> Layout:
        """How the step is divided, and what shares a kernel."""
        return self._layout(self.step, self.turn)

    def _layout(self, cascade: Cascade, turn: str) -> Layout:
        s = self.setting
        pool = s.cluster.pools[0].name
        return layout(cascade, s.kernels, pool, s.tensor, sequence=s.spread, turn=turn)

    @cached_property
    def timed(self) -> tuple[list[Numbered], list[Numbered]]:
        """The tasks of the forward and of the backward pass."""
        found = estimate(self.step, self.setting.cluster, layout=self.layout, tier=tier(self.setting.tier))
        [(_, rows)] = found.step.rows
        tasks = [(n, _term(self.step, one), one) for n, one in enumerate(rows)]
        first = next(n for n, _, one in tasks if self.turn in one.task.einsums)
        while tasks[first - 1][2].task.kind != "kernel":  # what travels to the first kernel goes with it
            first -= 1
        return tasks[:first], tasks[first:]

    @cached_property
    def forward(self) -> Pass:
        """The forward pass."""
        return Pass.of(self.timed[0], self.setting)

    @cached_property
    def backward(self) -> Pass:
        """The backward pass, after the forward pass once more with full recomputation."""
        once = Pass.of(self.timed[1], self.setting)
        return self.forward + once if self.setting.recompute == "full" else once

    @cached_property
    def kept(self) -> float:
        """Bytes on one device that a microbatch keeps from the forward to the backward pass."""
        turn = len(self.ahead.einsums)
        before, after = self.step.einsums[:turn], self.step.einsums[turn:]
        read = {n for e in after for n in e.inputs}
        again = {n for e in after if e.name.endswith("_R") for n in e.inputs}
        there = {n for e in before for n in (e.output.tensor, *e.inputs)}
        names = [t.name for t in self.step.tensors if t.kind == "stream" and t.name in read & there and "b" in t.ranks]
        drawn = {t.name for t in self.step.tensors if t.dtype == "int8"} & again  # masks, with what they hide
        if self.setting.recompute == "full":
            return self.bytes("X")
        return sum(self.bytes(name) for name in names if name not in drawn)

    def bytes(self, name: str) -> float:
        """Bytes of a tensor on one device, divided as it is made, or first read."""
        uses = [(e, a) for e in self.step.einsums for a in (e.output, *e.reads) if a.tensor == name]
        makers = [(e, a) for e, a in uses if e.output is a]
        einsum, access = (makers or uses)[0]
        parts = divisions(self.layout.places[0].ways(einsum), access)
        size = float(footprint(self.step, name))
        for part in parts:
            size /= part
        return size

    @cached_property
    def macs(self) -> tuple[float, float]:
        """Operations of products on all devices of a stage, two each: of the model, and of what is computed anew."""
        ahead, behind = self.step.einsums[: len(self.ahead.einsums)], self.step.einsums[len(self.ahead.einsums) :]
        again = sum(self._ops(e) for e in behind if e.name.endswith("_R"))
        once = sum(map(self._ops, ahead))
        return 3 * once, once if self.setting.recompute == "full" else again

    def _ops(self, einsum: Einsum) -> float:
        return float(operations(self.step, einsum, self.step.bind()).get("mac", 0.0)) if einsum.matrix else 0.0


def _term(cascade: Cascade, one: Timed) -> str:
    """What a task's seconds count towards."""
    if one.task.kind != "kernel":
        return "collectives"
    own = [cascade.einsum(name) for name in one.task.einsums]
    if any({"p", "m"} <= set(e.ranks) for e in own):
        return "attention"
    return "matrix products" if any(e.matrix for e in own) else "elementwise"


@dataclass(frozen=True)
class Iteration:
    """An iteration of a setting: what each stage does, the schedule of all, what comes after it."""

    setting: Setting

    @cached_property
    def layer(self) -> Part:
        """One layer."""
        s = self.setting
        return Part(s, forward(s.spec, batch=s.microbatch, sequence=s.sequence, style=s.kernels.style))

    @cached_property
    def ends(self) -> tuple[Part, Part]:
        """The embedding, and the output layer with the loss in fp32, neither of which is recomputed."""
        s = self.setting
        plain = replace(s, recompute="none")
        first = typed(embedding(s.spec).cascade("embedding"), Types(*4 * ("bf16",)))
        last = loss(s.spec, batch=s.microbatch, sequence=s.sequence, eager=True)
        return Part(plain, first.with_sizes(b=s.microbatch, p=s.sequence)), Part(plain, last)

    @cached_property
    def parts(self) -> tuple[tuple[Pass, Pass], ...]:
        """Forward and backward pass of each chunk of layers, in the order in which a microbatch passes them."""
        s = self.setting
        count = s.stages * s.chunks
        each = s.layers // count
        found = [[self.layer.forward * each, self.layer.backward * each] for _ in range(count)]
        for chunk, end in zip((found[0], found[-1]), self.ends, strict=True):
            chunk[0], chunk[1] = chunk[0] + end.forward, chunk[1] + end.backward
        return tuple((f, b) for f, b in found)

    @cached_property
    def hop(self) -> float:
        """Seconds in which a microbatch's stream gets from one stage to the next: each device sends its part, which are
        gathered if positions are not divided."""
        s = self.setting
        if s.stages == 1:
            return 0.0
        size = 2.0 * s.microbatch * s.sequence * s.spec.model
        [pool] = s.cluster.pools
        sent = float(pool.link(s.cluster.devices).seconds(size / s.tensor))
        near = pool.link(s.tensor)
        together = 0.0 if s.spread else float(collective("all-gather", size, s.tensor, near.bandwidth, near.latency)[0])
        return sent + together

    @cached_property
    def schedule(self) -> Schedule:
        """All passes: 1F1B, or interleaved."""
        s = self.setting
        ahead, behind = (tuple(one[i].seconds + self.hop for one in self.parts) for i in (0, 1))
        made = Stages(ahead, behind)  # a device waits while it sends
        if s.chunks == 1:
            return one_f_one_b(made, s.microbatches)
        return interleaved_chunks(made, s.microbatches, s.chunks)

    @cached_property
    def weights(self) -> float:
        """Weights on the fullest device."""
        s = self.setting
        layer = sum(self.layer.bytes(t.name) / 2 for t in self.layer.ahead.tensors if t.kind == "weight")
        tables = 1 if s.spec.tied or s.stages > 1 else 2
        return layer * s.layers / s.stages + s.spec.model * (tables * s.spec.vocabulary / s.tensor + s.spec.rows)

    def _reduced(self, kind: str, size: float, ways: int, span: int) -> float:
        """Seconds of a collective among devices that are ``span`` apart at most."""
        link = self.setting.cluster.pools[0].link(span)
        return float(collective(kind, size, ways, link.bandwidth, link.latency)[0])

    @cached_property
    def reduction(self) -> float:
        """Seconds to add up gradients over replicas, and those of a tied table over the first and the last stage."""
        s = self.setting
        span = s.tensor * s.replicas
        size = self.weights * WHOLE
        found = 0.0
        if s.replicas > 1 and s.sharded:
            found = self._reduced("reduce-scatter", size, s.replicas, span)
            found += self._reduced("all-gather", size / 2, s.replicas, span)
        elif s.replicas > 1:
            found = self._reduced("all-reduce", size, s.replicas, span)
        if s.spec.tied and s.stages > 1:
            table = WHOLE * s.spec.vocabulary * s.spec.model / s.tensor
            found += self._reduced("all-reduce", table, 2, s.cluster.devices)
        return found

    @cached_property
    def update(self) -> float:
        """Seconds of the optimiser on the fullest device."""
        s = self.setting
        each = self.weights / (s.replicas if s.sharded else 1)
        cascade = optimiser(round(each), scaled=s.kernels.scaled)
        place = Place(s.cluster.pools[0].name, 1)
        made = Layout((place,), apart=("NRM", "GC", "M2", "W"))
        return float(estimate(cascade, s.cluster, layout=made, tier=tier(s.tier)).seconds)

    @cached_property
    def seconds(self) -> float:
        """Seconds of an iteration."""
        return self.schedule.seconds + self.reduction + self.update

    @cached_property
    def terms(self) -> tuple[tuple[str, float], ...]:
        """Seconds of the busiest device by what they go to; they add up to the iteration's."""
        s = self.setting
        stages = [self.parts[i :: s.stages] for i in range(s.stages)]
        works = [sum((f + b for f, b in chunks), start=NOTHING) * s.microbatches for chunks in stages]
        work = max(works, key=lambda one: one.seconds)
        waits = self.schedule.seconds - work.seconds
        return (*work.terms, ("pipeline", waits), ("replicas", self.reduction), ("optimiser", self.update))

    @property
    def held(self) -> float:
        """Microbatches that the first stage holds at most."""
        return self.schedule.held[0]

    @cached_property
    def memory(self) -> tuple[tuple[str, float], ...]:
        """Bytes of the fullest device: weights with gradients, optimiser states, activations that are kept."""
        s = self.setting
        shared = s.replicas if s.sharded else 1
        kept = self.held * self.layer.kept * s.layers / s.stages
        return (
            ("weights and gradients", self.weights * (2 + WHOLE)),
            ("optimiser", self.weights * STATE / shared),
            ("activations", kept),
        )

    @cached_property
    def bytes(self) -> float:
        """Bytes of the fullest device."""
        return sum(size for _, size in self.memory)

    @cached_property
    def operations(self) -> tuple[float, float]:
        """Operations of products in an iteration: of the model, and with what is computed anew."""
        s = self.setting
        passes = s.microbatches * s.replicas
        (model, again), (head, _) = self.layer.macs, self.ends[1].macs
        own = passes * (s.layers * model + head)
        return own, own + passes * s.layers * again

    def _share(self, ops: float) -> float:
        device = self.setting.cluster.pools[0].device
        return ops / (self.seconds * self.setting.cluster.devices * float(device.rate("mac", "bf16")))

    @property
    def mfu(self) -> float:
        """Model operations over what the devices could do at their peak."""
        return self._share(self.operations[0])

    @property
    def hfu(self) -> float:
        """Operations done, what is computed anew with them, over what the devices could do at their peak."""
        return self._share(self.operations[1])

    @property
    def tokens(self) -> float:
        """Tokens a second, all devices together."""
        return self.setting.batch * self.setting.sequence / self.seconds

    @property
    def bound(self) -> str:
        """The term that takes longest."""
        return max(self.terms, key=lambda one: one[1])[0]

    def summary(self) -> dict[str, Any]:
        """The figures, SI units."""
        s = self.setting
        room = float(s.cluster.pools[0].device.memory.capacity)
        return {
            "model": s.spec.name, "parameters": Transformer(s.spec).parameters, "cluster": s.cluster.name,
            "sequence": s.sequence, "batch": s.batch, "microbatch": s.microbatch, "tensor": s.tensor,
            "stages": s.stages, "chunks": s.chunks, "replicas": s.replicas, "recompute": s.recompute,
            "sequence_parallel": s.spread, "kernels": s.kernels.name, "tier": s.tier,
            "seconds": self.seconds, "tokens_per_second": self.tokens, "mfu": self.mfu, "hfu": self.hfu,
            "bound": self.bound, "terms": dict(self.terms), "bytes": self.bytes, "capacity": room,
            "memory": dict(self.memory), "held": self.held,
        }  # fmt: skip

    def frame(self) -> Any:
        """A pandas DataFrame, one row a term: seconds, and its share of the iteration."""
        import pandas as pd

        rows = [(name, seconds, seconds / self.seconds) for name, seconds in self.terms]
        return pd.DataFrame(rows, columns=["term", "seconds", "share"])
