"""A timeline of the first iterations of a nest: each Einsum on its unit, each tile on the level that moves it.

A drawing of the estimate, not another model: durations are those of the estimate divided by how often each thing
happens, so that a tile cut short at an edge is drawn like the others. Children of a ``pipeline`` or ``interleave``
begin together, each at work on its own piece, as they do once the pipeline is full.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from einsum import WeirError
from einsum.files import write
from einsum.ops import bits
from mappings.tree import Branch, Keep, Nest, Node, Run, Temporal
from sim.model.actions import IN, Action
from sim.model.nests import Held, Loop
from sim.model.spatial import MappedEstimate

MOST = 100_000  # runs; more than a viewer shows
_MICRO = 1e6  # the format's unit of time is the microsecond


@dataclass(frozen=True, slots=True)
class Event:
    """Something that keeps a lane (a unit or a level) busy."""

    lane: str
    name: str
    kind: str  # run, fill, drain, or access (what a run itself reads and writes)
    start: float  # s
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """The first events of one run, in the order in which the nest comes upon them."""

    name: str
    events: tuple[Event, ...]

    @property
    def lanes(self) -> tuple[str, ...]:
        """Units and levels in use, in order of appearance."""
        return tuple(dict.fromkeys(event.lane for event in self.events))

    @property
    def seconds(self) -> float:
        """When the last event ends."""
        return max((event.start + event.seconds for event in self.events), default=0.0)

    def chrome(self) -> dict[str, Any]:
        """The trace-event format that Perfetto and chrome://tracing open; a lane is a thread."""
        threads = {lane: place for place, lane in enumerate(self.lanes, start=1)}
        named = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": thread, "args": {"name": lane}}
            for lane, thread in threads.items()
        ]
        spans = [
            {
                "ph": "X", "name": e.name, "cat": e.kind, "pid": 1, "tid": threads[e.lane], "ts": e.start * _MICRO,
                "dur": e.seconds * _MICRO,
            }
            for e in self.events
        ]  # fmt: skip
        process = {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": self.name}}
        return {"displayTimeUnit": "ns", "traceEvents": [process, *named, *spans]}

    def save(self, path: str | Path) -> None:
        """Write it as JSON, compressed if the name ends ``.gz``."""
        import gzip

        where = Path(path)
        if not where.name.endswith((".json", ".json.gz")):
            raise WeirError(f"trace file {str(where)!r}: its name must end .json or .json.gz")
        text = json.dumps(self.chrome(), allow_nan=False).encode()
        write(where, gzip.compress(text, mtime=0) if where.name.endswith(".gz") else text, "trace")


def timeline(found: MappedEstimate, *, runs: int = 200) -> Timeline:
    """The first ``runs`` runs of Einsums and what levels move for them, at the last design point."""
    if not 0 < runs <= MOST:
        raise WeirError(f"runs={runs}: must be from 1 to {MOST}")
    draw = _Drawing(found, runs)
    with suppress(_Enough):
        draw.chain(_numbered(found.mapped.nest, count(1)), 0.0, _Here())
    return Timeline(f"{found.mapped.cascade.name} on {found.device.name}", tuple(draw.events))


def _last(value: Any) -> float:
    return float(np.ravel(value)[-1])


Chain = tuple[tuple[int, Node, tuple[Any, ...]], ...]  # place, node, and the chains of a branch's children


def _numbered(nest: Nest, places: Iterator[int]) -> Chain:
    """A nest with the places of its nodes, numbered as :class:`sim.model.nests.Mapped` numbers them."""
    found: list[tuple[int, Node, tuple[Any, ...]]] = []
    for node in nest.nodes:
        place = next(places)
        below = tuple(_numbered(child, places) for child in node.children) if isinstance(node, Branch) else ()
        found.append((place, node, below))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Move:
    """What a level does for a tensor whenever the first ``depth`` loops in time above the place take a step."""

    level: str
    tensor: str
    kind: str
    depth: int
    seconds: float  # each time


@dataclass(frozen=True, slots=True)
class _Here:
    """The iteration of each loop in time above, how many each has, and the keeps above."""

    at: tuple[int, ...] = ()
    trips: tuple[int, ...] = ()
    keeps: tuple[int, ...] = ()

    def last(self, depth: int) -> bool:
        """Whether all loops from the ``depth``-th one inwards are in their last iteration."""
        return all(i == n - 1 for i, n in zip(self.at[depth:], self.trips[depth:], strict=True))


class _Enough(Exception):  # noqa: N818 - the end of the drawing, not an error
    """As many runs have been drawn as were asked for."""


@dataclass
class _Lane:
    """When a unit or a level is busy."""

    busy: list[tuple[float, float]] = field(default_factory=list)

    def place(self, earliest: float, seconds: float) -> float:
        """The start of the first gap that is long enough; it is taken."""
        start = earliest
        for begin, end in self.busy:
            if begin - start >= seconds:
                break
            start = max(start, end)
        if seconds:
            insort(self.busy, (start, start + seconds))
        return start


@dataclass
class _Drawing:
    """Events placed as the nest is walked: each on its lane in the first gap after what it waits for."""

    found: MappedEstimate
    left: int
    events: list[Event] = field(default_factory=list)
    lanes: dict[str, _Lane] = field(default_factory=dict)
    tiles: dict[tuple[int, str, str], tuple[int, ...]] = field(default_factory=dict)  # iteration that a tile is of
    filled: dict[int, float] = field(default_factory=dict)  # when each keep had its last tile
    used: dict[int, tuple[float, float]] = field(default_factory=dict)  # when the last two tiles were done with

    @cached_property
    def trips(self) -> dict[int, int]:
        """Iterations of each loop, of its longest piece."""
        found: dict[int, int] = {}
        for leaf in self.found.mapped.leaves:
            lengths = {rank: int(_last(size)) for rank, size in self.found.sizes.items()}
            for loop in leaf.loops:
                tile = int(_last(self.found.tiles.get(loop.key, loop.node.tile)))
                found[loop.at] = -(-lengths[loop.node.rank] // tile)
                lengths[loop.node.rank] = min(lengths[loop.node.rank], tile)
        return found

    @cached_property
    def moves(self) -> dict[int, tuple[_Move, ...]]:
        """What levels of limited bandwidth do on behalf of each keep and each Einsum."""
        found: dict[int, tuple[_Move, ...]] = {}
        above = {leaf.at: leaf.loops for leaf in self.found.mapped.leaves}
        keeps = {held.at: held for leaf in self.found.mapped.leaves for held in leaf.keeps}
        levels = {m.name: m for m in self.found.device.memories if m.rate < np.inf}
        for action in self.found.counts.actions:
            if action.level not in levels or not _last(action.count):
                continue
            held = keeps.get(action.at)
            loops = [loop for loop in (held.loops if held else above[action.at]) if not loop.space]
            depth = _depth(self.found, held, action.tensor, loops) if held else len(loops)
            level = levels[action.level]
            size = bits(self.found.mapped.cascade.tensor(action.tensor).dtype) / 8 * _last(action.count)
            whole = level.busy(0.0, size) if action.kind in IN else level.busy(size, 0.0)
            times = prod(self.trips[loop.at] for loop in loops[:depth]) * self.found.device.instances(level.name)
            kind = "access" if held is None else "fill" if _inwards(action, held) else "drain"
            move = _Move(action.level, action.tensor, kind, depth, whole / times)
            found[action.at] = (*found.get(action.at, ()), move)
        return found

    @cached_property
    def work(self) -> dict[str, float]:
        """Seconds of one run of each Einsum."""
        loops = {leaf.einsum.name: leaf.loops for leaf in self.found.mapped.leaves}
        visits = {name: prod(self.trips[one.at] for one in over if not one.space) for name, over in loops.items()}
        return {busy.einsum: _last(busy.seconds) / visits[busy.einsum] for busy in self.found.leaves}

    def put(self, lane: str, name: str, kind: str, earliest: float, seconds: float) -> float:
        """Draw an event; returns when it ends."""
        start = self.lanes.setdefault(lane, _Lane()).place(earliest, seconds)
        self.events.append(Event(lane, name, kind, start, seconds))
        return start + seconds

    def chain(self, nodes: Chain, start: float, here: _Here) -> float:
        """Draw a chain of nodes whose units are free to begin at ``start``; returns when they are done."""
        for place, (number, node, below) in enumerate(nodes):
            rest = nodes[place + 1 :]
            if isinstance(node, Temporal):
                for i in range(self.trips[number]):
                    inside = _Here((*here.at, i), (*here.trips, self.trips[number]), here.keeps)
                    start = self.chain(rest, start, inside)
                return start
            if isinstance(node, Keep):
                begin = self.fill(number, node, start, here)
                end = self.chain(rest, begin, _Here(here.at, here.trips, (*here.keeps, number)))
                self.drain(number, end, here)
                return end
            if isinstance(node, Run):
                return self.run(number, node, start)
            if isinstance(node, Branch):
                return self.branch(node.how, below, start, here)
        return start

    def branch(self, how: str, below: tuple[Chain, ...], start: float, here: _Here) -> float:
        """Nests one after another, or all from the same moment on."""
        if how == "interleave":
            return max(self.chain(child, start, here) for child in below)
        tails = [self.wavefront(child, here) for child in below]
        if how == "pipeline":
            return max(self.chain(child, start, here) + tail for child, (_, tail) in zip(below, tails, strict=True))
        for place, child in enumerate(below):
            start = self.chain(child, start, here)
            follows = place + 1 < len(below) and tails[place][0] and tails[place][0] == tails[place + 1][0]
            start += 0.0 if follows else tails[place][1]
        return start

    def wavefront(self, child: Chain, here: _Here) -> tuple[str, float]:
        """Unit of a nest of one Einsum, and the seconds in which its last wavefront runs out; of others, none."""
        end = child[-1][1]
        if not isinstance(end, Run):
            return "", 0.0
        busy = next(b for b in self.found.leaves if b.einsum == end.einsum)
        return end.unit, _last(busy.skew) / prod(here.trips)

    def fill(self, number: int, node: Keep, start: float, here: _Here) -> float:
        """Draw what enters a keep; returns when the units below can begin.

        With a second piece, the tile comes as soon as the one before the last is done with, and as the keeps above
        have theirs.
        """
        new = [m for m in self.moves.get(number, ()) if m.kind == "fill" and self.changed(number, m, here)]
        if not new:
            return start
        spare = self.used.get(number, (0.0, 0.0))[0] if node.double else start
        earliest = max([spare, *(self.filled.get(above, 0.0) for above in here.keeps)])
        end = max(self.put(m.level, m.tensor, "fill", earliest, m.seconds) for m in new)
        if not node.double:
            exposed = _last(self.found.filling.exposed.get(number, 0.0))
            end = max(end, start + exposed / prod(here.trips[: max(m.depth for m in new)]))
        self.filled[number] = end
        self.used[number] = (self.used.get(number, (0.0, 0.0))[1], end)
        return max(start, end)

    def changed(self, number: int, move: _Move, here: _Here) -> bool:
        """Whether a keep holds another tile of a tensor than this iteration's; it then gets this one."""
        key, tile = (number, move.level, move.tensor), here.at[: move.depth]
        if self.tiles.get(key) == tile:
            return False
        self.tiles[key] = tile
        return True

    def drain(self, number: int, end: float, here: _Here) -> None:
        """Draw what leaves a keep after the last visit of its tile."""
        self.used[number] = (self.used.get(number, (0.0, 0.0))[0], end)
        for move in self.moves.get(number, ()):
            if move.kind == "drain" and here.last(move.depth):
                self.put(move.level, move.tensor, "drain", end, move.seconds)

    def run(self, number: int, node: Run, start: float) -> float:
        """Draw one run of an Einsum and, beside it, what it reads and writes."""
        if not self.left:
            raise _Enough
        self.left -= 1
        end = self.put(node.unit, node.einsum, "run", start, self.work[node.einsum])
        begin = self.events[-1].start
        accesses = self.moves.get(number, ())
        return max([end, *(self.put(m.level, m.tensor, m.kind, begin, m.seconds) for m in accesses)])


def _depth(found: MappedEstimate, held: Held, tensor: str, loops: list[Loop]) -> int:
    """How many loops in time, from the outermost one, change the tile of a tensor at a keep."""
    own = found.mapped.tile(held, tensor, found.sizes).ranks
    return max((place for place, loop in enumerate(loops, start=1) if loop.node.rank in own), default=0)


def _inwards(action: Action, held: Held) -> bool:
    """Whether an action brings something into a keep: it takes in, or its parent gives."""
    return (action.kind == "fills") if action.level == held.node.level else (action.kind == "reads")
