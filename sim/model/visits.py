"""The kernel of the exact simulator: runs a flattened nest visit by visit and counts elements one at a time.

Arrays in, counts out. A *port* is a way by which something asks a keep for elements: the keep inside it, or an access
of an Einsum. The memory of the machine says which elements an instance holds, how often an element came into the
tensor's outermost keep (its *era*), in which era a port first touched it (its *mark*), and in which tick a group of
instances that share one transfer last moved it (its *stamp*). Few arrays with numbered rows, rather than an array a
field, keep numba's compilation short.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., object])

BEGIN, NEXT, VISIT, RUN = range(4)  # kinds of steps
FILLS, READS, UPDATES, DRAINS, POINTS, SUMS, COPIES = range(7)  # columns of the counts, by keep; by run; by port
NOW, STOP, START, LENGTH = range(4)  # rows of ``now``: of loops in time; of ranks' pieces
LIVE, GROUP, TARGET, OUTER = range(4)  # rows of ``instances``: works ever; shares with; of the keep asked; outermost

# Rows of ``facts``; X_AT are the starts of ragged rows in what follows them, X_HELD and the like places in the memory.
(SIZE, LOOP_RANK, LOOP_TILE, LOOP_TRIPS, LOOP_SPACE) = range(5)  # extents of ranks; trips: pieces of the longest piece
(OP_COUNT, OP_KIND, OP_ARG, OP_SITE, OP_JUMP) = range(5, 10)  # arg: a loop, keep or run; jump: where a loop began
(SITE_AT, SITE_LOOP, SITE_RADIX, LIVE_AT) = range(10, 14)  # sites: the loops above something, with their instances
(KEEP_COUNT, KEEP_SITE, KEEP_CELLS, KEEP_PARENT, KEEP_WRITES, KEEP_REDUCES) = range(14, 20)  # cells: of the tensor
(KEEP_HELD, KEEP_ERA, KEEP_BOX) = range(20, 23)
(HAS_AT, HAS) = range(23, 25)  # ranks that a keep's tensor has
(ANEW_AT, ANEW_LOOP, ANEW_MOVED) = range(25, 28)  # loops above that can make a tile new: if they move, or begin again
(DIM_AT, DIM_LEAST, DIM_MOST, DIM_STEP, TERM_AT, TERM_RANK, TERM_SCALE) = range(28, 35)  # a keep's tile
(PORT_KEEP, PORT_MAP, PORT_SPAN, PORT_KEYS, PORT_OLD, PORT_STAMP, PORT_MARK) = range(35, 42)  # map: its instances
(KEY_AT, KEY_LOOP, KEY_RADIX) = range(42, 45)  # the repetition that a port is in
(RUN_SITE, RUN_BASE, RUN_SUMS, PORT_AT) = range(45, 49)  # base: the output's cell at the origin; ports: output last
(POINT_AT, POINT_RANK, POINT_RADIX, POINT_STEP) = range(49, 53)  # ranks of a run; step: in cells of the output
(RANK_COUNT, KEEP_THERE, RUN_THERE, POINT_WHOLE) = range(53, 57)  # there: where it says what is present
NEW = 1  # where in the memory a tile is put together; the tick is at 0


class Machine(NamedTuple):
    """A flattened nest and the state of its run; rows as numbered above."""

    facts: Ints
    instances: Ints
    memory: Ints  # the tick; then what keeps and ports remember
    counts: Ints
    now: Ints
    cells: Ints  # scratch: the cells of two tiles


def compiled(function: F) -> F:
    """The function as machine code (as it is, where numba's compiler is turned off)."""
    return cast(F, njit(cache=False, error_model="numpy")(function))


@compiled
def place(m: Machine, site: int, instance: int) -> None:
    """Start and length of every rank's piece at one instance, now."""
    for rank in range(m.facts[RANK_COUNT, 0]):
        m.now[START, rank] = 0
        m.now[LENGTH, rank] = m.facts[SIZE, rank]
    for k in range(m.facts[SITE_AT, site], m.facts[SITE_AT, site + 1]):
        loop = m.facts[SITE_LOOP, k]
        rank, tile = m.facts[LOOP_RANK, loop], m.facts[LOOP_TILE, loop]
        at = (
            instance // m.facts[SITE_RADIX, k] % m.facts[LOOP_TRIPS, loop]
            if m.facts[LOOP_SPACE, loop]
            else m.now[NOW, loop]
        )
        m.now[START, rank] += at * tile
        m.now[LENGTH, rank] = max(0, min(tile, m.now[LENGTH, rank] - at * tile))


@compiled
def working(m: Machine, site: int) -> int:
    """1 if the instance that was placed last has a piece of every rank looped over, 0 if it idles."""
    work = 1
    for k in range(m.facts[SITE_AT, site], m.facts[SITE_AT, site + 1]):
        work *= m.now[LENGTH, m.facts[LOOP_RANK, m.facts[SITE_LOOP, k]]] > 0
    return work


@compiled
def pieces(m: Machine, site: int, loop: int) -> int:
    """Pieces that a loop makes at the instance that has most."""
    most = 0
    rank, tile = m.facts[LOOP_RANK, loop], m.facts[LOOP_TILE, loop]
    for i in range(m.facts[LIVE_AT, site + 1] - m.facts[LIVE_AT, site]):
        if m.instances[LIVE, m.facts[LIVE_AT, site] + i]:
            place(m, site, i)
            most = max(most, -(-m.now[LENGTH, rank] // tile))
    return most


@compiled
def fit(m: Machine, keep: int) -> bool:
    """The box of a tensor at the instance that was placed last, put at ``NEW``; whether there is one."""
    for k in range(m.facts[HAS_AT, keep], m.facts[HAS_AT, keep + 1]):
        if m.now[LENGTH, m.facts[HAS, k]] == 0:
            return False
    first, dims = m.facts[DIM_AT, keep], m.facts[DIM_AT, keep + 1] - m.facts[DIM_AT, keep]
    for d in range(dims):
        least, most = m.facts[DIM_LEAST, first + d], m.facts[DIM_MOST, first + d]
        for k in range(m.facts[TERM_AT, first + d], m.facts[TERM_AT, first + d + 1]):
            scale, rank = m.facts[TERM_SCALE, k], m.facts[TERM_RANK, k]
            start = scale * m.now[START, rank]
            end = start + scale * (m.now[LENGTH, rank] - 1)
            least += min(start, end)
            most += max(start, end)
        m.memory[NEW + 2 * d] = least
        m.memory[NEW + 2 * d + 1] = most + 1
    return True


@compiled
def spread(m: Machine, keep: int, box: int, row: int) -> int:
    """Number of cells in the box at an address, listed in a row of the scratch."""
    first, dims = m.facts[DIM_AT, keep], m.facts[DIM_AT, keep + 1] - m.facts[DIM_AT, keep]
    m.cells[row, 0] = 0
    count = 1
    for d in range(dims):
        step = m.facts[DIM_STEP, first + d]
        least, end = m.memory[box + 2 * d], m.memory[box + 2 * d + 1]
        for i in range(count):
            m.cells[row, i] += least * step
        for j in range(1, end - least):
            for i in range(count):
                m.cells[row, j * count + i] = m.cells[row, i] + j * step
        count *= end - least
    return count


@compiled
def moved(m: Machine, port: int, instance: int, thing: int) -> bool:
    """Whether no instance of the same group has moved this in this tick; from now on one has."""
    at = (
        m.facts[PORT_STAMP, port]
        + m.instances[GROUP, m.facts[PORT_MAP, port] + instance] * m.facts[PORT_SPAN, port]
        + thing
    )
    new = m.memory[at] != m.memory[0]
    m.memory[at] = m.memory[0]
    return bool(new)


@compiled
def touched(m: Machine, port: int, instance: int, cell: int) -> bool:
    """Whether the port met this element before, since it came into the outermost keep and in this repetition."""
    keep = m.facts[PORT_KEEP, port]
    span = m.facts[KEEP_CELLS, keep]
    key = 0
    for k in range(m.facts[KEY_AT, port], m.facts[KEY_AT, port + 1]):
        key += m.now[NOW, m.facts[KEY_LOOP, k]] * m.facts[KEY_RADIX, k]
    at = m.instances[TARGET, m.facts[PORT_MAP, port] + instance] * m.facts[PORT_KEYS, port] + key
    era = m.memory[m.facts[KEEP_ERA, keep] + m.instances[OUTER, m.facts[PORT_MAP, port] + instance] * span + cell]
    before = m.memory[m.facts[PORT_MARK, port] + at * span + cell] == era
    m.memory[m.facts[PORT_MARK, port] + at * span + cell] = era
    return bool(before or m.facts[PORT_OLD, port])


@compiled
def present(m: Machine, there: int, place: int) -> bool:
    """Whether a place of a tensor, or a point, is present; ``there`` is -1 where all are."""
    return there < 0 or bool(m.memory[there + place])


@compiled
def enter(m: Machine, keep: int, instance: int, cell: int) -> None:
    """An element comes into the tile of an instance."""
    parent = m.facts[KEEP_PARENT, keep]
    if parent < 0:
        m.memory[m.facts[KEEP_ERA, keep] + instance * m.facts[KEEP_CELLS, keep] + cell] += 1
    elif not present(m, m.facts[KEEP_THERE, keep], cell):
        return
    elif not m.facts[KEEP_WRITES, keep]:
        m.counts[keep, FILLS] += 1
        if moved(m, keep, instance, cell):
            m.counts[parent, READS] += 1
        else:
            m.counts[keep, COPIES] += 1
    elif m.facts[KEEP_REDUCES, keep]:
        if moved(m, keep, instance, cell):
            m.counts[parent, READS] += touched(m, keep, instance, cell)
    elif touched(m, keep, instance, cell):
        m.counts[keep, FILLS] += 1
        m.counts[parent, READS] += 1


@compiled
def leave(m: Machine, keep: int, instance: int, cell: int) -> None:
    """An element leaves the tile of an instance; what was written goes to the parent."""
    m.memory[m.facts[KEEP_HELD, keep] + instance * m.facts[KEEP_CELLS, keep] + cell] = 0
    parent = m.facts[KEEP_PARENT, keep]
    if parent >= 0 and m.facts[KEEP_WRITES, keep] and present(m, m.facts[KEEP_THERE, keep], cell):
        m.counts[keep, DRAINS] += 1
        if moved(m, keep, instance, m.facts[KEEP_CELLS, keep] + cell):  # apart from what enters in the same tick
            m.counts[parent, UPDATES] += 1
        else:
            m.counts[keep, SUMS] += 1


@compiled
def change(m: Machine, keep: int, instance: int, old: int, anew: bool) -> None:
    """The tile of an instance becomes the new one: first what is given up leaves, then what is missing enters."""
    held = m.facts[KEEP_HELD, keep] + instance * m.facts[KEEP_CELLS, keep]
    before = spread(m, keep, old, 0)
    after = spread(m, keep, NEW, 1)
    if not anew:
        for i in range(after):
            m.memory[held + m.cells[1, i]] |= 2
    for i in range(before):
        if not m.memory[held + m.cells[0, i]] & 2:
            leave(m, keep, instance, m.cells[0, i])
    for i in range(after):
        cell = m.cells[1, i]
        if not m.memory[held + cell] & 1:
            enter(m, keep, instance, cell)
        m.memory[held + cell] = 1


@compiled
def renewed(m: Machine, keep: int, epoch: int) -> bool:
    """Whether, since an instance's last visit, a loop over the tensor's ranks began again, or one repeating it moved.

    The positions of these loops are remembered at the address ``epoch``.
    """
    anew = False
    first = m.facts[ANEW_AT, keep]
    for k in range(m.facts[ANEW_AT, keep + 1] - first):
        now, before = m.now[NOW, m.facts[ANEW_LOOP, first + k]], m.memory[epoch + k]
        anew = anew or now < before or (now != before and m.facts[ANEW_MOVED, first + k] == 1)
        m.memory[epoch + k] = now
    return anew


@compiled
def visit(m: Machine, keep: int, last: bool) -> None:
    """Every instance that has a tile is given it; at the end of the run, all are given an empty one."""
    site = m.facts[KEEP_SITE, keep]
    bounds = 2 * (m.facts[DIM_AT, keep + 1] - m.facts[DIM_AT, keep])
    record = bounds + m.facts[ANEW_AT, keep + 1] - m.facts[ANEW_AT, keep]
    for i in range(m.facts[LIVE_AT, site + 1] - m.facts[LIVE_AT, site]):
        place(m, site, i)
        if not m.instances[LIVE, m.facts[LIVE_AT, site] + i] or (not last and not fit(m, keep)):
            continue
        old = m.facts[KEEP_BOX, keep] + i * record
        anew = renewed(m, keep, old + bounds)
        same = not anew
        for k in range(bounds):
            m.memory[NEW + k] *= not last
            same = same and m.memory[NEW + k] == m.memory[old + k]
        if not same:
            change(m, keep, i, old, anew)
        for k in range(bounds):
            m.memory[old + k] = m.memory[NEW + k]


@compiled
def point(m: Machine, run: int, instance: int, offset: int, cell: int) -> None:
    """One point of an Einsum reads its operands and updates its output."""
    end = m.facts[PORT_AT, run + 1] - 1
    for port in range(m.facts[PORT_AT, run], end):
        if moved(m, port, instance, offset):
            m.counts[m.facts[PORT_KEEP, port], READS] += 1
        else:
            m.counts[port, COPIES] += 1
    out = m.facts[PORT_KEEP, end]
    if not moved(m, end, instance, offset):
        m.counts[end, SUMS] += 1
        return
    m.counts[out, UPDATES] += 1
    if m.facts[RUN_SUMS, run]:
        m.counts[out, READS] += touched(m, end, instance, cell)


@compiled
def run_points(m: Machine, run: int) -> None:
    """Whatever is left of an Einsum's ranks, point by point, at every instance."""
    site = m.facts[RUN_SITE, run]
    first, end = m.facts[POINT_AT, run], m.facts[POINT_AT, run + 1]
    for i in range(m.facts[LIVE_AT, site + 1] - m.facts[LIVE_AT, site]):
        if not m.instances[LIVE, m.facts[LIVE_AT, site] + i]:
            continue
        place(m, site, i)
        count, origin = working(m, site), m.facts[RUN_BASE, run]
        for k in range(first, end):
            count *= m.now[LENGTH, m.facts[POINT_RANK, k]]
            origin += m.now[START, m.facts[POINT_RANK, k]] * m.facts[POINT_STEP, k]
        for n in range(count):
            rest, offset, cell, whole = n, 0, origin, 0
            for k in range(first, end):
                length = m.now[LENGTH, m.facts[POINT_RANK, k]]
                offset += rest % length * m.facts[POINT_RADIX, k]
                cell += rest % length * m.facts[POINT_STEP, k]
                whole += (m.now[START, m.facts[POINT_RANK, k]] + rest % length) * m.facts[POINT_WHOLE, k]
                rest //= length
            if present(m, m.facts[RUN_THERE, run], whole):
                m.counts[run, POINTS] += 1
                point(m, run, i, offset, cell)


@compiled
def execute(m: Machine) -> None:
    """The whole nest, then what is still held given up."""
    at = 0
    while at < m.facts[OP_COUNT, 0]:
        kind, arg = m.facts[OP_KIND, at], m.facts[OP_ARG, at]
        m.memory[0] += 1
        if kind == BEGIN:
            m.now[NOW, arg] = 0
            m.now[STOP, arg] = pieces(m, m.facts[OP_SITE, at], arg)
        elif kind == VISIT:
            visit(m, arg, False)
        elif kind == RUN:
            run_points(m, arg)
        else:
            m.now[NOW, arg] += 1
            at = m.facts[OP_JUMP, at] if m.now[NOW, arg] < m.now[STOP, arg] else at
        at += 1
    for keep in range(m.facts[KEEP_COUNT, 0]):
        m.memory[0] += 1
        visit(m, keep, True)
