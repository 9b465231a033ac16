"""A training step of a transformer in too little memory: what each layer's activations do until the backward pass.

``memo`` swaps them to the host and recomputes what does not fit through the link (Zhao et al., SIGMOD 2025, arXiv
2407.12117), ``recompute`` keeps only layers' inputs (Megatron-LM's full recomputation), ``keep`` keeps all. Sizes and
seconds come from the layer's cascade, its derived backward pass and the cluster; times of transfers and recomputation
from the schedule, which the independent checker replays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from time import monotonic

from einsum import Cascade, Infeasible, WeirError, hint
from mappings.training import gradients
from sim.planner.check import check
from sim.planner.parts import Numbered
from sim.planner.passes import Setting, Work, stack, work
from sim.planner.problem import Buffer, Plan, Problem, Task, Tier
from sim.planner.skeleton import Groups, Layer, transient
from sim.planner.timeline import Step, timed

STRATEGIES = ("memo", "recompute", "keep")
GRAIN = 64 * 1024  # tokens: sequences are tried in multiples of this
LEAST = 0.5  # seconds for a placement, however little time is left; the first is there after some milliseconds


def requests(made: Work, layer: Layer, backward: bool) -> list[Buffer]:
    """A pass's transient tensors on one device as buffers over its kernels, collectives' gathered copies with them."""
    s = made.setting
    cascade = layer.backward if backward else layer.forward
    groups = layer.kernels(cascade, layer.weights)
    stored = {live.tensor for live in layer.skeletal} if layer is made.layer else set()
    stored |= {f"D{name}" for name in layer.weights}
    found = [
        Buffer(live.tensor, round(live.bytes), ((live.first, live.last + 1),))
        for live in transient(cascade, groups, stored, s.ways) if live.bytes >= 1
    ]  # fmt: skip
    part = made.part if layer is made.layer else made.last
    return found + list(_gathered(part.timed[backward], cascade, groups))


def _gathered(timed: list[Numbered], cascade: Cascade, groups: Groups) -> Iterator[Buffer]:
    """What each collective makes whole on every device: an operand while it is read, a partial sum as it is written, or
    from then on if it stays whole."""
    makes = gradients(cascade)
    for task in (one.task for _, _, one in timed):
        if task.kind == "kernel":
            continue
        tensor = task.name.rpartition(" ")[2]
        made = [i for i, g in enumerate(groups) if any(e.output.tensor == tensor for e in g)]
        used = [i for i, g in enumerate(groups) if any(tensor in e.inputs for e in g)]
        spans = {"reduce-scatter": made[:1], "all-reduce": made + used}.get(task.kind, used)
        if spans and not makes(tensor):
            yield Buffer(task.name, round(float(task.size)), ((min(spans), max(spans) + 1),))


def height(name: str, buffers: list[Buffer], seconds: float) -> int:
    """Bytes that buffers with live ranges need at once, placed without overlap."""
    if not buffers:
        return 0
    from sim.planner.offsets import plan as placed  # the search is compiled when it is first wanted

    return round(placed(Problem(name, tuple(buffers), (Tier("memory"),)), seconds=max(seconds, LEAST)).value)


@dataclass(frozen=True)
class Training:
    """One strategy's step: the plan, its memory on one device by what it is for, and what it comes to."""

    setting: Setting
    strategy: str
    alpha: float
    memory: tuple[tuple[str, float], ...]
    problem: Problem
    steps: tuple[Step, ...]
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
            "stalled": self.stalled, "notes": list(self.plan.notes),
        }  # fmt: skip

    @property
    def stalled(self) -> float:
        """Seconds in which the devices wait for a transfer."""
        return self.seconds - sum(run.stop - run.start for run in self.plan.runs)


