"""An engine that batches continuously, moved from event to event.

Between an admission and the next completion the batch does not change, so its iterations are taken in one jump; the
rules are those of a first-come first-served engine that prefills before it decodes and never takes memory back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from sim.serving.grid import Grid
from sim.serving.steptable import StepTable

SLACK = 1 + 1e-9  # of the capacity: what adding and removing floats may lose


@dataclass(frozen=True, slots=True)
class Mixed:
    """The parts of an iteration over prompts and decoding requests, as :class:`sim.serving.service.Mixing`."""

    shared: Grid
    decoding: Grid
    filling: Grid
    watts: Grid  # (prompts, new tokens) -> power of a prefill of them
    launching: float = 0.0  # seconds of the host for an iteration's kernels, one by one
    recorded: float = math.inf  # tokens of an iteration up to which a graph replays them instead

    def seconds(self, prompts: int, cached: float, new: float, requests: int, context: float) -> tuple[float, float]:
        """An iteration over ``prompts`` chunks of ``new`` tokens after ``cached`` ones (means), and the requests.

        Seconds of the devices, and of the host that launches its kernels.
        """
        attention = self.filling.at(prompts, cached, new)
        if requests:
            attention += self.decoding.at(requests, context)
        tokens = prompts * new + requests
        return self.shared.at(tokens) + attention, 0.0 if tokens <= self.recorded else self.launching


@dataclass(frozen=True, slots=True)
class Tables:
    """The costs of iterations, in seconds and joules."""

    decode: StepTable
    decode_joules: StepTable
    prefill: StepTable | None  # None: prefilled elsewhere
    prefill_joules: StepTable | None
    mixed: Mixed | None = None  # None: prompts are filled whole

    @property
    def error(self) -> float:
        """The largest relative interpolation error of the four."""
        every = (self.decode, self.decode_joules, self.prefill, self.prefill_joules)
        return max(table.error for table in every if table is not None)


@dataclass(frozen=True, slots=True)
class Totals:
    """What an engine has done by a moment; differences of two are a window's."""

    now: float
    tokens: float
    joules: float
    occupied: float  # request-seconds in flight


@dataclass(slots=True)
class Engine:
    """The engine's moment: who is in flight, who waits, and what was done so far."""

    tables: Tables
    capacity: float
    max_batch: int
    token_budget: float
    prompt: Sequence[float]
    output: Sequence[float]
    reserve: Sequence[float]  # bytes a request holds while in flight
    now: float = 0.0
    iteration: int = 0
    context: float = 0.0  # tokens held by the requests in flight
    used: float = 0.0
    peak: float = 0.0
    tokens: float = 0.0
    joules: float = 0.0
    occupied: float = 0.0
    queue: deque[int] = field(default_factory=deque)
    ending: list[tuple[int, int]] = field(default_factory=list)  # heap of (last iteration, request) in flight
    fresh: list[int] = field(default_factory=list)  # admitted, first token still to come
    admitted: dict[int, float] = field(default_factory=dict)
    first_token: dict[int, float] = field(default_factory=dict)
    finish: dict[int, float] = field(default_factory=dict)

    def totals(self) -> Totals:
        """The sums up to now."""
        return Totals(self.now, self.tokens, self.joules, self.occupied)

    def fits(self, request: int) -> bool:
        """Whether a request may join those in flight."""
        return self.in_flight < self.max_batch and self.used + self.reserve[request] <= self.capacity * SLACK

    @property
    def in_flight(self) -> int:
        """Requests that hold memory."""
        return len(self.ending)

    @property
    def busy(self) -> bool:
        """Whether anybody is in flight or waits."""
        return bool(self.in_flight or self.queue)

    def join(self, request: int, sent: float) -> None:
        """Wait at the end of the queue, from the moment ``sent`` on."""
        self.queue.append(request)

    def step(self, until: float) -> list[int]:
        """Prefill whoever can be admitted, or else decode as far as :meth:`decode` does; returns who finished."""
        return [] if self.admit() else self.decode(until)

    def start_midway(self, request: int, done: int) -> None:
        """Put a request in flight that has already generated ``done`` tokens."""
        self._hold(request)
        self.context += self.prompt[request] + done
        heappush(self.ending, (self.iteration + int(self.output[request]) - done, request))

    def admit(self) -> bool:
        """One prefill iteration: those at the head of the queue that fit in memory and in the token budget."""
        group: list[int] = []
        tokens = 0.0
        while self.queue and self.fits(head := self.queue[0]):
            tokens += self.prompt[head]
            if group and self.tables.prefill is not None and tokens > self.token_budget:
                break
            group.append(self.queue.popleft())
            self._hold(head)
            self.context += self.prompt[head]
            self.admitted[head] = self.now
            heappush(self.ending, (self.iteration + int(self.output[head]), head))
        if group:
            self._fill(group)
        return bool(group)

    def decode(self, until: float) -> list[int]:
        """Iterations until a request finishes, or the first to end at or after ``until``; returns who finished."""
        batch = len(self.ending)
        context = self.context / batch + 0.5  # a step's tokens midway through it
        steps = self._steps(batch, context, until)
        if self.fresh:
            first = self.now + self.tables.decode.at(batch, context)
            self.first_token.update(dict.fromkeys(self.fresh, first))
            self.fresh.clear()
        middle = context + (steps - 1) / 2
        self._spend(steps * self.tables.decode.at(batch, middle), steps * self.tables.decode_joules.at(batch, middle))
        self.iteration += steps
        self.tokens += steps * batch
        self.context += steps * batch
        return self._finished()

    def _steps(self, batch: int, context: float, until: float) -> int:
        """How many iterations to take at once; the mean context grows by an eighth at most, where costs are linear."""
        steps = min(self.ending[0][0] - self.iteration, 1 + int(context / 8))
        once = self.tables.decode.at(batch, context)
        left = until - self.now
        if once * steps >= left and once > 0:
            guess = max(1, math.ceil(left / once))
            steps = min(steps, max(1, math.ceil(left / self.tables.decode.at(batch, context + (guess - 1) / 2))))
        return steps

    def _hold(self, request: int) -> None:
        """Take a request's memory."""
        self.used += self.reserve[request]
        self.peak = max(self.peak, self.used)

    def _fill(self, group: list[int]) -> None:
        """Prefill a group together: the mean of what as many equal prompts would cost."""
        self.fresh += group
        prefill, joules = self.tables.prefill, self.tables.prefill_joules
        if prefill is None or joules is None:
            return
        n = len(group)
        lengths = [self.prompt[i] for i in group]
        self._spend(sum(prefill.at(n, p) for p in lengths) / n, sum(joules.at(n, p) for p in lengths) / n)

    def _spend(self, seconds: float, joules: float) -> None:
        """Let time pass for all in flight."""
        self.now += seconds
        self.joules += joules
        self.occupied += self.in_flight * seconds

    def _finished(self) -> list[int]:
        """Remove those whose last token is out."""
        done = []
        while self.ending and self.ending[0][0] <= self.iteration:
            _, request = heappop(self.ending)
            self.used -= self.reserve[request]
            self.context -= self.prompt[request] + self.output[request]
            self.finish[request] = self.now
            done.append(request)
        if not self.in_flight:
            self.used = self.context = 0.0
        return done
