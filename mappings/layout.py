"""How a program is laid out over pools of devices: loops in space over ranks, bindings of Einsums, batches in flight.

Sharding a rank over devices is a spatial loop at the pool's level. Nobody writes a collective down: what must travel
follows from how each tensor is divided where it is made and where it is used (:mod:`sim.model.work`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from einsum import Einsum, Program, WeirError, hint
from mappings.tree import Spatial


@dataclass(frozen=True, slots=True)
class Axis:
    """Devices in a row, ``ways`` of them, each ``stride`` from the next."""

    ways: int
    stride: int

    @property
    def span(self) -> int:
        """Neighbouring devices among which it lies."""
        return self.ways * self.stride

    def meets(self, other: Axis) -> bool:
        """Whether both go over the same devices."""
        return self.stride < other.span and other.stride < self.span

    def without(self, other: Axis) -> tuple[Axis, ...]:
        """What is left of it where devices are alike along another."""
        if not self.meets(other):
            return (self,)
        begin = max(other.span, self.stride)
        parts = Axis(other.stride // self.stride, self.stride), Axis(self.span // begin, begin)
        return tuple(part for part in parts if part.ways > 1)


@dataclass(frozen=True, slots=True)
class Place:
    """A pool of ``count`` devices and the spatial loops over it, outermost first."""

    pool: str
    count: int
    spatial: tuple[Spatial, ...] = ()

    def ways(self, einsum: Einsum) -> dict[str, int]:
        """How each rank of an Einsum is divided here: loops apply in order until the devices are used up."""
        divided = dict[str, int]()
        for loop, _ in self._applying(einsum):
            divided[loop.rank] = divided.get(loop.rank, 1) * loop.ways
        return divided

    def axes(self, einsum: Einsum) -> tuple[tuple[str, Axis], ...]:
        """The ranks of the loops that apply to an Einsum, and the devices that each loop goes over.

        A loop without a stride has an axis of its own where all loops together go over the devices; where some take
        turns (experts and requests) it goes over the nearest devices that the others leave.
        """
        turns = prod(loop.ways for loop in self.spatial) > self.count
        loops = list(self._applying(einsum))
        found = _settled([(loop.ways, loop.stride or (0 if turns else inside)) for loop, inside in loops], self.count)
        return tuple(zip((loop.rank for loop, _ in loops), found, strict=True))

    def _applying(self, einsum: Einsum) -> Iterator[tuple[Spatial, int]]:
        """The loops that apply to an Einsum, and the stride each has where all loops together go over the devices."""
        free = inside = self.count
        for loop in self.spatial:
            inside //= loop.ways
            if loop.rank in einsum.ranks and (not loop.only or einsum.name in loop.only) and 1 < loop.ways <= free:
                free //= loop.ways
                yield loop, inside

    def __str__(self) -> str:
        loops = ", ".join(f"{loop.rank}/{loop.ways}" for loop in self.spatial)
        return f"on {self.pool} x{self.count}: " + (f"spatial {loops}" if loops else "replicated")


def _settled(loops: list[tuple[int, int]], count: int) -> list[Axis]:
    """Axes of so many (ways, stride) over ``count`` devices: those without a stride, the last first, as near as others
    leave them room, or else as far apart as can be."""
    taken = [Axis(ways, stride) for ways, stride in loops if stride]
    found = list[Axis]()
    for ways, stride in reversed(loops):
        near = (Axis(ways, n) for n in sorted({1, *(axis.span for axis in taken)}))
        fits = (one for one in near if one.span <= count and not any(map(one.meets, taken)))
        axis = Axis(ways, stride) if stride else next(fits, Axis(ways, count // ways))
        taken += [] if stride else [axis]
        found.insert(0, axis)
    return found


@dataclass(frozen=True, slots=True)
class Layout:
    """Where every Einsum runs and how it is divided.

    ``bound`` sends named Einsums to a place other than the first; ``home`` says at which place a state tensor lives
    between runs when that is not where it is written. The layers are cut into ``stages`` (pipeline parallelism), each
    with devices of its own; ``replicas`` copies of the whole serve different requests; ``batches`` batches are in
    flight at once, staggered, so that pools and stages work on different ones.
    """

    places: tuple[Place, ...]
    bound: tuple[tuple[str, str], ...] = ()
    home: tuple[tuple[str, str], ...] = ()
    stages: int = 1
    replicas: int = 1
    batches: int = 1
    apart: tuple[str, ...] = ()  # Einsums that start a kernel of their own, so that what they make can leave early
    joined: tuple[str, ...] = ()  # Einsums that belong to the kernel before them, whatever they are
    anew: tuple[str, ...] = ()  # Einsums before which gathered copies are dropped, to be gathered anew
    held: tuple[str, ...] = ()  # Einsums with which kernels begin that keep rows in registers, and move them in vectors
    together: int = 0  # devices that wait for one another; 0: those of each place
    flash: bool | None = None  # of cached attention: FlashAttention's kernel, alone; False: all in one; None: either
    name: str = ""

    def place(self, einsum: str) -> Place:
        """The place an Einsum is bound to."""
        pool = dict(self.bound).get(einsum, self.places[0].pool)
        return self.at(pool)

    def devices(self, pool: str) -> int:
        """Devices of a pool that are used, all replicas and stages together."""
        stages = self.stages if pool == self.places[0].pool else 1
        return self.at(pool).count * stages * self.replicas

    def at(self, pool: str) -> Place:
        """The place at a pool, refused with a near match if there is none."""
        for place in self.places:
            if place.pool == pool:
                return place
        raise WeirError(f"layout: no place at pool {pool!r}{hint(pool, [p.pool for p in self.places])}")

    def __str__(self) -> str:
        lines = [str(p) for p in self.places]
        lines += [f"  {einsum} on {pool}" for einsum, pool in self.bound]
        extra = {"stages": self.stages, "replicas": self.replicas, "batches": self.batches}
        lines += [f"{k} {v}" for k, v in extra.items() if v > 1]
        return "\n".join(lines)


def check(layout: Layout, program: Program, counts: dict[str, int]) -> None:
    """Refuse a layout that names pools, Einsums or ranks which are not there, or divides further than the ranks go."""
    problems = [*_unknown(layout, program, counts), *_misplaced(layout)]
    copies = layout.stages * layout.replicas
    for place in layout.places:
        need = place.count * (copies if place is layout.places[0] else layout.replicas)
        if place.pool in counts and need > counts[place.pool]:
            problems.append(f"pool {place.pool!r} has {counts[place.pool]} devices; the layout needs {need}")
        problems += list(_uneven(place, program))
    layers = max(part.times for part in program.parts)
    if not 1 <= layout.stages <= layers:
        problems.append(f"{layout.stages} stages cannot share {layers} layers")
    if problems:
        raise WeirError("layout: " + "; ".join(problems))


def _unknown(layout: Layout, program: Program, counts: dict[str, int]) -> Iterable[str]:
    """Pools, Einsums and state tensors that are named and not there."""
    einsums = {e.name for part in program.parts for e in part.cascade.einsums}
    state = {t.name for part in program.parts for t in part.cascade.tensors if t.kind == "state"}
    only = {e for place in layout.places for loop in place.spatial for e in loop.only}
    named = [("bind", [e for e, _ in layout.bound]), ("set apart", layout.apart), ("join", layout.joined),
             ("begin anew", layout.anew), ("divide", sorted(only))]  # fmt: skip
    for place in layout.places:
        if place.pool not in counts:
            yield f"pool {place.pool!r} is not in the cluster{hint(place.pool, counts)}"
    for what, names in named:
        yield from (f"no Einsum {e!r} to {what}{hint(e, einsums)}" for e in names if e not in einsums)
    yield from (f"no state {t!r} to keep{hint(t, state)}" for t, _ in layout.home if t not in state)


def _misplaced(layout: Layout) -> Iterable[str]:
    """Bindings to pools that the layout does not use, pools used twice, numbers that must be at least one."""
    pools = [place.pool for place in layout.places]
    for what, pool in (*layout.bound, *layout.home):
        if pool not in pools:
            yield f"{what} goes to pool {pool!r}, where the layout has no place{hint(pool, pools)}"
    yield from (f"two places at pool {p!r}" for p in dict.fromkeys(pools) if pools.count(p) > 1)
    yield from (f"{n} {what}; at least 1 is needed" for what, n in _counts(layout) if n < 1)


def _counts(layout: Layout) -> tuple[tuple[str, int], ...]:
    """What a layout has some number of."""
    devices = ((f"devices at pool {place.pool!r}", place.count) for place in layout.places)
    return *devices, ("replicas", layout.replicas), ("batches", layout.batches)


def _uneven(place: Place, program: Program) -> Iterable[str]:
    """Loops over ranks that do not exist, or that have fewer elements than ways."""
    extents: dict[str, Any] = {}
    for part in program.parts:
        for rank, size in part.cascade.bind().items():
            extents[rank] = max(extents.get(rank, 0), size)
    for loop in place.spatial:
        if loop.ways < 1:
            yield f"rank {loop.rank!r} divided {loop.ways} ways"
        elif loop.rank not in extents:
            yield f"no rank {loop.rank!r} to divide{hint(loop.rank, extents)}"
        elif loop.rank not in FREE and loop.ways > extents[loop.rank]:
            yield f"rank {loop.rank!r} has {extents[loop.rank]} elements, too few for {loop.ways} ways"
    if any(ways > place.count for ways in _together(place, program)):
        yield f"{place} divides a rank further than its {place.count} devices"


def _together(place: Place, program: Program) -> Iterable[int]:
    """Ways that all loops over a rank come to, for each Einsum that they apply to."""
    loops = [(loop.rank, loop.ways, frozenset(loop.only)) for loop in place.spatial]
    for name in dict.fromkeys(e.name for part in program.parts for e in part.cascade.einsums):
        found: dict[str, int] = {}
        for rank, ways, only in loops:
            if not only or name in only:
                found[rank] = found.get(rank, 1) * ways
        yield from found.values()


def uneven(layout: Layout, program: Program) -> str:
    """What does not divide evenly, in words; empty where everything does. The fullest device's share is what counts."""
    found: dict[str, None] = {}
    for part in program.parts:
        if part.times > 1 and part.times % layout.stages:
            found[f"{part.times} layers over {layout.stages} stages"] = None
        sizes = part.cascade.bind()
        for place in layout.places:
            for rank, ways in ((r, w) for e in part.cascade.einsums for r, w in place.ways(e).items()):
                if rank not in FREE and sizes[rank] % ways:
                    found[f"rank {rank} of {sizes[rank]} over {ways} devices"] = None
    return ", ".join(found)


FREE = ("b", "p", "m", "c")  # ranks whose extent is chosen per run, so that a layout cannot be checked against it
