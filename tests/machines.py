"""Random component trees, and random nests over their levels, fan-outs and units."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from einsum import Cascade, parse
from mappings.tree import Branch, Keep, Nest, Node, Run, Spatial, Temporal
from sim.arch import Compute, Device, Fanout, Memory
from sim.model.actions import Counts
from sim.model.counts import counts
from sim.model.exact import simulate
from sim.model.flat import Present
from tests.grouped import FUSED, SINGLE, Group

Component = Memory | Fanout | Compute
T = TypeVar("T")
HOW = ("sequence", "pipeline", "interleave")
FACTORS = (1, 2, 3, 4, 6)  # instances of a fan-out
RATES = (("mac", "bf16", 2e9), ("map", "bf16", 1e9))


class Dice(Protocol):
    """Where choices come from: hypothesis, or for long runs a plain random generator, several times quicker."""

    def whole(self, least: int, most: int) -> int:
        """A number from ``least`` to ``most``."""

    def one(self, options: Sequence[T]) -> T:
        """One of several things."""

    def some(self, options: Sequence[T], most: int) -> list[T]:
        """At most so many different things."""


@dataclass(frozen=True)
class Drawn:
    """Choices that hypothesis makes, and makes smaller when something fails."""

    draw: st.DrawFn

    def whole(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def one(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))

    def some(self, options: Sequence[T], most: int) -> list[T]:
        return self.draw(st.lists(st.sampled_from(options), max_size=most, unique=True))


@dataclass(frozen=True)
class Thrown:
    """Choices of a random generator."""

    rng: Random

    def whole(self, least: int, most: int) -> int:
        return self.rng.randint(least, most)

    def one(self, options: Sequence[T]) -> T:
        return self.rng.choice(options)

    def some(self, options: Sequence[T], most: int) -> list[T]:
        return self.rng.sample(options, self.rng.randint(0, min(most, len(options))))


def difference(cascade: Cascade, nest: Nest, device: Device | None = None) -> dict[tuple[str, ...], tuple[Any, Any]]:
    """Every count on which the exact simulator and the closed form disagree, with what each says."""
    fanouts = {fan.name: fan.count for fan in device.fanouts} if device else None
    walked, formula = _flat(simulate(cascade, nest, fanouts=fanouts)), _flat(counts(cascade, nest))
    both = ((key, walked.get(key, 0), formula.get(key, 0)) for key in {**walked, **formula})
    return {key: (one, other) for key, one, other in both if one != other}


def _flat(found: Counts) -> dict[tuple[str, ...], Any]:
    """All counts under one key each: actions, copies, points of Einsums, additions between instances."""
    runs = {(one.einsum, "points"): one.points for one in found.computes}
    added = {(one.einsum, "reductions"): one.reductions for one in found.computes}
    return {**found.table(), **runs, **added, **{(*key, "copies"): count for key, count in found.multicasts().items()}}


@st.composite
def drawn(draw: st.DrawFn, make: Callable[[Dice], T]) -> T:
    """Whatever a function makes of choices."""
    return make(Drawn(draw))


def machine(dice: Dice) -> Device:
    """One to four levels on the way to each of one to three units, with fan-outs of up to two dimensions between them.

    The way in is shared for a while, then each unit may have a fan-out and a level of its own.
    """
    memories, fans = [Memory("dram", bandwidth=1e9)], []
    trunk = _stretch(dice, memories, fans, "dram", dice.whole(0, 2), "t")
    computes = []
    for arm in range(dice.whole(1, 3)):
        above = _stretch(dice, memories, fans, trunk, dice.whole(0, 1), f"a{arm}_")
        computes.append(Compute(f"unit{arm}", above, RATES))
    fields = {"memories": tuple(memories), "fanouts": tuple(fans), "computes": tuple(computes)}
    return Device("drawn", "drawn", "", "", 2026, **fields, links=(), power=None, source="")


def _stretch(dice: Dice, memories: list[Memory], fans: list[Fanout], under: str, levels: int, name: str) -> str:
    """So many levels one inside the other, fan-outs before each and after the last; the name of the innermost part."""
    for number in range(levels + 1):
        for way in range(dice.one((0, 0, 1, 2))):
            fan = Fanout(f"{name}f{number}_{way}", under, dice.one(FACTORS))
            fans.append(fan)
            under = fan.name
        if number < levels:
            memories.append(Memory(f"{name}m{number}", under, bandwidth=1e9))
            under = memories[-1].name
    return under


def way(device: Device, unit: str) -> tuple[Component, ...]:
    """Components from the outermost memory to a unit."""
    parts = {part.name: part for part in (*device.memories, *device.fanouts, *device.computes)}
    found: list[Component] = []
    while unit:
        found.append(parts[unit])
        unit = found[-1].under
    return tuple(reversed(found))


@dataclass
class Place:
    """Where a nest has come to: pieces left of each rank, instances left of each fan-out, and the level last met, with
    the place up to which it may keep things: no loop in space has passed since.
    """

    left: dict[str, int]
    free: dict[str, int]
    level: str = "dram"
    nodes: list[Node] = field(default_factory=list)
    mark: int = 0

    def inside(self) -> Place:
        """The same place, for a nest below."""
        return Place(dict(self.left), dict(self.free), self.level)

    def loop(self, node: Temporal | Spatial) -> None:
        """One more loop."""
        last = self.mark == len(self.nodes)
        if isinstance(node, Spatial):
            self.free[node.over] //= -(-self.left[node.rank] // node.tile)
        self.left[node.rank] = min(self.left[node.rank], node.tile)
        self.nodes.append(node)
        self.mark += last and isinstance(node, Temporal)

    def keep(self, tensors: Iterable[str], double: bool = False) -> None:
        """Tensors kept at the level last met."""
        if names := tuple(tensors):
            self.nodes.insert(self.mark, Keep(names, self.level, double))
            self.mark += 1


@dataclass(frozen=True)
class Drawer:
    """A cascade on its way onto a device."""

    dice: Dice
    cascade: Cascade
    device: Device
    foreign: bool = False

    def start(self) -> Place:
        return Place(dict(self.cascade.bind()), {f.name: f.count for f in self.device.fanouts})

    def touched(self, names: Iterable[str]) -> set[str]:
        """Tensors of some Einsums."""
        return {t for n in names for t in self._tensors(n)}

    def _tensors(self, name: str) -> tuple[str, ...]:
        einsum = self.cascade.einsum(name)
        return (*einsum.inputs, einsum.output.tensor)

    def section(
        self, at: Place, parts: Sequence[Component], ranks: Sequence[str], tensors: set[str], most: int
    ) -> None:
        """Loops and keeps on the way through some components, ``most`` loops in all."""
        for part in parts:
            if isinstance(part, Memory):
                most -= self._timed(at, ranks, self.dice.whole(0, min(most, 2)))
                self._keep(at, part, tensors)
            elif isinstance(part, Fanout) and most and ranks:
                most -= self._spread(at, part, ranks, most)
        self._timed(at, ranks, self.dice.whole(0, min(most, 1)))

    def _timed(self, at: Place, ranks: Sequence[str], count: int) -> int:
        for _ in range(count if ranks else 0):
            rank = self.dice.one(ranks)
            at.loop(Temporal(rank, self.dice.whole(1, at.left[rank])))
        return count

    def _spread(self, at: Place, fan: Fanout, ranks: Sequence[str], most: int) -> int:
        """Zero to two loops over a fan-out's instances, as far as these go."""
        able = [r for r in ranks if r not in self.cascade.iterative]
        count = min(most, self.dice.one((0, 1, 1, 2))) if able else 0
        for _ in range(count):
            rank = self.dice.one(able)
            least = -(-at.left[rank] // at.free[fan.name])
            at.loop(Spatial(rank, tile=self.dice.whole(least, at.left[rank]), over=fan.name))
        return count

    def _keep(self, at: Place, memory: Memory, tensors: Collection[str]) -> None:
        """Some of the tensors held at a level; the others pass by."""
        at.level, at.mark = memory.name, len(at.nodes)
        if tensors:
            at.keep(self.dice.some(sorted(tensors), 4), self.dice.one((False, True)))

    def leaf(self, at: Place, name: str, done: int, most: int, ranks: Sequence[str]) -> Nest:
        """One Einsum on a unit, through whatever is left of the way there."""
        unit = self.dice.one([c.name for c in self.device.computes])
        self.section(at, way(self.device, unit)[done:-1], ranks, self.touched((name,)), most)
        return Nest((*at.nodes, Run(name, unit)))

    @property
    def trunk(self) -> tuple[Component, ...]:
        """Components on the way to every unit."""
        ways = [way(self.device, c.name) for c in self.device.computes]
        same = zip(*ways, strict=False)
        return tuple(parts[0] for parts in same if all(p == parts[0] for p in parts) and len(parts) == len(ways))

    def fused(self, at: Place, one: Group, done: int, later: set[str]) -> tuple[Nest, int]:
        """A group under loops of its own; ``later`` are tensors that are kept nowhere yet."""
        upto = self.dice.whole(done, max(done, len(self.trunk) - (len(self.device.computes) == 1)))
        ranks = (*one.ranks, *(one.foreign if self.foreign else ()))
        here = self.touched(one.names)
        parts = self.trunk[done:upto]
        self._stepped(at, one, [r for r in ranks if r not in self.cascade.iterative])
        free = [r for r in ranks if r not in self.cascade.iterative]
        self.section(at, parts, free, here - later, most=2)
        now = [t for t in sorted(later & here) if not self._within(one, t) or self.dice.one((False, True))]
        at.keep(now)
        rest = later - set(now)
        children = [nest for member in one.members for nest in self._member(at.inside(), member, upto, rest)]
        return Nest((*at.nodes, Branch(self.dice.one(HOW), tuple(children)))), upto

    def _stepped(self, at: Place, one: Group, ranks: Sequence[str]) -> None:
        """What is iterated goes in single steps; other loops may stand outside."""
        for rank in (r for r in one.ranks if r in self.cascade.iterative):
            self._timed(at, ranks, self.dice.whole(0, 1))
            at.loop(Temporal(rank, 1))

    def _within(self, one: Group, tensor: str) -> bool:
        """Whether all that touches a tensor is in one group inside this one, where it can still be kept."""
        using = {e.name for e in self.cascade.einsums if tensor in self._tensors(e.name)}
        return any(isinstance(m, Group) and using <= set(m.names) for m in one.members)

    def _member(self, at: Place, member: Group | str, done: int, later: set[str]) -> list[Nest]:
        """An Einsum, a group that shares loops, or, in place of a group, its members."""
        if isinstance(member, str):
            ranks = [r for r in self.cascade.einsum(member).ranks if r not in self.cascade.iterative]
            return [self.leaf(at, member, done, self.dice.whole(0, 2), ranks)]
        bound = any(r in self.cascade.iterative for r in member.ranks) or later & self.touched(member.names)
        if bound or self.dice.one((False, True)):
            return [self.fused(at, member, done, later)[0]]
        return [nest for one in member.members for nest in self._member(at.inside(), one, done, later)]


def sized(dice: Dice, text: str, most: dict[str, int]) -> Cascade:
    """A cascade at sizes of up to so much."""
    return _parsed(text, tuple(most.items())).with_sizes(**{rank: dice.whole(1, n) for rank, n in most.items()})


@lru_cache
def _parsed(text: str, most: tuple[tuple[str, int], ...]) -> Cascade:
    return parse(text, **dict(most))


def single(dice: Dice) -> tuple[Cascade, Nest, Device]:
    """One Einsum on a drawn machine."""
    cascade = sized(dice, *dice.one(SINGLE))
    drawer = Drawer(dice, cascade, machine(dice))
    [einsum] = cascade.einsums
    at = drawer.start()
    at.keep(t.name for t in cascade.tensors)
    return cascade, drawer.leaf(at, einsum.name, 1, 6, einsum.ranks), drawer.device


def fused(dice: Dice, foreign: bool = False) -> tuple[Cascade, Nest, Device]:
    """Several Einsums that share loops on a drawn machine; with ``foreign`` also over ranks that some lack."""
    text, most, root = dice.one(FUSED)
    cascade = sized(dice, text, most)
    drawer = Drawer(dice, cascade, machine(dice), foreign)
    at = drawer.start()
    later = set(dice.some(sorted(cascade.intermediates), len(cascade.intermediates)))
    at.keep(t.name for t in cascade.tensors if t.name not in later)
    return cascade, drawer.fused(at, root, 1, later)[0], drawer.device


DENSITIES = (0.1, 0.3, 0.6, 0.9)
SPARSE = (
    "A[m, k]: uniform({0})\nZ[m, n] = A[m, k] * B[k, n]",
    "A[m, k]: uniform({0})\nB[k, n]: uniform({1})\nZ[m, n] = A[m, k] * B[k, n]",
)


def sparse(dice: Dice, draws: int = 30) -> tuple[Cascade, Nest, tuple[Present, ...]]:
    """A product of one or two sparse operands on a drawn machine, and what is present in some draws of them."""
    text = dice.one(SPARSE).format(dice.one(DENSITIES), dice.one(DENSITIES))
    cascade = sized(dice, text, {"m": 6, "n": 4, "k": 6})
    drawer = Drawer(dice, cascade, machine(dice))
    at = drawer.start()
    at.keep(t.name for t in cascade.tensors)
    nest = drawer.leaf(at, "Z", 1, 5, cascade.einsum("Z").ranks)
    rng = np.random.default_rng(dice.whole(0, 1 << 20))
    return cascade, nest, tuple(_present(cascade, rng) for _ in range(draws))


def _present(cascade: Cascade, rng: np.random.Generator) -> Present:
    """One draw: a point is there where its values of A and B are, and a sum where any of its points is."""
    sizes = cascade.bind()
    there = {t: _drawn(cascade, t, rng) for t in "AB"}
    points = there["A"][:, None, :] & there["B"].T[None, :, :]
    assert points.shape == tuple(sizes[r] for r in "mnk")
    return Present({**there, "Z": points.any(axis=2)}, {"Z": points})


def _drawn(cascade: Cascade, name: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Places of an operand that hold a value."""
    tensor = cascade.tensor(name)
    shape = tuple(cascade.bind()[r] for r in tensor.ranks)
    return tensor.patterns[0].mask(cascade.bind(), rng) if tensor.patterns else np.ones(shape, bool)
