"""Passes: how many times a rank must be traversed, whatever the mapping.

A pass over a rank visits each of its places. An Einsum that moves along a rank and reads something known only once
the *whole* rank has been visited belongs to a later pass than the Einsums that made it (Nayak et al., *FuseMax*,
MICRO 2024, section III). Einsums of one pass can be fused on the rank; Einsums of different passes never can, and
what they share must be kept or fetched again. A rank split affinely (``m1*M0 + m0``) is traversed by moving along all
its parts together; moving along some of them only visits summaries of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from einsum.cascade import Cascade, carried
from einsum.errors import WeirError, hint
from einsum.terms import Access, Affine, Einsum, Term

Parts = frozenset[str]


@dataclass(frozen=True, slots=True)
class Extra:
    """What forces one more pass over a rank: an Einsum along it reads a tensor that needs the rank to be complete."""

    rank: str
    number: int
    einsum: str
    tensor: str

    def __str__(self) -> str:
        return f"pass {self.number} over {self.rank}: {self.einsum} reads {self.tensor}, known only once all of " \
               f"{self.rank} has been visited"  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Rank:
    """A rank as a set of alternatives, each a set of rank variables that together visit every place of it."""

    name: str
    covers: tuple[Parts, ...]

    @property
    def parts(self) -> Parts:
        return frozenset().union(*self.covers)

    def full(self, ranks: tuple[str, ...]) -> bool:
        """Whether moving along these variables visits the whole rank."""
        return any(cover <= set(ranks) for cover in self.covers)

    def touched(self, ranks: tuple[str, ...]) -> bool:
        """Whether any of these variables is a part of the rank."""
        return bool(self.parts & set(ranks))


@dataclass(frozen=True)
class Passes:
    """The pass in which each Einsum runs, rank by rank, and so how often each rank of each tensor is traversed."""

    cascade: Cascade

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Every rank that can be asked about: those of the Einsums, then those that they split."""
        return tuple(self._ranks)

    def rank(self, rank: str) -> int:
        """Passes over a rank: the distinct passes among the Einsums that visit all of it."""
        known = self._known(rank)
        return len({self._levels[rank][0][e.name] for e in self.cascade.einsums if known.full(e.ranks)})

    def of(self, tensor: str, rank: str) -> int:
        """Passes over a rank of one tensor: those of the Einsums that read it, or what carries it place by place."""
        known, ranks = self._known(rank), self.cascade.tensor(tensor).ranks
        carriers, found = {tensor}, set()
        readers = [a for e in self.cascade.einsums for a in (*e.reads, e.output) if a.tensor == tensor]
        if not any(known.full(_direct(a)) for a in readers):
            named = ", ".join(r for r in ranks if r) or "none"
            raise WeirError(f"{self.cascade.name}: {tensor} has no rank {rank!r}; its ranks: {named}")
        for _ in self.cascade.einsums:  # carriers spread through recurrences too, so once around is not enough
            for einsum in self.cascade.einsums:
                reads = any(a.tensor in carriers and known.full(_direct(a)) for a in einsum.reads)
                if reads or (einsum.output.tensor == tensor and known.full(einsum.ranks)):
                    found.add(einsum.name)
                    carriers |= {einsum.output.tensor} if known.full(_direct(einsum.output)) else set()
        return len({self._levels[rank][0][name] for name in found})

    def einsum(self, einsum: str, rank: str) -> int:
        """The pass over ``rank``, counted from one, in which an Einsum runs."""
        self._known(rank)
        return self._levels[rank][0][self.cascade.einsum(einsum).name]

    def why(self, rank: str) -> tuple[Extra, ...]:
        """For each pass after the first, the Einsum that needs it and the tensor that must be complete before."""
        self._known(rank)
        counted = {self.einsum(e.name, rank) for e in self.cascade.einsums if self._ranks[rank].full(e.ranks)}
        extras = {e.number: e for e in reversed(self._levels[rank][1])}
        return tuple(extras[n] for n in sorted(extras) if n in counted)

    def __str__(self) -> str:
        rows = [("rank", "passes", "because")]
        rows += [(r, str(self.rank(r)), "; ".join(f"{e.einsum} reads {e.tensor}" for e in self.why(r)))
                 for r in self.ranks]  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c}".rstrip() for a, b, c in rows)

    def _known(self, rank: str) -> _Rank:
        if rank not in self._ranks:
            raise WeirError(f"{self.cascade.name}: no rank {rank!r}{hint(rank, self._ranks)}")
        return self._ranks[rank]

    @cached_property
    def _ranks(self) -> dict[str, _Rank]:
        found = {r: [frozenset([r])] for r in self.cascade.ranks}
        for name, parts in _splits(self.cascade):
            found.setdefault(name, [])
            if parts not in found[name]:
                found[name].append(parts)
        return {name: _Rank(name, tuple(covers)) for name, covers in found.items()}

    @cached_property
    def _levels(self) -> dict[str, tuple[dict[str, int], tuple[Extra, ...]]]:
        flows = _flows(self.cascade)
        return {name: _level(self.cascade, rank, flows) for name, rank in self._ranks.items()}


