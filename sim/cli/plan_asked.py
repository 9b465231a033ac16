"""What is asked of ``weir plan``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    what: str
    on: tuple[str, ...] = ()
    capacity: str | None = None
    seconds: float = 60.0
    objective: str | None = None
    solver: str = "highs"
    save: str | None = None
    plot: str | None = None
    sequence: str | None = None
    batch: int = 1
    strategy: str | None = None
    split: str = "tensor"
    host: str | None = None
    link: str | None = None
    prices: str | None = None
    price: tuple[str, ...] = ()
    curve: bool = False
    layers: str | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        own = {**given, "what": given["problem"], **{name: tuple(given[name] or ()) for name in ("on", "price")}}
        return cls(**{name: own[name] for name in cls.__slots__})
