"""``weir offload``: which part of a model lies on the GPU, its host or a disk, and how fast it then generates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from einsum.errors import WeirError, hint
from sim.arch import device
from sim.cli import ask, data
from sim.cli.ask import writable
from sim.cli.data import Form
from sim.cli.patience import patience
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.planner.advice import offloaded
from sim.planner.placement import method
from sim.planner.policy import Load, Policy, best
from sim.planner.shape import UNITS, Hardware, hardware, shape
from sim.units import fmt
from workloads.transformer import from_config

MADE = Made("highs", times=("seconds",))


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    model: str
    on: str
    host: str
    gpus: str
    prompt: str
    output: str
    method: str
    micro: str | None = None
    batches: str | None = None
    fixed: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    compress: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        fixed, changes = (tuple(given[name] or ()) for name in ("fix", "setting"))
        own = {name: given[name] for name in cls.__slots__ if name not in ("fixed", "changes")}
        return cls(**own, fixed=fixed, changes=changes)


def offload(asked: Asked, form: Form, save: str | None = None, plot: str | None = None) -> None:
    """Print the best policy for a question, and write and draw it where files are named."""
    writable(plot, (".png", ".svg", ".pdf"), "--plot")
    found = policy(asked)
    if plot is not None:
        _draw(plot, found)
    if save is not None:
        data.save(save, "save", _whole(found), MADE)
    if form is Form.TEXT:
        show(*_text(found))
    else:
        rows = found.frame().to_dict("records") if form is Form.CSV else []
        data.emit(form, _whole(found), rows, MADE)


def _whole(found: Policy) -> dict[str, Any]:
    """The figures, with what binds and what would help."""
    return {**found.summary(), "helps": list(offloaded(found))}


def policy(asked: Asked) -> Policy:
    """The best policy for a question."""
    load = Load(ask.whole(asked.prompt, "--prompt"), ask.whole(asked.output, "--output"))
    model = from_config(ask.model(asked.model))
    made = shape(model, load.prompt + load.output).compressed(asked.compress)
    chosen = method(asked.method)
    changes = ask.pairs(asked.changes, "--set", "host_memory=256GB")
    known = {name for name, _, _ in chosen.settings}
    for name in changes:
        if name not in known and name not in UNITS:
            raise WeirError(f"--set: nothing is called {name!r}{hint(name, {*known, *UNITS})}")
    where = _hardware(asked, {n: v for n, v in changes.items() if n in UNITS}, model.dtype)
    with patience(f"placing {model.name}") as advance:
        return best(
            made, where, load, method=chosen, fixed=_fractions(asked.fixed), progress=advance,
            settings={n: v for n, v in changes.items() if n in known},
            micro=None if asked.micro is None else ask.whole(asked.micro, "--micro"),
            batches=None if asked.batches is None else ask.whole(asked.batches, "--batches"),
        )  # fmt: skip


def _hardware(asked: Asked, changes: Mapping[str, str], dtype: str) -> Hardware:
    gpus = ask.whole(asked.gpus, "--gpus")
    return hardware(device(asked.on), device(asked.host), gpus=gpus, dtype=dtype).with_(**changes)


def _fractions(texts: tuple[str, ...]) -> dict[str, float]:
    """``weights.gpu=20%`` or ``0.2``, as often as given."""
    from sim.units import si

    return {n: si(v, "1", f"--fix {n}") for n, v in ask.pairs(texts, "--fix", "weights.gpu=20%").items()}


def _draw(path: str, found: Policy) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    from sim.plot.offload import placement

    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    placement(found, axes)
    figure.savefig(path)
    plt.close(figure)


def _text(found: Policy) -> tuple[Sheet | str, ...]:
    rate = f"{found.model} on {found.hardware}: {found.tokens_per_second:.4g} generated tokens/s"
    block = f"{found.batches} x {found.micro} sequences a block, {fmt(found.block_seconds, 's')}"
    tiers = tuple(dict.fromkeys(t for _, ts in found.placement.method.classes for t in ts))
    placed = tuple(
        (name, *(f"{found.fractions[f'{name}.{t}']:.1%}" if t in ts else "" for t in tiers))
        for name, ts in found.placement.method.classes
    )
    held = tuple((n, fmt(h, "B"), fmt(m, "B"), f"{h / m:.0%}" if m else "") for n, (h, m) in found.memory.items())
    stages = tuple(
        (name, fmt(s, "s"), found.slowest(name)[0], fmt(found.slowest(name)[1], "s"))
        for name, s in found.stages.items()
    )
    known = "proven best for this block" if found.proven else "not proven best for this block"
    notes = [f"{known}; {found.tried} blocks tried. {found.placement.method.title}.", found.placement.method.notes]
    return (
        f"{rate}\n{block}",
        Sheet("where", ("class", *tiers), placed, right=tuple(range(1, len(tiers) + 1))),
        Sheet("memory", ("", "held", "of", "used"), held, right=(1, 2, 3)),
        Sheet("time", ("stage", "a run", "slowest", ""), stages, right=(1, 3)),
        "\n".join(map(folded, offloaded(found))),
        "\n".join(folded(note) for note in notes if note),
    )
