"""Cascades run one after another, some many times: a network of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from einsum.cascade import Cascade
from einsum.errors import WeirError, hint


@dataclass(frozen=True, slots=True)
class Part:
    """A cascade and how many times it runs, each time with weights and state of its own."""

    cascade: Cascade
    times: int = 1


@dataclass(frozen=True)
class Program:
    """Parts in order. ``shared`` names weights that are the same wherever their name appears (tied embeddings)."""

    name: str
    parts: tuple[Part, ...]
    shared: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of weight values in all parts, shared ones counted once."""
        seen: set[str] = set()
        total = 0
        for part in self.parts:
            for tensor in part.cascade.tensors:
                if tensor.kind == "weight" and tensor.name not in seen:
                    total += int(part.cascade.elements(tensor.name)) * part.times
                    seen |= {tensor.name} & set(self.shared)
        return total

    def part(self, name: str) -> Part:
        """The part whose cascade is called ``name``."""
        for part in self.parts:
            if part.cascade.name == name:
                return part
        raise WeirError(f"{self.name}: no part {name!r}{hint(name, [p.cascade.name for p in self.parts])}")

    def with_sizes(self, **sizes: Any) -> Program:
        """The same program with ranks resized wherever they occur."""
        known = {r for part in self.parts for r, _ in part.cascade.sizes}
        for rank in sizes:
            if rank not in known:
                raise WeirError(f"{self.name}: no rank {rank!r} to size{hint(rank, known)}")
        parts = []
        for part in self.parts:
            own = {r for r, _ in part.cascade.sizes}
            parts.append(Part(part.cascade.with_sizes(**{r: s for r, s in sizes.items() if r in own}), part.times))
        return Program(self.name, tuple(parts), self.shared)
