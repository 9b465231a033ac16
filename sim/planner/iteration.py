"""One iteration of training a transformer on a cluster: tensor, sequence, pipeline and data parallelism together.

A layer's forward and backward pass is one cascade; which of its Einsums share a kernel is a value, and what is sent
follows from how ranks are divided. Passes of all microbatches are laid out in a pipeline's schedule; gradients of
replicas are reduced, and weights updated, after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mappings.layout import Layout, Place
from mappings.training import Kernels
from sim.arch import Cluster
from sim.arch.prices import Prices
from sim.model.collectives import collective
from sim.model.estimate import placed
from sim.planner.flows import Stages, interleaved_chunks, one_f_one_b
from sim.planner.parallel import Setting, fusion
from sim.planner.parts import NOTHING, Part, Pass
from sim.planner.pipeline import Schedule
from sim.units import fmt
from workloads.layers import embedding
from workloads.pieces import Style, Types, typed
from workloads.training import forward, loss, optimiser
from workloads.transformer import Transformer, from_config

WHOLE = 4.0  # bytes of a gradient, which is added up in fp32
STATE = 12.0  # bytes of the optimiser's: a master weight and two moments in fp32


@dataclass(frozen=True)
class Iteration:
    """An iteration of a setting: what each stage does, the schedule of all, what comes after it; what it costs."""

    setting: Setting
    prices: Prices | None = None

    @cached_property
    def layer(self) -> Part:
        """One layer."""
        s = self.setting
        return Part(
            s, forward(s.spec, batch=s.microbatch, sequence=s.sequence, style=Style(s.kernels.eager, s.kernels.dropout))
        )

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
        sent: float = pool.link(s.cluster.devices).seconds(size / s.tensor)
        near = pool.link(s.tensor)
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
    def weights(self) -> float:
        """Weights on the fullest device."""
        s = self.setting
        layer = sum(self.layer.bytes(t.name) / 2 for t in self.layer.ahead.tensors if t.kind == "weight")
        tables = 1 if s.spec.tied or s.stages > 1 else 2
        return layer * s.layers / s.stages + s.spec.model * (tables * s.spec.vocabulary / s.tensor + s.spec.rows)

    @cached_property
    def gradients(self) -> float:
        """Bytes of the gradients on the fullest device, added up in fp32."""
        return self.weights * WHOLE

    def _reduced(self, kind: str, size: float, ways: int, span: int) -> float:
        """Seconds of a collective among devices that are ``span`` apart at most."""
        link = self.setting.cluster.pools[0].link(span)
        found: float = collective(kind, size, ways, link.bandwidth, link.latency)[0]
        return found

    @cached_property
    def reduction(self) -> float:
        """Seconds to add up gradients over replicas, and those of a tied table over the first and the last stage."""
        s = self.setting
        span = s.tensor * s.replicas
        size, found = self.gradients, 0.0
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
    def usd(self) -> float | None:
        """US dollars for a million tokens; None without prices."""
        if self.prices is None:
            return None
        return self.prices.usd_per_hour(self.setting.cluster) / 3600 / self.tokens * 1e6

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
        there = {e.name for e in self.layer.step.einsums}
        return tuple(name for name in (*s.kernels.begin, *s.kernels.anew) if name not in there)

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
            "stages": s.stages, "chunks": s.chunks, "replicas": s.replicas, "recompute": s.recompute,
            "sequence_parallel": s.spread, "kernels": s.kernels.name, "tier": s.tier,
            "seconds": self.seconds, "tokens_per_second": self.tokens, "mfu": self.mfu, "hfu": self.hfu,
            "bound": self.bound, "terms": dict(self.terms), "bytes": self.bytes, "capacity": self.capacity,
            "memory": dict(self.memory), "held": self.held, "usd_per_million_tokens": self.usd, "fits": not self.reason,
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


def training_step(
    model: str | Transformer, on: str | Cluster, *, batch: int, sequence: int, microbatch: int = 1, tensor: int = 1,
    stages: int = 1, chunks: int = 1, recompute: str = "none", spread: bool = False, sharded: bool = False,
    kernels: str | Kernels = "fused", tier: str = "physical",
) -> Iteration:  # fmt: skip
    """An iteration of a model, by name or as a Transformer, on a cluster: ``batch`` sequences of ``sequence`` tokens.

    A pass has ``microbatch`` sequences; each layer is divided over ``tensor`` devices of a node, layers over
    ``stages`` of a pipeline with ``chunks`` each (``weir train --tp --pp --interleave``), and what devices are left
    makes replicas. ``recompute`` is ``none``, ``selective`` or ``full``; ``spread`` divides positions too
    (``--sequence-parallel``), ``sharded`` the optimiser's states over replicas (``--distributed-optimiser``).
    ``kernels`` are named, in a ``.toml`` file, or a value. The result has ``seconds``, ``mfu``, ``tokens`` a second,
    ``bytes`` of the fullest device, and ``frame()``, a row a term. Raises :class:`WeirError` for what is unknown or
    does not go round.
    """
    spec = (model if isinstance(model, Transformer) else from_config(model)).spec
    fused = kernels if isinstance(kernels, Kernels) else fusion(kernels)
    ways = (microbatch, tensor, stages, chunks, recompute, spread, sharded)
    return Iteration(Setting(spec, placed(on), sequence, batch, *ways, fused, tier))
