"""``weir pipeline``: schedules of a model's stages, or of measured ones, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einsum.errors import Infeasible, WeirError, hint
from einsum.files import write
from sim.cli import ask
from sim.cli.ask import tokens, writable
from sim.cli.data import Form, emit
from sim.cli.patience import Advance, patience
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.planner import flows
from sim.planner.advice import piped
from sim.planner.answers import Piped, Pipelines
from sim.planner.pipeline import Schedule
from sim.planner.stages import SCHEDULES, SPLIT, Cut
from sim.units import fmt, si

MOST = 256  # stages
PASSES = 200_000  # of one schedule: some seconds
LONGEST = 1e6  # seconds of a pass; sums of longer ones could leave the range of numbers


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of passes as the command line puts them."""

    forward: str | None
    backward: str | None
    weights: str | None
    output: str | None
    reduce: str
    lag: str
    stages: str | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    model: str | None
    on: str | None
    sequence: str
    batch: str
    microbatches: str
    schedules: tuple[str, ...]
    balance: bool
    measured: Measured
    seconds: float
    plot: str | None
    save: str | None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        measured = Measured(**{name: given[name] for name in Measured.__slots__})
        own = {**given, "measured": measured, "schedules": tuple(given["schedule"] or ())}
        return cls(**{name: own[name] for name in cls.__slots__})


def pipeline(asked: Asked, form: Form) -> None:
    """Print the schedules asked for, or all that can be made; draw and write their passes."""
    writable(asked.plot, (".png", ".svg", ".pdf"), "--plot")
    writable(asked.save, (".csv",), "--save")
    cut, batches, answers, left = _answered(asked)
    _print(cut, batches, answers, left, form)
    _save(asked.save, answers)
    _draw(asked.plot, answers)


def _print(cut: Cut | None, batches: int, answers: list[Piped], left: list[str], form: Form) -> None:
    """The schedules, as text or as data."""
    rows = [answer.row for answer in answers]
    if form is Form.TEXT:
        show(*_text(cut, answers, batches, left))
        return
    about = {"model": cut.spec.name, "cluster": cut.cluster.name, "layers": list(cut.layers)} if cut else {}
    emit(
        form,
        {
            "schema": "weir.pipeline/1",
            **about,
            "microbatches": batches,
            "schedules": rows,
            "left": left,
            "helps": list(piped(_quickest(answers))) if answers else [],
        },
        rows,
        Made("highs"),
    )


def answered(asked: Asked) -> Pipelines:
    """The schedules asked for, or all that can be made."""
    return Pipelines(tuple(_answered(asked)[2]))


def _answered(asked: Asked) -> tuple[Cut | None, int, list[Piped], list[str]]:
    for name in asked.schedules:
        if name not in SCHEDULES:
            raise WeirError(f"--schedule {name!r:.40}: no such schedule{hint(name, SCHEDULES)}")
    batches = ask.whole(asked.microbatches, "--microbatches")
    if asked.seconds != 0:  # none: patterns as they are begun
        ask.limit(asked.seconds)
    cut = _cut(asked)
    with patience("scheduling") as advance:
        made = _measured(asked, batches, advance) if cut is None else _modelled(asked, cut, batches, advance)
    return cut, batches, *made


def _cut(asked: Asked) -> Cut | None:
    """The model over its devices; None where passes were measured instead."""
    from sim.model.estimate import placed
    from workloads.transformer import from_config

    given = asked.measured
    if asked.model is None:
        if given.forward is None or given.backward is None:
            raise WeirError("give a MODEL and --on, or --forward and --backward times of measured passes")
        if asked.on is not None:
            raise WeirError("--on is for a MODEL; measured passes have run somewhere already")
        return None
    if any(part is not None for part in (given.forward, given.backward, given.weights, given.output)):
        raise WeirError("give a MODEL, whose passes are timed, or measured times, not both")
    if asked.on is None:
        raise WeirError(f"{asked.model!r:.80}: give --on CLUSTER too, as 8xa100; each device runs one stage")
    spec = from_config(ask.model(asked.model)).spec
    return Cut(
        spec, placed(asked.on), tokens(asked.sequence), ask.whole(asked.batch, "--batch"), even=not asked.balance
    )  # fmt: skip


