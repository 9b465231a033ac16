"""Cascades: Einsums over tensors with the sizes of their ranks, frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from einsum.errors import WeirError, hint
from einsum.patterns import of_einsum
from einsum.sparsity import Sparsity
from einsum.terms import Affine, Einsum, Sizes, Tensor, Term


@dataclass(frozen=True)
class Cascade:
    """A list of Einsums over tensors, with the sizes of its ranks (some may be given by others: ``m = C + P``)."""

    einsums: tuple[Einsum, ...]
    tensors: tuple[Tensor, ...]
    sizes: tuple[tuple[str, int | Affine], ...]
    name: str = "cascade"

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        return {t.name: t for t in self.tensors}

    @cached_property
    def _einsums(self) -> dict[str, Einsum]:
        return {e.name: e for e in self.einsums}

    def tensor(self, name: str) -> Tensor:
        """The tensor called ``name``; :class:`WeirError` with the nearest name if there is none."""
        if name not in self._tensors:
            raise WeirError(f"{self.name}: no tensor {name!r}{hint(name, self._tensors)}")
        return self._tensors[name]

    def einsum(self, name: str) -> Einsum:
        """The Einsum called ``name``; :class:`WeirError` with the nearest name if there is none."""
        if name not in self._einsums:
            raise WeirError(f"{self.name}: no Einsum {name!r}{hint(name, self._einsums)}")
        return self._einsums[name]

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """Every rank, in order of appearance."""
        return tuple(dict.fromkeys(r for e in self.einsums for r in e.ranks))

    @cached_property
    def produced(self) -> tuple[str, ...]:
        """Tensors that some Einsum writes, in order."""
        return tuple(dict.fromkeys(e.output.tensor for e in self.einsums))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Tensors that are read but never written, or that exist before the first write (state)."""
        written = set(self.produced)
        return tuple(t.name for t in self.tensors if t.name not in written or t.kind == "state")

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Tensors written and read by no later Einsum, and state that is written."""
        read = {n for e in self.einsums for n in e.inputs}
        return tuple(n for n in self.produced if n not in read or self.tensor(n).kind == "state")

    @cached_property
    def intermediates(self) -> tuple[str, ...]:
        """Tensors both written and read that are not state."""
        return tuple(n for n in self.produced if n not in self.outputs)

    @cached_property
    def iterative(self) -> tuple[str, ...]:
        """Ranks along which a tensor is computed from its own previous value: ``RM[m1 + 1] = ... RM[m1] ...``."""
        return tuple(dict.fromkeys(r for e in self.einsums for r in carried(e)))

    @cached_property
    def patterns(self) -> dict[str, tuple[Sparsity, ...]]:
        """Where each Einsum's iteration space is present, by name."""
        return {e.name: of_einsum(e, self._tensors) for e in self.einsums}

    def bind(self, **sizes: Any) -> dict[str, Any]:
        """Every rank's extent, with the given ones (integers or arrays) in place of the cascade's own."""
        own = dict(self.sizes)
        unknown = [r for r in sizes if r not in own]
        if unknown:
            raise WeirError(f"{self.name}: no rank {unknown[0]!r} to size{hint(unknown[0], own)}")
        given = {**own, **sizes}
        known = {r: s for r, s in given.items() if not isinstance(s, Affine)}
        waiting = {r: s for r, s in given.items() if isinstance(s, Affine)}
        while waiting:
            ready = {r: s for r, s in waiting.items() if all(n in known for t in s.terms for n in t.extents)}
            if not ready:
                raise WeirError(f"{self.name}: sizes of ranks {', '.join(waiting)} depend on each other")
            known |= {r: s.value(known, {}) for r, s in ready.items()}
            waiting = {r: s for r, s in waiting.items() if r not in ready}
        return known

    def with_sizes(self, **sizes: int) -> Cascade:
        """The same cascade at other sizes."""
        check_sizes(sizes, self.name)
        self.bind(**sizes)
        resized = replace(self, sizes=tuple((r, sizes.get(r, s)) for r, s in self.sizes))
        check_extents(resized)
        return resized

    def shape(self, name: str, sizes: Sizes | None = None) -> tuple[Any, ...]:
        """Extent of each dimension of a tensor: the declared rank's, or the furthest that any access reaches."""
        at = self.bind() if sizes is None else sizes
        return tuple(
            at[rank] if rank else self._reach(name, axis, at) for axis, rank in enumerate(self.tensor(name).ranks)
        )

    def _reach(self, name: str, axis: int, sizes: Sizes) -> Any:
        reach: Any = 1
        for einsum in self.einsums:
            for access in (einsum.output, *einsum.reads):
                index = access.indices[axis] if access.tensor == name else None
                if isinstance(index, Affine):
                    reach = np.maximum(reach, index.extent(sizes))
        return reach

    def elements(self, name: str, sizes: Sizes | None = None) -> Any:
        """Number of places in a tensor, present or absent."""
        total: Any = 1
        for extent in self.shape(name, sizes):
            total = total * extent
        return total

    def __str__(self) -> str:
        sizes = ", ".join(f"{r}={s}" for r, s in self.sizes)
        return "\n".join([f"# {self.name}: {sizes}", *map(str, self.einsums)])


def carried(einsum: Einsum) -> Iterator[str]:
    """Ranks at which an Einsum writes one place after the one it (or another line) reads."""
    for index in einsum.output.indices:
        if isinstance(index, Affine) and len(index.terms) == 2:
            var, const = index.terms
            if var.rank and var.scale == 1 and not var.extents and const == Term(1):
                yield var.rank


def check_sizes(sizes: Mapping[str, Any], where: str) -> None:
    """Refuse extents that are not whole numbers from 0 to 2**62; a rank that is iterated must not be empty either."""
    for rank, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 0 <= size < 2**62:
            raise WeirError(f"{where}: size of rank {rank!r} must be a whole number from 0 to 2**62, not {size!r}")


def check_extents(cascade: Cascade) -> None:
    """Refuse sizes that come to nothing: an empty rank that is iterated, a derived size or an index below zero."""
    sizes = cascade.bind()
    check_sizes(sizes, cascade.name)
    for rank in cascade.ranks:
        if sizes[rank] == 0:
            raise WeirError(f"{cascade.name}: rank {rank!r} is empty: its size must be at least 1")
    for einsum in cascade.einsums:
        for access in (einsum.output, *einsum.reads):
            for index in access.indices:
                if isinstance(index, Affine) and index.least(sizes) < 0:
                    raise WeirError(f"{cascade.name}: line {einsum.line}: {access} reaches place {index.least(sizes)}; "
                                    "places count from 0")  # fmt: skip
