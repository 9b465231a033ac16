"""What a user did wrong, said in one place and one way: what, where, and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any


class WeirError(ValueError):
    """A mistake in what weir was given; its message is meant to be read by the person who gave it."""


class Infeasible(WeirError):  # noqa: N818  a state of affairs, named as solvers name it
    """What was asked is well formed but does not fit the hardware or the limits given.

    ``miss`` is the factor by which a limit is missed (infinite where something does not fit at all): of several
    refusals, the nearest miss says most.
    """

    def __init__(self, message: str, miss: float = math.inf) -> None:
        super().__init__(message)
        self.miss = miss


def hint(name: str, known: Iterable[str], most: int = 12) -> str:
    """A tail for a message: the nearest known name, or the known names if there are at most ``most``.

    >>> hint("mx", ["max", "sum"])
    "; did you mean 'max'?"
    >>> hint("zzz", ["max", "sum"])
    '; known: max, sum'
    """
    import difflib

    names = sorted(known)
    alike = {n.lower(): n for n in names}
    if name.lower() in alike and name:
        return f"; did you mean {alike[name.lower()]!r}?"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6) or [n for n in names if name and n.startswith(name)]
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= most else ""


def refuse_unknown(raw: Mapping[str, Any], known: Iterable[str], where: str) -> list[str]:
    """One message per key of ``raw`` that is not among ``known``."""
    names = set(known)
    return [f"{where}: unknown key {key!r}{hint(str(key), names)}" for key in raw if key not in names]


def raise_all(problems: list[str]) -> None:
    """Raise every problem found at once, one a line, so that a file is mended in one go."""
    if problems:
        raise WeirError("\n".join(problems))
