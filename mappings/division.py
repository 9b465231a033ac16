"""How a training step is divided over the devices of a pool: heads, hidden ranks, positions, experts, sequences.

Key-value heads go round as far as they do; devices left over share the queries of one, each with a copy of it. A device
that would add up what others of its group add up too, as the router's gradient, adds up its part of it instead, so
that all that goes into one sum is reduced once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import gcd

from einsum import Cascade, Const, Einsum, WeirError
from mappings.kernels import standing, weighted
from mappings.layout import Layout, Place
from mappings.tree import Spatial


@dataclass(frozen=True, slots=True)
class Division:
    """Ways in which a step is divided over the devices of a pool.

    ``tensor`` ways by heads, hidden and vocabulary ranks, with ``sequence`` by positions where none of these is;
    ``context`` ways by positions throughout. ``experts`` are divided over the ``tensor`` devices, and over ``copies``
    of them that bring sequences of their own; what is left divides each expert's hidden rank. ``ulysses`` divides
    attention ``tensor`` ways by heads and all else by positions (DeepSpeed-Ulysses, arXiv 2309.14509).
    """

    pool: str = "model"
    tensor: int = 1
    sequence: bool = False
    context: int = 1
    experts: int = 1
    copies: int = 1
    ulysses: bool = False

    @property
    def devices(self) -> int:
        """Devices that share a layer."""
        return self.tensor * self.context * self.copies

    def place(self, step: Cascade) -> Place:
        """The devices, and the loops over them; what is made of no values is made wherever it is read."""
        if self.ulysses:
            return self._over(_ulysses(step, self.tensor))
        routed = _routed(step) if self.experts > 1 or self.copies > 1 else ()
        context = Spatial("p", self.context, stride=self.tensor)
        place = self._over((*self._experts(routed), context, *self._tensor(step)))
        place = _evened(step, place, routed if self.copies > 1 else ())
        partial = {name for name, (parts, _) in standing(step, Layout((place,))).items() if parts > 1}
        sums = {e.name for e in step.einsums if e.output.tensor in partial and products(step, e)}
        own = tuple(e.name for e in step.einsums if e.name not in routed)
        rest = tuple(e.name for e in step.einsums if e.name not in sums and not isinstance(e.expr, Const))
        between = Spatial("p", self.tensor if self.sequence else 1, only=rest, stride=1)
        apart = Spatial("b", self.copies, only=own, stride=self.tensor * self.context)
        return self._over((*place.spatial, apart, between))

    def _over(self, loops: Iterable[Spatial]) -> Place:
        return Place(self.pool, self.devices, tuple(loop for loop in loops if loop.ways > 1))

    def _experts(self, routed: tuple[str, ...]) -> Iterator[Spatial]:
        """Experts over the tensor-parallel devices and the copies, each expert's hidden rank over what is left."""
        if routed:
            left = self.tensor * self.copies // self.experts
            yield Spatial("x", self.experts, only=routed, stride=left)
            yield Spatial("f", left, only=routed, stride=1)

    def _tensor(self, step: Cascade) -> Iterator[Spatial]:
        yield from heads(step, self.tensor)
        yield from (Spatial(rank, self.tensor, stride=1) for rank in ("f", "s", "v") if rank in step.ranks)


def heads(step: Cascade, ways: int) -> Iterator[Spatial]:
    """Loops over heads: key-value heads as far as they go, then the queries that share one, of which each device has
    a copy. :class:`WeirError` where there are too few, with what would do."""
    if "g" not in step.ranks:
        return
    sizes = step.bind()
    groups, shared = int(sizes["g"]), int(sizes.get("r", 1))
    if (found := _rounds(groups, shared, ways)) is None:
        most = max(n for n in range(1, ways) if _rounds(groups, shared, n))
        raise WeirError(f"{groups * shared} heads cannot be divided {ways} ways; {most} would do")
    yield Spatial("g", found[0], stride=found[1])
    yield Spatial("r", found[1], stride=1)


def _rounds(groups: int, shared: int, ways: int) -> tuple[int, int] | None:
    """Ways of key-value heads, and of the queries that share one; None if there are too few."""
    own = gcd(groups, ways)
    if groups >= ways and shared % (ways // own):
        own = ways  # unevenly: the fullest device counts
    return (own, ways // own) if ways // own <= shared else None


def _ulysses(step: Cascade, ways: int) -> Iterator[Spatial]:
    """Attention between the projections by heads, all else by positions."""
    core = tuple(e.name for e in step.einsums if {"p", "m"} & set(e.ranks) and "g" in e.ranks and "d" not in e.ranks)
    if core:
        yield from (replace(loop, only=core) for loop in heads(step, ways))
    yield Spatial("p", ways, stride=1)


def _routed(step: Cascade) -> tuple[str, ...]:
    """Einsums whose work along experts is sparse: tokens visit those that were chosen."""
    return tuple(dict.fromkeys(e.name for e in step.einsums if {"f", "x"} <= set(e.ranks)))


def products(step: Cascade, einsum: Einsum) -> bool:
    """Whether an Einsum adds up nothing but products with weights."""
    makers = {e.output.tensor: e for e in step.einsums}
    made = [makers.get(name) for name in einsum.inputs]
    return einsum.adds and len(made) > 1 and all(e is not None and weighted(step, e) for e in made)


def _evened(step: Cascade, place: Place, apart: tuple[str, ...]) -> Place:
    """The place with products that are whole where others of their sum are partial divided along what they add up;
    what Einsums ``apart`` make goes into no such sum."""
    found, sizes, more = standing(step, Layout((place,))), step.bind(), list[Spatial]()
    alone = {e.output.tensor for e in step.einsums if e.name in apart}
    for einsum in (e for e in step.einsums if products(step, e) and not alone & set(e.inputs)):
        most = max(found[name][0] for name in einsum.inputs)
        for name in einsum.inputs:
            maker = next(e for e in step.einsums if e.output.tensor == name)
            ways, own = most // found[name][0], place.ways(maker)
            free = [r for r in maker.reduced if r not in own and sizes[r] >= ways]
            if ways > 1 and free:
                more.append(Spatial(max(free, key=lambda r: sizes[r]), ways, only=(maker.name,), stride=1))
    return Place(place.pool, place.count, (*place.spatial, *more))
