"""Tensors to try a kernel on, random or made to be awkward, and the form in which kernel and cascade are paired."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from time import perf_counter
from typing import Any

import numpy as np

from einsum import Cascade, interpret

Tensors = dict[str, Any]
Reference = Callable[[Tensors], Mapping[str, Any]]

# Kinds of numbers. Those of "exact" and "huge" are few and round, so that sums of their products are exact: kernel and
# interpreter then choose the same keys, ties included, and agree on scores too far apart for any exponential.
KINDS = ("normal", "exact", "huge", "tiny", "equal", "zero")
ROUND = tuple(kind for kind in KINDS if kind not in ("normal", "tiny"))


@dataclass(slots=True)
class Clock:
    """Seconds spent in kernels so far."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Draw:
    """Tensors of drawn sizes and one kind of numbers; queries arrive scaled."""

    rng: np.random.Generator
    dtype: Any
    b: int
    h: int
    r: int
    p: int
    m: int
    e: int
    kind: str = "normal"
    threads: int = 1
    clock: Clock = field(default_factory=Clock)

    def run(self, kernel: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """A kernel's result, on as many threads as asked if it takes them; the clock runs meanwhile."""
        if "threads" in signature(kernel).parameters:
            options["threads"] = self.threads
        start = perf_counter()
        result = kernel(*args, **options)
        self.clock.seconds += perf_counter() - start
        return result

    def normal(self, *shape: int) -> Any:
        """Numbers of this draw's kind."""
        values: Any
        match self.kind:
            case "exact":
                values = self.rng.integers(-8, 9, shape) / 4
            case "huge":
                values = self.rng.integers(-3, 4, shape) * 64.0
            case "tiny":  # products are denormal in float64, and nothing in float32
                values = self.rng.standard_normal(shape) * (2.0**-80 if self.dtype == np.float32 else 2.0**-520)
            case "equal":
                values = np.full(shape, float(self.rng.integers(1, 4)))
            case "zero":
                values = np.zeros(shape)
            case _:
                values = self.rng.standard_normal(shape)
        return values.astype(self.dtype)

    def values(self, *shape: int) -> Any:
        """Numbers around one: where values cancel, rounding is large next to what is left, whoever computes it."""
        return self.normal(*shape) + self.dtype(self.kind == "normal")

    def random(self, *shape: int) -> Any:
        """Numbers from 0 to 1, hardly two the same: weights to choose by."""
        return self.rng.random(shape).astype(self.dtype)

    def cut(self, *, m: int) -> Draw:
        """The same with another number of keys."""
        return replace(self, m=m)

    def query(self, *shape: int) -> Any:
        """Numbers whose products with as many others stay of one size; round ones stay round."""
        scale = 1 if self.kind in ROUND else np.sqrt(max(shape[-1], 1))
        return self.normal(*shape) / self.dtype(scale)

    def heads(self) -> Tensors:
        """Queries, keys and values of every head."""
        b, h, p, m, e = self.b, self.h, self.p, self.m, self.e
        return {"Q": self.query(b, h, p, e), "K": self.normal(b, h, m, e), "V": self.values(b, h, m, e)}

    def tokens(self) -> Tensors:
        """Queries, keys and values of the same tokens."""
        b, h, t = self.b, self.h, self.m
        q, k = self.query(b, h, t, self.e), self.query(b, h, t, self.e)
        return {"Q": q, "K": k, "V": self.values(b, h, t, self.r)}

    def sizes(self) -> dict[str, Any]:
        """The same sizes as the cascades of attention name them."""
        return {"batch": self.b, "heads": self.h, "query": self.p, "context": self.m, "head_dim": self.e}


# A kernel's result, the cascade or reference that says what it should be, its tensors, and which of its results it is.
Pair = tuple[Any, Cascade | Reference, Tensors, str]


@dataclass(frozen=True, slots=True)
class Row:
    """How one kernel is tried: its cases, the relative error allowed in float32 and float64, the kinds that apply."""

    cases: Callable[[Draw], Iterator[Pair]]
    single: float = 1e-6
    double: float = 1e-13
    kinds: tuple[str, ...] = KINDS

    def tolerance(self, dtype: Any) -> float:
        """The error allowed in arithmetic of this type."""
        return self.single if dtype == np.float32 else self.double


def expected(pair: Pair) -> Any:
    """What a pair's kernel should have returned, in float64."""
    _, meaning, tensors, name = pair
    results = interpret(meaning, tensors) if isinstance(meaning, Cascade) else meaning(tensors)
    return results[name]


def error(got: Any, wanted: Any) -> float:
    """The Frobenius norm of the difference, relative to that of what was wanted; NaN and infinities must coincide.

    Sums below what the type resolves with full precision have no relative error: they count as that large.
    """
    if got.shape != np.shape(wanted):
        return float("inf")
    usual = np.isfinite(wanted)
    if not np.array_equal(got[~usual], wanted[~usual], equal_nan=True) or not np.isfinite(got[usual]).all():
        return float("inf")
    apart, size = (float(np.linalg.norm(a)) for a in (got[usual] - wanted[usual], wanted[usual]))
    info = np.finfo(got.dtype) if got.dtype.kind == "f" else np.finfo(np.float64)
    return apart / max(size, float(info.tiny / info.eps))
