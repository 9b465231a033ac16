"""A training step of a transformer in too little memory: what each layer's activations do until the backward pass.

``memo`` swaps them to the host and recomputes what does not fit through the link (Zhao et al., SIGMOD 2025, arXiv
2407.12117), ``recompute`` keeps only layers' inputs (Megatron-LM's full recomputation), ``keep`` keeps all. Sizes and
seconds come from the layer's cascade, its derived backward pass and the cluster; times of transfers and recomputation
from the schedule, which the independent checker replays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import inf

from einsum import Cascade, Einsum, Infeasible, WeirError, hint
from einsum.counts import operations
from mappings.layout import Layout, Place
from mappings.tree import Spatial
from sim.arch import Cluster, tier
from sim.model.estimate import Estimate, estimate
from sim.planner.check import check
from sim.planner.problem import Buffer, Plan, Problem, Task, Tier
from sim.planner.skeleton import Layer, fused, transient
from sim.planner.timeline import Step, timed
from workloads.spec import Spec
from workloads.training import forward, loss
from workloads.transformer import Transformer

STRATEGIES = ("memo", "recompute", "keep")
SPLITS = ("tensor", "ulysses")
GRAIN = 64 * 1024  # tokens: sequences are tried in multiples of this


@dataclass(frozen=True, slots=True)
class Setting:
    """One model on one cluster, a batch of whole sequences at a time.

    ``split`` divides every layer by ``tensor`` (heads, hidden and vocabulary ranks, the sequence between them) or, as
    DeepSpeed-Ulysses, by the sequence (attention by heads, weights gathered layer by layer). ``state_bytes`` are of
    weights, gradients and optimiser a parameter (mixed-precision Adam: 2 + 2 + 12, ZeRO, arXiv 1910.02054). ``host`` is
    bytes of host memory for all devices together, ``link`` bytes a second of each device to it.
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

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise WeirError(f"unknown split {self.split!r}{hint(self.split, SPLITS)}")
        if len(self.spec.layers) > 1:
            raise WeirError(f"{self.spec.name}: layers of several kinds cannot be planned yet; one kind can")
        if len(self.cluster.pools) > 1:
            raise WeirError(f"{self.cluster.name}: training is planned on one pool of like devices")

    @property
    def ways(self) -> int:
        """Devices that share every layer."""
        return self.cluster.devices

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return self.spec.layers[0].times

    @property
    def rate(self) -> float:
        """Bytes a second between a device and the host."""
        if self.link:
            return self.link
        found = self.cluster.pools[0].device.link("host")
        if found is None:
            raise WeirError(f"{self.cluster.pools[0].device.name} has no host link; give its bytes a second")
        return float(found.bandwidth)

    def place(self, cascade: Cascade) -> Layout:
        """How a pass is divided over the devices."""
        pool, ways = self.cluster.pools[0].name, self.ways
        if self.split == "ulysses":
            heads = tuple(e.name for e in cascade.einsums if {"p", "m"} & set(e.ranks) and "g" in e.ranks and _core(e))
            loops = [Spatial("g", ways, only=heads)] if heads else []
            loops.append(Spatial("p", ways))
        else:
            divided = [rank for rank in ("g", "f", "v", "p") if rank in cascade.ranks]
            loops = [Spatial(rank, ways) for rank in divided]
        return Layout((Place(pool, ways, tuple(loops)),), name=self.split)


def _core(einsum: Einsum) -> bool:
    """Whether an Einsum is attention's own, between the projections."""
    return "d" not in einsum.ranks