def plan(setting: Setting, strategy: str = "memo", *, seconds: float = 10.0) -> Training:
    """The step that a strategy makes of a setting, transient tensors placed in so many seconds at most.

    Raises :class:`Infeasible` with the bytes short and the longest sequence that fits, where one device or the host is
    too small.
    """
    ends = monotonic() + seconds
    fraction, memory = _memory(setting, strategy, seconds / 2)
    capacity = float(setting.cluster.pools[0].device.memory.capacity)
    total = sum(size for _, size in memory)
    if total > capacity:
        raise Infeasible(_short(setting, strategy, total, capacity, ends), total / capacity)
    problem, steps = schedule(setting, strategy, fraction)
    method = f"{strategy}, alpha {fraction:.4f}" if strategy == "memo" else strategy
    found = timed(problem, steps, method, sum(task.seconds for task in problem.tasks))
    check(problem, found)
    return Training(setting, strategy, fraction, memory, problem, tuple(steps), found, work(setting).model_operations)


def _memory(setting: Setting, strategy: str, seconds: float) -> tuple[float, tuple[tuple[str, float], ...]]:
    if strategy not in STRATEGIES:
        raise WeirError(f"unknown strategy {strategy!r}{hint(strategy, STRATEGIES)}")
    layers, n = stack(setting), setting.layers
    fraction = layers[0].alpha() if strategy == "memo" else 0.0
    if strategy == "memo":
        least = sum(made.anchors for made in layers[:-2]) * setting.ways
        if least > setting.host:
            raise Infeasible(f"{setting.spec.name}: inputs and attention outputs of {n - 2} layers take {least:,.0f} "
                             f"bytes of the host, which has {setting.host:,.0f}; {least:,.0f} would do",
                             least / setting.host)  # fmt: skip
    whole = [made.anchors + made.others for made in layers]
    inputs = sum(made.input for made in layers)
    kept = {"memo": 2 * max(whole), "recompute": inputs + max(whole), "keep": sum(whole)}[strategy]
    statistics = [made.statistics for made in layers]
    parameters = layers[0].parameters
    shared = setting.ways // setting.degree  # devices with the same weights, which each holds a part of
    gathered = 2 * 2 * parameters / n / setting.degree if shared > 1 and setting.zero == 3 else 0.0
    copied = {1: 4.0, 2: 2.0, 3: 0.0}[setting.zero]  # bytes a weight that are not shared out
    states = parameters / setting.degree * (copied + (setting.state_bytes - copied) / shared)
    return fraction, (
        ("weights, gradients, optimiser", states),
        ("weights gathered", gathered),
        ("activations", kept + (max(statistics) if strategy == "recompute" else sum(statistics))),
        ("transient", float(_transients(setting, seconds))),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _wanted(setting: Setting) -> Mapping[tuple[str, bool], list[Buffer]]:
    """What each kind of pass requests, by its name and whether it is the backward one."""
    one = work(setting)
    parts = {_named(made): (made, made.layer) for made in stack(setting)} | {"loss": (one, one.loss)}
    return {(name, back): requests(*part, back) for name, part in parts.items() for back in (False, True)}


def _named(made: Work) -> str:
    return f"layer {made.kind}"


def _transients(setting: Setting, seconds: float) -> int:
    """Bi-level placement: each kind of pass first, then the step with one request for each pass."""
    wanted = _wanted(setting)
    each = seconds / (len(wanted) + 1)
    heights = {(name, back): height(name, buffers, each) for (name, back), buffers in wanted.items()}
    names = [*map(_named, stack(setting)), "loss"]
    order = [(name, False) for name in names] + [(name, True) for name in reversed(names)]
    whole = [Buffer(f"{name} {place}", heights[name, back], ((place, place + 1),))
             for place, (name, back) in enumerate(order) if heights[name, back]]  # fmt: skip
    return height("step", whole, each)


def _short(setting: Setting, strategy: str, total: float, capacity: float, ends: float) -> str:
    """What is lacking, and what would do as far as that is found before a time."""
    where = f"{setting.spec.name} on {setting.cluster.name}, {strategy} at {setting.sequence:,} tokens"
    most = longest(setting, strategy, top=setting.sequence, seconds=ends - monotonic())
    none = "not even the shortest sequence fits" if monotonic() < ends else "what would do was not found in time"
    would = f"{most:,} tokens would do" if most else none
    return f"{where}: {total:,.0f} bytes a device, {capacity:,.0f} there are; {would}"


def fits(setting: Setting, strategy: str, seconds: float = 10.0) -> bool:
    """Whether a device and the host are large enough, transient tensors placed in so many seconds at most."""
    try:
        _, memory = _memory(setting, strategy, seconds)
    except Infeasible:
        return False
    return sum(size for _, size in memory) <= setting.cluster.pools[0].device.memory.capacity


def longest(setting: Setting, strategy: str, *, top: int = 4096 * 1024, seconds: float = inf) -> int:
    """The longest sequence that fits, in multiples of 64 K tokens (none: 0); in too little time a shorter one."""
    low, high, ends = 0, top // GRAIN + 1, monotonic() + seconds
    while high - low > 1 and (left := ends - monotonic()) > 0:
        middle = (low + high) // 2
        good = fits(replace(setting, sequence=middle * GRAIN), strategy, min(left / (high - low).bit_length(), 10.0))
        low, high = (middle, high) if good else (low, middle)
    return low * GRAIN


def schedule(s: Setting, strategy: str, fraction: float) -> tuple[Problem, list[Step]]:
    """The step as a problem of whole layers, and the order of its runs and moves.

    A layer's buffers are its input ``X``, what is swapped or kept (``W``), and rows computed anew: written forward
    (``R``) and again before the backward pass (``A``).
    """
    layers, n = stack(s), s.layers
    x = round(layers[0].input)
    lost, rest = zip(*(_parted(made, strategy, fraction) for made in layers), strict=True)
    swapped = n - 2 if strategy == "memo" else 0
    anew = [i for i in range(n) if lost[i] and (strategy == "recompute" or i < swapped)]
    buffers = [Buffer(f"X{i}", x) for i in range(n + 1)] + [Buffer(f"G{i}", x) for i in range(n + 1)]
    buffers += [Buffer(f"{kind}{i}", size) for i in range(n) for kind, size in (("W", rest[i]), ("R", lost[i]))]
    buffers += [Buffer(f"A{i}", lost[i]) for i in anew]
    again = [made.forward if strategy == "recompute" else (1 - fraction) * made.recomputed for made in layers]
    tasks = list(_tasks(layers, {i: again[i] for i in anew}))
    each = [x + kept + gone for kept, gone in zip(rest, lost, strict=True)]
    room = {"memo": 2 * max(each), "recompute": max(each), "keep": sum(each)}[strategy]
    room += (n * x if strategy == "recompute" else 0) + 2 * x  # and a gradient on its way through a layer
    tiers = (Tier("device", room), Tier("host", s.host / s.ways, s.rate, s.rate))
    problem = Problem(f"{s.spec.name} {strategy}", tuple(buffers), tiers, tuple(tasks), ("X0",), ("G0",))
    return problem, list(_steps(n, swapped, anew))


def _tasks(layers: tuple[Work, ...], anew: Mapping[int, float]) -> Iterator[Task]:
    """Layers forward, the loss, and layers backward, some after they were computed ``anew`` in so many seconds."""
    n = len(layers)
    for i, made in enumerate(layers):
        yield Task(f"forward {i}", made.forward, (f"X{i}",), (f"X{i + 1}", f"W{i}", f"R{i}"))
    yield Task("loss", layers[0].classify, (f"X{n}",), (f"G{n}",))
    for i, made in reversed(list(enumerate(layers))):
        if i in anew:
            yield Task(f"again {i}", anew[i], (f"X{i}", f"W{i}"), (f"A{i}",))
        rows = f"A{i}" if i in anew else f"R{i}"
        yield Task(f"backward {i}", made.backward, (f"X{i}", f"W{i}", rows, f"G{i + 1}"), (f"G{i}",))


def _parted(made: Work, strategy: str, fraction: float) -> tuple[int, int]:
    """Bytes of a layer that are computed anew, and that are swapped or kept beside its input."""
    whole = made.anchors + made.others - made.input
    lost = {"memo": (1 - fraction) * made.others, "keep": 0.0, "recompute": whole}[strategy]
    # Whole bytes, no more than the fraction was computed for.
    return round(lost), int(whole - lost + made.input - round(made.input))


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
