"""Searches for a lower placement in turn: from the bottom up, of valleys, and by annealing, each with its share.

Effort is counted in choices, so that the same problem is worked on in the same way on any machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from math import isfinite

import numpy as np

from sim.planner import anneal, search, valleys
from sim.planner.halting import until
from sim.planner.kernel import FOUND, IMPOSSIBLE, Shape
from sim.planner.milp import Progress
from sim.planner.packing import Ints, Packing

ORDERINGS = ("TWA", "AWT", "WTA", "TAW", "WAT", "ATW")
SHALLOW = 0.25  # choices that a short search may take back, for each buffer: what succeeds hardly ever turns back
SHORTEST = 20  # of the shortest
DEEPEST = 100_000  # choices of one search at most: a second or two
LATE = 300_000  # choices after which a search for what fits a capacity begins to look for a proof that nothing does
FADING = 0.98  # of blame from one attempt to the next
NOISE = 0.1  # by which blame is scattered, as the deviation of its logarithm: attempts must not run in circles
VALLEYS = 3  # choices in valleys for one of the other search; each takes half its time or less
LONGER = 4.5  # choices of a short search of valleys, for each buffer: what it learns of a moment it uses at once
LEAST = 300  # choices of the shortest search of valleys
SCATTER = 0.1  # of all places, by which buffers leave theirs in an ordering for valleys
ANNEALING = 10_000  # orders of a short annealing
ANNEALED, SMOOTH = 2.0, 0.25  # orders for one choice of the searches, where alignments waste space and where none do
PAIRS = 1000  # of buffers live at once, among which an order takes as long as a choice


@dataclass
class Work:
    """The best placement so far and what is known of better ones, in units."""

    packing: Packing
    seconds: float
    lowest: bool
    solver: str
    progress: Progress | None
    best: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    height: int = 1 << 62
    bound: int = field(init=False)
    method: str = ""
    notes: tuple[str, ...] = ()
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.bound = int(self.packing.live.max(initial=0))

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.began

    @contextmanager
    def aside(self) -> Iterator[None]:
        """The clock stands still meanwhile."""
        began = time.monotonic()
        yield
        self.began += time.monotonic() - began

    @property
    def room(self) -> int:
        """The capacity."""
        capacity = self.packing.problem.tiers[0].capacity
        return int(capacity // self.packing.unit) if isfinite(capacity) else 1 << 62

    @property
    def done(self) -> bool:
        """Whether nothing better is wanted, or can be."""
        decided = self.height <= self.room or self.bound > self.room
        return self.height <= self.bound or (not self.lowest and decided)

    def take(self, found: Ints, method: str) -> None:
        """Keep a placement if it is whole (not broken off) and the lowest so far."""
        if found.size < self.packing.shape.size.size:
            return
        height = self.packing.height(found)
        if height < self.height:
            self.best, self.height, self.method = found, height, method
            self.tell()

    def raise_bound(self, bound: int) -> None:
        """No placement is below ``bound``."""
        if bound > self.bound:
            self.bound = min(bound, self.height)
            self.tell()

    def tell(self) -> None:
        if self.progress is not None:
            self.progress(self.elapsed, self.height * self.packing.unit, self.bound * self.packing.unit)


def seek(work: Work, table: np.ndarray, seconds: float) -> None:
    """Search a little under one ordering after the other, forward and backward in time, most searches short.

    From the second round on, what was live where things did not fit comes first: the blame of earlier attempts under
    the same ordering (others' would mislead), which slowly fades. Lengths follow Luby, Sinclair and Zuckerman (1993),
    within a factor of the best for any distribution of what is needed. Now and then one search goes as far as all
    before together, so that small problems are exhausted.
    """
    if not work.packing.buffers:
        return
    short = _short(work.packing)
    effort = _Effort(work.packing, table, seconds, short=short, deep=0 if work.lowest else LATE)
    for attempt in count():
        target = _target(work, attempt)
        if work.done or work.elapsed > seconds:
            return
        turn, by = divmod(attempt, len(ORDERINGS))
        _try(work, effort, ORDERINGS[by], target, min(short * luby(turn + 1), DEEPEST), backward=turn % 2 == 1)
        _look_into_valleys(work, effort, target)
        _anneal(work, effort, target)
        if effort.is_due():
            _try(work, effort, ORDERINGS[by], _deep_target(work), min(effort.spent, DEEPEST), backward=False)
            _try_valleys(work, effort, _deep_target(work), VALLEYS * min(effort.spent, DEEPEST))


def _short(packing: Packing) -> int:
    """The choices that a short search may take back."""
    return max(SHORTEST, int(SHALLOW * len(packing.buffers)))


def _look_into_valleys(work: Work, effort: _Effort, target: int) -> None:
    """Searches of the other kind, until they have had their share."""
    while not work.done and work.elapsed < effort.seconds and effort.valleys < VALLEYS * effort.spent:
        length = effort.longer * luby(effort.turns // (2 * len(ORDERINGS)) + 1)
        _try_valleys(work, effort, target, min(length, VALLEYS * DEEPEST))


def _try_valleys(work: Work, effort: _Effort, target: int, limit: int) -> None:
    """One search of valleys under a scattered ordering, its find or proof kept; every other round weighs blame."""
    turn, by = divmod(effort.turns, len(ORDERINGS))
    rank, shape = effort.scattered(ORDERINGS[by]), effort.packing.shape
    kernel = partial(valleys.place, shape, effort.table, rank, target, limit, effort.crowded, turn % 2 == 1)
    status, choices, found = until(kernel, effort.seconds - work.elapsed)
    effort.turns += 1
    effort.valleys += int(choices) + 1
    _keep(work, status, found, target)


def _anneal(work: Work, effort: _Effort, target: int) -> None:
    """First fit in changing orders, where that would not take more than its share."""
    length = ANNEALING * luby(effort.annealings // len(ORDERINGS) + 1)
    cost = int(length * max(1.0, effort.pairs / PAIRS))
    if work.done or effort.annealed + cost > effort.share * (effort.spent + effort.valleys):
        return
    order = effort.packing.order(ORDERINGS[effort.annealings % len(ORDERINGS)])
    kernel = partial(anneal.place, effort.packing.shape, effort.table, order, target, length, effort.changes)
    work.take(until(kernel, effort.seconds - work.elapsed), "annealing")
    effort.annealings += 1
    effort.annealed += cost


def luby(turn: int) -> int:
    """1, 1, 2, 1, 1, 2, 4, ...: the lengths of restarts by Luby, Sinclair and Zuckerman, from the first turn (1)."""
    while turn & (turn + 1):
        turn -= (1 << (turn.bit_length() - 1)) - 1
    return (turn + 1) // 2


@dataclass
class _Effort:
    """What earlier searches leave to later ones: choices made, blame by ordering, and room to work in."""

    packing: Packing
    table: np.ndarray
    seconds: float  # when to end, by the clock of the work
    short: int  # choices that a short search may take back
    deep: int  # choices from which on a deep search is due
    spent: int = 0
    blame: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict)
    memory: Ints = field(default_factory=lambda: np.zeros(1 << 14, np.int64))
    draw: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    scatter: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    changes: np.random.Generator = field(default_factory=lambda: np.random.default_rng(2))
    turns: int = 0  # searches of valleys
    valleys: int = 0  # choices they made
    annealings: int = 0
    annealed: int = 0  # orders that they tried, counted as choices
    crowded: Ints = field(init=False)  # how often nothing fitted in one, by moment

    def __post_init__(self) -> None:
        self.crowded = np.zeros(self.packing.shape.moments, np.int64)

    @cached_property
    def longer(self) -> int:
        """The choices of a short search of valleys."""
        return max(LEAST, int(LONGER * len(self.packing.buffers)))

    @cached_property
    def share(self) -> float:
        """How many orders are tried for each choice."""
        return ANNEALED if (self.packing.shape.align > 1).any() else SMOOTH

    @cached_property
    def pairs(self) -> int:
        """Of buffers that are live at once."""
        return int(np.count_nonzero(self.table)) // 2

    @cached_property
    def shapes(self) -> tuple[Shape, Shape]:
        """Forward and backward in time."""
        return self.packing.shape, self.packing.backward

    def rank(self, by: str, blame: np.ndarray) -> Ints:
        """Each buffer's place in the ordering."""
        scattered = blame * np.exp(NOISE * self.draw.standard_normal(blame.size)) if blame.any() else None
        order = self.packing.order(by, scattered)
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        return rank

    def scattered(self, by: str) -> Ints:
        """Each buffer's place in an ordering; from the second round on about where it was."""
        count = len(self.packing.buffers)
        place = np.argsort(self.packing.order(by)).astype(float)
        if self.turns >= len(ORDERINGS):
            place += self.scatter.normal(0, SCATTER * count, count)
        return np.argsort(np.argsort(place)).astype(np.int64)

    def is_due(self) -> bool:
        """Whether as much was spent again as when the last deep search began."""
        if self.spent < self.deep or self.spent < self.short:
            return False
        self.deep = 4 * self.spent
        return True


def _target(work: Work, attempt: int) -> int:
    """The height to try: the capacity, or in turn the bound and half way from it to the best."""
    if not work.lowest:
        return work.room
    return work.bound if attempt // len(ORDERINGS) % 4 < 2 else (work.bound + work.height) // 2


def _deep_target(work: Work) -> int:
    return work.height - 1 if work.lowest else work.room


def _try(work: Work, effort: _Effort, by: str, target: int, limit: int, *, backward: bool) -> None:
    """One search, its find or proof kept, and where it did not fit."""
    moments = effort.packing.shape.moments
    blame = effort.blame.setdefault((by, target <= work.bound), np.zeros(moments))
    rank, seen = effort.rank(by, blame), np.zeros(moments, np.int64)
    effort.memory[:] = 0
    shape = effort.shapes[backward]
    kernel = partial(search.place, shape, effort.table, rank, target, limit, effort.memory, 0, True, seen)
    status, choices, found = until(kernel, effort.seconds - work.elapsed)
    effort.spent += int(choices)
    blame *= FADING
    blame += seen[::-1] if backward else seen
    _keep(work, status, found, target)


def _keep(work: Work, status: int, found: Ints, target: int) -> None:
    if status == FOUND:
        work.take(found, "search")
    elif status == IMPOSSIBLE:
        work.raise_bound(target + 1)
