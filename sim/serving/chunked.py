"""An engine that fills prompts in chunks of at most a token budget, beside those that decode or before them.

Requests in flight count one token each against the budget where they share the iteration; prompts already begun come
next, then those that wait, in order. The iteration that ends a prompt gives its first token.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappush
from typing import cast

import numpy as np

from einsum.errors import WeirError
from sim.serving.engine import Engine, Mixed
from sim.serving.grid import grid
from sim.serving.service import Array, Service
from sim.serving.steptable import counts, spread

EVERY = 1 << 14  # tokens of an iteration up to which each number has its own cost, as tiles make it a staircase
Chunk = tuple[int, float, float]  # a request, its tokens cached so far, its tokens in this iteration


@dataclass(slots=True)
class Chunked(Engine):
    """The engine's moment, with the prompts that are filled in part."""

    mixed: bool = True  # whether those in flight decode in the same iterations
    ahead: int = 0  # iterations that are scheduled already while one runs
    divided: bool = True  # whether a prompt may end in a later iteration than it began in
    filling: deque[tuple[int, float]] = field(default_factory=deque)  # requests and their tokens cached so far
    rounds: int = 0  # iterations so far
    ready: dict[int, int] = field(default_factory=dict)  # by request: the iterations after which it can be admitted

    @property
    def in_flight(self) -> int:
        """Requests that hold memory, half filled ones included."""
        return len(self.ending) + len(self.filling)

    def join(self, request: int, later: int = 0) -> None:
        """Wait for the first iteration that is not scheduled yet, ``later`` ones from now; an idle engine begins."""
        self.queue.append(request)
        self.ready[request] = self.rounds + later + self.ahead

    def step(self, until: float) -> list[int]:
        """One iteration over chunks of prompts if there are any, or else decoding; returns who finished."""
        chunks = self._chunks()
        if not chunks:
            return self.decode(until)
        self.rounds += 1
        self._spend(*self._cost(chunks))
        if self.mixed:
            self._decoded()
        for _ in chunks:
            self.filling.popleft()
        for request, cached, new in chunks:
            if cached + new < self.prompt[request]:  # only the last can end within its prompt
                self.filling.appendleft((request, cached + new))
            else:
                self._begin(request)
        return self._finished()

    def _steps(self, batch: int, context: float, until: float) -> int:
        """As many as the engine would take, but none beyond the moment at which a request can be admitted."""
        steps = Engine._steps(self, batch, context, until)
        if self.queue and self._early(self.queue[0]):
            steps = min(steps, self.ready[self.queue[0]] - self.rounds)
        self.rounds += steps
        return steps

    def _early(self, request: int) -> bool:
        """Whether the next iteration was scheduled before a request came."""
        return self.in_flight > 0 and self.ready[request] > self.rounds

    def _chunks(self) -> list[Chunk]:
        """What the budget holds: the rest of the prompt begun, then of those that wait and fit in memory."""
        room = self.token_budget - (len(self.ending) if self.mixed else 0)
        found: list[Chunk] = []
        while room > 0 and (len(found) < len(self.filling) or self._admitted(room)):
            request, cached = self.filling[len(found)]
            found.append((request, cached, min(self.prompt[request] - cached, room)))
            room -= found[-1][2]
        return found

    def _admitted(self, room: float) -> bool:
        """Take the head of the queue in, if there is one and it fits: its memory, and nothing cached yet."""
        if not self.queue or not self.fits(self.queue[0]) or self._early(self.queue[0]):
            return False
        if not self.divided and self.prompt[self.queue[0]] > room:
            return False
        request = self.queue.popleft()
        self._hold(request)
        self.admitted[request] = self.now
        self.filling.append((request, 0.0))
        return True

    def _cost(self, chunks: list[Chunk]) -> tuple[float, float]:
        """Seconds of the iteration, and joules at the power of a prefill of as many tokens."""
        costs, n = cast(Mixed, self.tables.mixed), len(chunks)
        cached, new = (sum(chunk[i] for chunk in chunks) / n for i in (1, 2))
        requests = len(self.ending) if self.mixed else 0
        seconds = costs.seconds(n, cached, new, requests, self.context / max(requests, 1))
        return seconds, seconds * costs.watts.at(n, new)

    def _decoded(self) -> None:
        """A token more for each in flight."""
        self.iteration += 1
        self.tokens += len(self.ending)
        self.context += len(self.ending)

    def _begin(self, request: int) -> None:
        """The prompt is filled and its first token out: from now on the request decodes."""
        self.first_token[request] = self.now
        self.tokens += 1
        self.context += self.prompt[request] + 1
        heappush(self.ending, (self.iteration + int(self.output[request]) - 1, request))


def mixed_tables(
    service: Service, most: int, longest: float, context: Array, budget: float, recorded: float
) -> Mixed:  # fmt: skip
    """The parts of an iteration over grids up to the batch, the longest prompt and context, and the token budget."""
    if service.mixing is None:
        raise WeirError(
            "prompts in chunks are modelled on one pool without pipeline stages: give such a layout, or no engine"
        )
    chunk = spread(1.0, min(longest, budget), 1.7)
    prompts = np.asarray(2.0 ** np.arange(0, 2 + int(np.log2(max(most, 1)))), float)
    cached = np.linspace(0.0, max(longest, 1.0), 5)

    def watts(n: Array, p: Array) -> Array:
        return np.asarray(service.prefill_joules(n, p) / service.prefill(n, p))

    return Mixed(
        grid(service.mixing.shared, _each(budget + most), what="seconds shared in an iteration"),
        grid(service.mixing.decoding, counts(most, 1.25), context, what="seconds of decoding attention"),
        grid(service.mixing.filling, prompts, cached, chunk, what="seconds of prompts' attention"),
        grid(watts, prompts, chunk, what="watts of a prefill", unknown=True),
        service.mixing.launching,
        recorded,
    )


def _each(most: float) -> Array:
    """Every whole number of tokens to ``EVERY``, then steps of 2 %, up to ``most``."""
    near = np.arange(1.0, min(most, EVERY) + 2)
    return np.concatenate([near, spread(near[-1], most, 1.02)[1:]]) if most > near[-1] else near
