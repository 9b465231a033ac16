"""Training iterations opened: hardware, tier, prices and counts traced; the passes on the way to the schedule's end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

from einsum import Cascade
from mappings.layout import Layout
from sim.arch import Tier, tier
from sim.explain import given
from sim.explain.opened import Named, Opened, opened
from sim.explain.traced import leaf
from sim.model.estimate import Estimate
from sim.planner.iteration import UNITS, Iteration
from sim.planner.parallel import Setting
from sim.planner.pipeline import Schedule

WAYS = ("forward", "backward")


@opened.register
def _opened(result: Iteration, changed: tuple[str, ...] = ()) -> Opened:
    own = result.setting
    known = {name: getattr(own, name) for name in Setting.__slots__} | {"cluster": given.cluster(own.cluster, changed)}
    setting = _Setting(**known, level=given.tier(tier(own.tier)))
    made = _Iteration(setting, given.prices(result.prices) if result.prices else None, plain=result)
    units = (
        UNITS | {f"terms.{name}": "s" for name, _ in made.terms} | {f"memory.{name}": "B" for name, _ in made.memory}
    )
    return Opened(made.summary(), "seconds", lambda: _parts(made), lambda _: given.COUNTED,
                  sources=(own.kernels.source,), units=units)  # fmt: skip


@dataclass(frozen=True)
class _Setting(Setting):
    """A setting on traced hardware, whose cascades are traced as they are counted."""

    level: Tier = field(kw_only=True)

    def timed(self, cascade: Cascade, layout: Layout) -> Estimate:
        """A cascade on the cluster, kernel by kernel, its counts traced numbers."""
        found = super().timed(cascade, layout)
        step = given.work(found.step.work, f" of {cascade.name}").on(self.cluster, self.level)
        return replace(found, step=step, tier=self.level)


@dataclass(frozen=True)
class _Iteration(Iteration):
    """An iteration whose counts are traced; passes begin when those of the ``plain`` one do."""

    plain: Iteration = field(kw_only=True)

    @cached_property
    def stream(self) -> float:
        """Bytes of a microbatch's stream."""
        return _bytes(self.plain.stream, "a microbatch's stream")

    @cached_property
    def table(self) -> float:
        """Bytes of the gradient of a tied table on a device."""
        return _bytes(self.plain.table, "a tied table's gradient")

    @cached_property
    def gradients(self) -> tuple[float, float]:
        """Bytes of the gradients on the fullest device: of what all replicas hold, and of experts."""
        names = ("gradients on the fullest device", "experts' gradients on the fullest device")
        own, routed = (leaf(n, name, "B", given.COUNTED) for n, name in zip(self.plain.gradients, names, strict=True))
        return own, routed

    @cached_property
    def operations(self) -> tuple[float, float]:
        """Operations of products: of the model, and with what is computed anew."""
        names = ("operations of the model", "operations with what is computed anew")
        own, done = (leaf(n, name, "op", given.COUNTED) for n, name in zip(self.plain.operations, names, strict=True))
        return own, done

    @cached_property
    def schedule(self) -> Schedule:
        """The passes on the way to the end."""
        found, times = self.plain.schedule, dict(zip("FB", (self.passes.forward, self.passes.backward), strict=True))
        nodes = tuple(replace(n, seconds=times[n.name[0]][int(n.name[1:])]) for n in found.flow.nodes)
        return _Way(
            replace(found.flow, nodes=nodes), found.orders, found.start, found.bound, found.proven, found.method,
            tuple(_way(found)),
        )  # fmt: skip

    @property
    def held_by(self) -> tuple[float, ...]:
        """Microbatches that each stage holds at most."""
        return self.plain.held_by


def _bytes(size: float, of: str) -> float:
    found: float = leaf(size, f"bytes of {of}", "B", given.COUNTED)
    return found


@dataclass(frozen=True)
class _Way(Schedule):
    """A schedule whose end is worked out along the ``way`` to it, by number of the passes' nodes."""

    way: tuple[int, ...]

    @property
    def seconds(self) -> float:
        """Seconds of the passes on the way to the end, each begun when the one before it ended."""
        total = 0.0
        for n in self.way:
            total = total + self.flow.nodes[n].seconds
        return total


def _way(found: Schedule) -> list[int]:
    """The nodes of the passes on the way to a schedule's end: before each what it waited for, on its device or not."""
    before = {one: last for order in found.orders for last, one in pairwise(order)}
    one = max(found.start, key=found.end)
    way = [one[0]]
    while found.start[one]:
        earlier = [*([before[one]] if one in before else []), *((n, one[1]) for n in found.flow.before[one[0]])]
        one = next(last for last in earlier if found.end(last) == found.start[one])
        way.append(one[0])
    return way[::-1]


def _parts(made: Iteration) -> Iterator[Named]:
    """Passes, what comes after them and what they are made of, with their names."""
    yield made.schedule.seconds, "passes of all microbatches", "s"
    yield made.reduction, "gradients added up over replicas", "s"
    yield made.update, "optimiser", "s"
    yield made.hop, "sending to the next stage", "s"
    for way, sent, own in zip(
        WAYS, (made.passes.forward, made.passes.backward), zip(*made.parts, strict=True), strict=True
    ):
        for c, (seconds, one) in enumerate(zip(sent, own, strict=True)):
            yield one.seconds, f"{way} pass of chunk {c}", "s"
            yield seconds, f"{way} pass of chunk {c} and sending", "s"
    kinds = [kind.name for kind in made.setting.spec.layers]
    for part, name in zip((*made.layers, *made.ends), (*kinds, "embedding", "output layer"), strict=True):
        for way, one, tasks in zip(WAYS, (part.forward, part.backward), part.timed, strict=True):
            yield one.seconds, f"{way} pass of {name}", "s"
            yield from ((timed.seconds, f"{timed.task.name}, {way}, {name}", "s") for _, _, timed in tasks)
