"""Transformers as programs of cascades: an embedding, some kinds of layer, a head, from one published configuration.

One program serves prefill and decode: ``b`` requests bring ``p`` new tokens each to the ``c`` cached before them. Every
rank can be resized, to numbers or to arrays of numbers, without building the program anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from einsum.cascade import Cascade
from einsum.counts import touched
from einsum.errors import WeirError, hint
from einsum.ops import bits, is_dtype
from einsum.program import Part, Program
from einsum.terms import Access, Affine, Einsum
from workloads.config import load, names
from workloads.layers import embedding, head, layer
from workloads.pieces import Types, typed
from workloads.spec import Attention, Latent, Spec

__all__ = ["Transformer", "from_config", "model", "names"]

PHASES = ("decode", "prefill")


@dataclass(frozen=True, slots=True)
class Transformer:
    """A decoder-only transformer, as its publisher configured it."""

    spec: Spec

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def layers(self) -> int:
        """Number of layers of all kinds."""
        return sum(kind.times for kind in self.spec.layers)

    @property
    def model(self) -> int:
        """Width of the stream between layers."""
        return self.spec.model

    @property
    def heads(self) -> int:
        """Query heads of a layer."""
        return self.spec.layers[0].attention.heads

    @property
    def kv_heads(self) -> int:
        """Pairs of key and value that a layer caches for each token; one for a latent shared by all heads."""
        attention = self.spec.layers[0].attention
        return attention.kv_heads if isinstance(attention, Attention) else 1

    @property
    def longest(self) -> int:
        """Tokens of context that the publisher states; zero if it states none."""
        return self.spec.longest

    @property
    def dtype(self) -> str:
        """Type that the weights are published in."""
        return self.spec.dtype

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be held against figures of the model: a configuration that nobody has checked."""
        return (f"{self.name}: unverified: {self.spec.unverified}",) if self.spec.unverified else ()

    @property
    def phased(self) -> bool:
        """Whether prefill and decode are best done by different cascades."""
        return any(isinstance(kind.attention, Latent) for kind in self.spec.layers)

    @property
    def decode(self) -> Program:
        """The program for few new tokens on a long context, in the published type."""
        return self.program("decode")

    @property
    def prefill(self) -> Program:
        """The program for many new tokens, in the published type."""
        return self.program("prefill")

    def program(
        self,
        phase: str = "decode",
        *,
        dtype_weights: str | None = None,
        dtype_state: str | None = None,
        dtype_activations: str | None = None,
        dtype_products: str | None = None,
    ) -> Program:
        """The model as cascades for one ``phase``, in the published types unless others are named.

        ``dtype_products`` is the type of activations that meet weights in a product (published fp8 models quantise them
        too). The embedding and the head keep the activations' type where the weights' is narrower, as quantisers do.
        """
        if phase not in PHASES:
            raise WeirError(f"{self.name}: unknown phase {phase!r}{hint(phase, PHASES)}")
        activations = dtype_activations or _computing(self.dtype)
        quantised = self.dtype if self.dtype == "fp8" and dtype_weights is None else activations
        weights, products = dtype_weights or self.dtype, dtype_products or quantised
        types = Types(weights, dtype_state or _computing(self.dtype), activations, products)
        for dtype in (weights, types.state, activations, products):
            if not is_dtype(dtype):
                raise WeirError(
                    f"{self.name}: unknown data type {dtype!r}; write letters and a width, as in bf16, int4"
                )
        return _program(self.spec, self.phased and phase == "decode", types)

    @property
    def parameters(self) -> int:
        """Number of weights, tied ones once."""
        return self.program().parameters

    @property
    def active_parameters(self) -> int:
        """Weights that one token meets: of a mixture's experts only those chosen; tables count whole."""
        program = self.program()
        counts = [part.times * _met(part.cascade, program.shared if i else ()) for i, part in enumerate(program.parts)]
        return round(sum(counts))

    def state_bytes(self, context: Any, dtype: str | None = None) -> Any:
        """Bytes that one request of ``context`` tokens keeps: state that its next token can still see."""
        program = self.program(dtype_state=dtype)
        return sum(_seen(part.cascade, context) * part.times for part in program.parts)


def from_config(source: str | Path, *, name: str | None = None) -> Transformer:
    """The transformer of a Hugging Face ``config.json`` (a file, or the folder it is in), or of a bundled name."""
    return Transformer(load(source, name))


def model(name: str) -> Transformer:
    """The bundled transformer of that name; :class:`WeirError` with the nearest name if there is none.

    >>> model("llama-3-70b").parameters
    70553706496
    """
    return Transformer(load(name, bundled=True))


def _computing(published: str) -> str:
    """The type that activations have: the weights', unless those are stored in fewer than 16 bits."""
    return published if bits(published) >= 16 else "bf16"


@lru_cache(maxsize=256)
def _program(spec: Spec, absorbed: bool, types: Types) -> Program:
    wide = max(types.weights, types.activations, key=bits)
    tables = Types(wide, types.state, types.activations, types.activations)
    (first, _), *layers, (last, _) = _cascades(spec, absorbed)
    parts = (
        Part(typed(first, tables)),
        *(Part(typed(cascade, types), times) for cascade, times in layers),
        Part(typed(last, tables)),
    )
    return Program(spec.name, parts, ("WE",) if spec.tied else ())


@lru_cache(maxsize=64)
def _cascades(spec: Spec, absorbed: bool) -> tuple[tuple[Cascade, int], ...]:
    layers = tuple((layer(spec, kind, absorbed).cascade(kind.name), kind.times) for kind in spec.layers)
    return ((embedding(spec).cascade("embed"), 1), *layers, (head(spec).cascade("head"), 1))


def _one_token(cascade: Cascade, context: Any) -> dict[str, Any]:
    """The cascade's sizes for one request whose newest token is the last of ``context``."""
    sizes = {"b": 1, "p": 1, "c": context - 1}
    own = dict(cascade.sizes)
    return cascade.bind(**{rank: size for rank, size in sizes.items() if rank in own})


def _seen(cascade: Cascade, context: Any) -> Any:
    """Bytes of state that the last of ``context`` tokens of one request reads in one run of the cascade."""
    at = _one_token(cascade, context)
    most: dict[str, Any] = {}
    for einsum, access in _reads(cascade, "state"):
        size = touched(cascade, access, einsum, at) * bits(cascade.tensor(access.tensor).dtype) / 8
        most[access.tensor] = np.maximum(most.get(access.tensor, 0), size)
    return sum(most.values())


def _met(cascade: Cascade, counted: tuple[str, ...]) -> float:
    """Weights that one token meets in one run of the cascade, those ``counted`` elsewhere left out."""
    at = _one_token(cascade, 1)
    most: dict[str, float] = {}
    for einsum, access in _reads(cascade, "weight"):
        plain = all(isinstance(index, Affine) and index.plain for index in access.indices)
        size = touched(cascade, access, einsum, at) if plain else cascade.elements(access.tensor, at)
        most[access.tensor] = max(most.get(access.tensor, 0.0), float(size))
    return sum(size for name, size in most.items() if name not in counted)


def _reads(cascade: Cascade, kind: str) -> Iterator[tuple[Einsum, Access]]:
    """Every read of a tensor of one kind."""
    for einsum in cascade.einsums:
        for access in einsum.reads:
            if cascade.tensor(access.tensor).kind == kind:
                yield einsum, access
