"""How a rank is cut into pieces by nested loops, and how a piece changes from one visit to the next: exact, vectorised.

All quantities are arrays over design points, or numbers. A piece is described by its length; a change by the lengths of
the old and the new piece and the distance between their starts. Imperfect factors (last pieces that are shorter) are
exact, because a level of tiling has at most one full and a few shorter lengths.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Cut:
    """One loop over a rank: pieces of ``tile``, in time or in space; ``at`` is its place among all nodes."""

    tile: Any
    space: bool
    at: int


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


def least(one: Any, other: Any) -> Any:
    """The smaller of two numbers, point by point over arrays (plain numbers take a quicker way)."""
    if isinstance(one, int) and isinstance(other, int):
        return one if one < other else other
    return np.minimum(one, other)


def divided(length: Any, tile: Any) -> tuple[Any, Any]:
    """How many whole pieces a length has, and what is left over.

    Over arrays the division is done in floating point, several times faster and exact below 2**52.
    """
    if isinstance(length, int) and isinstance(tile, int):
        return divmod(length, tile)
    whole = np.floor(length / tile)
    return whole, length - whole * tile


def used(cut: Cut, length: Any) -> Any:
    """Pieces that a loop makes of a length."""
    whole, rest = divided(length, cut.tile)
    return whole + (rest > 0)


def covered(length: Any, cuts: Iterable[Cut], lone: Collection[int] = ()) -> Any:
    """Elements of a rank run in all visits and instances; of the loops in space at ``lone``, by instance 0 only."""
    over = tuple(cuts)
    if not any(cut.space and cut.at in lone for cut in over):
        return length  # the pieces of a rank make up the rank
    return sum((w * n for w, n in states(length, over, lone)), start=0)


def repeated(length: Any, cuts: Iterable[Cut], lone: Collection[int] = ()) -> Any:
    """Number of innermost pieces: how often something without the rank is run under loops over it."""
    return sum((w for w, _ in states(length, cuts, lone)), start=0)


def states(length: Any, cuts: Iterable[Cut], lone: Collection[int] = ()) -> list[tuple[Any, Any]]:
    """Innermost pieces as (how many, how long)."""
    found: list[tuple[Any, Any]] = [(1, length)]
    for cut in cuts:
        found = _divided(found, cut, cut.space and cut.at in lone)
    return found


def _divided(states: list[tuple[Any, Any]], cut: Cut, alone: bool) -> list[tuple[Any, Any]]:
    """Each piece cut again: into all its pieces, or the first one ``alone``."""
    if alone:
        return [(w, least(cut.tile, n)) for w, n in states]
    return [s for w, n in states for s in _pieces(w, n, cut)]


def instances(length: Any, cuts: Iterable[Cut], among: Collection[int]) -> Any:
    """Instances of the loops in space at ``among`` that have a piece when all loops start (if not, they never have)."""
    states: list[tuple[Any, Any]] = [(1, length)]
    for cut in cuts:
        states = _divided(states, cut, not (cut.space and cut.at in among))
    return sum((w for w, _ in states), start=0)


def changes(length: Any, cuts: Iterable[Cut], moved: int, lone: bool) -> list[Change]:
    """Visits at which loop ``moved`` takes a step and all loops in time inside it start anew.

    ``lone`` follows instance 0 only: for ranks that a tensor does not have, of which only the number of visits matters.
    """
    single: list[tuple[Any, Any]] = [(1, length)]
    pairs: list[Change] | None = None
    for cut in cuts:
        if cut.at < moved:
            single = _divided(single, cut, cut.space and lone)
        elif cut.at == moved:
            pairs = [c for w, n in single for c in _steps(w, n, cut)]
        else:
            pairs = [Change(w, n, n) for w, n in single] if pairs is None else pairs
            pairs = [c for pair in pairs for c in _inside(pair, cut, lone)]
    return [Change(w, n, n) for w, n in single] if pairs is None else pairs


def _some(weight: Any) -> bool:
    """Whether any design point has such visits; branches that none has are not followed."""
    return weight != 0 if isinstance(weight, int) else bool(np.any(weight))


def _pieces(weight: Any, length: Any, cut: Cut) -> Iterator[tuple[Any, Any]]:
    """The full pieces of a length, and the short one."""
    whole, rest = divided(length, cut.tile)
    if _some(full := weight * whole):
        yield full, cut.tile
    if _some(short := weight * (rest > 0)):
        yield short, rest


def _steps(weight: Any, length: Any, cut: Cut) -> Iterator[Change]:
    """Steps of a loop: from full to full piece, and from the last full to the short one."""
    full, rest = divided(length, cut.tile)
    if _some(whole := weight * (full - (full > 0))):
        yield Change(whole, cut.tile, cut.tile, cut.tile)
    if _some(last := weight * ((rest > 0) & (full > 0))):
        yield Change(last, cut.tile, rest, cut.tile)


def _inside(pair: Change, cut: Cut, lone: bool) -> Iterator[Change]:
    """A loop inside the one that moved: in time, it begins again; in space, each instance has its own piece."""
    if lone:  # only the number of visits matters
        yield Change(pair.weight, pair.old, least(cut.tile, pair.new))
    elif cut.space:
        yield from _apart(pair, cut)
    else:
        yield _again(pair, cut)


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
