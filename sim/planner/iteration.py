"""One iteration of training a transformer on a cluster: tensor, sequence, pipeline and data parallelism together.

A layer's forward and backward pass is one cascade; which of its Einsums share a kernel is a value, and what is sent
follows from how ranks are divided. Passes of all microbatches are laid out in a pipeline's schedule; gradients of
replicas are reduced, and weights updated, after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mappings.layout import Layout, Place
from mappings.training import Kernels
from sim.arch import Cluster
from sim.arch.prices import Prices, prices_if_any
from sim.model.collectives import collective
from sim.model.estimate import placed
from sim.planner.flows import Stages, interleaved_chunks, one_f_one_b
from sim.planner.parallel import Setting, fusion
from sim.planner.parts import NOTHING, Part, Pass
from sim.planner.pipeline import Schedule
from sim.units import fmt, in_units
from workloads.layers import embedding
from workloads.pieces import Style, Types, typed
from workloads.training import forward, loss, optimiser
from workloads.transformer import Transformer, from_config

WHOLE = 4.0  # bytes of a gradient, which is added up in fp32
UNITS = {"batch": "sequences", "microbatch": "sequences", "sequence": "tokens", "capacity": "B"}  # of its figures
STATE = 12.0  # bytes of the optimiser's: a master weight and two moments in fp32


@dataclass(frozen=True)
class Iteration:
    """An iteration of a setting: what each stage does, the schedule of all, what comes after it; what it costs."""

    setting: Setting
    prices: Prices | None = None

    @cached_property
    def layers(self) -> tuple[Part, ...]:
        """A layer of each kind that the model has."""
        s = self.setting
        style = Style(s.kernels.eager, s.kernels.dropout)
        made = (forward(s.spec, k, batch=s.microbatch * s.copies, sequence=s.sequence, style=style)
                for k in s.spec.layers)  # fmt: skip
        return tuple(Part(s, ahead, s.division, s.kernels, s.recompute) for ahead in made)

    @property
    def layer(self) -> Part:
        """A layer of the model's first kind."""
        return self.layers[0]

    @cached_property
    def stack(self) -> tuple[Part, ...]:
        """The layers in order; kinds come one after the other, as the model lists them."""
        pairs = zip(self.layers, self.setting.spec.layers, strict=True)
        return tuple(part for part, kind in pairs for _ in range(kind.times))

    @cached_property
    def ends(self) -> tuple[Part, Part]:
        """The embedding, and the output layer with the loss in fp32, neither of which is recomputed."""
        s = self.setting
        whole = replace(s.division, experts=1, copies=1)
        first = typed(embedding(s.spec).cascade("embedding"), Types(*4 * ("bf16",)))
        last = loss(s.spec, batch=s.microbatch, sequence=s.sequence, eager=True)
        made = (first.with_sizes(b=s.microbatch, p=s.sequence), last)
        return Part(s, made[0], whole, s.kernels), Part(s, made[1], whole, s.kernels)

    @cached_property
    def chunks(self) -> tuple[tuple[Part, ...], ...]:
        """The layers of each chunk, in the order in which a microbatch passes them."""
        each = self.setting.layers // (self.setting.stages * self.setting.chunks)
        return tuple(self.stack[i : i + each] for i in range(0, self.setting.layers, each))

    @cached_property
    def parts(self) -> tuple[tuple[Pass, Pass], ...]:
        """Forward and backward pass of each chunk."""
        found = [[_run([one.forward for one in chunk]), _run([one.backward for one in chunk])] for chunk in self.chunks]
        for own, end in zip((found[0], found[-1]), self.ends, strict=True):
            own[0], own[1] = own[0] + end.forward, own[1] + end.backward
        return tuple((f, b) for f, b in found)

    def stage(self, number: int) -> tuple[Part, ...]:
        """The layers of a stage, all its chunks together."""
        return tuple(part for chunk in self.chunks[number :: self.setting.stages] for part in chunk)

    @property
    def stream(self) -> float:
        """Bytes of a microbatch's stream, in bf16."""
        s = self.setting
        return 2.0 * s.microbatch * s.sequence * s.spec.model

    @cached_property
    def hop(self) -> float:
        """Seconds in which a microbatch's stream gets from one stage to the next: each device sends its part, which are
        gathered if positions are not divided."""
        s = self.setting
        if s.stages == 1:
            return 0.0
        size = self.stream
        [pool] = s.cluster.pools
        sent: float = pool.link(s.cluster.devices).seconds(size / s.tensor)
        near = pool.link(s.tensor, s.cluster.devices // s.tensor)
        together: float = collective("all-gather", size, s.tensor, near.bandwidth, near.latency)[0]
        return sent if s.spread else sent + together

    @cached_property
    def passes(self) -> Stages:
        """Seconds of a microbatch's passes through each chunk, with those that its device waits while it sends."""
        ahead, behind = (tuple(one[i].seconds + self.hop for one in self.parts) for i in (0, 1))
        return Stages(ahead, behind)

    @cached_property
    def schedule(self) -> Schedule:
        """All passes: 1F1B, or interleaved."""
        s = self.setting
        if s.chunks == 1:
            return one_f_one_b(self.passes, s.microbatches)
        return interleaved_chunks(self.passes, s.microbatches, s.chunks)

    @cached_property
    def routed(self) -> float:
        """Weights of experts on the device that has most of all weights, which fewer replicas hold if they divide
        experts."""
        return self._fullest[1]

    @cached_property
    def weights(self) -> float:
        """Weights on the fullest device."""
        return sum(self._fullest)

    @cached_property
    def _fullest(self) -> tuple[float, float]:
        """Weights of the fullest stage's device: those that all replicas hold, and experts'."""
        s = self.setting
        held = [tuple(map(sum, zip(*map(_weights, self.stage(i)), strict=True))) for i in range(s.stages)]
        whole, routed = max(held, key=sum)
        tables = 1 if s.spec.tied or s.stages > 1 else 2
        return whole + s.spec.model * (tables * s.spec.vocabulary / s.tensor + s.spec.rows), routed

    @cached_property
    def gradients(self) -> tuple[float, float]:
        """Bytes of the gradients on the fullest device, added up in fp32: of what all replicas hold, and of experts."""
        return (self.weights - self.routed) * WHOLE, self.routed * WHOLE

    def _reduced(self, kind: str, size: float, ways: int, span: int) -> float:
        """Seconds of a collective among devices that are ``span`` apart at most."""
        where = self.setting.cluster
        link = where.pools[0].link(span, where.devices // span)
        found: float = collective(kind, size, ways, link.bandwidth, link.latency)[0]
        return found

    @property
    def table(self) -> float:
        """Bytes of the gradient of a tied table on a device, in fp32."""
        return WHOLE * self.setting.spec.vocabulary * self.setting.spec.model / self.setting.tensor

    @cached_property
    def reduction(self) -> float:
        """Seconds to add up gradients over replicas, and those of a tied table over the first and the last stage."""
        s = self.setting
        found = 0.0
        for size, ways in zip(self.gradients, self.holders, strict=True):
            if ways > 1 and s.sharded:
                found += self._reduced("reduce-scatter", size, ways, s.tensor * s.replicas)
                found += self._reduced("all-gather", size / 2, ways, s.tensor * s.replicas)
            elif ways > 1:
                found += self._reduced("all-reduce", size, ways, s.tensor * s.replicas)
        if s.spec.tied and s.stages > 1:
            found += self._reduced("all-reduce", self.table, 2, s.cluster.devices)
        return found

    @property
    def holders(self) -> tuple[int, int]:
        """Replicas that hold the same weights: of what all hold, and of experts."""
        return self.setting.replicas, self.setting.replicas // self.setting.copies

    @cached_property
    def owned(self) -> float:
        """Weights whose optimiser states are on the fullest device."""
        if not self.setting.sharded:
            return self.weights
        whole, routed = self.holders
        return (self.weights - self.routed) / whole + self.routed / routed

    @cached_property
    def update(self) -> float:
        """Seconds of the optimiser on the fullest device."""
        s = self.setting
        cascade = optimiser(round(self.owned), scaled=s.kernels.scaled)
        place = Place(s.cluster.pools[0].name, 1)
        made = Layout((place,), apart=("NRM", "GC", "M2", "W"))
        found: float = s.timed(cascade, made).seconds
        return found

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
        waits = max(0.0, self.schedule.seconds - work.seconds)  # of one stage nothing, but for roundoff
        return (*work.terms, ("pipeline", waits), ("replicas", self.reduction), ("optimiser", self.update))

    @property
    def held(self) -> float:
        """Microbatches that the first stage holds at most."""
        return self.held_by[0]

    @property
    def held_by(self) -> tuple[float, ...]:
        """Microbatches that each stage holds at most, in layers' parts of its own."""
        return self.schedule.held

    @cached_property
    def memory(self) -> tuple[tuple[str, float], ...]:
        """Bytes of the fullest device: weights with gradients, optimiser states, activations that are kept."""
        stages = range(self.setting.stages)
        kept = max(held * sum(one.kept for one in self.stage(i)) for i, held in zip(stages, self.held_by, strict=True))
        return (
            ("weights and gradients", self.weights * (2 + WHOLE)),
            ("optimiser", self.owned * STATE),
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
        layers = [one.macs for one in self.stack]
        model, again = (sum(one[i] for one in layers) / s.copies for i in (0, 1))
        own = passes * (model + self.ends[1].macs[0])
        return own, own + passes * again

    def _share(self, ops: float) -> float:
        device = self.setting.cluster.pools[0].device
        return ops / (self.seconds * self.setting.cluster.devices * device.rate("mac", "bf16"))

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
    def usd_per_hour(self) -> float | None:
        """US dollars for an hour of the cluster; None without prices."""
        return None if self.prices is None else self.prices.usd_per_hour(self.setting.cluster)

    @property
    def usd_per_iteration(self) -> float | None:
        """US dollars for an iteration; None without prices."""
        hourly = self.usd_per_hour
        return None if hourly is None else hourly / 3600 * self.seconds

    @property
    def usd(self) -> float | None:
        """US dollars for a million tokens; None without prices."""
        hourly = self.usd_per_hour
        return None if hourly is None else hourly / 3600 / self.tokens * 1e6

    @property
    def capacity(self) -> float:
        """Bytes that a device's memory has."""
        return self.setting.cluster.pools[0].device.memory.capacity

    @property
    def reason(self) -> str:
        """Why it does not fit; empty where it does."""
        over = float(self.bytes - self.capacity)
        return f"does not fit: {fmt(over, 'B')} too much" if over > 0 else ""

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Names of the kernels that no line of the layer has."""
        s = self.setting
        there = {e.name for part in self.layers for e in part.step.einsums}
        return tuple(name for name in (*s.kernels.begin, *s.kernels.anew, *s.kernels.held) if name not in there)

    @property
    def bound(self) -> str:
        """The term that takes longest."""
        return max(self.terms, key=lambda one: one[1])[0]

    def summary(self) -> dict[str, Any]:
        """The figures, SI units."""
        s = self.setting
        return {
            "model": s.spec.name, "parameters": Transformer(s.spec).parameters, "cluster": s.cluster.name,
            "sequence": s.sequence, "batch": s.batch, "microbatch": s.microbatch, "tensor": s.tensor,
            "experts": s.experts, "stages": s.stages, "chunks": s.chunks, "replicas": s.replicas,
            "recompute": s.recompute, "sequence_parallel": s.spread, "kernels": s.kernels.name, "tier": s.tier,
            "seconds": self.seconds, "tokens_per_second": self.tokens, "mfu": self.mfu, "hfu": self.hfu,
            "bound": self.bound, "terms": dict(self.terms), "bytes": self.bytes, "capacity": self.capacity,
            "memory": dict(self.memory), "held": self.held, "usd_per_hour": self.usd_per_hour,
            "usd_per_iteration": self.usd_per_iteration, "usd_per_million_tokens": self.usd, "fits": not self.reason,
            "reason": self.reason,
        }  # fmt: skip

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each term's seconds, and its share of the iteration."""
        return [{"term": name, "seconds": t, "share": t / self.seconds} for name, t in self.terms]

    def frame(self) -> Any:
        """A pandas DataFrame of the rows."""
        import pandas as pd

        return pd.DataFrame(self.rows)


def _run(passes: list[Pass]) -> Pass:
    """Passes one after the other; alike ones are multiplied."""
    return sum((one * count for one, count in Counter(passes).items()), start=NOTHING)


def _weights(part: Part) -> tuple[float, float]:
    """Weights of a layer on one device: those that all replicas hold, and those of routed experts."""
    found = [0.0, 0.0]
    for tensor in part.ahead.tensors:
        if tensor.kind == "weight":
            found["x" in tensor.ranks and "f" in tensor.ranks] += part.elements(tensor.name)
    return found[0], found[1]


@in_units(**UNITS)
def training_step(
    model: str | Transformer, on: str | Cluster, *, batch: int, sequence: int, microbatch: int = 1, tensor: int = 1,
    stages: int = 1, chunks: int = 1, recompute: str = "none", spread: bool = False, sharded: bool = False,
    experts: int = 1, kernels: str | Kernels = "fused", tier: str = "physical",
    prices: Prices | str | None = None, price: Mapping[str, str | float] | None = None,
) -> Iteration:  # fmt: skip
    """An iteration of a model, by name or as a Transformer, on a cluster: ``batch`` sequences of ``sequence`` tokens.

    A pass has ``microbatch`` sequences; each layer is divided over ``tensor`` devices of a node, layers over
    ``stages`` of a pipeline with ``chunks`` each (``weir train --tp --pp --interleave``), and what devices are left
    makes replicas. ``recompute`` is ``none``, ``selective`` or ``full``; ``spread`` divides positions too
    (``--sequence-parallel``), ``sharded`` the optimiser's states over replicas (``--distributed-optimiser``).
    ``kernels`` are named, in a ``.toml`` file, or a value. The result has ``seconds``, ``mfu``, ``tokens`` a second,
    ``bytes`` of the fullest device, and ``frame()``, a row a term. ``prices`` are a book's and ``price`` those of
    single devices, as for :func:`sim.serve`: then it has ``usd_per_iteration`` and ``usd``, of a million tokens, which
    are None where no book has the devices and none was asked for. Raises :class:`WeirError` for what is unknown or
    does not go round.
    """
    spec = (model if isinstance(model, Transformer) else from_config(model)).spec
    fused = kernels if isinstance(kernels, Kernels) else fusion(kernels)
    ways = (microbatch, tensor, stages, chunks, recompute, spread, sharded, experts)
    where = placed(on)
    book = prices_if_any([pool.device for pool in where.pools], prices, price)
    return Iteration(Setting(spec, where, sequence, batch, *ways, fused, tier), book)
