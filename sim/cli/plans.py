"""``weir plan``: where buffers lie in memory, from a file; a model's training step is planned elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from einsum import WeirError, hint
from einsum.files import write
from sim.cli import ask
from sim.cli.data import Form, emit, save
from sim.cli.text import Sheet, folded, show
from sim.manifest import Made
from sim.units import fmt, si

if TYPE_CHECKING:
    from sim.planner.answers import Laid

SOLVERS = ("highs", "cbc")
SHOWN = 20  # buffers that are listed on a terminal


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the command line puts it."""

    what: str
    on: tuple[str, ...] = ()
    capacity: str | None = None
    seconds: float = 60.0
    objective: str | None = None
    solver: str = "highs"
    save: str | None = None
    plot: str | None = None
    sequence: str | None = None
    batch: int = 1
    strategy: str | None = None
    split: str = "tensor"
    host: str | None = None
    link: str | None = None
    prices: str | None = None
    price: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that a command's arguments, by name, put."""
        own = {**given, "what": given["problem"], **{name: tuple(given[name] or ()) for name in ("on", "price")}}
        return cls(**{name: own[name] for name in cls.__slots__})


def plan(asked: Asked, form: Form) -> None:
    """A CSV is a problem of offsets, a JSON a graph of tasks; anything else names a model in training."""
    if asked.solver not in SOLVERS:
        raise WeirError(f"no solver {asked.solver!r:.40}{hint(asked.solver, SOLVERS)}")
    ask.limit(asked.seconds)
    {"graph": _training().graphed, "offsets": _offsets, "model": _training().trained}[kind(asked)](asked, form)


def kind(asked: Asked) -> str:
    """What is planned: a ``graph`` of tasks, ``offsets`` of buffers, or a ``model`` in training."""
    if asked.what.lower().endswith(".json") and Path(asked.what).name != "config.json":
        return "graph"
    return "offsets" if _is_file(asked.what) and asked.sequence is None else "model"


def answered(asked: Asked) -> Any:
    """The plan, with what was asked."""
    return {"graph": _training().scheduled, "offsets": laid, "model": _training().best}[kind(asked)](asked)


def _training() -> Any:
    from sim.cli import plans_training

    return plans_training


def _is_file(what: str) -> bool:
    return what.lower().endswith(".csv") or Path(what).is_file()


def _offsets(asked: Asked, form: Form) -> None:
    writable(asked.save, (".json", ".csv"), "--save")
    writable(asked.plot, (".png", ".svg", ".pdf"), "--plot")
    made = laid(asked)
    found = made.plan
    if asked.save is not None:
        _save(asked, made)
    if asked.plot is not None:
        _plot(asked.plot, made.problem, found)
    if form is Form.JSON:
        from sim.planner.advice import laid as laid_out

        emit(form, {**made.summary(), "helps": list(laid_out(made))}, [], Made(asked.solver, found.gap, ("seconds",)))
    else:
        show(*_text(made))


def laid(asked: Asked) -> Laid:
    """The buffers of a CSV at their offsets."""
    if asked.on:
        raise WeirError("--on is for a model: a CSV has its capacity from --capacity")
    if asked.objective not in (None, "peak"):
        raise WeirError(
            f"--objective {asked.objective!r:.40}: only peak can be asked of a CSV, which says nothing of time"
        )
    from sim.planner.answers import Laid
    from sim.planner.offsets import plan as place
    from sim.planner.tables import read

    problem = read(Path(asked.what), _capacity(asked.capacity))
    minimise = None if asked.objective is None else True
    with progressing() as progress:
        found = place(problem, seconds=asked.seconds, minimise=minimise, solver=asked.solver, progress=progress)
    return Laid(problem, found)


def _capacity(text: str | None) -> float:
    if text is None:
        return inf
    return bytes_of(text, "--capacity")


def bytes_of(text: str, option: str) -> float:
    """Bytes of an option: a number of them, or with a unit."""
    value = si(text if text.strip()[-1:].isalpha() else f"{text} B", "B", option)
    if not 0 < value < 2**62:
        raise WeirError(f"{option} must be more than 0 bytes and less than 2^62, not {text!r:.40}")
    return value


def writable(path: str | None, endings: tuple[str, ...], option: str) -> None:
    """Refuse now what could not be written after the work is done."""
    if path is None:
        return
    if Path(path).suffix.lower() not in endings:
        raise WeirError(f"{option} {path!r:.80}: end the name in {' or '.join(endings)}")
    if not os.access(Path(path).absolute().parent, os.W_OK):
        raise WeirError(f"{option} {path!r:.80}: no folder that can be written to")


def _text(made: Laid) -> tuple[Sheet | str, ...]:
    from sim.planner.advice import laid as laid_out

    problem, found = made.problem, made.plan
    proof = "optimal" if found.proven else f"at most {found.gap:.2%} above the best possible"
    head = (
        f"{problem.name}: {len(problem.buffers)} buffers in {int(found.value)} bytes ({fmt(found.value, 'B')}), {proof}"
    )
    bound = f"no placement is below {int(found.bound)} bytes; found by {found.method} in {found.seconds:.2f} s"
    where = made.offsets
    largest = sorted(problem.buffers, key=lambda b: -b.size)[:SHOWN]
    rows = tuple((b.name, str(where[b.name]), str(b.size), f"{b.live[0][0]:g} to {b.live[-1][1]:g}") for b in largest)
    left = len(problem.buffers) - len(rows)
    notes = (f"and {left} smaller ones: --json or --save has all",) if left else ()
    words = "".join(f"\n{folded(line)}" for line in laid_out(made))
    return f"{head}\n{bound}{words}", Sheet("", ("buffer", "offset", "bytes", "live"), rows, right=(1, 2), notes=notes)


def _save(asked: Asked, made: Laid) -> None:
    from dataclasses import asdict

    from sim.planner.tables import written

    path = Path(str(asked.save))
    if path.suffix == ".csv":
        write(path, written(made.problem, made.offsets).encode(), "--save")
    else:
        save(str(path), "save", asdict(made.plan), Made(asked.solver, made.plan.gap, ("seconds",)))


def _plot(path: str, problem: Any, found: Any) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    from sim.plot.memory import memory_map

    sizes = {b.name: b.size for b in problem.buffers}
    stays = found.stays
    figure, axes = plt.subplots(figsize=(10, 6), layout="constrained")
    capacity = problem.tiers[0].capacity
    memory_map(
        [s.start for s in stays], [s.stop for s in stays], [s.offset for s in stays], [sizes[s.buffer] for s in stays],
        [s.buffer for s in stays], axes, capacity=None if capacity == inf else capacity,
    )  # fmt: skip
    axes.set_title(f"{problem.name}: {fmt(found.value, 'B')}")
    figure.savefig(path)
    plt.close(figure)


class progressing:  # noqa: N801  used as a word
    """The best value and its bound on stderr, on one line, where a person is watching."""

    def __init__(self, what: str = "height", unit: str = "B") -> None:
        self.what, self.unit = what, unit

    def __enter__(self) -> Callable[[float, float, float], None] | None:
        self.shown = False
        return self._tell if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" else None

    def _tell(self, seconds: float, height: float, bound: float) -> None:
        gap = 1 - bound / height if 0 < height < inf else 1.0
        found, least = fmt(height, self.unit), fmt(max(bound, 0), self.unit)
        line = f"{seconds:6.1f} s  {self.what} {found}  bound {least}  gap {gap:.2%}"
        print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
        self.shown = True

    def __exit__(self, *_: object) -> None:
        if self.shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
