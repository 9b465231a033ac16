"""Pipelines from measured stage times: seconds of an iteration, what is held, and what of the peak is used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import Any

from einsum.errors import WeirError, hint
from sim.planner.flows import Stages, Vocabulary, chain, one_f_one_b, vocabulary
from sim.planner.repeating import Pattern, repeating
from sim.published.calls import number, pick, text
from sim.published.kinds.placing import known_shape
from sim.units import si

__all__ = ["held", "iteration", "utilisation"]

# Which share of the output layer's measured time is S, and how many barriers there are; none is a plain pipeline.
SPLITS = {"plain": (0.0, 0), "one barrier": (2 / 3, 1), "two barriers": (1 / 3, 2)}
COUNTED = ("computing", "all")


def _microseconds(inputs: Mapping[str, Any], row: str, what: str) -> tuple[float, ...]:
    found = pick(inputs, "rows", row, what)
    if not isinstance(found, list) or not all(isinstance(t, int) and t >= 0 for t in found):
        raise WeirError(f"inputs: rows.{row}.{what} must be a list of whole microseconds")
    return tuple(t * 1e-6 for t in found)


def _parts(inputs: Mapping[str, Any], row: str, counted: str) -> tuple[Stages, Vocabulary | None]:
    """A row's stages and its output layer; of ``all`` the input layer's passes are counted with the output layer's."""
    if counted not in COUNTED:
        raise WeirError(f"unknown choice {counted!r}{hint(counted, COUNTED)}")
    kind = text(inputs, "rows", row, "kind")
    if kind not in SPLITS:
        raise WeirError(f"rows.{row}: unknown kind {kind!r}{hint(kind, SPLITS)}")
    stages = Stages(_microseconds(inputs, row, "forward"), _microseconds(inputs, row, "backward"))
    share, barriers = SPLITS[kind]
    if not barriers:
        return stages, None
    both = _microseconds(inputs, row, "output")
    s, t, reduce = [x * share for x in both], [x * (1 - share) for x in both], 0.0
    if counted == "all":
        s = [a + b for a, b in zip(s, _microseconds(inputs, row, "input_forward"), strict=True)]
        t = [a + b for a, b in zip(t, _microseconds(inputs, row, "input_backward"), strict=True)]
        sent = _microseconds(inputs, row, "reduce")
        reduce = sum(sent) / len(sent)
    return stages, Vocabulary(tuple(s), tuple(t), reduce, barriers)


@lru_cache(maxsize=64)
def _pattern(stages: Stages, vocab: Vocabulary | None) -> Pattern:
    flow = chain(stages) if vocab is None else vocabulary(stages, vocab)
    return repeating(flow, interval=flow.busiest * 1.0005)  # a hair of slack: all devices are alike to a percent


def iteration(inputs: Mapping[str, Any], *, row: str, counted: str) -> float:
    """Milliseconds of an iteration: 1F1B in the written order, else the repeating pattern that holds least.

    ``counted``: what is ``computing``, or ``all``: all-reduces and the input layer too.
    """
    stages, vocab = _parts(inputs, row, counted)
    batches = int(number(inputs, "microbatches"))
    if vocab is None:
        return one_f_one_b(stages, batches).seconds * 1e3
    return _pattern(stages, vocab).unrolled(batches).seconds * 1e3


def held(inputs: Mapping[str, Any], *, row: str) -> float:
    """The fewest microbatches' activations that the fullest device holds while none waits in the steady state."""
    return float(ceil(_pattern(*_parts(inputs, row, "computing")).held - 1e-6))


def utilisation(inputs: Mapping[str, Any], *, vocabulary: str, sequence: int, milliseconds: float) -> float:
    """Percent of the peak rate that the model's operations take of an iteration, backward twice as many as forward."""
    made = known_shape(inputs, vocabulary)
    each = made.layers * (made.linear_flops + sequence * made.attention_flops) + made.head_flops
    total = 3 * each * sequence * number(inputs, "microbatches")
    peak = number(inputs, "devices") * si(text(inputs, "peak"), "op/s", "peak")
    return 100 * total / (milliseconds * 1e-3 * peak)
