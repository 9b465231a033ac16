"""How a rank is cut into pieces by nested loops, and how a piece changes from one visit to the next: exact, vectorised.

All quantities are arrays over design points, or numbers. A piece is described by its length; a change by the lengths of
the old and the new piece and the distance between their starts. Imperfect factors (last pieces that are shorter) are
exact, because a level of tiling has at most one full and a few shorter lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Cut:
    """One loop over a rank: pieces of ``tile``, in time or in space; ``at`` is its place among all nodes.

    With ``only``, this instance of a loop in space is looked at (or these, an array along the last axis). ``name``
    stands for this loop and those over its rank above it: what they decide is the same where it is the same.
    """

    tile: Any
    space: bool
    at: int
    only: Any = None
    name: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """``weight`` visits in which a piece of length ``old`` is followed by one of ``new``, ``shift`` further on.

    ``old`` is 0 where nothing of the old piece can be used again: a loop inside the one that moved began again.
    ``barred`` is the length of a later, shorter piece: instances that have part of it hold that, and not the old one.
    """

    weight: Any
    old: Any
    new: Any
    shift: Any = 0
    barred: Any = 0


States = list[tuple[Any, Any]]  # pieces: how many, how long


def least(one: Any, other: Any) -> Any:
    """The smaller of two numbers, point by point over arrays (plain numbers take a quicker way)."""
    if isinstance(one, int) and isinstance(other, int):
        return one if one < other else other
    return np.minimum(one, other)


def most(one: Any, other: Any) -> Any:
    """The larger of two numbers, point by point over arrays."""
    if isinstance(one, int) and isinstance(other, int):
        return one if one > other else other
    return np.maximum(one, other)


def divided(length: Any, tile: Any) -> tuple[Any, Any]:
    """How many whole pieces a length has, and what is left over.

    Over arrays the division is done in floating point, several times faster and exact below 2**52.
    """
    if isinstance(tile, int):
        if tile == 1:
            return length, 0
        if isinstance(length, int):
            return divmod(length, tile)
    whole = np.floor(length / tile)
    return whole, length - whole * tile


def total(parts: Iterable[Any]) -> Any:
    """The sum of numbers or arrays (nothing is added to a single one)."""
    found = list(parts)
    return reduce(add, found) if found else 0


def cut_up(states: States, cut: Cut, alone: bool = False) -> States:
    """Pieces as (how many, how long), each cut again: into all its pieces, or the first one ``alone``.

    Whole pieces are equally long, whatever they were cut from; each length leaves one shorter piece at most.
    """
    if alone:
        return [(w, least(cut.tile, n)) for w, n in states]
    if cut.only is not None:
        return [(w * (n > cut.only * cut.tile), _chunk(divided(n, cut.tile), cut.only, cut)) for w, n in states]
    wholes, short = [], []
    for w, n in states:
        whole, rest = divided(n, cut.tile)
        wholes.append(w * whole)
        if _some(rest):
            short.append((w * (rest > 0), rest))
    full = total(wholes)
    return [(full, cut.tile), *short] if _some(full) else short


def changes(states: States, moving: Cut | None, inside: Iterable[Cut]) -> list[Change]:
    """Visits at which a loop takes a step and all loops in time inside it start anew.

    ``states`` are the pieces above that loop; ``moving`` is None if it is over another rank.
    """
    found = [Change(w, n, n) for w, n in states]
    if moving is not None:
        found = [c for w, n in states for c in _steps(w, n, moving)]
    for cut in inside:
        found = [c for pair in found for c in (_apart(pair, cut) if cut.space else (_again(pair, cut),))]
    return found


def standing(states: States, inside: Sequence[Cut]) -> Any:
    """Elements of a rank that stand where they are when a loop over another rank takes a step, over all its visits.

    ``states`` are the pieces above that loop, ``inside`` the loops over the rank inside it.
    """
    first = next((i for i, cut in enumerate(inside) if not cut.space), len(inside))
    for cut in inside[:first]:
        states = cut_up(states, cut)
    rest = inside[first:]
    if any(cut.space for cut in rest):
        return total(c.weight * least(c.old, c.new) * (c.barred == 0) for c in changes(states, None, rest))
    if rest:  # a piece stands where no loop inside it goes on to a second one
        tile = reduce(least, [cut.tile for cut in rest])
        states = [(w * (n <= tile), n) for w, n in states]
    return total(w * n for w, n in states)


def _some(weight: Any) -> bool:
    """Whether any design point has such visits; branches that none has are not followed."""
    return weight != 0 if isinstance(weight, int | float) else bool(weight.any())


def _steps(weight: Any, length: Any, cut: Cut) -> Iterator[Change]:
    """Steps of a loop: from full to full piece, and from the last full to the short one."""
    full, rest = divided(length, cut.tile)
    if _some(whole := weight * (full - (full > 0))):
        yield Change(whole, cut.tile, cut.tile, cut.tile)
    if _some(last := weight * ((rest > 0) & (full > 0))):
        yield Change(last, cut.tile, rest, cut.tile)


def _again(pair: Change, cut: Cut) -> Change:
    """The old piece still stands if it was the only one, or where an instance has nothing of the short one after it."""
    whole, rest = divided(pair.old, cut.tile)
    first = (whole == 1) & (pair.barred < cut.tile)
    stands = first | (whole == 0)
    plain = isinstance(rest, int) and rest == 0
    barred = pair.barred if plain else np.maximum(pair.barred, first * rest)
    return Change(pair.weight, least(pair.old, cut.tile) * stands, least(cut.tile, pair.new), pair.shift, barred)


def _apart(pair: Change, cut: Cut) -> Iterator[Change]:
    """Instance by instance, those that hold something of the old piece: full pieces together, those at edges alone."""
    old, new, later = (divided(n, cut.tile) for n in (pair.old, pair.new, pair.barred))
    if cut.only is not None:
        was, becomes, barred = (_chunk(n, cut.only, cut) for n in (old, new, later))
        yield Change(pair.weight, was, becomes, pair.shift, barred)
        return
    hides = pair.barred > 0
    after = np.where(hides, later[0], -1) if _some(hides * 1) else -1  # the last instance with part of the later piece
    w, edge = pair.weight, least(old[0], new[0])
    if _some(both := w * np.maximum(edge - after - 1, 0)):
        yield Change(both, cut.tile, cut.tile, pair.shift)
    if _some(beyond := w * (edge > after)):
        yield Change(beyond, _chunk(old, edge, cut), _chunk(new, edge, cut), pair.shift)
    if _some(partly := w * hides):
        yield Change(partly, _chunk(old, later[0], cut), _chunk(new, later[0], cut), pair.shift, later[1])


def _chunk(length: tuple[Any, Any], instance: Any, cut: Cut) -> Any:
    """What an instance has of a length cut into whole pieces and a rest."""
    whole, rest = length
    return np.where(whole > instance, cut.tile, np.where(whole == instance, rest, 0))