def passes(cascade: Cascade) -> Passes:
    """How many times each rank of each tensor must be traversed.

    >>> from einsum import parse
    >>> again = passes(parse("Y = A[k] * B[k]\\nZ = Y * A[k]", k=4))
    >>> again.of("A", "k"), again.of("B", "k")
    (2, 1)
    """
    return Passes(cascade)


def _direct(access: Access) -> tuple[str, ...]:
    """Ranks along which an access moves place by place, not through an index tensor."""
    return tuple(r for i in access.indices if isinstance(i, Affine) for r in i.ranks)


def _splits(cascade: Cascade) -> Iterator[tuple[str, Parts]]:
    """Ranks that an index of mixed radix puts together from parts: the rank's name and the parts."""
    sizes = cascade.bind()
    for access in (a for e in cascade.einsums for a in (e.output, *e.reads)):
        for axis, index in enumerate(access.indices):
            if isinstance(index, Affine) and len(index.ranks) > 1 and _mixed_radix(index, sizes):
                yield cascade.tensor(access.tensor).ranks[axis] or _stem(index, cascade), frozenset(index.ranks)


def _mixed_radix(index: Affine, sizes: dict[str, int]) -> bool:
    """Whether an index takes every value from zero up exactly once."""
    reach = 1
    terms = [t for t in index.terms if t.rank]
    for term in sorted(terms, key=lambda t: (int(t.coefficient(sizes)), int(sizes[str(t.rank)]))):
        if int(term.coefficient(sizes)) != reach:
            return False
        reach *= int(sizes[str(term.rank)])
    return len(terms) == len(index.terms)


def _stem(index: Affine, cascade: Cascade) -> str:
    """A name for an undeclared rank: what its parts' names share before their digits (m1, m0: m), or the index."""
    stems = {r.rstrip("0123456789") for r in index.ranks}
    return stems.pop() if len(stems) == 1 and not stems & set(cascade.ranks) else str(index)


Flow = tuple[Einsum, Access, Einsum]  # who reads, through what, and who wrote it


def _flows(cascade: Cascade) -> tuple[Flow, ...]:
    """Every value that passes from one Einsum to another, by reader in program order."""
    makers: dict[str, list[Einsum]] = {}
    for einsum in cascade.einsums:
        makers.setdefault(einsum.output.tensor, []).append(einsum)
    return tuple((e, a, m) for e in cascade.einsums for a in e.reads for m in makers.get(a.tensor, ()))


def _level(cascade: Cascade, rank: _Rank, flows: tuple[Flow, ...]) -> tuple[dict[str, int], tuple[Extra, ...]]:
    """The earliest pass of each Einsum, by relaxation (recurrences feed back), and what forced each later one."""
    level = dict.fromkeys((e.name for e in cascade.einsums), 1)
    depends = _depends(cascade, rank, flows)
    steps = [
        (reader.name, access.tensor, maker.name,
         rank.touched(reader.ranks) and _completes(rank, access, maker, depends))
        for reader, access, maker in flows
    ]  # fmt: skip
    forced: dict[str, Extra] = {}
    for _ in range(len(cascade.einsums) + 1):
        before = dict(level)
        for reader, tensor, maker, extra in steps:
            if level[maker] + extra > level[reader]:
                level[reader] = level[maker] + extra
                if extra:
                    forced[reader] = Extra(rank.name, level[reader], reader, tensor)
        if level == before:
            made = (forced[e.name] for e in cascade.einsums if e.name in forced)
            return level, tuple(extra for extra in made if extra.number == level[extra.einsum])
    raise WeirError(f"{cascade.name}: along {rank.name!r} a recurrence needs its own complete result")


def _depends(cascade: Cascade, rank: _Rank, flows: tuple[Flow, ...]) -> set[str]:
    """Einsums whose values follow from places along the rank."""
    found = {e.name for e in cascade.einsums if rank.touched(e.ranks)}
    before: set[str] = set()
    while found != before:
        before = set(found)
        found |= {reader.name for reader, _, maker in flows if maker.name in found}
    return found


def _completes(rank: _Rank, access: Access, maker: Einsum, depends: set[str]) -> bool:
    """Whether reading ``access``, which ``maker`` wrote, waits for the whole rank."""
    if maker.name not in depends:
        return False
    if maker.operator in ("sort", "argsort") and rank.touched(maker.along):
        return True
    if rank.touched(_direct(access)):
        return False
    return not _one_place(rank, access, maker)


def _one_place(rank: _Rank, access: Access, maker: Einsum) -> bool:
    """Whether an access picks a single place along the rank that is known before the rank is complete: any place of
    what is made place by place, but only the first of a recurrence."""
    for wrote, read in zip(maker.output.indices, access.indices, strict=True):
        if isinstance(wrote, Affine) and isinstance(read, Affine) and rank.touched(wrote.ranks):
            recurrent = set(wrote.ranks) & set(carried(maker))
            return not read.ranks and (not recurrent or read.terms == (Term(0),))
    return False
