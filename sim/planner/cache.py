"""Memory for keys and values on a trace: reserved whole, in pages, or as contiguous addresses mapped as they grow.

The three differ in one number, the tokens of a unit that is reserved at once, and in what reserving it costs. Sources:
vLLM's pages (arXiv 2309.06180), vAttention's page groups (arXiv 2405.04437, sections 5 and 6).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from einsum.errors import Infeasible, WeirError
from sim.arch import Device
from sim.planner.shape import Shape
from sim.serving.deploy import RESERVE
from sim.serving.trace import Trace
from sim.units import fmt

Ints = NDArray[np.int64]
MAP_CALL = 40e-6  # s to map and protect one page group, vAttention section 6.1


@dataclass(frozen=True, slots=True)
class Store:
    """Keys and values on one worker: ``buffers`` (two a layer), each with ``token`` bytes of every token.

    ``capacity`` is what the device has for all of them.
    """

    buffers: int
    token: float
    capacity: float

    @property
    def every(self) -> float:
        """Bytes of a token in all buffers."""
        return self.buffers * self.token

    def virtual(self, batch: int, longest: int) -> tuple[float, float, float]:
        """Bytes of addresses: of one request in a buffer, of a whole buffer, and of all buffers."""
        one = longest * self.token
        return one, one * batch, one * batch * self.buffers


def store(model: Shape, capacity: float, ways: int = 1) -> Store:
    """A worker's store when the model's key and value heads are divided over ``ways`` devices."""
    if ways < 1 or capacity <= 0:
        raise WeirError(f"{ways} devices with {capacity:g} B each: both must be positive")
    return Store(2 * model.layers, model.kv / 2 / ways, capacity)


@dataclass(frozen=True, slots=True)
class Allocator:
    """How memory is reserved: ``unit`` tokens at once, with ``calls`` of ``seconds`` each; ``deferred`` keeps the units
    of a finished request for the next one instead of giving them back."""

    name: str
    unit: int
    calls: int = 0
    seconds: float = 0.0
    deferred: bool = False

    def __post_init__(self) -> None:
        """Refuse units of no token."""
        if self.unit < 1:
            raise WeirError(f"{self.name}: a unit holds {self.unit} tokens; at least one must fit")

    def units(self, tokens: Any) -> Any:
        """Units that hold so many tokens."""
        return -(-tokens // self.unit)


def static(longest: int) -> Allocator:
    """Room for the longest request there may be, from the start."""
    return Allocator("static", longest)


def paged(block: int = 16) -> Allocator:
    """Blocks of some tokens in all layers, taken from a list of free ones: no call to the system."""
    return Allocator(f"paged {block}", block)


def contiguous(held: Store, group: float = 2**21, call: float = MAP_CALL, deferred: bool = True) -> Allocator:
    """Page groups of ``group`` bytes mapped behind contiguous addresses, one in each buffer (vAttention)."""
    name = f"contiguous {group / 1024:.0f} KiB"
    return Allocator(name, floor(group / held.token), held.buffers, call, deferred)


@dataclass(frozen=True, slots=True)
class Usage:
    """What an allocator made of a trace: means over decode steps, weighted alike.

    What steps wait for is counted from the first request's end on, when memory has been filled once.
    """

    allocator: Allocator
    largest: int  # requests in flight at most
    batch: float
    held: float  # tokens, summed over steps
    reserved: float  # tokens that there was room for, likewise
    stall: float  # s an average step waits for memory, if nothing hides it
    worst: float  # s the longest step waits
    hidden: float  # s an average step waits when the steps' own time hides what it can
    preempted: int  # times a request had to start again
    steps: int

    @property
    def waste(self) -> float:
        """Fraction of what is reserved that holds no token."""
        return 1 - self.held / self.reserved

    @property
    def row(self) -> dict[str, float | str]:
        """The figures under stable names."""
        own = ("largest", "batch", "waste", "stall", "worst", "hidden", "preempted", "steps")
        return {"allocator": self.allocator.name, **{name: getattr(self, name) for name in own}}


@dataclass(frozen=True)
class Replayed:
    """What allocators made of a trace on a device, beside ``weights`` (bytes on it); ``token`` are bytes of one."""

    model: str
    where: Device
    weights: float
    token: float
    usages: tuple[Usage, ...]

    @property
    def room(self) -> float:
        """Bytes for keys and values."""
        return room(self.where, self.weights)


def room(where: Device, weights: float) -> float:
    """Bytes that a device has for keys and values, a part kept for activations and the engine."""
    return where.capacity * (1 - RESERVE) - weights


def compare(held: Store, trace: Trace, allocators: Iterable[Allocator], **how: Any) -> tuple[Usage, ...]:
    """Every allocator on the same requests."""
    return tuple(replay(held, trace, one, **how) for one in allocators)


def frame(found: Iterable[Usage]) -> Any:
    """A pandas DataFrame, one row an allocator."""
    import pandas as pd

    return pd.DataFrame([usage.row for usage in found])


def replay(
    held: Store, trace: Trace, how: Allocator, *, requests: int = 500, most: int = 4096, step: float = 0.03,
    seed: int = 0,
) -> Usage:  # fmt: skip
    """Serve ``requests`` of a trace, as many at once as fit (at most ``most``), a token each in steps of ``step`` s.

    A request whose next unit does not fit sends the youngest back to start again. Raises :class:`Infeasible` where one
    request alone does not fit.
    """
    load = trace.sample(requests, seed) if not trace.exact or len(trace) != requests else trace
    prompt, output = load.prompt.astype(np.int64), load.output.astype(np.int64)
    room, longest = floor(held.capacity / (held.every * how.unit)), int((prompt + output).max())
    if how.name == "static" and longest > how.unit:
        raise Infeasible(f"a request of {longest} tokens is longer than the {how.unit} reserved for each")
    if how.units(longest) > room:
        needed = how.units(longest) * how.unit * held.every
        raise Infeasible(
            f"{how.name}: a request of {longest} tokens takes {fmt(needed, 'B')}, there are {fmt(held.capacity, 'B')}"
        )
    state = _State(how, prompt, output, room, most)
    while state.waiting or len(state.active):
        state.step()
    return state.usage(step)


@dataclass
class _State:
    """Requests in flight, in the order they came, and what they hold."""

    how: Allocator
    prompt: Ints
    output: Ints
    room: int  # units
    most: int
    waiting: list[int] = field(init=False)
    active: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    tokens: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    left: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    taken: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # units
    spare: list[int] = field(default_factory=list)  # units that finished requests left behind
    preempted: int = 0
    filled: int | None = None  # steps until a request has ended
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)  # batch, tokens, units, units newly mapped

    def __post_init__(self) -> None:
        self.waiting = list(range(len(self.prompt)))[::-1]

    @property
    def free(self) -> int:
        """Units that nobody holds, spare ones among them."""
        return self.room - int(self.taken.sum())

    def map(self, units: int) -> int:
        """Take so many units out of what is free, the spare ones of one finished request first; how many are new."""
        reused = min(self.spare.pop(), units) if self.spare else 0
        free = self.free - units
        while self.spare and sum(self.spare) > free:
            self.spare.pop(0)
        return units - reused

    def admit(self) -> int:
        """Begin requests while their prompts, and a token each, fit; the units newly mapped."""
        mapped = 0
        while self.waiting and len(self.active) < self.most:
            one = self.waiting[-1]
            units = int(self.how.units(self.prompt[one] + 1))
            if units > self.free:
                break
            mapped += self.map(units)
            self.waiting.pop()
            self.active, self.tokens = np.append(self.active, one), np.append(self.tokens, self.prompt[one])
            self.left, self.taken = np.append(self.left, self.output[one]), np.append(self.taken, units)
        return mapped

    def grow(self) -> int:
        """Make room for one more token each, sending the youngest back where there is none; units newly mapped."""
        while True:
            short = np.maximum(self.how.units(self.tokens + 1) - self.taken, 0)
            if short.sum() <= self.free or len(self.active) == 1:
                break
            self.waiting.append(int(self.active[-1]))
            self.preempted += 1
            self.keep(np.arange(len(self.active)) < len(self.active) - 1)
        self.taken = self.taken + short
        while self.spare and sum(self.spare) > self.free:
            self.spare.pop(0)
        return int(short.sum())

    def keep(self, stays: NDArray[np.bool_]) -> None:
        """Drop the others; what they held is spare where reclaiming is deferred."""
        if self.how.deferred:
            self.spare += self.taken[~stays].tolist()
        self.active, self.tokens = self.active[stays], self.tokens[stays]
        self.left, self.taken = self.left[stays], self.taken[stays]

    def step(self) -> None:
        """One token for every request in flight."""
        mapped = self.admit() + self.grow()
        self.tokens, self.left = self.tokens + 1, self.left - 1
        self.rows.append((len(self.active), int(self.tokens.sum()), int(self.taken.sum()), mapped))
        if self.filled is None and not self.left.all():
            self.filled = len(self.rows)
        self.keep(self.left > 0)

    def usage(self, step: float) -> Usage:
        """The means of all steps."""
        batch, tokens, units, mapped = (np.array(column, float) for column in zip(*self.rows, strict=True))
        stall = mapped[self.filled :] * self.how.calls * self.how.seconds
        if not len(stall):
            stall = np.zeros(1)  # all ended together
        hidden = np.maximum(stall - step, 0.0)
        return Usage(
            self.how, int(batch.max()), float(batch.mean()), float(tokens.sum()),
            float(units.sum() * self.how.unit), float(stall.mean()), float(stall.max()), float(hidden.mean()),
            self.preempted, len(self.rows),
        )  # fmt: skip


def most_waste(held: Store, how: Allocator) -> float:
    """Bytes that one request may waste at most: all but one token of its last unit, in every buffer."""
    return held.every * (how.unit - 1)


def largest(held: Store, how: Allocator, tokens: int) -> int:
    """Requests of so many tokens that fit, in closed form."""
    return floor(held.capacity / (held.every * how.unit)) // ceil(tokens / how.unit)