@dataclass(frozen=True)
class Work:
    """What a layer and the loss do on one device: bytes and seconds."""

    setting: Setting

    @cached_property
    def layer(self) -> Layer:
        """The layer's two passes."""
        s = self.setting
        return Layer(forward(s.spec, batch=s.batch, sequence=s.sequence))

    @cached_property
    def loss(self) -> Layer:
        """The classifier's two passes."""
        s = self.setting
        return Layer(loss(s.spec, batch=s.batch, sequence=s.sequence))

    def timed(self, cascade: Cascade) -> Estimate:
        """A pass on the cluster."""
        s = self.setting
        return estimate(cascade, s.cluster, layout=s.place(cascade), tier=tier(s.tier))

    @cached_property
    def ahead(self) -> Estimate:
        """The layer's forward pass."""
        return self.timed(self.layer.forward)

    @cached_property
    def behind(self) -> Estimate:
        """The layer's backward pass."""
        return self.timed(self.layer.backward)

    @cached_property
    def classify(self) -> float:
        """Seconds of the classifier and the loss, both ways."""
        return float(self.timed(self.loss.forward).seconds + self.timed(self.loss.backward).seconds)

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
        for _, found in self.ahead.step.rows:
            for one in found:
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
        once = self.setting.layers * _products(self.layer.forward) + _products(self.loss.forward)
        return 3 * once

    def alpha(self) -> float:
        """MEMO's equation: the largest fraction of tokens whose other tensors are swapped, such that a layer's
        transfer hides behind its forward pass, (anchors + alpha others) / link <= seconds, and all layers but two fit
        the host, (n - 2) (anchors + alpha others) <= host; from 0 to 1. Statistics stay on the device."""
        s = self.setting
        hidden = float(self.ahead.seconds) * s.rate
        fits = s.host / s.ways / max(s.layers - 2, 1)
        return max(0.0, min(1.0, (min(hidden, fits) - self.anchors) / self.others))


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
def work(setting: Setting) -> Work:
    """The work of a setting, computed once."""
    return Work(setting)


def requests(made: Work, layer: Layer, backward: bool) -> list[Buffer]:
    """A pass's transient tensors on one device as buffers over its kernels, collectives' gathered copies with them."""
    s = made.setting
    cascade = layer.backward if backward else layer.forward
    groups = fused(cascade, layer.weights)
    stored = {live.tensor for live in layer.skeletal} if layer is made.layer else set()
    stored |= {f"D{name}" for name in layer.weights}
    found = [
        Buffer(live.tensor, round(live.bytes), ((live.first, live.last + 1),))
        for live in transient(cascade, groups, stored, s.ways) if live.bytes >= 1
    ]  # fmt: skip
    return found + list(_gathered(made.timed(cascade), cascade, groups))


def _gathered(found: Estimate, cascade: Cascade, groups: tuple[tuple[Einsum, ...], ...]) -> Iterator[Buffer]:
    """What each collective makes whole on every device: an operand while it is read, a partial sum as it is written."""
    for row in found.rows:
        if row.kind == "kernel" or row.name.startswith("all-reduce"):
            continue
        tensor = row.name.rpartition(" ")[2]
        made = [i for i, g in enumerate(groups) if any(e.output.tensor == tensor for e in g)]
        used = [i for i, g in enumerate(groups) if any(tensor in e.inputs for e in g)]
        spans = made[:1] if row.kind == "reduce-scatter" else used
        if tensor[1:] in {t.name for t in cascade.tensors if t.kind == "weight"} or not spans:
            continue
        yield Buffer(f"{row.name}", round(float(row.bytes)), ((min(spans), max(spans) + 1),))


def height(name: str, buffers: list[Buffer], seconds: float) -> int:
    """Bytes that buffers with live ranges need at once, placed without overlap."""
    if not buffers:
        return 0
    from sim.planner.offsets import plan as placed  # the search is compiled when it is first wanted

    return round(placed(Problem(name, tuple(buffers), (Tier("memory"),)), seconds=seconds).value)


