"""Keys and values in pages behind contiguous addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from einsum.errors import WeirError, hint
from sim.planner.cache import Store, contiguous, store
from sim.published.kinds.placing import known_shape
from sim.units import si

__all__ = ["growth_milliseconds", "tokens", "virtual_gigabytes"]

OF = ("request", "buffer", "all")


def _store(inputs: Mapping[str, Any], model: str, ways: int) -> Store:
    """Keys and values of a model on one of some devices; nothing here hangs on its capacity."""
    return store(known_shape(inputs, model), 1.0, ways)


def tokens(inputs: Mapping[str, Any], *, model: str, ways: int, group: str) -> float:
    """Tokens whose keys (of one layer) fill a page group."""
    return contiguous(_store(inputs, model, ways), si(group, "B", "group")).unit


def virtual_gigabytes(inputs: Mapping[str, Any], *, model: str, ways: int, batch: int, longest: int, of: str) -> float:
    """GB of addresses for ``batch`` requests of ``longest`` tokens: of a ``request`` in a buffer, a ``buffer``, all."""
    if of not in OF:
        raise WeirError(f"unknown choice {of!r}{hint(of, OF)}")
    return _store(inputs, model, ways).virtual(batch, longest)[OF.index(of)] / 1e9


def growth_milliseconds(inputs: Mapping[str, Any], *, model: str, ways: int, call: str) -> float:
    """Milliseconds to map one more page group in every buffer of a request."""
    how = contiguous(_store(inputs, model, ways), call=si(call, "s", "call"))
    return how.calls * how.seconds * 1e3
