"""Pipelines from measured stage times: seconds of an iteration, what is held, and what of the peak is used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch import cluster
from sim.planner.flows import Stages, Vocabulary, chain, one_f_one_b, vocabulary
from sim.planner.pipeline import Schedule
from sim.planner.repeating import Pattern, repeating
from sim.planner.stages import Cut
from sim.published.calls import number, pick, text
from sim.published.kinds.placing import known_shape, known_spec
from sim.units import si
from workloads.spec import Spec

__all__ = ["gain", "gibibytes", "held", "iteration", "predicted", "utilisation"]

# Which share of the output layer's measured time is S, and how many barriers there are; none is a plain pipeline.
SPLITS = {"plain": (0.0, 0), "one barrier": (2 / 3, 1), "two barriers": (1 / 3, 2)}
COUNTED = ("computing", "all")

# A method's schedule, and whether every stage has as many layers.
METHODS = {
    "baseline": ("1f1b", True),
    "redistributed": ("1f1b", False),
    "one barrier": ("vocabulary", True),
    "two barriers": ("vocabulary_2", True),
    "V": ("v_half_split", True),  # the paper's V-Half has weights' gradients apart
    "V, one barrier": ("v_half_split_vocabulary", True),
}


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


Pace = tuple[tuple[float, float], tuple[float, float]]
MODELLED: Pace = ((1.0, 1.0), (0.0, 0.0))


@lru_cache(maxsize=64)
def _cut(spec: Spec, device: str, count: int, sequence: int, even: bool, pace: Pace) -> Cut:
    return Cut(spec, cluster(f"{count}x{device}"), sequence, even=even, slower=pace[0], more=pace[1])


def _pace(inputs: Mapping[str, Any], sequence: int, vocab: bool) -> Pace:
    """What passes on one host took beyond the model, in the row that the paper's inputs name: a layer's so many times
    as long, since its products run below their best; the output layer's so much more for every logit, which it
    reads and writes in fp32."""
    row = text(inputs, "paces", f"{'vocabulary' if vocab else 'plain'} {sequence}")
    spec, count = known_spec(inputs, text(inputs, "rows", row, "model")), int(number(inputs, "devices"))
    plain = _cut(spec, text(inputs, "device"), count, sequence, True, MODELLED)
    forward, backward = (_microseconds(inputs, row, what) for what in ("forward", "backward"))
    ahead, behind = (sum(times[1:-1]) / (count - 2) for times in (forward, backward))  # between the two ends
    slower = (ahead / plain.layers[1] / plain.layer[0], behind / plain.layers[1] / plain.layer[1])
    if vocab:
        half = (sum(_microseconds(inputs, row, "output")) - count * sum(plain.ends(count)[2:])) / 2
        return slower, (half / plain.logits, half / plain.logits)
    _, _, last, after = plain.ends(1)
    return slower, ((forward[-1] - ahead - last) / plain.logits, (backward[-1] - behind - after) / plain.logits)


@lru_cache(maxsize=256)
def _run(cut: Cut, schedule: str, microbatches: int) -> Schedule:
    return cut.schedule(schedule, microbatches, seconds=0)


def _predicted(inputs: Mapping[str, Any], model: str, method: str, sequence: int, measured: bool) -> tuple[Cut, str]:
    if method not in METHODS:
        raise WeirError(f"unknown method {method!r}{hint(method, METHODS)}")
    schedule, even = METHODS[method]
    count = int(number(inputs, "models", model, "devices"))
    pace = _pace(inputs, sequence, "vocabulary" in schedule) if measured else MODELLED
    return _cut(known_spec(inputs, model), text(inputs, "device"), count, sequence, even, pace), schedule


def predicted(
    inputs: Mapping[str, Any], *, model: str, method: str, sequence: int, paced: str = "measured"
) -> float:  # fmt: skip
    """Percent of the peak that an iteration comes to, its passes from the model's cascades; ``measured`` makes them as
    much slower as passes on one host of eight were (``modelled`` does not)."""
    cut, schedule = _predicted(inputs, model, method, sequence, paced == "measured")
    batches = int(number(inputs, "microbatches"))
    return 100 * cut.mfu(_run(cut, schedule, batches), batches, si(text(inputs, "peak"), "op/s", "peak"))


def gibibytes(inputs: Mapping[str, Any], *, model: str, method: str, sequence: int) -> float:
    """GiB of the fullest device: weights, gradients and optimiser, and what the schedule holds."""
    cut, schedule = _predicted(inputs, model, method, sequence, False)
    return max(cut.bytes(schedule, _run(cut, schedule, int(number(inputs, "microbatches"))))) / 2**30


def gain(inputs: Mapping[str, Any], *, model: str, sequence: int, over: str, paced: str = "measured") -> float:
    """Percent by which dividing the vocabulary with one barrier is faster than another method."""
    ours, theirs = (predicted(inputs, model=model, method=m, sequence=sequence, paced=paced)
                    for m in ("one barrier", over))  # fmt: skip
    return 100 * (ours / theirs - 1)
