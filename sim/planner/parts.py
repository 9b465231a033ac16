"""Passes through a part of a model in training: kernels and collectives of one device in time, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Protocol

from einsum import Cascade, Einsum
from einsum.counts import footprint, operations
from mappings.division import Division
from mappings.kernels import divisions, kernels
from mappings.layout import Layout
from mappings.training import Kernels, layout
from sim.arch import Cluster
from sim.model.estimate import Estimate
from sim.model.timing import Timed
from sim.planner.skeleton import inside
from workloads.training import step

TERMS = ("matrix products", "attention", "elementwise", "collectives")  # of a pass

Numbered = tuple[int, str, Timed]  # a task's number in its cascade, the term it counts towards, its seconds


@dataclass(frozen=True)
class Pass:
    """One way through a part of the model on one device: seconds from start to end, and of these by term."""

    seconds: float
    terms: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, timed: list[Numbered], beside: bool, slowed: float) -> Pass:
        """Tasks in order, as in :func:`makespan`."""
        seconds = makespan(timed, beside, slowed)
        terms = {term: sum(one.seconds for _, name, one in timed if name == term) for term in TERMS}
        sent = any(name == "collectives" for _, name, _ in timed)
        terms["collectives"] = seconds - sum(terms[t] for t in TERMS[:3]) if sent else 0.0  # what kernels wait for
        return cls(seconds, tuple(terms.items()))

    def __add__(self, other: Pass) -> Pass:
        theirs = dict(other.terms)
        return Pass(self.seconds + other.seconds, tuple((name, t + theirs[name]) for name, t in self.terms))

    def __mul__(self, times: float) -> Pass:
        return Pass(times * self.seconds, tuple((name, times * t) for name, t in self.terms))


NOTHING = Pass(0.0, tuple((term, 0.0) for term in TERMS))


def makespan(timed: list[Numbered], beside: bool, slowed: float = 0.0) -> float:
    """Seconds until the last of some tasks ends, as in :func:`ended`."""
    return max((end for _, end in ended(timed, beside, slowed)), default=0.0)


def ended(timed: list[Numbered], beside: bool, slowed: float = 0.0) -> Iterator[tuple[Numbered, float]]:
    """When each of some tasks in order ends: it begins when its inputs and its resource are ready, links a resource of
    their own if collectives run ``beside`` kernels, which are ``slowed`` by a fraction meanwhile; what was made before
    the first of them is there."""
    ends: dict[int, float] = {}
    kernel = link = 0.0
    for number, term, one in issued(timed) if beside else timed:
        ready = max((ends.get(before, 0.0) for before in one.task.after), default=0.0)
        seconds = one.seconds
        if beside and one.task.kind != "kernel":
            ends[number] = link = max(link, ready) + seconds
        else:
            begin = max(kernel, ready)
            shared = min(max(0.0, link - begin), seconds / (1 - slowed))  # with a collective on the link
            ends[number] = kernel = begin + seconds + slowed * shared
        yield (number, term, one), ends[number]


def issued(timed: list[Numbered]) -> list[Numbered]:
    """The tasks with each collective begun ahead of the kernel before it, where it does not wait for that."""
    order: list[Numbered] = []
    for one in timed:
        early = order and one[2].task.kind != "kernel" and order[-1][2].task.kind == "kernel"
        place = len(order) - 1 if early and order[-1][0] not in one[2].task.after else len(order)
        order.insert(place, one)
    return order


class Machine(Protocol):
    """What a part runs on, which times a cascade kernel by kernel."""

    @property
    def cluster(self) -> Cluster:
        """The devices."""
        ...

    def timed(self, cascade: Cascade, layout: Layout) -> Estimate:
        """A cascade in a layout."""
        ...


@dataclass(frozen=True)
class Part:
    """A part of the model, forward and backward, as one cascade divided over the devices of a stage."""

    machine: Machine
    ahead: Cascade
    division: Division
    kernels: Kernels
    recompute: str = "none"

    @cached_property
    def again(self) -> frozenset[str]:
        """What the backward pass reads computed anew: what never leaves a kernel (sums and maxima apart), and what is
        listed for selective recomputation unless others read it."""
        groups = kernels(self.ahead, self._layout(self.ahead, ""))
        hidden = inside(self.ahead, groups)
        sums = {e.output.tensor for e in self.ahead.einsums if e.reduced and not e.contraction}
        return (hidden - sums) | (self._listed - self._rerun)

    @property
    def _listed(self) -> frozenset[str]:
        """Tensors of this part that selective recomputation names."""
        chosen = self.kernels.anew if self.recompute == "selective" else ()
        return frozenset(chosen) & set(self.ahead.produced)

    @property
    def _rerun(self) -> frozenset[str]:
        """Those of them that others than themselves read: they are kept, and computed once more all the same."""
        read = {n for e in self.ahead.einsums if e.output.tensor not in self._listed for n in e.inputs}
        return self._listed & read

    @cached_property
    def step(self) -> Cascade:
        """Both passes."""
        return step(self.ahead, sorted(self.again), sorted(self._rerun))

    @cached_property
    def turn(self) -> str:
        """The Einsum with which the backward pass begins."""
        return self.step.einsums[len(self.ahead.einsums)].name

    @cached_property
    def layout(self) -> Layout:
        """How the step is divided, and what shares a kernel."""
        return self._layout(self.step, self.turn)

    def _layout(self, cascade: Cascade, turn: str) -> Layout:
        return layout(cascade, self.kernels, self.division, turn)

    @cached_property
    def estimate(self) -> Estimate:
        """Both passes on the cluster, kernel by kernel."""
        return self.machine.timed(self.step, self.layout)

    @cached_property
    def timed(self) -> tuple[list[Numbered], list[Numbered]]:
        """The tasks of the forward and of the backward pass."""
        [(_, rows)] = self.estimate.step.rows
        tasks = [(n, _term(self.step, one), one) for n, one in enumerate(rows)]
        first = next(n for n, _, one in tasks if self.turn in one.task.einsums)
        while tasks[first - 1][2].task.kind != "kernel":  # what travels to the first kernel goes with it
            first -= 1
        return tasks[:first], tasks[first:]

    @cached_property
    def forward(self) -> Pass:
        """The forward pass."""
        return self._pass(self.timed[0])

    @cached_property
    def backward(self) -> Pass:
        """The backward pass, after the forward pass once more with full recomputation."""
        once = self._pass(self.timed[1])
        return self.forward + once if self.recompute == "full" else once

    def _pass(self, timed: list[Numbered]) -> Pass:
        return Pass.of(timed, self.kernels.beside, self.slowed)

    def kernels_ended(self, backward: bool) -> Iterator[tuple[tuple[str, ...], float]]:
        """The Einsums of each kernel of a pass and the seconds from the end of the one before it to its own; what is
        sent after the last is counted with it."""
        found = list(ended(self.timed[backward], self.kernels.beside, self.slowed))
        own = [(one.task.einsums, end) for (_, _, one), end in found if one.task.kind == "kernel"]
        own[-1] = own[-1][0], max(end for _, end in found)
        for (_, before), (names, end) in pairwise([((), 0.0), *own]):
            yield names, end - before

    @property
    def slowed(self) -> float:
        """The fraction of a device's multiprocessors that a collective takes while it runs."""
        device = self.machine.cluster.pools[0].device
        sm = device.multiprocessor
        return min(self.kernels.channels / (sm.count * device.instances(sm.name)), 0.5) if sm else 0.0

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
        if self.recompute == "full":
            return self.bytes("X")
        return sum(self.bytes(name) for name in names if name not in drawn)

    def bytes(self, name: str) -> float:
        """Bytes of a tensor on one device, divided as it is made, or first read."""
        return float(footprint(self.step, name)) / self._divided(name)

    def elements(self, name: str) -> float:
        """Elements of a tensor on one device."""
        return float(self.step.elements(name)) / self._divided(name)

    def _divided(self, name: str) -> int:
        uses = [(e, a) for e in self.step.einsums for a in (e.output, *e.reads) if a.tensor == name]
        makers = [(e, a) for e, a in uses if e.output is a]
        einsum, access = (makers or uses)[0]
        return prod(divisions(self.layout.places[0].ways(einsum), access))

    @cached_property
    def macs(self) -> tuple[float, float]:
        """Operations of products on all devices of a stage, two each: of the model, and of what is computed anew."""
        ahead, behind = self.step.einsums[: len(self.ahead.einsums)], self.step.einsums[len(self.ahead.einsums) :]
        again = sum(self._ops(e) for e in behind if e.name.endswith("_R"))
        once = sum(map(self._ops, ahead))
        return 3 * once, once if self.recompute == "full" else again

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