@dataclass(frozen=True)
class Training:
    """One strategy's step: the plan, its memory on one device by what it is for, and what it comes to."""

    setting: Setting
    strategy: str
    alpha: float
    memory: tuple[tuple[str, float], ...]
    problem: Problem
    plan: Plan
    operations: float

    @property
    def bytes(self) -> float:
        """Bytes of one device at the peak."""
        return sum(size for _, size in self.memory)

    @property
    def capacity(self) -> float:
        """Bytes that one device has."""
        return float(self.setting.cluster.pools[0].device.memory.capacity)

    @property
    def seconds(self) -> float:
        """Seconds of one step."""
        return self.plan.value

    @property
    def mfu(self) -> float:
        """Model operations over what the devices could do at their peak: model FLOPs utilisation."""
        peak = self.setting.cluster.pools[0].device.rate("mac", self.setting.spec.dtype)
        return self.operations / (self.seconds * self.setting.ways * peak)

    @property
    def tokens(self) -> float:
        """Tokens a second and device."""
        return self.setting.batch * self.setting.sequence / self.seconds / self.setting.ways

    def summary(self) -> dict[str, object]:
        """The figures, SI units."""
        return {
            "model": self.setting.spec.name, "cluster": self.setting.cluster.name, "strategy": self.strategy,
            "split": self.setting.split, "sequence": self.setting.sequence, "batch": self.setting.batch,
            "alpha": self.alpha, "seconds": self.seconds, "mfu": self.mfu, "tokens_per_second": self.tokens,
            "bytes": self.bytes, "capacity": self.capacity, "memory": dict(self.memory),
            "stalled": self.stalled,
        }  # fmt: skip

    @property
    def stalled(self) -> float:
        """Seconds in which the devices wait for a transfer."""
        return self.seconds - sum(run.stop - run.start for run in self.plan.runs)


def plan(setting: Setting, strategy: str = "memo", *, seconds: float = 10.0) -> Training:
    """The step that a strategy makes of a setting.

    Raises :class:`Infeasible` with the bytes short and the longest sequence that fits, where one device or the host is
    too small.
    """
    made, fraction, memory = _memory(setting, strategy, seconds)
    capacity = float(setting.cluster.pools[0].device.memory.capacity)
    total = sum(size for _, size in memory)
    if total > capacity:
        raise Infeasible(_short(setting, strategy, total, capacity), total / capacity)
    problem, steps = schedule(made, strategy, fraction)
    method = f"{strategy}, alpha {fraction:.4f}" if strategy == "memo" else strategy
    found = timed(problem, steps, method, sum(task.seconds for task in problem.tasks))
    check(problem, found)
    return Training(setting, strategy, fraction, memory, problem, found, made.model_operations)


