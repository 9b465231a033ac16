"""A model in training, cut into the stages of a pipeline: seconds and bytes of each from its own cascades.

The embedding is the first stage's and the output layer the last one's, or both are divided by the vocabulary over all
devices (arXiv 2411.05288). Gradients are reduced, and weights updated, after an iteration: neither is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from math import fsum, inf
from operator import add

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
from sim.planner.passes import Setting, Work, stack
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
PICO = 1e12  # of a second: costs are compared as whole numbers, so that equal ones are
SLACK = 1.0005  # of a repeating pattern's interval: devices are alike to a percent at best


@dataclass(frozen=True)
class Cut:
    """A model over a pool of like devices, one stage each; microbatches of ``batch`` sequences.

    Layers of several kinds come one kind after the other, as the model lists them. ``even`` deals each stage as many
    layers, else the slowest stage is made as fast as it can be, and the others as much alike as they can be then.
    Sequences are in tokens, ``state_bytes`` are of weights, gradients and optimiser a parameter. A layer's forward and
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
        """Refuse more stages than layers."""
        if self.count > len(self.stack):
            raise WeirError(f"{self.count} stages cannot share {len(self.stack)} layers of {self.spec.name}")

    @property
    def count(self) -> int:
        """Stages, one a device."""
        return self.cluster.devices

    @cached_property
    def stack(self) -> tuple[Work, ...]:
        """Every layer in order, on one device."""
        alone = self.cluster.with_(f"{self.cluster.pools[0].name}.count", 1)
        spec = replace(self.spec, tied=False)  # what begins and what ends a pipeline are on different devices
        return stack(Setting(spec, alone, self.sequence, self.batch, tier=self.tier, state_bytes=self.state_bytes))

    @property
    def kinds(self) -> tuple[Work, ...]:
        """A layer of each kind."""
        return tuple(dict.fromkeys(self.stack))

    @property
    def work(self) -> Work:
        """A layer of the model's first kind."""
        return self.stack[0]

    def seconds(self, layer: Work) -> tuple[float, float]:
        """Seconds of a layer, forward and backward."""
        ahead, behind = self.slower
        return ahead * layer.forward, behind * layer.backward

    @property
    def layer(self) -> tuple[float, float]:
        """Seconds of a layer of the model's first kind."""
        return self.seconds(self.work)

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
        total = len(self.stack)
        return tuple(total // parts + (i < total % parts) for i in range(parts))

    @cached_property
    def layers(self) -> tuple[int, ...]:
        """Layers of each stage, with the embedding first and the output layer last."""
        if self.even:
            return self.dealt(self.count)
        first, back, last, behind = self.ends(1)
        more = [0.0] * self.count
        more[0] += first + back
        more[-1] += last + behind
        return dealt_by_cost([sum(self.seconds(one)) for one in self.stack], more)

    def weights(self, layer: Work) -> float:
        """Seconds of a layer's backward pass that only make weights' gradients."""
        return making(layer.part) / layer.backward * self.seconds(layer)[1]

    def shared(self, layers: tuple[int, ...]) -> tuple[tuple[Work, ...], ...]:
        """The layers in rows of so many each."""
        ends = tuple(accumulate(layers))
        return tuple(self.stack[end - n : end] for n, end in zip(layers, ends, strict=True))

    def parts(self, layers: tuple[int, ...], ends: bool = True, split: bool = False) -> Stages:
        """Layers in a row, the embedding with the first and the output layer with the last of them, or neither; with
        ``split`` weights' gradients are apart, the embedding's backward pass among them."""
        rows = self.shared(layers)
        forward, behind = ([fsum(self.seconds(one)[i] for one in row) for row in rows] for i in (0, 1))
        if ends:
            first, back, last, after = self.ends(1)
            forward[0] += first
            behind[0] += back
            forward[-1] += last
            behind[-1] += after
        apart = [fsum(map(self.weights, row)) for row in rows] if split else []
        if split and ends:
            apart[0] += back
            apart[-1] += making(self._ends(1)[1])
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
            return {"1f1b": one_f_one_b, "gpipe": gpipe}[name](self.parts(self.divided(name)), microbatches)
        if name == "interleaved":
            return interleaved_chunks(self.parts(self.divided(name)), microbatches)
        flow = self.flow(name)
        every = flow.busiest * SLACK + 2 * min(self.lags)  # else what comes back waits an interval at each stage
        return filled(repeating(flow, interval=every, seconds=seconds), microbatches)

    def flow(self, name: str) -> Flow:
        """What a microbatch does under a schedule that repeats a pattern."""
        vocab = "vocabulary" in name
        made = self.parts(self.divided(name), ends=not vocab, split=name in SPLIT)
        plain = v_chunks(made) if name.startswith("v_half") else chain(made)
        return divided(plain, self.vocabulary(2 if name.endswith("2") else 1)) if vocab else plain

    def divided(self, name: str) -> tuple[int, ...]:
        """Layers of each part that a schedule's microbatches pass, one after the other."""
        if name in ("1f1b", "gpipe"):
            return self.layers
        return self.dealt(2 * self.count if name == "interleaved" or name.startswith("v_half") else self.count)

    def bytes(self, name: str, found: Schedule) -> tuple[float, ...]:
        """Bytes of each device: weights and their states, and the activations of what it holds at most."""
        rows, flow = self.shared(self.divided(name)), found.flow
        weights = self._tables(name)
        for row, hold in zip(rows, flow.holds, strict=True):
            weights[flow.nodes[flow.index[hold.first]].device] += sum(map(parameters, row))
        holds = tuple(replace(h, amount=sum(map(kept, row))) for h, row in zip(flow.holds, rows, strict=True))
        held = replace(found, flow=replace(flow, holds=holds)).held
        return tuple(self.state_bytes * own + most for own, most in zip(weights, held, strict=True))

    def _tables(self, name: str) -> list[float]:
        """Weights of the embedding and the output layer on each device."""
        table = float(self.spec.vocabulary * self.spec.model)
        if "vocabulary" in name:
            return [2 * table / self.count] * self.count
        tables = [0.0] * self.count
        tables[0] += table
        tables[0 if name.startswith("v_half") else -1] += table
        return tables

    def mfu(self, found: Schedule, microbatches: int, peak: float | None = None) -> float:
        """Model operations over what the devices could do at their peak (operations a second of one of them)."""
        most = peak or float(self.cluster.pools[0].device.rate("mac", self.spec.dtype))
        return self.work.model_operations * microbatches / (found.seconds * self.count * most)


def parameters(layer: Work) -> float:
    """Weights of a layer."""
    return float(sum(layer.layer.forward.elements(name) for name in layer.layer.weights))


def kept(layer: Work) -> float:
    """Bytes that a layer keeps of a microbatch for its backward pass."""
    return layer.anchors + layer.others + layer.statistics


def dealt_by_cost(layers: Sequence[float], more: Sequence[float]) -> tuple[int, ...]:
    """Layers, in order, for each of some stages that have ``more`` to do: the slowest as fast as it can be, then the
    least sum of squares, then as few for the later stages as there can be. Seconds, told apart by a picosecond."""
    ends = [0, *accumulate(round(t * PICO) for t in layers)]
    own = [round(t * PICO) for t in more]
    slowest, _ = _dealt(ends, own, max, lambda work: work)
    return _dealt(ends, own, add, lambda work: work * work if work <= slowest else inf)[1]


def _dealt(
    ends: Sequence[int], more: Sequence[int], join: Callable[[float, float], float], cost: Callable[[int], float]
) -> tuple[float, tuple[int, ...]]:
    """The least of what the stages' costs join to, and the layers of each: for one stage more after another, the best
    way to share the layers up to each (``ends`` are their sums)."""
    best: list[float] = [0, *(inf for _ in ends[1:])]
    cuts = []
    for extra in more:
        chosen = [
            min((join(best[first], cost(end - ends[first] + extra)), -first) for first in range(last + 1))
            for last, end in enumerate(ends)
        ]
        best = [value for value, _ in chosen]
        cuts.append([-first for _, first in chosen])
    held, last = list[int](), len(ends) - 1
    for cut in reversed(cuts):
        held.insert(0, last - cut[last])
        last = cut[last]
    return best[-1], tuple(held)


def _kernels(timed: list[Numbered]) -> float:
    """Seconds of kernels, collectives left out."""
    return sum(float(one.seconds) for _, _, one in timed if one.task.kind == "kernel")


def making(part: Part) -> float:
    """Seconds of a backward pass's kernels that multiply matrices for a weight's gradient."""
    makes = gradients(part.step)
    made = {e.name for e in part.step.einsums if e.matrix and makes(e.output.tensor)}
    return sum(float(one.seconds) for _, _, one in part.timed[1] if made & set(one.task.einsums))
