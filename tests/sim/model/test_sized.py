"""How loops cut ranks up, against every piece cut and every step taken one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from einsum import parse
from mappings.text import parse as read
from sim.model.nests import Mapped, Tile
from sim.model.pieces import Cut, changes, cut_up, least, standing, total
from sim.model.sized import Sized

CUTS = st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=4).map(
    lambda rows: tuple(Cut(tile, space, at) for at, (tile, space) in enumerate(rows))
)


def lengths(length: int, cuts: tuple[Cut, ...], lone: tuple[int, ...] = ()) -> Iterator[int]:
    """Every innermost piece; of the loops at ``lone``, the first one only."""
    if not cuts:
        yield length
        return
    starts = range(0, length, cuts[0].tile)
    for start in starts[:1] if cuts[0].at in lone else starts:
        yield from lengths(min(cuts[0].tile, length - start), cuts[1:], lone)


@given(st.integers(1, 30), CUTS, st.sets(st.integers(0, 3)))
def test_pieces_are_those_cut_one_by_one(length: int, cuts: tuple[Cut, ...], alone: set[int]) -> None:
    states = [(1, length)]
    for cut in cuts:
        states = cut_up(states, cut, cut.at in alone)
    found = list(lengths(length, cuts, tuple(alone)))
    assert sorted(n for many, n in states for _ in range(many)) == sorted(found)
    assert len(states) <= len(cuts) + 1  # one full length, and a shorter one for each loop


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), CUTS)
def test_arrays_are_cut_like_numbers(sizes: list[int], cuts: tuple[Cut, ...]) -> None:
    states = [(1, np.array(sizes, float))]
    for cut in cuts:
        states = cut_up(states, cut)
    many = np.broadcast_to(total(w for w, _ in states), len(sizes))
    assert many.tolist() == [len(list(lengths(size, cuts))) for size in sizes]


@given(st.integers(1, 30), CUTS, CUTS)
def test_what_stands_is_what_changes_leave(length: int, above: tuple[Cut, ...], inside: tuple[Cut, ...]) -> None:
    states = [(1, length)]
    for cut in above:
        states = cut_up(states, cut)
    kept = (c.weight * least(c.old, c.new) * (c.barred == 0) for c in changes(states, None, inside))
    assert standing(states, inside) == total(kept)


@dataclass
class Instance:
    """What an instance held last."""

    piece: tuple[int, int] = (0, 0)


@given(st.integers(1, 20), st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_what_stands_under_loops_in_time_is_seen_when_they_run(length: int, tiles: list[int]) -> None:
    """Two rounds of the loops: in the second, what is where the first one left it has stood."""
    pieces = [(start, n) for start, n in walk(0, length, tiles)]
    held, stood = Instance(), 0
    for place, piece in enumerate([*pieces, *pieces]):
        stood += piece[1] * (place == len(pieces) and piece == held.piece)
        held.piece = piece
    assert standing([(1, length)], tuple(Cut(tile, False, at) for at, tile in enumerate(tiles))) == stood


def walk(start: int, length: int, tiles: list[int]) -> Iterator[tuple[int, int]]:
    """Start and length of every innermost piece in turn."""
    if not tiles:
        yield start, length
        return
    for at in range(0, length, tiles[0]):
        yield from walk(start + at, min(tiles[0], length - at), tiles[1:])


def sized(nest: str, **tiles: object) -> Sized:
    cascade = parse("Z[m, n] = A[m, k] * B[k, n]", m=10, n=6, k=4)
    return Sized.of(Mapped(cascade, read(nest)), tiles={key.replace("_", "."): tile for key, tile in tiles.items()})


NEST = "keep A, B, Z in dram\nfor m tile 4\n  spatial m tile 3 over rows\n    for k tile 4\n      Z on mac"


def test_loops_of_a_nest() -> None:
    at = sized(NEST)
    [leaf] = at.mapped.leaves
    outer, rows, inner = leaf.loops
    assert [at.trips(loop) for loop in leaf.loops] == [3, 2, 1]
    assert [at.divides(loop) for loop in leaf.loops] == [True, True, False]
    assert at.pieces(leaf.loops) == {"m": 3, "n": 6, "k": 4}
    assert at.repeated("m", at.cuts(leaf.loops)["m"]) == 5  # 4 = 3 + 1 twice, and 2
    assert at.rounds(leaf.loops) == 5
    assert at.run(leaf) == 10 * 6 * 4
    assert at.run(leaf, frozenset({rows.at})) == (3 + 3 + 2) * 6 * 4
    assert at.instances("m", at.cuts(leaf.loops)["m"], [rows.at]) == 2
    assert at.moves("m", at.cuts(leaf.loops)["m"], outer) == 2
    assert at.moves("m", at.cuts(leaf.loops)["m"], inner) == 3


def test_given_tiles_stand_for_those_of_the_nest() -> None:
    at = sized(NEST, m_0=np.array([2, 5, 20]))
    [leaf] = at.mapped.leaves
    assert at.trips(leaf.loops[0]).tolist() == [5, 2, 1]
    assert at.divides(leaf.loops[0])
    assert not sized(NEST, m_0=20).divides(leaf.loops[0])


def test_ranks_of_a_tile_that_move_together() -> None:
    plain, slack = ((((1, "c"),), 0)), ((((1, "x"), (2, "r")), 0))
    tile = Tile.of((plain, slack, (((1, "x"),), 0), None))
    assert tile.plain == {"c"}
    assert [group.ranks for group in tile.skew] == [("r", "x")]
    assert tile.ranks == {"c", "r", "x"}