def _memory(setting: Setting, strategy: str, seconds: float) -> tuple[Work, float, tuple[tuple[str, float], ...]]:
    if strategy not in STRATEGIES:
        raise WeirError(f"unknown strategy {strategy!r}{hint(strategy, STRATEGIES)}")
    made = work(setting)
    fraction = made.alpha() if strategy == "memo" else 0.0
    layer, n = made.anchors + made.others, setting.layers
    if strategy == "memo":
        least = (n - 2) * made.anchors * setting.ways
        if least > setting.host:
            raise Infeasible(f"{setting.spec.name}: the host needs {least:,.0f} bytes for inputs and attention outputs "
                             f"of {n - 2} layers; it has {setting.host:,.0f}", least / setting.host)  # fmt: skip
    kept = {"memo": 2 * layer, "recompute": n * made.input + layer, "keep": n * layer}[strategy]
    gathered = 2 * 2 * made.parameters / n if setting.split == "ulysses" else 0.0
    states = setting.state_bytes * made.parameters / setting.ways
    return made, fraction, (
        ("weights, gradients, optimiser", states),
        ("weights gathered", gathered),
        ("activations", kept + (1 if strategy == "recompute" else n) * made.statistics),
        ("transient", float(_transients(setting, seconds))),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _transients(setting: Setting, seconds: float) -> int:
    """Bi-level placement: each kind of pass first, then the step with one request for each pass."""
    made, n = work(setting), setting.layers
    heights = {
        (name, back): height(name, requests(made, layer, back), seconds / 5)
        for name, layer in (("layer", made.layer), ("loss", made.loss))
        for back in (False, True)
    }
    order = [("layer", False)] * n + [("loss", False), ("loss", True)] + [("layer", True)] * n
    whole = [Buffer(f"{name} {place}", heights[name, back], ((place, place + 1),))
             for place, (name, back) in enumerate(order) if heights[name, back]]  # fmt: skip
    return height("step", whole, seconds / 5)


def _short(setting: Setting, strategy: str, total: float, capacity: float) -> str:
    where = f"{setting.spec.name} on {setting.cluster.name}, {strategy} at {setting.sequence:,} tokens"
    most = longest(setting, strategy, top=setting.sequence)
    would = f"{most:,} tokens would do" if most else "not even the shortest sequence fits"
    return f"{where}: {total:,.0f} bytes a device, {capacity:,.0f} there are; {would}"


def fits(setting: Setting, strategy: str) -> bool:
    """Whether a device and the host are large enough."""
    try:
        _, _, memory = _memory(setting, strategy, 10.0)
    except Infeasible:
        return False
    return sum(size for _, size in memory) <= setting.cluster.pools[0].device.memory.capacity


def longest(setting: Setting, strategy: str, *, top: int = 4096 * 1024) -> int:
    """The longest sequence that fits, in multiples of 64 K tokens (none: 0)."""
    low, high = 0, top // GRAIN + 1
    while high - low > 1:
        middle = (low + high) // 2
        good = fits(replace(setting, sequence=middle * GRAIN), strategy)
        low, high = (middle, high) if good else (low, middle)
    return low * GRAIN


def schedule(made: Work, strategy: str, fraction: float) -> tuple[Problem, list[Step]]:
    """The step as a problem of whole layers, and the order of its runs and moves.

    A layer's buffers are its input ``X``, what is swapped or kept (``W``), and rows computed anew: written forward
    (``R``) and again before the backward pass (``A``).
    """
    s = made.setting
    n, x = s.layers, round(made.input)
    all_ = made.anchors + made.others - made.input
    lost = {"memo": (1 - fraction) * made.others, "keep": 0.0, "recompute": all_}[strategy]
    rest = round(all_ - lost)
    swapped = n - 2 if strategy == "memo" else 0
    anew = [i for i in range(n) if lost and (strategy == "recompute" or i < swapped)]
    again = float(made.ahead.seconds) if strategy == "recompute" else (1 - fraction) * made.recomputed
    buffers = [Buffer(f"X{i}", x) for i in range(n + 1)] + [Buffer(f"G{i}", x) for i in range(n + 1)]
    buffers += [Buffer(f"{kind}{i}", round(size)) for i in range(n) for kind, size in (("W", rest), ("R", lost))]
    buffers += [Buffer(f"A{i}", round(lost)) for i in anew]
    tasks = [Task(f"forward {i}", float(made.ahead.seconds), (f"X{i}",), (f"X{i + 1}", f"W{i}", f"R{i}"))
             for i in range(n)]  # fmt: skip
    tasks.append(Task("loss", made.classify, (f"X{n}",), (f"G{n}",)))
    for i in reversed(range(n)):
        if i in anew:
            tasks.append(Task(f"again {i}", again, (f"X{i}", f"W{i}"), (f"A{i}",)))
        rows = f"A{i}" if i in anew else f"R{i}"
        tasks.append(
            Task(f"backward {i}", float(made.behind.seconds), (f"X{i}", f"W{i}", rows, f"G{i + 1}"), (f"G{i}",))
        )
    room = {"memo": 2, "recompute": 1, "keep": n}[strategy] * (x + rest + round(lost))
    room += (n * x if strategy == "recompute" else 0) + 2 * x  # and a gradient on its way through a layer
    tiers = (Tier("device", room), Tier("host", s.host / s.ways, s.rate, s.rate))
    problem = Problem(f"{s.spec.name} {strategy}", tuple(buffers), tiers, tuple(tasks), ("X0",), ("G0",))
    return problem, list(_steps(n, swapped, anew))


def _steps(n: int, swapped: int, anew: list[int]) -> Iterator[Step]:
    """Forward, copying out what is swapped; backward, fetching each layer's once the layer two above it is done."""
    for i in range(n):
        yield Step("run", f"forward {i}")
        if i in anew:
            yield Step("drop", f"R{i}")
        for name in (f"X{i}", f"W{i}") if i < swapped else ():
            yield Step("out", name, "host")
            yield Step("drop", name)
    yield Step("run", "loss")
    yield Step("drop", f"X{n}")
    for i in reversed(range(n)):
        if i in anew:
            yield Step("run", f"again {i}")
        yield Step("run", f"backward {i}")
        rows = f"A{i}" if i in anew else f"R{i}"
        for name in (f"X{i}", f"W{i}", rows, f"G{i + 1}"):
            yield Step("drop", name)
        fetched = i - 2
        for name in (f"X{fetched}", f"W{fetched}") if 0 <= fetched < swapped else ():
            yield Step("in", name, "host")
            yield Step("forget", name, "host")
