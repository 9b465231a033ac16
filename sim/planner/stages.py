"""A model in training, cut into the stages of a pipeline: seconds and bytes of each from its own cascades.

The embedding is the first stage's and the output layer the last one's, or both are divided by the vocabulary over all
devices (arXiv 2411.05288). Gradients are reduced, and weights updated, after an iteration: neither is counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from einsum import Cascade, WeirError, hint
from mappings.division import Division
from mappings.layout import Layout
from mappings.training import gradients
from sim.arch import Cluster, tier
from sim.model.estimate import Estimate, estimate
from sim.planner.flows import (
    Stages,
    Vocabulary,
    chain,
    divided,
    filled,
    gpipe,
    interleaved_chunks,
    one_f_one_b,
    v_chunks,
)  # fmt: skip
from sim.planner.parallel import fusion
from sim.planner.parts import Numbered, Part
from sim.planner.passes import Setting, Work
from sim.planner.pipeline import Flow, Schedule
from sim.planner.repeating import repeating
from workloads.layers import embedding
from workloads.pieces import Types, typed
from workloads.spec import Spec
from workloads.training import loss

SCHEDULES = (
    "1f1b", "gpipe", "interleaved", "zero_bubble", "v_half", "v_half_split", "vocabulary", "vocabulary_2",
    "v_half_vocabulary", "v_half_split_vocabulary",
)  # fmt: skip
SPLIT = ("zero_bubble", "v_half_split", "v_half_split_vocabulary")  # weights' gradients in passes of their own
SLACK = 1.0005  # of a repeating pattern's interval: devices are alike to a percent at best


@dataclass(frozen=True)
class Cut:
    """A model of one kind of layer over a pool of like devices, one stage each; microbatches of ``batch`` sequences.

    ``even`` deals each stage as many layers, else the slowest stage is made as fast as it can be. Sequences are in
    tokens, ``state_bytes`` are of weights, gradients and optimiser a parameter. A layer's forward and
    backward pass may be measured to be so many times ``slower`` than modelled, the output layer's to take so many
    seconds ``more`` for every logit.
    """

    spec: Spec
    cluster: Cluster
    sequence: int
    batch: int = 1
    even: bool = True
    tier: str = "physical"
    state_bytes: float = 16.0
    slower: tuple[float, float] = (1.0, 1.0)
    more: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        """Refuse layers of several kinds, and more stages than layers."""
        if len(self.spec.layers) > 1:
            raise WeirError(
                f"{self.spec.name}: stages of layers of several kinds cannot be cut yet; of one kind they can"
            )
        if self.count > self.work.setting.layers:
            raise WeirError(f"{self.count} stages cannot share {self.work.setting.layers} layers of {self.spec.name}")

    @property
    def count(self) -> int:
        """Stages, one a device."""
        return self.cluster.devices

    @cached_property
    def work(self) -> Work:
        """A layer on one device."""
        alone = self.cluster.with_(f"{self.cluster.pools[0].name}.count", 1)
        spec = replace(self.spec, tied=False)  # what begins and what ends a pipeline are on different devices
        return Work(Setting(spec, alone, self.sequence, self.batch, tier=self.tier, state_bytes=self.state_bytes))

    @cached_property
    def layer(self) -> tuple[float, float]:
        """Seconds of a layer, forward and backward."""
        ahead, behind = self.slower
        return ahead * self.work.forward, behind * self.work.backward

    @property
    def logits(self) -> float:
        """Logits of a microbatch."""
        return float(self.batch * self.sequence * self.spec.vocabulary)

    @cached_property
    def lags(self) -> tuple[float, ...]:
        """Seconds in which the stream of a microbatch gets from each device to the next, and from the last to the
        first: over the node's own link, or the network where a node ends."""
        [pool] = self.cluster.pools
        near, far = (float(pool.link(ways).seconds(self.work.input)) for ways in (2, pool.node_size + 1))
        ends = [*((i + 1) % pool.node_size == 0 for i in range(self.count - 1)), self.count > pool.node_size]
        return tuple(far if end else near for end in ends)

    def timed(self, cascade: Cascade, layout: Layout) -> Estimate:
        """A cascade on the devices, kernel by kernel."""
        return estimate(cascade, self.cluster, layout=layout, tier=tier(self.tier))

    def _ends(self, ways: int) -> tuple[Part, Part]:
        """The embedding, and the output layer with its loss, vocabulary divided over so many devices."""
        spec, dtype = self.work.setting.spec, "bf16"
        made = typed(embedding(spec).cascade("embedding"), Types(dtype, dtype, dtype, dtype))
        first = made.with_sizes(b=self.batch, p=self.sequence)
        last = loss(spec, batch=self.batch, sequence=self.sequence)
        division = Division(self.cluster.pools[0].name, ways)
        return Part(self, first, division, fusion("fused")), Part(self, last, division, fusion("fused"))

    def ends(self, ways: int) -> tuple[float, float, float, float]:
        """Seconds on one of ``ways`` devices: embedding forward and backward, output layer forward and backward; what
        is sent left out."""
        first, back, last, behind = (_kernels(one) for part in self._ends(ways) for one in part.timed)
        ahead, after = (self.logits / ways * more for more in self.more)
        return first, back, last + ahead, behind + after

    def dealt(self, parts: int) -> tuple[int, ...]:
        """As many layers for each of so many parts as for any other, as far as they go round."""
        total = self.work.setting.layers
        return tuple(total // parts + (i < total % parts) for i in range(parts))

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layers of each stage, with the embedding first and the output layer last."""
        if self.even:
            return self.dealt(self.count)
        first, back, last, behind = self.ends(1)
        work = [0.0] * self.count
        work[0] += first + back
        work[-1] += last + behind
        held = [0] * self.count
        for _ in range(self.work.setting.layers):
            at = min(range(self.count), key=lambda i: work[i])
            held[at] += 1
            work[at] += sum(self.layer)
        return tuple(held)

    @cached_property
    def weights(self) -> tuple[float, float]:
        """Seconds of a backward pass that only make weights' gradients: of a layer, and of the output layer."""
        own = making(self.work.part) / self.work.backward
        return own * self.layer[1], making(self._ends(1)[1])

    def parts(self, layers: tuple[int, ...], ends: bool = True, split: bool = False) -> Stages:
        """Layers in a row, the embedding with the first and the output layer with the last of them, or neither; with
        ``split`` weights' gradients are apart, the embedding's backward pass among them."""
        forward, behind = ([n * t for n in layers] for t in self.layer)
        if ends:
            first, back, last, after = self.ends(1)
            forward[0] += first
            behind[0] += back
            forward[-1] += last
            behind[-1] += after
        apart = [n * self.weights[0] for n in layers] if split else []
        if split and ends:
            apart[0] += back
            apart[-1] += self.weights[1]
        return Stages(tuple(forward), tuple(behind), self.lags, tuple(apart))

    def vocabulary(self, barriers: int) -> Vocabulary:
        """The output layer and the embedding divided over all devices.

        With one barrier the product for the stream's gradient is in S, with two it is in T; weights' gradients are in T
        both times. The embedding's passes go with them. All-reduces, shared among the barriers, run beside the work.
        """
        made = self._ends(self.count)
        first, back, last, behind = (one for part in made for one in part.timed)
        weights = making(made[1])
        ahead, after = (self.logits / self.count * more for more in self.more)
        stream = _kernels(behind) - weights + after
        s, t = _kernels(last) + ahead, weights + _kernels(back)
        s, t = (s + stream, t) if barriers == 1 else (s, t + stream)
        sent = sum(one.seconds for _, _, one in (*last, *behind) if one.task.kind == "all-reduce")
        each = (s + _kernels(first),) * self.count, (t,) * self.count
        return Vocabulary(*each, reduce=sent / barriers, barriers=barriers)

    def schedule(self, name: str, microbatches: int, *, seconds: float = 5.0) -> Schedule:
        """A schedule by name; ``seconds`` bounds the search for a repeating pattern, where there is one."""
        if name not in SCHEDULES:
            raise WeirError(f"unknown schedule {name!r:.40}{hint(name, SCHEDULES)}")
        if name in ("1f1b", "gpipe"):
            return {"1f1b": one_f_one_b, "gpipe": gpipe}[name](self.parts(self.layers), microbatches)
        if name == "interleaved":
            return interleaved_chunks(self.parts(self.dealt(2 * self.count)), microbatches)
        flow = self.flow(name)
        every = flow.busiest * SLACK + 2 * min(self.lags)  # else what comes back waits an interval at each stage
        return filled(repeating(flow, interval=every, seconds=seconds), microbatches)

    def flow(self, name: str) -> Flow:
        """What a microbatch does under a schedule that repeats a pattern."""
        vocab = "vocabulary" in name
        bend = name.startswith("v_half")
        made = self.parts(self.dealt(2 * self.count if bend else self.count), ends=not vocab, split=name in SPLIT)
        plain = v_chunks(made) if bend else chain(made)
        return divided(plain, self.vocabulary(2 if name.endswith("2") else 1)) if vocab else plain

    def bytes(self, name: str, found: Schedule) -> tuple[float, ...]:
        """Bytes of each device: weights and their states, and the activations of what it holds at most."""
        vocab, both = "vocabulary" in name, name.startswith("v_half")
        layers = self.layers if name in ("1f1b", "gpipe") else self.dealt(self.count)
        table = float(self.spec.vocabulary * self.spec.model)
        tables = [2 * table / self.count if vocab else 0.0] * self.count
        if not vocab:
            tables[0] += table
            tables[0 if both else -1] += table
        return tuple(
            self.state_bytes * (n * self.parameters + extra) + held * n * self.kept
            for n, extra, held in zip(layers, tables, found.held, strict=True)
        )

    @cached_property
    def parameters(self) -> float:
        """Weights of a layer."""
        cascade = self.work.layer.forward
        return float(sum(cascade.elements(name) for name in self.work.layer.weights))

    @cached_property
    def kept(self) -> float:
        """Bytes that a layer keeps of a microbatch for its backward pass."""
        return self.work.anchors + self.work.others + self.work.statistics

    def mfu(self, found: Schedule, microbatches: int, peak: float | None = None) -> float:
        """Model operations over what the devices could do at their peak (operations a second of one of them)."""
        most = peak or float(self.cluster.pools[0].device.rate("mac", self.spec.dtype))
        return self.work.model_operations * microbatches / (found.seconds * self.count * most)


def _kernels(timed: list[Numbered]) -> float:
    """Seconds of kernels, collectives left out."""
    return sum(float(one.seconds) for _, _, one in timed if one.task.kind == "kernel")


def making(part: Part) -> float:
    """Seconds of a backward pass's kernels that multiply matrices for a weight's gradient."""
    makes = gradients(part.step)
    made = {e.name for e in part.step.einsums if e.matrix and makes(e.output.tensor)}
    return sum(float(one.seconds) for _, _, one in part.timed[1] if made & set(one.task.einsums))
