"""Running whole programs part by part with the interpreter, weights drawn at random, state kept between runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from einsum import Cascade, Program, interpret

Arrays = dict[str, Any]
THETA = 10_000.0


def tables(positions: int, half: int) -> tuple[Any, Any]:
    """Cosines ``[position, i]`` and signed sines ``[z, position, i]`` of a rotary embedding."""
    angle = np.arange(positions)[:, None] * THETA ** (-np.arange(half)[None, :] / half)
    return np.cos(angle), np.stack([-np.sin(angle), np.sin(angle)])


@dataclass
class Running:
    """A program with its weights and the state of its requests."""

    program: Program
    seed: int = 0
    weights: list[list[Arrays]] = field(default_factory=list)
    state: list[list[Arrays]] = field(default_factory=list)
    cached: int = 0
    seen: Arrays = field(default_factory=dict)  # everything the last run of each part produced

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        shared: Arrays = {}
        for part in self.program.parts:
            drawn = [self._draw(part.cascade, rng, shared) for _ in range(part.times)]
            self.weights.append(drawn)
            self.state.append([{} for _ in drawn])

    def _draw(self, cascade: Cascade, rng: np.random.Generator, shared: Arrays) -> Arrays:
        made: Arrays = {}
        for tensor in cascade.tensors:
            if tensor.kind == "weight":
                value = shared.get(tensor.name, rng.normal(size=cascade.shape(tensor.name)) / 2)
                made[tensor.name] = value
                if tensor.name in self.program.shared:
                    shared[tensor.name] = value
        return made

    def step(self, tokens: Any) -> Any:
        """The next token of each request after these new ones ``[b, p]``."""
        batch, new = tokens.shape
        program = self.program.with_sizes(b=batch, p=new, c=self.cached)
        held: Arrays = {"T": tokens}
        for i, part in enumerate(program.parts):
            for j in range(part.times):
                given = self._given(part.cascade, self.weights[i][j], self.state[i][j], held)
                out = interpret(part.cascade, given)
                self.seen[part.cascade.name] = out
                self.state[i][j] = {n: out[n] for n in out if part.cascade.tensor(n).kind == "state"}
                held = {"X": out.get("XO", out.get("X"))}
        self.cached += new
        return out["TN"]

    def _given(self, cascade: Cascade, weights: Arrays, state: Arrays, held: Arrays) -> Arrays:
        given = {**weights, **held}
        for name in cascade.inputs:
            tensor = cascade.tensor(name)
            if tensor.kind == "state":
                given[name] = np.full(cascade.shape(name), np.nan)  # what is not cached must not be read
                if name in state:
                    old = state[name]
                    given[name][tuple(slice(0, n) for n in old.shape)] = old
            elif name in ("COS", "SIN"):
                positions, half = cascade.shape(name)[-2:]
                given[name] = tables(positions, half)[name == "SIN"]
            elif name == "AS":  # slopes of linear biases: powers of 2^(-8 / heads)
                shape = cascade.shape(name)
                given[name] = 2.0 ** (-8 * (np.arange(np.prod(shape)) + 1) / np.prod(shape)).reshape(shape)
            elif name == "AP":
                given[name] = np.arange(*cascade.shape(name), dtype=float)
        return {n: given[n] for n in cascade.inputs}


@pytest.fixture(scope="session")
def running() -> Callable[[Program], Running]:
    """The maker of running programs."""
    return Running