def _modelled(asked: Asked, cut: Cut, batches: int, advance: Advance) -> tuple[list[Piped], list[str]]:
    _small(cut.count, batches)

    room = float(cut.cluster.pools[0].device.memory.capacity)

    def make(name: str) -> Piped:
        found = cut.schedule(name, batches, seconds=asked.seconds)
        held = max(cut.bytes(name, found))
        if held > room:
            raise Infeasible(
                f"{cut.spec.name} on {cut.cluster.name}, {name}: {held:,.0f} bytes on the fullest device, {room:,.0f} "
                f"there are; {held:,.0f} would do",
                held / room,
            )
        return Piped(name, found, held, cut.mfu(found, batches))

    return _each(asked.schedules, SCHEDULES, make, advance)


def _measured(asked: Asked, batches: int, advance: Advance) -> tuple[list[Piped], list[str]]:
    given = asked.measured
    forward, backward = (
        _times(given.forward, given.stages, "--forward"),
        _times(given.backward, given.stages, "--backward"),
    )
    _small(len(forward), batches)
    apart = () if given.weights is None else _times(given.weights, str(len(forward)), "--weights")
    stages = flows.Stages(forward, backward, si(given.lag, "s", "--lag"), apart)
    vocab = _vocabulary(given, len(forward))

    def make(name: str) -> Piped:
        if "vocabulary" in name and vocab is None:
            raise WeirError(f"{name} needs --output S,T: seconds of the output layer's passes on each device")
        if name in SPLIT and not apart:
            raise WeirError(f"{name} needs --weights: what of --backward only makes weights' gradients")
        return Piped(name, _schedule(name, stages, vocab, batches, asked.seconds))

    known = [n for n in SCHEDULES if (vocab or "vocabulary" not in n) and (apart or n not in SPLIT)]
    return _each(asked.schedules, tuple(known), make, advance)


def _schedule(name: str, stages: flows.Stages, vocab: Any, batches: int, seconds: float) -> Schedule:
    from dataclasses import replace

    from sim.planner.repeating import repeating

    plain = {"1f1b": flows.one_f_one_b, "gpipe": flows.gpipe, "interleaved": flows.interleaved}
    stages = stages if name in SPLIT else replace(stages, weights=())
    if name in plain:
        return plain[name](stages, batches)
    flow = flows.v_shape(stages) if name.startswith("v_half") else flows.chain(stages)
    if "vocabulary" in name:
        flow = flows.divided(flow, replace(vocab, barriers=2 if name.endswith("2") else 1))
    every = flow.busiest + 2 * float(stages.between(0, 1))
    return flows.filled(repeating(flow, interval=every, seconds=seconds), batches)


def _each(
    asked: tuple[str, ...], known: tuple[str, ...], make: Any, advance: Advance
) -> tuple[list[Piped], list[str]]:  # fmt: skip
    """The schedules asked for; of all of them, those that can be made and fit, and why not the others. The nearest
    miss is raised where none fits."""
    answers, left, misses = [], [], list[Infeasible]()
    names = asked or known
    for place, name in enumerate(names):
        advance(place, len(names))
        try:
            answers.append(make(name))
        except WeirError as why:
            if asked:
                raise
            left.append(f"{name} left out: {why}")
            misses += [why] if isinstance(why, Infeasible) else []
    if misses and not answers:
        raise min(misses, key=lambda why: why.miss)
    return answers, left


def _small(stages: int, batches: int) -> None:
    if stages > MOST or 4 * stages * batches > PASSES:
        raise WeirError(
            f"{stages} stages and {batches:,} microbatches: at most {MOST} stages and {PASSES // 4:,} of them times "
            "microbatches; what repeats is seen with fewer"
        )


