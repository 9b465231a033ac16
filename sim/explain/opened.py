"""A result opened: its figures computed once more on traced numbers, and what is known of their parts by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from einsum.errors import WeirError

SOUGHT = "asked for, or chosen by search"
Named = tuple[Any, str, str]  # a part of a figure, its name and its unit


@dataclass(frozen=True, slots=True)
class Beside:
    """What is unfolded beside a figure that was simulated, and in words what it is."""

    value: Any
    what: str


@dataclass(frozen=True)
class Opened:
    """A result's summary in which every figure that a formula of the model gives is a traced number.

    ``parts`` names values inside; ``how`` says where a figure comes from that no formula gives; ``beside`` is what
    stands for a figure that was simulated. ``first`` is the figure that is unfolded where none is named.
    """

    figures: Mapping[str, Any]
    first: str
    parts: Callable[[], Iterable[Named]] = tuple
    how: Callable[[str], str] = lambda _: SOUGHT
    beside: Callable[[str], Beside | None] = lambda _: None
    sources: tuple[str, ...] = ()  # of what the whole follows, besides its numbers: a method, mappings
    units: Mapping[str, str] = field(default_factory=dict)  # of figures, where their last name does not tell


@singledispatch
def opened(result: Any, changed: tuple[str, ...] = ()) -> Opened:
    """The result opened; ``changed`` are paths that the user has set.

    Each type of result registers how. Raises :class:`WeirError` for one that nothing is known of.
    """
    raise WeirError(f"a {type(result).__name__} has no figures that can be unfolded")
