"""An engine that fills prompts in chunks of at most a token budget, beside those that decode or before them.

Requests in flight count one token each against the budget where they share the iteration; prompts already begun come
next, then those that wait, in order. The iteration that ends a prompt gives its first token.

Host and devices work side by side. The host schedules an iteration when the one before has ended, or (``ahead``) has
begun; who comes to it by then takes part. It launches the iteration's kernels, which cannot end before they are.
"""

from __future__ import annotations

import math
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
    front: float = 0.0  # seconds from sending a request until the scheduler knows of it
    divided: bool = True  # whether a prompt may end in a later iteration than it began in
    filling: deque[tuple[int, float]] = field(default_factory=deque)  # requests and their tokens cached so far
    looked: float = 0.0  # when the host schedules the next iteration
    due: dict[int, float] = field(default_factory=dict)  # by request: when the scheduler knows of it

    @property
    def in_flight(self) -> int:
        """Requests that hold memory, half filled ones included."""
        return len(self.ending) + len(self.filling)

    def join(self, request: int, sent: float) -> None:
        """Wait for the first iteration that is scheduled after the request came; an idle engine begins."""
        self.queue.append(request)
        self.due[request] = sent + self.front

    def step(self, until: float) -> list[int]:
        """One iteration over chunks of prompts if there are any, or else decoding; returns who finished."""
        chunks = self._chunks()
        if not chunks:
            return self.decode(until)
        self._iterate(*self._cost(chunks))
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

    def decode(self, until: float) -> list[int]:
        """As the engine does; recorded graphs launch themselves, so that the host has been waiting for their ends."""
        began, before = self.now, self.iteration
        done = Engine.decode(self, until)
        self.looked = self.now - self.ahead * (self.now - began) / (self.iteration - before)
        return done

    def _iterate(self, device: float, launch: float, watts: float) -> None:
        """One iteration with prompts, from the end of the one before until devices and host are through."""
        began, launched = self.now, self.looked + launch
        seconds = max(device, launched - began)
        self._spend(seconds, seconds * watts)
        self.looked = max(launched, began) if self.ahead else self.now

    def _steps(self, batch: int, context: float, until: float) -> int:
        """As many as the engine would take, but none beyond the moment at which a request can be admitted."""
        steps = Engine._steps(self, batch, context, until)
        if not self.queue or not self._early(self.queue[0]):
            return steps
        wait, once = self.due[self.queue[0]] - self.now, self.tables.decode.at(batch, context)
        more = self.ahead + math.floor(wait / once) if wait >= 0 and once else 0  # it came during the last one: none
        return min(steps, 1 + more)

    def _early(self, request: int) -> bool:
        """Whether the next iteration is scheduled before a request comes."""
        return self.in_flight > 0 and self.due[request] >= self.looked

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
        if not self.in_flight:
            self.now = self.looked = max(self.now, self.due[request])
        self._hold(request)
        self.admitted[request] = self.now
        self.filling.append((request, 0.0))
        return True

    def _cost(self, chunks: list[Chunk]) -> tuple[float, float, float]:
        """Seconds of the iteration's devices and of its host, and the watts of a prefill of as many tokens."""
        costs, n = cast(Mixed, self.tables.mixed), len(chunks)
        cached, new = (sum(chunk[i] for chunk in chunks) / n for i in (1, 2))
        requests = len(self.ending) if self.mixed else 0
        device, launch = costs.seconds(n, cached, new, requests, self.context / max(requests, 1))
        return device, launch, costs.watts.at(n, new)

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
    service: Service, most: int, longest: float, context: Array, budget: float, recorded: float, launches: float
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
        service.mixing.launching * launches,
        recorded,
    )


def _each(most: float) -> Array:
    """Every whole number of tokens to ``EVERY``, then steps of 2 %, up to ``most``."""
    near = np.arange(1.0, min(most, EVERY) + 2)
    return np.concatenate([near, spread(near[-1], most, 1.02)[1:]]) if most > near[-1] else near
