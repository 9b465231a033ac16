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
    """

    weight: Any
    old: Any
    new: Any
    shift: Any = 0


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
    """Instances used by the loops in space at ``among``, each as many as its longest piece needs."""
    total: Any = 1
    longest = length
    for cut in cuts:
        if cut.space and cut.at in among:
            total = total * used(cut, longest)
        longest = least(cut.tile, longest)
    return total


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
    if not cut.space or lone:
        old = least(cut.tile, pair.old) if cut.space else pair.old * (pair.old <= cut.tile)
        yield Change(pair.weight, old, least(cut.tile, pair.new), pair.shift)
        return
    whole_old, rest_old = divided(pair.old, cut.tile)
    whole_new, rest_new = divided(pair.new, cut.tile)
    w = pair.weight
    if _some(both := w * least(whole_old, whole_new)):
        yield Change(both, cut.tile, cut.tile, pair.shift)
    edge_old = np.where(whole_old > whole_new, cut.tile, rest_old)
    edge_new = np.where(whole_new > whole_old, cut.tile, rest_new)
    yield Change(w, edge_old, edge_new, pair.shift)
    if _some(fresh := w * np.maximum(whole_new - whole_old - 1, 0)):
        yield Change(fresh, 0, cut.tile, pair.shift)
    if _some(tail := w * (whole_new > whole_old)):
        yield Change(tail, 0, rest_new, pair.shift)
