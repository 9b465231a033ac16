"""``weir train``: an iteration of a model's training on a cluster, by what its seconds go to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from einsum.errors import Infeasible, WeirError
from sim.cli import ask
from sim.cli.ask import tokens
from sim.cli.data import Form, emit
from sim.cli.patience import patience
from sim.cli.text import Sheet, folded, show
from sim.planner.iteration import Iteration, training_step
from sim.planner.quicker import iterated, roomier
from sim.units import fmt

PASSES = 200_000  # of one schedule: some seconds
SHARES = {
    "collectives": "of tensor and expert parallelism, that kernels wait for",
    "pipeline": "waiting for other stages, and sending",
    "replicas": "gradients added up over replicas, and a table's over stages",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    model: str
    on: str
    batch: str
    microbatch: str
    sequence: str
    tp: str
    pp: str
    ep: str
    interleave: str
    recompute: str
    sequence_parallel: bool
    distributed_optimiser: bool
    kernels: str
    tier: str
    settings: tuple[str, ...]
    book: str | None
    price: tuple[str, ...]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        own = {**given, **{name: tuple(given[name] or ()) for name in ("settings", "price")}}
        return cls(**{name: own[name] for name in cls.__slots__})


def train(asked: Asked, form: Form) -> None:
    """Print the seconds of an iteration by term, what of the peak is used, memory and money; what would help.

    Raises :class:`Infeasible`, with what would do, where memory is too small.
    """
    made = answered(asked)
    if made.reason:
        raise _short(made)
    with patience(f"timing {made.setting.spec.name}"):
        figures, advice = made.summary(), list(iterated(made))
    if form is Form.TEXT:
        show(*_text(made, advice))
    else:
        emit(form, {"schema": "weir.train/1", **figures, "helps": advice}, made.rows)


def _short(made: Iteration) -> Infeasible:
    """What a device needs and has, and what would do."""
    s = made.setting
    ways = " or ".join(roomier(made))
    would = (
        f"{ways} would do" if ways else "twice the --tp or --pp, or recomputing and dividing all, would not do either"
    )
    return Infeasible(
        f"{s.spec.name} on {s.cluster.name}: {fmt(float(made.bytes), 'B')} on the fullest device, "
        f"{fmt(made.capacity, 'B')} there are; {would}",
        float(made.bytes) / made.capacity,
    )


def answered(asked: Asked) -> Iteration:
    """The iteration asked for, with its prices; :class:`WeirError` for one of too many passes."""
    made = _iteration(asked)
    s = made.setting
    if 2 * s.stages * s.chunks * s.microbatches > PASSES:
        raise WeirError(
            f"{s.microbatches:,} microbatches through {s.stages * s.chunks} chunks: at most {PASSES // 2:,} together; "
            "fewer show the same but for the pipeline's ends"
        )
    return made


def _iteration(asked: Asked) -> Iteration:
    [where] = ask.clusters([asked.on], ask.pairs(asked.settings, "--set", "network.bandwidth=200Gb/s"))
    return training_step(
        ask.model(asked.model), where,
        sequence=tokens(asked.sequence), batch=ask.whole(asked.batch, "--batch"),
        microbatch=ask.whole(asked.microbatch, "--microbatch"), tensor=ask.whole(asked.tp, "--tp"),
        stages=ask.whole(asked.pp, "--pp"), chunks=ask.whole(asked.interleave, "--interleave"),
        recompute=asked.recompute, spread=asked.sequence_parallel, sharded=asked.distributed_optimiser,
        experts=ask.whole(asked.ep, "--ep"), kernels=asked.kernels, tier=asked.tier,
        prices=asked.book, price=ask.pairs(asked.price, "--price", "h20=1.5"),
    )  # fmt: skip


def _text(made: Iteration, advice: list[str]) -> Iterator[Sheet | str]:
    s = made.setting
    ways = [f"tensor {s.tensor}", f"pipeline {s.stages}", f"replicas {s.replicas}"]
    ways += [f"{s.chunks} chunks a stage"] if s.chunks > 1 else []
    ways += [f"experts {s.experts}"] if s.experts > 1 else []
    ways += ["sequence parallel"] if s.spread else []
    money = (
        "" if made.usd is None else f", {made.usd_per_iteration:.4g} USD an iteration, {made.usd:.4g} a million tokens"
    )
    yield (
        f"{s.spec.name} on {s.cluster.name}: {s.batch} sequences of {s.sequence:,} tokens in {s.microbatches} "
        f"microbatches of {s.microbatch}\n{', '.join(ways)}; recomputed: {s.recompute}; kernels: {s.kernels.name}\n"
        f"{fmt(made.seconds, 's')}, {made.tokens:,.0f} tokens/s{money}; MFU {made.mfu:.1%}, HFU {made.hfu:.1%}; "
        f"most goes to {made.bound}"
    )
    rows = tuple(
        (name, fmt(seconds, "s"), f"{seconds / made.seconds:.1%}", SHARES.get(name, "")) for name, seconds in made.terms
    )
    yield Sheet("", ("the busiest device", "seconds", "share", "remark"), rows, right=(1, 2))
    yield "\n".join(folded(line) for line in advice)
    cells = (*made.memory, ("together", made.bytes), ("there are", made.capacity))
    yield Sheet("", ("the fullest device", "bytes"), tuple((n, fmt(b, "B")) for n, b in cells), right=(1,),
                notes=tuple(_notes(made)))  # fmt: skip


def _notes(made: Iteration) -> Iterator[str]:
    s = made.setting
    yield f"network: {fmt(s.cluster.network.bandwidth, 'B/s')} a device; {s.cluster.source}"
    yield f"tier {s.tier}, no band tested; gradients are reduced after the last pass"
    yield "left out: logits and workspaces in memory; launches that a device waits for"
    if len(s.spec.layers) > 1:
        yield "kinds of layers come one after the other: " + ", ".join(f"{k.times} {k.name}" for k in s.spec.layers)
    if made.unmatched:
        yield f"kernels named for other models' layers: {', '.join(made.unmatched)}"
    if made.prices is not None:
        yield made.prices.describe()
    if s.spec.unverified:
        yield f"unverified: {s.spec.unverified}"