def _times(text: str | None, stages: str | None, option: str) -> tuple[float, ...]:
    """A time for each stage, or one for all."""
    found = tuple(si(part, "s", option) for part in str(text).split(","))
    if max(found) > LONGEST:
        raise WeirError(f"{option} {text!r:.40}: a pass of more than {LONGEST:,.0f} s")
    if stages is None:
        if len(found) < 2:
            raise WeirError(
                f"{option} {text!r:.40}: a time for each stage, as 10ms,10ms,15ms, or one time and --stages"
            )
        return found
    count = ask.whole(stages, "--stages")
    if len(found) not in (1, count):
        raise WeirError(f"{option}: {len(found)} times for {count} stages; give one, or one for each")
    return found * count if len(found) == 1 else found


def _vocabulary(given: Measured, count: int) -> flows.Vocabulary | None:
    if given.output is None:
        return None
    parts = tuple(si(part, "s", "--output") for part in given.output.split(","))
    if len(parts) != 2:
        raise WeirError(f"--output {given.output!r:.40}: two times, S and T of one device, as 1ms,1ms")
    return flows.Vocabulary((parts[0],) * count, (parts[1],) * count, si(given.reduce, "s", "--reduce"))


def _text(cut: Cut | None, answers: list[Piped], batches: int, left: list[str]) -> Iterator[Sheet | str]:
    if cut is not None:
        kinds = "\n".join(_kinds(cut))
        yield (
            f"{cut.spec.name} on {cut.cluster.name}: {batches} microbatches of {cut.batch} x {cut.sequence:,} tokens\n"
            f"{kinds}; layers by stage {', '.join(map(str, cut.layers))}"
        )
    rows = tuple(map(_cells, answers))
    notes = [*left, "held: microbatches' activations on the fullest device; waiting: of all devices' time"]
    if cut is not None:
        notes.append(
            f"assumed: tier {cut.tier}; weights, gradients and Adam take {cut.state_bytes:g} bytes a weight; their "
            "update, and logits while the loss is computed, are not counted"
        )
        notes += ["kinds of layers come one after the other"] if len(cut.kinds) > 1 else []
        notes += [f"unverified: {cut.spec.unverified}"] if cut.spec.unverified else []
    columns = ("schedule", "iteration", "waiting", "held", *(("fullest device", "of the peak") if cut else ()))
    if answers:
        yield "\n".join(map(folded, piped(_quickest(answers))))
    yield Sheet("", columns, rows, right=tuple(range(1, 6)), notes=tuple(notes))


def _kinds(cut: Cut) -> Iterator[str]:
    """Seconds of a layer of each kind."""
    for layer in cut.kinds:
        kind = cut.spec.layers[layer.kind]
        name = f"each of {kind.times} {kind.name}" if len(cut.kinds) > 1 else "a layer"
        forward, backward = cut.seconds(layer)
        yield f"{name} takes {fmt(forward, 's')} forward and {fmt(backward, 's')} backward"


def _quickest(answers: list[Piped]) -> Piped:
    return min(answers, key=lambda one: one.found.seconds)


def _cells(answer: Piped) -> tuple[str, ...]:
    found = answer.found
    cells = (answer.name, fmt(found.seconds, "s"), f"{found.idle:.1%}", f"{max(found.held):g}")
    if answer.bytes is None or answer.mfu is None:
        return cells
    return *cells, fmt(answer.bytes, "B"), f"{answer.mfu:.1%}"


def _draw(path: str | None, answers: list[Piped]) -> None:
    if path is None:
        return
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    from sim.plot.offload import pipeline as drawn

    height = sum(1.2 + 0.25 * answer.found.flow.devices for answer in answers)
    figure, axes = plt.subplots(len(answers), 1, figsize=(11, height), layout="constrained", squeeze=False)
    for answer, ax in zip(answers, axes[:, 0], strict=True):
        drawn(answer.found, ax)
        ax.set_title(f"{answer.name}: {ax.get_title()}", fontsize="medium")
    figure.savefig(path)
    plt.close(figure)


def _save(path: str | None, answers: list[Piped]) -> None:
    if path is None:
        return
    import pandas as pd

    tables = [answer.found.frame().assign(schedule=answer.name) for answer in answers]
    write(Path(path), pd.concat(tables).to_csv(index=False).encode(), "--save")
